"""Verbs, stages and `mv` race for the same files: each file is won once, and the others hear it."""

import json
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable

import pytest

from spoold.request import parse_time
from spoold.states import FOLDERS
from tests.e2e import conftest as e2e
from tests.e2e.conftest import Site, decision, hook, read, route, until
from tests.invariants import violations

REASON = ".reason.json"
NOWHERE = "http://127.0.0.1:9/"
#: What a verb says that was not the first.
OWN = """
    name = "own"
    source = "decisions"
    match = "record.facts.decision_type == 'own'"
    executor = "gateway"
"""
_SLOWER = re.compile(
    r"has just been moved|expired at|is in [a-z-]+(/[a-z]+)?/: |has a dispatch-\S+ already"
)


@pytest.fixture
def site(site_in_memory: Site) -> Site:
    """A site in memory."""
    return site_in_memory


class Hand:
    """A verb that has started, has decided about a request of its own, and waits for more.

    Args:
        site: where it decides; intake does not run yet.
        folder: where a request must be for this verb.
        words: the verb and its options.
    """

    _made = 0

    def __init__(self, site: Site, folder: str, *words: str) -> None:
        self._own = self._make(site, folder)
        self._given: list[str] = []
        out, err = (site.folder / f"{self._own}.{kind}" for kind in ("out", "err"))
        self._out, self._err = out, err
        with out.open("wb") as to_out, err.open("wb") as to_err:
            self._process = subprocess.Popen(
                site.words(*words, "-"), env=site.env, cwd=site.folder,
                stdin=subprocess.PIPE, stdout=to_out, stderr=to_err,
            )  # fmt: skip
        site.processes.append(self._process)
        self._write([self._own])
        until(lambda: out.stat().st_size, f"{words} is ready", 60)

    def _make(self, site: Site, folder: str) -> str:
        Hand._made += 1
        name = f"own-{Hand._made}"
        site.drop("decisions", f"{name}.json", {"decision_id": name, "decision_type": "own"})
        site.spoold("intake", "--drain")
        waits = site.files("awaiting-approval")
        (made,) = (path for path in waits if read(path)["event_key"] == name)
        key = read(made)["executor"] if FOLDERS[folder].per else ""
        made.rename(site.root / FOLDERS[folder].path(key) / made.name)
        return made.stem

    def give(self, ids: Iterable[str]) -> None:
        """What to decide about now."""
        given = list(ids)
        self._given += given
        self._write(given)

    def won(self) -> list[str]:
        """Wait for its end; the ids that it moved. It must say of every other that it lost."""
        assert self._process.stdin
        self._process.stdin.close()
        code = self._process.wait(120)
        won = [row.split(":")[0] for row in self._out.read_text().splitlines() if row[0] != " "]
        won.remove(self._own)
        said = self._err.read_text()
        assert "Traceback" not in said, said[-2000:]
        lost = [line for line in said.splitlines() if line.startswith("spoold: ")]
        assert not [line for line in lost if not _SLOWER.search(line)]
        assert len(lost) == len(self._given) - len(won), said[-2000:]
        assert code == (65 if lost else 0), said[-2000:]
        return won

    def _write(self, ids: Iterable[str]) -> None:
        assert self._process.stdin
        self._process.stdin.write("".join(f"{one}\n" for one in ids).encode())
        self._process.stdin.flush()


def ids(site: Site, *folders: str) -> set[str]:
    """The ids of the requests in folders."""
    return {path.stem for path in site.files(*folders)}


def waiting(site: Site, count: int, chance: random.Random) -> list[str]:
    """Make requests that wait; their ids in no order."""
    site.drop_many(count)
    site.spoold("intake", "--drain")
    made = sorted(one for one in ids(site, *e2e.STATES) if "-cutover-" in one)
    assert len(made) == count
    return chance.sample(made, count)


def assert_reasons(site: Site, **codes: str) -> None:
    """Every file in these folders has its reason, and no reason lies anywhere else."""
    for folder, code in codes.items():
        for path in site.files(folder):
            assert e2e.reason(path)["code"] == code, path
    found = {path for path in site.root.rglob(f"*{REASON}") if path.parts[-2] != "archive"}
    alone = {path for path in found if path.parent.name not in codes
             or not path.with_name(path.name.removesuffix(REASON)).exists()}  # fmt: skip
    assert not alone, f"reasons of nothing: {alone}"


