"""An approved customer → its container gone, stopped, started or restarted."""

import contextlib
import re
import time
from collections.abc import Iterator

from spoold.errors import Permanent, Transient
from spoold.executors import Result
from spoold.executors.container import compose_file as compose
from spoold.executors.container.connection import CONFLICT, Refused
from spoold.executors.container.network import reconnect
from spoold.executors.container.params import PAST
from spoold.executors.container.valid import restart_policy
from spoold.executors.container.wait import details_of, done, end_if_told, until_ready
from spoold.executors.container.world import RESTART, SHORT, Details, Found, World

_ACTIVE = re.compile(r"active endpoints", re.IGNORECASE)
_GRACE = 10.0
#: For a container to be gone that is being removed (seconds).
_REMOVING = 10.0
#: What is worth knowing of a container that is gone.
_KEPT = ("container", "port", "plan", "image")


def delete(world: World) -> Result:
    """End it and remove it with its volumes and its network; nothing is not an error."""
    found = world.container()
    networks = world.networks()
    details: Details = {"name": world.name}
    if found:
        was = details_of(world, found)
        details |= {name: was[name] for name in _KEPT if name in was}
        world.engine.stop(found.id, _grace(world))
        end_if_told(world, f"{world.name} was stopped, and not removed: start it, or delete it.")
        _remove(world, found.id)
    if problem := compose.remove(world):
        details["warnings"] = [problem]
    for network in networks:
        _remove_network(world, network["Id"])
        details["network"] = world.network_name
    if not found and not networks:
        evidence = {"container": "there is none"}
        return Result("already-gone", f"{world.name} was gone already.", details, evidence)
    what = world.name if found else f"the network of {world.name}, which was gone already,"
    return Result("deleted", f"{what} was removed.", details, {"container": "there is none now"})


def stop(world: World) -> Result:
    """End it; it stays, and can be started again."""
    found = world.needed()
    # An engine that starts again would start it: it only sees that it ended with a failure.
    _set_restart(world, found, "no")
    if not is_stopped(found):
        world.engine.stop(found.id, _grace(world))
        return stopped(world, world.needed(), "stopped")
    return stopped(world, found, "already-stopped")


def stopped(world: World, found: Found, code: str) -> Result:
    """The result for a container that does not run, as was wanted."""
    details = details_of(world, found)
    was = "was stopped already" if code == "already-stopped" else "was stopped"
    evidence = {"container": found.id[:SHORT], "status": found.status}
    return Result(code, f"{world.name} {was}.", details, evidence)


def is_stopped(found: Found) -> bool:
    """Whether it does not run and will not by itself."""
    return found.status in ("created", "exited", "dead")


def has_policy(found: Found, policy: str | None = None) -> bool:
    """Whether a container has this restart policy; without one, the policy it was made with.

    A container of an older version does not say which that was: it has the right one.
    """
    own = found.labels.get(RESTART)
    return not own or found.facts["HostConfig"]["RestartPolicy"] == restart_policy(policy or own)


def start(world: World) -> Result:
    """Start it and wait until it works."""
    found = world.needed()
    _set_restart(world, found)
    if found.works:
        return done(world, found, "already-running", f"{world.name} was running already.")
    if found.status == "paused":
        world.engine.unpause(found.id)
        return _ready(world, "started", "was paused, and goes on")
    told = reconnect(world, found)
    with _explained(world, found):
        world.engine.start(found.id)
    return _ready(world, "started", "was started", told)


def restart(world: World) -> Result:
    """End it, start it, and wait until it works again."""
    found = world.needed()
    _set_restart(world, found)
    told = reconnect(world, found)
    with _explained(world, found):
        world.engine.restart(found.id, _grace(world))
    return _ready(world, "restarted", "was restarted", told)


def wait_on(world: World) -> Result:
    """Go on waiting for a start or restart that an earlier process began."""
    code = PAST[world.params.action]
    return _ready(world, code, f"was {code}")


def was_restarted(world: World, found: Found) -> bool:
    """Whether it was started after the attempt began."""
    return bool(found.started_at and found.started_at >= world.context.started)


def _ready(world: World, code: str, said: str, told: Details | None = None) -> Result:
    began = time.monotonic()
    found = until_ready(world, world.needed(), world.params.ready_timeout or 30.0)
    how = " and is healthy" if found.health == "healthy" else ""
    more: Details = {"seconds": round(time.monotonic() - began, 1), **(told or {})}
    return done(world, found, code, f"{world.name} {said}{how}.", more)


@contextlib.contextmanager
def _explained(world: World, found: Found) -> Iterator[None]:
    """Turn what an engine says about a taken port or a lost network into words for people."""
    try:
        yield
    except Refused as error:
        if error.is_for_network:
            # It was removed between the look and the start; the next try makes it again.
            raise Transient("network-contended", error.summary) from None
        if not error.is_for_port:
            raise
        port = details_of(world, found).get("port")
        said = f"{world.name} does not run: somebody else has taken its port {port}. Free it first."
        raise Permanent("port-taken", said, {"port": port}) from None


def _set_restart(world: World, found: Found, policy: str | None = None) -> None:
    """Set the restart policy; without one, the policy it was made with."""
    if not has_policy(found, policy):
        wanted = restart_policy(policy or found.labels[RESTART])
        world.engine.set_restart(found.id, wanted)


def _grace(world: World) -> float:
    given = world.params.stop_timeout
    return _GRACE if given is None else given


def _remove(world: World, container: str) -> None:
    try:
        world.engine.remove(container)
    except Refused as error:
        if error.status != CONFLICT:
            raise
    until = time.monotonic() + _REMOVING
    while world.engine.container(container):
        if time.monotonic() > until:
            said = f"{world.name} was told to go, but is still there. Look at it with docker."
            raise Permanent("not-removed", said, {"container": container[:SHORT]})
        time.sleep(0.1)


def _remove_network(world: World, network: str) -> None:
    try:
        world.engine.remove_network(network)
    except Refused as error:
        if not _ACTIVE.search(error.text):
            raise
        raise Permanent(
            "network-in-use",
            f"{world.name} is gone, but its network {world.network_name} stays: a container that "
            "spoold did not make is in it. Take that out, then `spoold retry`.",
            {"network": network[:SHORT]},
        ) from None
