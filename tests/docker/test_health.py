"""Health checks: which containers pass, side by side, also when the engine keeps one back."""

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from spoold.errors import Permanent, Transient
from tests.docker.yard import until


def checks(ended):
    """Which containers passed, by customer or name."""
    return {one["name"].rpartition("-")[2]: one["passed"] for one in ended.details["checks"]}


def test_all_that_are_managed_are_looked_at(yard):
    """Running, stopped, sick and paused ones are looked at; only running and healthy ones pass."""
    for customer in ("well", "stopped", "sick", "paused"):
        yard.go("create", customer)
    yard.stranger("c-stranger", Labels={"openclaw.customer": "stranger"})
    yard.go("stop", "stopped")
    yard.execute("sick", "rm", "-f", "/www/health")
    yard.api.pause(yard.name("paused"))
    failing = ("State", "Health", "Status")
    deadline = time.monotonic() + 10
    while yard.inspect("sick")[failing[0]][failing[1]][failing[2]] != "unhealthy":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ended = yard.go("health-check", None)
    assert (ended.code, type(ended)) == ("unhealthy", Permanent)
    assert checks(ended) == {"well": True, "stopped": False, "sick": False, "paused": False}
    assert (ended.details["passed"], ended.details["failed"]) == (1, 3)
    said = {
        one["name"].rpartition("-")[2]: one.get("errorMessage") for one in ended.details["checks"]
    }
    assert said["well"] is None
    assert said["stopped"].startswith("exited")
    assert said["sick"].startswith("unhealthy: ")
    assert said["paused"] == "paused"
    yard.api.unpause(yard.name("paused"))


def test_one_customer_is_looked_at(yard):
    """A check for one customer passes, fails and names its container, whatever others do."""
    yard.go("create", "a")
    yard.go("create", "b")
    yard.go("stop", "b")
    ended = yard.go("health-check", "a")
    (check,) = ended.details["checks"]
    assert (ended.code, check["containerId"], check["passed"]) == (
        "healthy",
        yard.inspect("a")["Id"][:12],
        True,
    )
    assert check["port"] == str(yard.ports[0])
    assert "errorMessage" not in check
    assert yard.go("health-check", "b").code == "unhealthy"


def test_what_is_not_there_fails(yard):
    """A customer without a container does not pass."""
    ended = yard.go("health-check", "nobody")
    assert ended.code == "unhealthy"
    assert ended.details["checks"][0] == {
        "containerId": None,
        "passed": False,
        "name": yard.name("nobody"),
        "customer": "nobody",
        "errorMessage": "there is no such container",
    }


def test_none_at_all_pass(yard):
    """Where nothing is managed there is nothing that fails."""
    ended = yard.go("health-check", None)
    assert (ended.code, ended.details["checks"]) == ("healthy", [])


def test_without_a_health_check_running_is_enough(yard):
    """A container that nothing checks passes while it runs, and not when it has ended."""
    config = yard.config(health=None)
    yard.go("create", config=config)
    assert yard.go("health-check", config=config).code == "healthy"
    yard.api.pause(yard.name())
    assert yard.go("health-check", config=config).code == "unhealthy"
    yard.api.unpause(yard.name())
    assert yard.go("health-check", config=config).code == "healthy"
    yard.go("stop", config=config)
    assert yard.go("health-check", config=config).code == "unhealthy"


@pytest.mark.parametrize("restart", ["no", "on-failure:5"])
def test_what_runs_is_not_stopped(yard, restart):
    """Started by hand after a stop by a request, it is what it is: unhealthy, paused or well."""
    config = yard.config(restart=restart)

    def stopped():
        (check,) = yard.go("health-check", "a", config=config).details["checks"]
        return check["stopped"]

    yard.go("create", config=config)
    yard.go("stop", config=config)
    assert stopped() is (None if restart == "no" else True)
    yard.api.start(yard.name())
    yard.execute("a", "rm", "-f", "/www/health")
    until(lambda: yard.inspect()["State"]["Health"]["Status"] == "unhealthy", "it is unhealthy")
    assert stopped() is False
    yard.api.pause(yard.name())
    assert stopped() is False


class Slow:
    """Stands before an engine and keeps back every answer about one container."""

    def __init__(self, folder: Path, engine: str, about: str) -> None:
        self.path = folder / "slow.sock"
        self.host = f"unix://{self.path}"
        self._engine, self._about = engine.removeprefix("unix://"), about.encode()
        self._open = [socket.socket(socket.AF_UNIX)]
        self._open[0].bind(str(self.path))
        self._open[0].listen(64)
        self.held = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._open[0].accept()
            except OSError:
                return
            self._open.append(caller)
            threading.Thread(target=self._handle, args=(caller,), daemon=True).start()

    def _handle(self, caller: socket.socket) -> None:
        asked = caller.recv(65_536)
        if self._about in asked:
            self.held += 1
            return
        # Whoever asked may have gone, and so may this proxy.
        with suppress(OSError), socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._engine)
            engine.sendall(asked)
            while data := engine.recv(65_536):
                caller.sendall(data)
            caller.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let everybody go."""
        self._open[0].shutdown(socket.SHUT_RDWR)
        for one in self._open:
            one.close()


@pytest.fixture
def slow(yard, tmp_path):
    """An engine that never answers about two of four containers."""
    for customer in ("a", "hangs1", "hangs2", "z"):
        yard.go("create", customer)
    made = Slow(tmp_path, yard.host, yard.name("hangs"))
    yield made
    made.close()


def test_one_that_hangs_keeps_the_others_from_nothing(yard, slow):
    """Containers about which the engine does not answer are not known, in one and the same time."""
    config = yard.config(engine=slow.host, check_timeout="6s")
    began = time.monotonic()
    ended = yard.go("health-check", None, config=config)
    assert time.monotonic() - began < 11.5, "one after the other takes 12 s"
    assert slow.held == 2
    assert (ended.code, type(ended)) == ("engine-error", Transient)
    assert checks(ended) == {"a": True, "hangs1": None, "hangs2": None, "z": True}
    for one in ended.details["checks"]:
        assert one["passed"] or "6 s" in one["errorMessage"]