def assert_trail(site: Site) -> None:
    """Every decision in approvals/ tells of a move that happened, and nothing is half-written."""
    moved = {path.stem: str(path.parent.relative_to(site.root)) for path in
             site.files(*e2e.STATES)}  # fmt: skip
    decisions = [read(path) for path in (site.root / "approvals").glob("*.json")]
    # What is told to stop stays where it is until its executor has done so.
    told = [one for one in decisions if one["decision"] != "too-late"
            and "cancel" not in one["to"]]  # fmt: skip
    wrong = [one for one in told if one["to"] != moved[one["dispatch_id"]]]
    assert not wrong, (
        f"{len(wrong)} decisions tell of moves that did not happen, such as {wrong[0]}"
    )
    assert list((site.root / "tmp").iterdir()) == []


def cutovers(ids: set[str]) -> set[str]:
    """Without the requests that the verbs had for a start."""
    return {one for one in ids if "-cutover-" in one}


def shuffled(chance: random.Random, items: list[str]) -> list[str]:
    """The same in another order."""
    return chance.sample(items, len(items))


def approve(site: Site, one: str, chance: random.Random) -> None:
    """`mv awaiting-approval/X approved/`, at about the pace of a verb."""
    time.sleep(chance.uniform(0, 0.01))
    site.approve(site.root / "awaiting-approval" / f"{one}.json")


def test_approve_reject_and_expiry_race(site, chance):
    """Of a yes, a no and the clock exactly one wins each of 300 requests; the others hear it."""
    site.configure(hook(NOWHERE), OWN, route("gateway", 'expires_after = "10s"'))
    yes, no = (
        Hand(site, "awaiting-approval", "approve", "--yes"),
        Hand(site, "awaiting-approval", "reject"),
    )
    sweep = site.start("sweep")
    made = waiting(site, 300, chance)
    first = min(read(path)["approval"]["expires_at"] for path in site.files("awaiting-approval"))
    time.sleep(max(0.0, parse_time(first).timestamp() - time.time() - 0.4))
    yes.give(made)
    no.give(made)
    said_yes, said_no = yes.won(), no.won()
    until(lambda: not ids(site, "awaiting-approval"), "all is decided", 30)
    site.stop(sweep)
    expired = ids(site, "expired")
    print(f"{len(said_yes)} approved, {len(said_no)} rejected, {len(expired)} expired")
    assert sorted([*said_yes, *said_no, *expired]) == sorted(made)
    assert cutovers(ids(site, "approved")) == {*said_yes}
    assert cutovers(ids(site, "rejected")) == {*said_no}
    assert_reasons(site, rejected="rejected", expired="expired")
    assert_trail(site)


def test_hold_races_the_gate(site, chance):
    """A hold and the gate reach for 200 approved requests: each is held or passed, not both."""
    site.configure(hook(NOWHERE), OWN, route())
    stay = Hand(site, "awaiting-approval", "hold")
    made = waiting(site, 200, chance)
    gate = site.start("gate")
    for one in made:
        approve(site, one, chance)
        time.sleep(chance.uniform(0, 0.05))
        stay.give([one])
    held = {*stay.won()}
    until(lambda: not ids(site, "approved", "checking"), "the gate is done", 60)
    site.stop(gate)
    print(f"{len(held)} held")
    assert cutovers(ids(site, "held")) == held
    assert cutovers(ids(site, "queued")) == {*made} - held
    assert len(site.files(*e2e.STATES)) == 201
    assert_reasons(site, held="held-by-person")
    assert_trail(site)


def test_cancel_races_the_gate_and_the_executor(site, receiver, chance):
    """What a person cancels before it runs is never called, all else at most once."""
    site.configure(hook(receiver.url, "concurrency = 1"), OWN, route())
    no = Hand(site, "approved", "cancel")
    made = waiting(site, 300, chance)
    services = [site.start("gate"), site.start("execute", "gateway")]
    for one in made:
        approve(site, one, chance)
        no.give([one])
    cancelled = {*no.won()}
    until(lambda: not ids(site, "approved", "checking", "queued", "running"), "all is done", 60)
    for service in services:
        site.stop(service)
    print(f"{len(cancelled)} cancelled")
    before = cutovers(ids(site, "rejected"))
    ended = ids(site, "done", "failed", "unknown")
    assert before <= cancelled
    assert ended == {*made} - before
    # What ran when it was cancelled had been called or not; the file says which.
    calls = receiver.keys()
    assert {*calls} <= ended
    assert max(calls.values()) == 1
    assert ids(site, "done") <= {*calls}
    assert not ids(site, "failed") & {*calls}
    assert_reasons(site, rejected="cancelled")
    assert_trail(site)


