"""What a crash leaves, built by hand, and what the next start makes of it."""

import os

import orjson
import pytest

from spoold.errors import OutcomeUnknown, Transient
from spoold.executors import Result
from spoold.spool.spool import Spool
from spoold.stages.stage import BATCH
from spoold.testing import Lab
from tests.conftest import BEGUN, route, running

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}
INTENT = "intent_key = 'record.facts.decision_type'"


def for_type(name, more=""):
    """A route for the decisions of one type."""
    return route(name, match=f"record.facts.decision_type == '{name}'", more=more)


class Died(BaseException):
    """The process ends here."""


def die_at(monkeypatch, method, nth):
    """Make the nth call of a method of Spool the last thing that happens to any file."""
    calls = 0
    dead = False

    def wrap(name):
        original = getattr(Spool, name)

        def dying(self, *args, **kwargs):
            nonlocal calls, dead
            calls += name == method
            dead = dead or (name == method and calls == nth)
            if dead:
                raise Died
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Spool, name, dying)

    for name in ("draft", "sync", "publish", "overwrite", "swap", "add_reason", "move"):
        wrap(name)


def crash_and_restart(lab, monkeypatch, method, nth):
    """Drain until death, then drain again with everything as it should be."""
    with monkeypatch.context() as patch:
        die_at(patch, method, nth)
        try:
            lab.drain()
        except Died:
            died = True
        else:
            died = False
    lab.drain()
    return died


@pytest.mark.parametrize("method", ["move", "publish", "add_reason", "sync", "swap", "overwrite"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5, 6, 7])
def test_intake_may_die_at_any_step(make_lab, monkeypatch, method, nth):
    """Wherever intake dies, every drop ends in one place and each event has one request."""
    lab = make_lab(
        for_type("fold", INTENT),
        for_type("supersede", f"{INTENT}\non_repeat = 'supersede'"),
        for_type("plain"),
    )
    lab.drop("decisions", "fold-0.json", {"decision_type": "fold", "decision_id": "fold-0"})
    lab.drain()
    for number in range(1, 3):
        for kind in ("fold", "supersede", "plain"):
            name = f"{kind}-{number}"
            lab.drop("decisions", f"{name}.json", {"decision_type": kind, "decision_id": name})
    lab.drop("decisions", "bad.json", b"[]")
    lab.drop("decisions", "twice.json", {"decision_type": "plain", "decision_id": "plain-1"})
    crash_and_restart(lab, monkeypatch, method, nth)
    before = snapshot(lab)
    lab.drain()
    assert snapshot(lab) == before, "a second restart changes nothing"
    waiting = [orjson.loads(p.read_bytes()) for p in lab.files("awaiting-approval")]
    by_route = {name: [w for w in waiting if w["route"] == name] for name in
                ("fold", "supersede", "plain")}  # fmt: skip
    assert [w["asked"] for w in by_route["fold"]] == [3]
    assert len(by_route["supersede"]) == 1
    assert sorted(w["source"]["id"] for w in by_route["plain"]) == ["plain-1", "plain-2"]
    assert [p.name for p in lab.files("quarantine")] == ["bad.json"]
    assert len(lab.files("expired")) == 1
    assert lab.reason(lab.only("expired"))["code"] == "superseded"
    assert len(lab.files("archive")) == 8
    assert not list((lab.root / "archive" / "decisions" / ".taking").iterdir())
    for request in waiting:
        assert (lab.root / request["source"]["archived"]).exists()


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_what_comes_after_a_crash_supersedes_the_latest(make_lab, monkeypatch, nth):
    """Of requests that one run made before it died, the last one is what the next replaces."""
    lab = make_lab(for_type("supersede", f"{INTENT}\non_repeat = 'supersede'"))
    for number in range(2):
        fields = {"decision_type": "supersede", "decision_id": str(number)}
        lab.drop("decisions", f"{number}.json", fields)
    assert crash_and_restart(lab, monkeypatch, "sync", nth)
    lab.drop("decisions", "2.json", {"decision_type": "supersede", "decision_id": "2"})
    lab.drain()
    assert lab.request("awaiting-approval")["source"]["id"] == "2"
    assert len(lab.files("expired")) == 2


