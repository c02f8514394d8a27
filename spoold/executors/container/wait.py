"""A container that was started → healthy before a deadline, or the reason why it is not.

The engine's own call to wait ends at the time limit of its connection, with an error that says
nothing about the container. So this looks again and again.
"""

import time
from datetime import datetime
from typing import Any

from spoold.errors import LeftRunning, Permanent, Transient
from spoold.executors import Result, ends_of
from spoold.executors.container.params import PAST
from spoold.executors.container.world import Details, Found, World

_LOOK = 0.2
#: So long a container without a health check must go on running (seconds).
_STEADY = 1.0
_NANO = 1e9
_LINES = 60
_USUAL = 30.0
#: From this version of its API on the engine makes its first checks soon after the start.
START_INTERVAL = (1, 44)


def until_ready(world: World, found: Found, seconds: float) -> Found:
    """Wait until it is `healthy`, or runs steadily where nothing checks it.

    Args:
        world: where it is.
        found: it, started.
        seconds: what its configuration allows.

    Raises:
        Permanent: `exited`, `not-healthy` or `not-found`; or `cancelled`, by a person.
        Transient: `engine-restarted`: it was ended with the engine.
        LeftRunning: the service stops, and the container goes on.
    """
    container, steady = found.id, _Steady()
    limit = max(seconds, _first_check(world, found) + 1.0)
    deadline = time.monotonic() + limit
    while True:
        if found.status in ("exited", "dead"):
            raise _ended(world, found)
        if found.works and (found.health != "none" or steady.since(found) >= _STEADY):
            return found
        if time.monotonic() >= deadline:
            raise _late(world, found, limit)
        world.context.report(found.says())
        if world.context.stopping.wait(_LOOK):
            raise _stopped(world, found)
        facts = world.engine.container(container)
        if facts is None:
            raise Permanent("not-found", f"Somebody removed {world.name} while it started.")
        found = Found(facts)


def end_if_told(world: World, did: str = "") -> None:
    """Raise if this attempt has been told to end; `did` is what it has done so far.

    Raises:
        Permanent: `cancelled`.
        LeftRunning: the service stops; what was made is found again.
    """
    if world.context.cancelled.is_set():
        raise Permanent("cancelled", f"A person cancelled it. {did}".rstrip())
    if world.context.stopping.is_set():
        raise LeftRunning(f"what was made for {world.name} is found again by its label")


def fail(world: World, found: Found, code: str, said: str) -> Permanent:
    """The error for a container that does not work, with what it printed last."""
    out, err = world.context.open_output("out"), world.context.open_output("err")
    out.write(world.engine.logs(found.id, "stdout", _LINES))
    err.write(world.engine.logs(found.id, "stderr", _LINES))
    details = details_of(world, found)
    if found.last_check:
        details["last_check"] = world.engine.hidden.line(found.last_check)
    evidence = {"wanted": "running and healthy", "status": found.status, "health": found.health}
    return Permanent(code, said, details, evidence=evidence, output=ends_of(out, err))


def done(world: World, found: Found, code: str, said: str, more: Details | None = None) -> Result:
    """The result for a container that works."""
    details = details_of(world, found) | (more or {})
    evidence: Details = {
        name: details[name] for name in ("container", "health", "port") if name in details
    }
    if found.health == "none":
        evidence["health"] = f"not checked; it ran for {_STEADY:g} s"
    return Result(code, said, details, evidence=evidence)


def details_of(world: World, found: Found) -> dict[str, Any]:
    """What a result keeps of a container."""
    labels, config = found.labels, world.config.labels
    details = found.says() | {"name": world.name, "image": found.facts["Image"]}
    if port := labels.get(config.port):
        details["port"] = int(port) if port.isdecimal() else port
    if plan := labels.get(config.plan):
        details["plan"] = plan
    for name, network in (found.facts["NetworkSettings"].get("Networks") or {}).items():
        if name == world.network_name:
            details |= {"network": name, "address": network.get("IPAddress")}
    return details


class _Steady:
    """How long a container has been running without having been started again."""

    def __init__(self) -> None:
        self._seen: tuple[datetime | None, float] | None = None

    def since(self, found: Found) -> float:
        """Seconds since it was first seen running as now."""
        if self._seen is None or self._seen[0] != found.started_at:
            self._seen = (found.started_at, time.monotonic())
        return time.monotonic() - self._seen[1]


def _first_check(world: World, found: Found) -> float:
    """Seconds from its start in which the engine cannot know yet whether it is healthy."""
    check = found.facts["Config"].get("Healthcheck") or {}
    if found.health == "none":
        return _STEADY
    interval = check.get("Interval") or _USUAL * _NANO
    if world.engine.version >= START_INTERVAL and check.get("StartPeriod"):
        interval = min(interval, check.get("StartInterval") or interval)
    return float(interval + (check.get("Timeout") or _USUAL * _NANO)) / _NANO


def _ended(world: World, found: Found) -> Permanent | Transient:
    if not world.engine.remembers_death(found.id):
        return Transient(
            "engine-restarted",
            f"The engine was restarted and {world.name} was ended with it; it is looked at again.",
            found.says(),
        )
    why = " out of memory" if found.state.get("OOMKilled") else ""
    code = found.state.get("ExitCode")
    return fail(world, found, "exited", f"{world.name} ended{why} with exit code {code}.")


def _late(world: World, found: Found, seconds: float) -> Permanent:
    what = found.health if found.status == "running" and found.health != "none" else found.status
    said = f"{world.name} is {what}, and not healthy within {seconds:g} s."
    return fail(world, found, "not-healthy", said)


def _stopped(world: World, found: Found) -> Permanent | LeftRunning:
    if world.context.cancelled.is_set():
        said = f"A person cancelled it while {world.name} was {found.health}."
        if world.params.action != "create":
            said = f"A person cancelled it after {world.name} was {PAST[world.params.action]}. "
            said += f"It is {found.status} ({found.health}), and goes on."
        return Permanent("cancelled", said, details_of(world, found))
    return LeftRunning(f"container {found.id[:12]} goes on; the next start looks at it")
