"""`kill -9` at any moment: nothing lost, nothing twice. On failure the seed is printed."""

import re
import signal
import sqlite3
import subprocess
import time
from contextlib import closing, contextmanager

from tests.e2e.conftest import hook, read, route, until

DRAFT = r"(intake|gate|execute|sweep|person)\.\d+\.[0-9a-f]{12}"
ENDS = {"done", "unknown", "failed", "deferred"}


def run_and_kill(site, chance, begun, meanwhile=lambda: None):
    """Start the service and kill it a moment (1 to 400 ms) after its work has begun."""
    log = site.folder / f"killed-{len(site.processes)}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            site.words("run"), env=site.env, cwd=site.folder, stdout=out, stderr=out
        )
    site.processes.append(process)
    meanwhile()
    deadline = time.monotonic() + 15
    while not (log.stat().st_size and begun()) and time.monotonic() < deadline:
        time.sleep(0.0005)
    time.sleep(0.001 * 400 ** chance.random())
    assert process.poll() is None, log.read_text()
    process.kill()
    process.wait(10)
    print(f"killed with {site.where()}, inbox {len(site.files('inbox'))}, taking {taking(site)}")


def taking(site):
    """How many drops intake has claimed."""
    return len(list(site.root.glob("archive/*/.taking/*")))


def test_two_hundred_records_survive_kills_of_intake(site, receiver, chance):
    """200 records, killed again and again: 200 requests, none twice, every original archived."""
    site.configure(hook(receiver.url), route())
    waves = [80, 30, 30, 30, 30]
    dropped = 0
    for wave in waves:
        site.drop_many(wave, first=dropped)
        dropped += wave
        run_and_kill(site, chance, lambda: taking(site))
    site.drain()
    made = [read(path) for path in site.files("awaiting-approval")]
    assert site.where() == {"awaiting-approval": 200}
    assert {one["event_key"] for one in made} == {f"d-{n}" for n in range(200)}
    archived = site.files("archive")
    assert {path.name for path in archived} == {f"d-{n:05}.json" for n in range(200)}
    assert sorted(str(path.relative_to(site.root)) for path in archived) == sorted(
        one["source"]["archived"] for one in made
    )
    assert site.files("inbox") == []
    assert taking(site) == 0
    assert list(site.root.rglob("*.reason.json")) == []
    drafts = [path.name for path in (site.root / "tmp").iterdir()]
    assert [name for name in drafts if not re.fullmatch(DRAFT, name)] == []


def test_a_repeat_is_counted_once_whatever_is_killed(site, receiver, chance):
    """200 records with one intent, killed again and again: one request that was asked 200 times."""
    site.configure(
        hook(receiver.url), route("gateway", 'intent_key = "record.facts.decision_type"')
    )
    for wave in range(5):
        site.drop_many(40, first=40 * wave)
        run_and_kill(site, chance, lambda: taking(site))
    site.drain()
    assert site.request("awaiting-approval")["asked"] == 200
    assert len(site.files("archive")) == 200
    assert taking(site) == 0


@contextmanager
def killed_before_it_remembers(site, published):
    """A service that is killed when requests are visible, but no event is in the index yet."""
    site.drain()
    service = site.start("run")
    with closing(sqlite3.connect(site.root / "archive/.index.sqlite3", timeout=0)) as index:
        index.execute("BEGIN IMMEDIATE")
        service.send_signal(signal.SIGSTOP)
        yield
        service.send_signal(signal.SIGCONT)
        until(published, "the requests are visible")
        service.kill()
        service.wait(10)
    assert taking(site) > 0


def test_a_repeat_that_was_counted_before_a_kill_is_not_counted_again(site, receiver):
    """However many repeats a killed run had counted, the next run counts none of them again."""
    site.configure(
        hook(receiver.url), route("gateway", 'intent_key = "record.facts.decision_type"')
    )
    site.drop_many(1)
    with killed_before_it_remembers(site, lambda: site.request("awaiting-approval")["asked"] > 1):
        site.drop_many(40, first=1)
    site.drain()
    assert site.request("awaiting-approval")["asked"] == 41
    assert len(site.files("archive")) == 41


def test_a_repeat_that_was_counted_before_a_kill_asks_no_second_time(site, receiver):
    """What a person approved as asked often is not asked again by the repeats that it counts."""
    site.configure(
        hook(receiver.url), route("gateway", 'intent_key = "record.facts.decision_type"')
    )
    site.drop_many(1)
    with killed_before_it_remembers(site, lambda: site.request("awaiting-approval")["asked"] > 1):
        site.drop_many(1, first=1)
    site.approve()
    site.drain()
    assert site.where() == {"done": 1}


def test_nothing_is_made_twice_while_it_moves_on(site, receiver, chance):
    """Requests that a killed run made are recognised even if they are moved on at that moment."""
    site.configure(hook(receiver.url), route())
    with killed_before_it_remembers(site, lambda: len(site.files("awaiting-approval")) == 60):
        site.drop_many(60)
    waiting = site.files("awaiting-approval")
    chance.shuffle(waiting)
    site.start("intake", ready=0)
    until(lambda: "left by a crash" in site.log(), "it looks at what was left")
    site.approve(*waiting)
    until(lambda: taking(site) == 0, "all is answered for")
    assert site.where() == {"approved": 60}


def approve_while_killing(site, chance):
    """Approve 120 requests, 30 in each life of the service; drain what is left at the end."""
    site.drop_many(120)
    site.drain()
    waiting = site.files("awaiting-approval")
    assert len(waiting) == 120
    chance.shuffle(waiting)
    for start in range(0, 120, 30):
        group = waiting[start : start + 30]
        before = len(site.files("done"))
        run_and_kill(
            site, chance, lambda before=before: len(site.files("done")) > before,
            meanwhile=lambda group=group: site.approve(*group),
        )  # fmt: skip
    site.drain()
    where = site.where()
    assert sum(where.values()) == 120, where
    assert where.keys() <= ENDS, where
    assert len({path.name for path in site.files(*where)}) == 120
    assert list(site.root.rglob("*.reason.json")) == []


def test_no_action_runs_twice_whatever_is_killed(site, receiver, chance):
    """Where the receiver promises nothing, no action is called twice; in doubt it is unknown."""
    site.configure(hook(receiver.url, "concurrency = 8"), route())
    receiver.delay = 0.02
    approve_while_killing(site, chance)
    calls = receiver.keys()
    assert len({call.body for call in receiver.calls}) == len(calls)
    assert [key for key, count in calls.items() if count > 1] == []
    done = {path.stem for path in site.files("done")}
    unknown = {path.stem for path in site.files("unknown")}
    assert done <= calls.keys() <= done | unknown
    assert len(done) > 60


def test_what_is_repeated_in_doubt_is_the_same_call(site, receiver, chance):
    """Where the receiver remembers keys, all get done, and no key is seen with two bodies."""
    more = """
        concurrency = 8
        idempotency_window = "5m"
        retry = { tries = 20, base = "100ms", cap = "100ms" }
    """
    site.configure(hook(receiver.url, more), route())
    receiver.delay = 0.02
    approve_while_killing(site, chance)
    site.start("run")
    site.wait_for("done", 120, seconds=30)
    assert site.where() == {"done": 120}
    bodies = receiver.bodies()
    assert bodies.keys() == {path.stem for path in site.files("done")}
    assert [key for key, seen in bodies.items() if len(seen) > 1] == []