def snapshot(lab):
    """Every file of the spool with its content, without the index."""
    return {
        str(path.relative_to(lab.root)): path.read_bytes()
        for path in sorted(lab.root.rglob("*"))
        if path.is_file() and "index" not in path.name and path.parent.name != "tmp"
    }


@pytest.mark.parametrize("method", ["move", "sync", "overwrite", "add_reason"])
@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
def test_the_gate_and_the_executor_may_die_at_any_step(make_lab, monkeypatch, method, nth):
    """Wherever they die: every approved request runs at most once, and none disappears."""
    lab = make_lab(route())
    lab.recorder.probed = OutcomeUnknown("died", "nobody saw the end")
    for number in range(3):
        lab.drop("decisions", f"{number}.json", {"decision_type": "x", "decision_id": str(number)})
    lab.drain()
    for path in lab.files("awaiting-approval"):
        lab.approve(path)
    (lab.root / "approved" / "evil.json").write_bytes(b"{}")
    crash_and_restart(lab, monkeypatch, method, nth)
    before = snapshot(lab)
    lab.drain()
    assert snapshot(lab) == before
    ids = [call[0] for call in lab.recorder.calls]
    assert len(ids) == len(set(ids)), "nothing ran twice"
    ended = lab.files("done") + lab.files("unknown")
    assert len(ended) == 3
    assert {path.stem for path in lab.files("done")} <= set(ids)
    assert [p.name for p in lab.files("held")] == ["evil.json"]
    for path in lab.files("done"):
        assert len(orjson.loads(path.read_bytes())["approvals"]) == 1


OPEN = {"status": "running", "attempts": [BEGUN]}
NOT_SEEN = OutcomeUnknown("died", "?")


def ended(outcome, code):
    """What a request says of an attempt whose end was recorded."""
    at = {"started_at": BEGUN["started_at"], "ended_at": BEGUN["started_at"]}
    said = {"outcome": outcome, "code": code, "summary": "As it says.", "details": {}}
    return {"status": outcome, "attempts": [BEGUN | at | said]}


@pytest.mark.parametrize(
    ("left", "probed", "folder", "runs", "attempts"),
    [
        ({}, NOT_SEEN, "done", 1, 1),
        (OPEN, NOT_SEEN, "unknown", 0, 1),
        (OPEN, Result("seen", "it was done"), "done", 0, 1),
        (OPEN, Transient("safe", "had no effect", retry_after=60), "deferred", 0, 1),
        (OPEN | {"status": "queued"}, NOT_SEEN, "unknown", 0, 1),
        (ended("deferred", "later"), NOT_SEEN, "done", 1, 2),
        (ended("held", "no-evidence"), NOT_SEEN, "held", 0, 1),
    ],
    ids=["claimed", "unknown", "finished", "never-started", "open-but-queued", "due", "held"],
)
def test_what_a_dead_run_left_in_running(lab, left, probed, folder, runs, attempts):
    """Without an open attempt it runs in the same drain; else the probe says how it ended."""
    lab.recorder.probed = probed
    os.utime(running(lab, CUTOVER, **left), (1, 1))
    lab.drain()
    made = lab.request(folder)["attempts"]
    assert len(made) == attempts
    assert made[-1]["outcome"] == folder
    assert made[-1]["ended_at"] is not None
    assert len(lab.recorder.calls) == runs
    if folder == "held":
        assert lab.reason(lab.only("held"))["code"] == "no-evidence"


def test_a_recorded_result_only_lacks_its_move(lab):
    """A file whose result is written goes to its folder without another run."""
    left = ended("done", "ok")
    (last,) = left["attempts"]
    result = {key: last[key] for key in ("outcome", "code", "started_at", "ended_at", "summary",
                                         "evidence", "output", "details")}  # fmt: skip
    path = running(lab, CUTOVER, **left, result=result)
    data = path.read_bytes()
    lab.drain()
    assert lab.only("done").read_bytes() == data
    assert lab.recorder.calls == []


