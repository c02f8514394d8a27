"""Several processes on one spool: nothing is processed twice, and no process waits for ever."""

import subprocess

from tests.e2e.conftest import PRE_APPROVED, argv, command, hook, route, until


def assert_each_once(site, receiver, count):
    """Every record made one request, and one call."""
    assert site.where() == {"done": count}
    assert len(site.files("archive")) == count
    assert sorted(receiver.keys().values()) == [1] * count
    assert site.files("inbox") == []


def test_two_services_share_nothing_and_the_second_takes_over(site, receiver):
    """Of two services one works, the other stands by, and goes on where the first was killed."""
    site.configure(hook(receiver.url), route("gateway", PRE_APPROVED))
    first = site.start("run")
    second = site.start("run", ready=0)
    until(lambda: site.log().count("standing by") == 4, "the second stands by")
    site.drop_many(60)
    site.wait_for("done", 60)
    assert_each_once(site, receiver, 60)
    first.kill()
    first.wait(10)
    site.drop_many(60, first=60)
    site.wait_for("done", 120)
    assert_each_once(site, receiver, 120)
    assert site.stop(second) == 0


def test_two_drains_at_once(site, receiver):
    """Two drains at the same time share the work, and both end with 0 when all of it is done."""
    site.configure(hook(receiver.url, "concurrency = 16"), route("gateway", PRE_APPROVED))
    site.drop_many(100)
    drains = [
        subprocess.Popen(
            site.words("run", "--drain"), env=site.env, cwd=site.folder, stderr=subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    site.processes += drains
    assert [drain.wait(60) for drain in drains] == [0, 0]
    assert_each_once(site, receiver, 100)


def test_a_drain_beside_a_service(site, receiver):
    """A drain leaves the work to the service that runs, and ends with 0 when it is done."""
    site.configure(hook(receiver.url), route("gateway", PRE_APPROVED))
    service = site.start("run")
    site.drop_many(100)
    site.drain()
    assert_each_once(site, receiver, 100)
    assert site.stop(service) == 0


def test_a_drain_waits_for_what_a_service_runs(site, program):
    """A drain ends when nothing more can move now, so not before what a service runs has ended."""
    slow = program("slow", "sleep 2")
    site.configure(command(slow), route("runner", PRE_APPROVED, params=argv(slow)))
    service = site.start("run")
    site.drop_many(1)
    site.wait_for("running/runner")
    site.drain()
    assert site.where() == {"done": 1}
    assert site.stop(service) == 0
