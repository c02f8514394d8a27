"""Two of everything on one spool, killed at any moment: nothing is processed twice, or lost."""

import random
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import PRE_APPROVED, Receiver, Site, hook, route, until
from tests.invariants import picture, violations

STAGES = (("intake",), ("gate",), ("sweep",), ("execute", "gateway"))
#: What a request can come to when its executor may be killed in the middle of a call.
ENDS = {"done", "unknown"}


@pytest.fixture
def site(site_in_memory: Site) -> Site:
    """A site in memory."""
    return site_in_memory


def holders(site: Site) -> dict[str, int]:
    """Folder (from the spool root) → the process that has its lock."""
    inodes = {}
    for line in Path("/proc/locks").read_text().splitlines():
        _, kind, *_, process, where, _, _ = line.replace("-> ", "").split()
        if kind == "FLOCK":
            inodes[int(where.split(":")[2])] = int(process)
    found = {}
    for folder in ("archive", "checking", "expired", "running/gateway"):
        path = site.root / folder
        if path.exists() and path.stat().st_ino in inodes:
            found[folder] = inodes[path.stat().st_ino]
    return found


def start(site: Site, *words: str) -> subprocess.Popen[bytes]:
    """Start a service, and do not wait for it."""
    return site.start(*words, ready=0)


def end(process: subprocess.Popen[bytes]) -> None:
    """`kill -9`."""
    process.kill()
    process.wait(20)


def assert_once(site: Site, receiver: Receiver, count: int) -> None:
    """Every record made one request; every key was called once at most, and was not if not seen."""
    site.drain()
    before = picture(site.root)
    site.drain()
    assert picture(site.root) == before
    where = site.where()
    assert where.keys() <= ENDS, where
    assert sum(where.values()) == count, where
    calls = receiver.keys()
    assert {key: many for key, many in calls.items() if many > 1} == {}
    done = {path.stem for path in site.files("done")}
    unknown = {path.stem for path in site.files("unknown")}
    assert done <= calls.keys() <= done | unknown
    dropped = [path.read_bytes() for path in site.files("archive")]
    assert len({*dropped}) == count
    assert violations(site.root, dropped, receiver.bodies()) == []
    print(f"{len(done)} done, {len(unknown)} unknown")


def wait_a_moment(chance: random.Random) -> None:
    """1 to 400 ms."""
    time.sleep(0.001 * 400 ** chance.random())


def test_two_services_whose_worker_is_killed_again_and_again(site, receiver, chance):
    """Of two services the one that works is killed, and the other goes on: each action once."""
    site.configure(hook(receiver.url, "concurrency = 8"), route("gateway", PRE_APPROVED))
    receiver.delay = 0.01
    services = [start(site, "run"), start(site, "run")]
    for turn in range(8):
        until(lambda: len(holders(site)) == 4, "every lock is held", 60)
        site.drop_many(40, first=40 * turn)
        begun = len(receiver.calls)
        until(lambda begun=begun: len(receiver.calls) > begun, "a call is made", 60)
        wait_a_moment(chance)
        has = chance.choice([*holders(site).values()])
        (killed,) = (service for service in services if service.pid == has)
        end(killed)
        services.remove(killed)
        services.append(start(site, "run"))
    for service in services:
        end(service)
    assert_once(site, receiver, 320)


def test_two_of_each_stage_killed_at_random(site, receiver, chance):
    """Two processes of each single stage, one or the other killed at random: each action once."""
    site.configure(hook(receiver.url, "concurrency = 8"), route("gateway", PRE_APPROVED))
    receiver.delay = 0.01
    pairs = {stage: [start(site, *stage), start(site, *stage)] for stage in STAGES}
    until(lambda: len(holders(site)) == 4, "every stage works", 60)
    for turn in range(10):
        site.drop_many(30, first=30 * turn)
        wait_a_moment(chance)
        stage = chance.choice(STAGES)
        pair = pairs[stage]
        has = holders(site).values()
        chosen = [one for one in pair if one.pid in has] if chance.random() < 0.8 else pair
        if chosen:
            killed = chance.choice(chosen)
            end(killed)
            pair.remove(killed)
            pair.append(start(site, *stage))
    until(lambda: not site.files("inbox", "pre-approved", "queued"), "all is taken", 60)
    for pair in pairs.values():
        for process in pair:
            end(process)
    assert_once(site, receiver, 300)


def test_services_of_every_shape_on_one_spool(site, receiver, chance):
    """A whole service, single stages, and drains beside them share the work, and each ends well."""
    site.configure(hook(receiver.url, "concurrency = 8"), route("gateway", PRE_APPROVED))
    services = [start(site, words) for words in chance.sample(["intake", "run", "gate"], 3)]
    until(lambda: len(holders(site)) == 4, "every lock is held", 60)
    drains = []
    for turn in range(4):
        site.drop_many(50, first=50 * turn)
        verb = chance.choice(["run", "intake"])
        drains.append(start(site, verb, "--drain"))
        wait_a_moment(chance)
    assert [drain.wait(120) for drain in drains] == [0] * 4
    site.wait_for("done", 200, 60)
    assert [site.stop(service) for service in services] == [0] * 3
    assert_once(site, receiver, 200)
    assert site.where() == {"done": 200}