def test_a_file_that_the_gate_did_not_pass_on_does_not_run(lab):
    """A file put straight into queued/ without the gate's yes is held."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    waiting = lab.only("awaiting-approval")
    waiting.rename(lab.root / "queued" / "rec" / waiting.name)
    lab.drain()
    assert lab.reason(lab.only("held"))["code"] == "not-a-request"
    assert lab.recorder.calls == []


def test_old_drafts_are_swept(lab):
    """A stage removes its own drafts at its start; others' go after an hour, other files never."""
    lab.drain()
    note = lab.root / "tmp" / "note.txt"
    note.write_text("by a person")
    own = lab.root / "tmp" / "execute-rec.1.abc"
    own.write_bytes(b"{")
    another = lab.root / "tmp" / "execute-rec2.1.abc"
    another.write_bytes(b"{")
    old = lab.root / "tmp" / "person.1.abc"
    old.write_bytes(b"{")
    lab.drain()
    assert not own.exists()
    assert another.exists()
    assert old.exists()
    lab.clock.advance(4000)
    lab.drain()
    assert not old.exists()
    assert note.exists()


def test_more_than_one_group_is_taken_in_one_pass(lab):
    """A backlog larger than a group is taken whole, and every drop becomes one request."""
    count = 2 * BATCH + 3
    for number in range(count):
        lab.drop("decisions", f"{number}.json", {"decision_type": "x", "decision_id": str(number)})
    lab.drain()
    assert len(lab.files("awaiting-approval")) == count
    assert os.listdir(lab.root / "tmp") == []


def test_what_a_dead_run_had_expired_says_why(lab, monkeypatch):
    """A sweep that dies between the move and the reason gives the reason at its next start."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    lab.clock.advance(1e6)
    assert crash_and_restart(lab, monkeypatch, "add_reason", 1)
    assert lab.reason(lab.only("expired"))["code"] == "expired"


def test_a_reason_is_durable_before_what_it_is_about_gets_there(make_lab, monkeypatch):
    """What is archived, quarantined or held is never there without its reason."""
    lab = make_lab(
        for_type("fold", INTENT),
        for_type(
            "checked", "requires_approval = false\npreflight = [{ argv = ['/usr/bin/false'] }]"
        ),
        toml=Lab.SETTINGS + '\n[preflight]\nprograms = ["/usr/bin/false"]\n',
    )
    steps = []
    for name in ("sync", "add_reason", "move"):
        original = getattr(Spool, name)

        def noting(self, *args, name=name, original=original, **kwargs):
            steps.append((name, *map(str, args[-3:])))
            return original(self, *args, **kwargs)

        monkeypatch.setattr(Spool, name, noting)
    lab.drop("decisions", "bad.json", b"[]")
    for name, kind in (("1", "fold"), ("2", "fold"), ("3", "checked")):
        fields = {"decision_type": kind, "decision_id": name}
        lab.drop("decisions", f"{name}.json", fields)
    lab.drain()
    (lab.root / "approved" / "foreign.json").write_bytes(b"{}")
    lab.drain()
    explained = [n for n, step in enumerate(steps) if step[0] == "add_reason"]
    assert len(explained) == 4
    for number in explained:
        following = [step[0] for step in steps[number:]]
        assert "sync" in following[: following.index("move")], steps[number]


@pytest.mark.parametrize("folder", ["quarantine/decisions", "held"])
def test_a_name_that_is_taken_at_the_last_moment_stops_nothing(lab, monkeypatch, folder):
    """If a file of the same name appears a moment before the move, both are kept."""
    lab.drop("decisions", "c.json", b"[]" if folder != "held" else CUTOVER)
    if folder == "held":
        lab.drain()
        lab.only("awaiting-approval").write_bytes(b"{}")
        lab.approve()
    original = Spool.move

    def move(self, source, target, name, new_name=None):
        if str(target) == folder:
            monkeypatch.setattr(Spool, "move", original)
            (lab.root / folder / (new_name or name)).write_bytes(b"theirs")
        return original(self, source, target, name, new_name)

    monkeypatch.setattr(Spool, "move", move)
    assert lab.drain() == 0
    theirs, ours = sorted(lab.files(folder.split("/")[0]), key=lambda path: len(path.name))
    assert theirs.read_bytes() == b"theirs"
    assert lab.reason(ours)["code"] in ("not-an-object", "not-a-request")
    assert not theirs.with_name(theirs.name + ".reason.json").exists()