def test_retry_cancel_and_sweep_race_for_what_is_deferred(site, receiver, chance):
    """What is due again is queued once, by whoever is faster, or is cancelled and not called."""
    site.configure(
        hook(receiver.url, 'rest_after = 0\nretry = { tries = 9, base = "1h" }'), OWN, route()
    )
    again, no = Hand(site, "failed", "retry", "--yes"), Hand(site, "approved", "cancel")
    made = waiting(site, 200, chance)
    site.approve(*(path for path in site.files("awaiting-approval") if path.stem in made))
    receiver.answers += [(503, {}, b"")] * 200
    site.drain()
    assert ids(site, "deferred") == {*made}
    sweep = site.start("sweep")
    now = time.time()
    for number, path in enumerate(site.files("deferred")):
        e2e.os.utime(path, (now, now + number / 100))
    again.give(shuffled(chance, made))
    no.give(shuffled(chance, made))
    queued, cancelled = {*again.won()}, {*no.won()}
    until(lambda: not ids(site, "deferred"), "all is due", 60)
    site.stop(sweep)
    print(f"{len(queued)} retried, {len(cancelled)} cancelled")
    assert cutovers(ids(site, "rejected")) == cancelled
    assert ids(site, "queued") == {*made} - cancelled
    assert queued <= {*made}
    assert_reasons(site, rejected="cancelled")
    site.drain()
    assert receiver.keys() == Counter({*made}) + Counter({*made} - cancelled)


def test_two_people_retry_what_failed(site, receiver, chance):
    """Two people retry the same 200 requests: each waits once, and the second hears it."""
    site.configure(hook(receiver.url), OWN, route())
    one, two = Hand(site, "failed", "retry", "--yes"), Hand(site, "failed", "retry", "--yes")
    made = waiting(site, 200, chance)
    site.approve(*(path for path in site.files("awaiting-approval") if path.stem in made))
    receiver.answers += [(400, {}, b"")] * 200
    site.drain()
    one.give(made)
    two.give(made)
    first, second = one.won(), two.won()
    print(f"{len(first)} and {len(second)}")
    assert sorted([*first, *second]) == sorted(made)
    assert cutovers(ids(site, "awaiting-approval")) == {*made}
    assert_reasons(site)
    assert_trail(site)


def test_hold_and_release_race(site, chance):
    """Held and released again and again by two people, a request is where its reason says."""
    site.configure(hook(NOWHERE), OWN, route())
    stay, go = Hand(site, "awaiting-approval", "hold"), Hand(site, "held", "release", "--yes")
    made = waiting(site, 30, chance)
    stay.give([one for _ in range(10) for one in made])
    go.give([one for _ in range(10) for one in made])
    held, released = Counter(stay.won()), Counter(go.won())
    print(f"{held.total()} times held, {released.total()} times released")
    assert all(0 <= held[one] - released[one] <= 1 for one in made)
    assert cutovers(ids(site, "held", "awaiting-approval")) == {*made}
    assert len(site.files(*e2e.STATES)) == 32
    assert_reasons(site, held="held-by-person")


def test_a_repeat_races_the_yes_of_a_plain_mv(site, receiver, chance):
    """A repeat is counted in what still waits, or asks anew; what was approved is what runs."""
    count = 150
    site.configure(hook(receiver.url), route("gateway", 'intent_key = "record.body.about"'))
    service = site.start("intake")

    def drop(number: object, turn: int) -> None:
        record = decision(f"{number}-{turn}", about=str(number))
        site.drop("decisions", f"{number}-{turn}.json", record)

    for number in range(count):
        drop(number, 0)
    first = site.wait_for("awaiting-approval", count, 60)
    approved = {}
    for path in first:
        drop(read(path)["intent_key"], 1)
        time.sleep(chance.uniform(0, 0.03))
        target = site.root / "approved" / path.name
        path.rename(target)
        approved[path.stem] = target.read_bytes()
    until(lambda: not site.files("inbox") and not list(site.root.glob("archive/*/.taking/*")),
          "all is answered for", 60)  # fmt: skip
    site.stop(service)
    asked = Counter()
    for path in site.files(*e2e.STATES):
        asked[read(path)["intent_key"]] += read(path)["asked"]
    assert asked == Counter({str(number): 2 for number in range(count)})
    assert approved == {path.stem: path.read_bytes() for path in site.files("approved")}
    folded = [one for one in approved.values() if json.loads(one)["asked"] == 2]
    print(f"{len(folded)} folded, {len(site.files('awaiting-approval'))} asked anew")
    site.drain()
    assert receiver.keys() == Counter(approved.keys())
    assert violations(site.root, [path.read_bytes() for path in site.files("archive")]) == []
