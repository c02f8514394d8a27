"""The engine is away, killed, stopped, restarted or frozen: nothing is lost, repeated or judged."""

import signal
import threading
import time

import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import Result
from tests.docker.daemon import Daemon
from tests.docker.images import build
from tests.docker.yard import Yard, until

ACTIONS = ["create", "delete", "restart", "stop", "start", "health-check"]


@pytest.fixture(scope="module")
def own(host, worker):
    """An engine that tests may kill, and an image in it."""
    daemon = Daemon()
    daemon.start()
    yard = Yard(daemon.folder, daemon.host, "", worker, 0)
    image = build(yard.api, "spoold-test-own")
    yard.api.close()
    yield daemon, image
    daemon.close()


@pytest.fixture
def daemon(own):
    """That engine, running."""
    found, _ = own
    if not found.is_up:
        found.start()
    return found


@pytest.fixture
def corner(own, daemon, tmp_path, worker):
    """A corner of it; its calls to the engine take two seconds at the most."""
    made = Yard(tmp_path, daemon.host, own[1], worker, 168)
    yield made
    if not daemon.is_up:
        daemon.start()
    made.clear()


class Attempt(threading.Thread):
    """An action that goes on beside the test."""

    def __init__(self, yard, action, **given):
        super().__init__(daemon=True)
        self.yard, self.action, self.given = yard, action, given
        self.ended = None
        self.start()

    def run(self):
        """Carry it out."""
        self.ended = self.yard.go(self.action, **self.given)

    def end(self, seconds=30):
        """How it ended."""
        self.join(seconds)
        assert not self.is_alive(), "it hangs"
        return self.ended


def is_away(ended):
    """Whether it says that the engine was away, so that nothing counts and all may be repeated."""
    return (
        isinstance(ended, Transient)
        and ended.code == "engine-unreachable"
        and not ended.counts
        and ended.retry_after == 15
    )


def until_judged(yard, action, tries=6, **given):
    """Try again as the stage would, until it is neither the engine nor its restart."""
    ended = None
    for _ in range(tries):
        ended = yard.go(action, **given)
        if not isinstance(ended, Transient):
            return ended
        assert ended.code in ("engine-unreachable", "engine-restarted", "engine-error"), ended
        time.sleep(0.3)
    return ended


def test_an_engine_that_is_away_is_waited_for(corner, daemon):
    """Without an engine every action, and every look after a crash, is tried later for nothing."""
    daemon.kill()
    for action in ACTIONS:
        for how in ("run", "probe"):
            assert is_away(corner.go(action, how=how)), (action, how)


def test_a_machine_without_an_engine_is_waited_for(corner):
    """A socket that is not there is no error of the request either."""
    config = corner.config(engine="unix:///nonexistent/docker.sock")
    assert is_away(corner.go("create", config=config))


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_create_survives_its_engine(corner, daemon, how):
    """An engine that goes while a container starts does not make the create fail."""
    # One that does not want to end, so that the engine is seen ending the other.
    corner.stranger("stubborn", Env=["MODE=stubborn"], HostConfig={"NetworkMode": "none"})
    config = corner.config(environment=corner.mode("slow"))
    attempt = Attempt(corner, "create", config=config)
    until(lambda: corner.reports, "the container starts")
    before = corner.inspect()["Id"]
    getattr(daemon, how)()
    assert is_away(attempt.end())
    daemon.start()
    ended = until_judged(corner, "create", config=config)
    assert (ended.code, ended.details["container"]) == ("created", before[:12])
    assert (corner.containers(), corner.networks()) == (["c-a", "stubborn"], ["n-a"])


def test_a_stopped_container_stays_stopped_over_a_restart_of_the_engine(corner, daemon):
    """Of one that was killed at its stop the engine only knows that it failed; it stays down."""
    config = corner.config(environment=corner.mode("stubborn"), stop_timeout="1s")
    for customer in ("a", "b"):
        assert corner.go("create", customer=customer, config=config).code == "created"
    assert corner.go("stop", customer="a", config=config).code == "stopped"
    assert corner.inspect("a")["State"]["ExitCode"] not in (0, None)
    daemon.kill()
    daemon.start()
    # The other one, which nobody has stopped, shows when the engine has started what it starts.
    until(lambda: corner.inspect("b")["State"]["Running"], "b runs")
    assert corner.inspect("a")["State"]["Status"] == "exited"
    assert corner.go("start", customer="a", config=config).code == "started"


def test_a_create_survives_an_engine_whose_socket_stays(corner, daemon):
    """Where systemd holds the socket, a restart looks like a slow answer; it is seen all the same.

    The container has been ended by then, and not by itself.
    """
    daemon.stop()
    daemon.hold_socket()
    daemon.start_on_held_socket()
    until(lambda: daemon.is_up, "the engine is up")
    # It ends with 0, so the engine has no reason to start it again.
    config = corner.config(environment=corner.mode("sick"), health=corner.health(retries=100))
    attempt = Attempt(corner, "create", config=config)
    until(lambda: corner.reports, "the container starts")
    before = corner.inspect()["Id"]
    daemon.stop()
    daemon.start_on_held_socket()
    ended = attempt.end()
    assert isinstance(ended, Transient), ended
    print("HOW", ended.code)
    assert ended.code in ("engine-restarted", "engine-unreachable")
    assert corner.inspect()["Id"] == before
    attempt = Attempt(corner, "create", config=config)
    until(lambda: corner.inspect()["State"]["Running"], "it is started again")
    until(lambda: corner.execute("a", "sh", "-c", "echo ok > /www/health")[0] == 0, "it is well")
    ended = attempt.end()
    assert (ended.code, ended.details["container"]) == ("created", before[:12])
    daemon.release_socket()


def test_a_delete_survives_its_engine(corner, daemon):
    """An engine that goes while a container is being stopped does not make the delete fail."""
    corner.go("create", config=corner.config(environment=corner.mode("stubborn")))
    attempt = Attempt(corner, "delete", config=corner.config(stop_timeout="20s"))
    time.sleep(0.5)
    daemon.kill()
    assert is_away(attempt.end())
    daemon.start()
    ended = until_judged(corner, "delete")
    assert isinstance(ended, Result), ended
    assert (corner.containers(), corner.networks()) == ([], [])


def test_an_engine_that_hangs_keeps_nobody_for_ever(corner, daemon):
    """A call ends in its time limit; what the engine did with it later is found by the next try."""
    config = corner.config(timeout="1s")
    daemon.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        ended = corner.go("create", config=config)
        assert time.monotonic() - began < 60
    finally:
        daemon.signal(signal.SIGCONT)
    assert is_away(ended)
    assert "1 s" in ended.summary
    assert until_judged(corner, "create").code == "created"
    assert (corner.containers(), corner.networks()) == (["c-a"], ["n-a"])


def test_a_failed_create_is_cleaned_up_once_the_engine_is_back(corner, daemon):
    """When the engine goes before the rest of a failed create is removed, it is removed later."""
    config = corner.config(environment=corner.mode("exit"), restart="no", ready_timeout="1s")
    attempt = Attempt(corner, "create", config=config)
    until(corner.containers, "the container is there")
    daemon.kill()
    assert is_away(attempt.end())
    daemon.start()
    ended = until_judged(corner, "create", config=config)
    assert isinstance(ended, Permanent), ended
    assert ended.code == "exited"
    assert (corner.containers(), corner.networks()) == ([], [])
