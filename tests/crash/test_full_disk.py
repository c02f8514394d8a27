"""A disk that is full: intake waits, nothing is lost, and all goes on by itself."""

import json
import os
import time

import pytest

from tests.e2e.conftest import PRE_APPROVED, Site, decision, hook, route, until
from tests.invariants import violations


@pytest.fixture(params=["ext4", "tmpfs"])
def small(request, tmp_path, mount):
    """A site whose spool has a file system of 12 MiB to itself."""
    made = Site(tmp_path)
    mount.file_system(request.param, made.root, "12M")
    yield made
    made.close()


def fill(root, leave):
    """Leave so many bytes free."""
    found = os.statvfs(root)
    ballast = root / "ballast"
    with ballast.open("ab") as file:
        while (size := os.statvfs(root).f_bavail * found.f_frsize - leave) > 0:
            file.write(b"\0" * min(size, 1 << 16))
            file.flush()
            os.fsync(file.fileno())  # noqa: TID251
    return ballast


def dropped(count):
    """The bytes of so many drops."""
    return [json.dumps(decision(number)).encode() for number in range(count)]


def test_below_the_floor_drops_stay_where_they_are(small, receiver):
    """With less than `min_free` intake takes nothing and says so; executors still finish."""
    small.configure(hook(receiver.url), route(), min_free="4MiB")
    small.drop_many(20)
    small.drain()
    ballast = fill(small.root, 3 << 20)
    small.start("run")
    small.drop_many(20, first=20)
    until(lambda: "intake waits" in small.log(), "it says so")
    small.approve()
    small.wait_for("done", 20)
    time.sleep(2.5)
    assert len(small.files("inbox")) == 20
    assert small.log().count("intake waits") == 1
    ballast.unlink()
    small.wait_for("awaiting-approval", 20)
    until(lambda: "intake goes on" in small.log(), "it says that it goes on")
    assert violations(small.root, dropped(40), receiver.bodies()) == []


def test_a_disk_that_runs_full_loses_nothing(small, receiver):
    """Without a floor every stage meets the full disk in mid-work, and goes on when it can."""
    small.configure(hook(receiver.url), route("gateway", PRE_APPROVED), min_free="0KiB")
    small.drop_many(200)
    ballast = fill(small.root, 256 << 10)
    service = small.start("run", ready=0)
    until(lambda: " waits: " in small.log(), "a stage meets the full disk", 30)
    time.sleep(1.5)
    assert service.poll() is None, small.log()
    ballast.unlink()
    small.wait_for("done", 200, seconds=60)
    until(lambda: " goes on" in small.log(), "it says that it goes on")
    assert small.stop(service) == 0
    assert violations(small.root, dropped(200), receiver.bodies()) == []
    assert len(receiver.keys()) == 200


def test_a_drain_on_a_full_disk_says_try_later(small, receiver):
    """`--drain` ends with the exit code for "try later", and the same command works later."""
    small.configure(hook(receiver.url), route(), min_free="4MiB")
    small.drain()
    ballast = fill(small.root, 1 << 20)
    small.drop_many(5)
    ended = small.spoold("intake", "--drain", ok=False)
    assert ended.returncode == os.EX_TEMPFAIL
    assert "min_free" in ended.stderr
    ballast.unlink()
    small.drain()
    assert small.where() == {"awaiting-approval": 5}
