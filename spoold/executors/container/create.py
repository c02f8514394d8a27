"""An approved customer → one container that works, whatever earlier attempts have left of it.

Each step looks at the world first, so it can be begun again at any point: after a crash, after the
engine was away, by another process. What does not come to work is removed, if this request made it.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from spoold.errors import ExecutionError, LeftRunning, Permanent, Transient
from spoold.executors import Result
from spoold.executors.container import compose_file as compose
from spoold.executors.container.engine import Facts, Refused
from spoold.executors.container.network import have_network
from spoold.executors.container.placing import Placing
from spoold.executors.container.spec import limits_of, read_secrets
from spoold.executors.container.wait import done, halt, until_ready
from spoold.executors.container.world import Found, World

_DENIED = re.compile(
    r"not found|denied|does not exist|unauthorized|unknown|invalid|forbidden", re.IGNORECASE
)


def create_container(world: World) -> Result:
    """Make it, start it, and wait until it works."""
    began = time.monotonic()
    with _cleaned_up(world):
        found = world.container()
        if found and not world.made_now(found.labels):
            return _was_there(world, found)
        secrets = read_secrets(world)
        _have_image(world)
        network, subnet = have_network(world)
        placing = Placing(world, network, subnet, secrets)
        found = until_ready(world, placing.started(found), world.params.ready_timeout or 30.0)
    more: Facts = {"subnet": subnet, "seconds": round(time.monotonic() - began, 1)}
    if placing.warnings:
        more["warnings"] = placing.warnings
    return done(world, found, "created", f"{world.name} runs{_and_health(found)}.", more)


def clean_up(world: World) -> tuple[list[str], list[str]]:
    """Remove what this request has made; what was removed, and what could not be and why."""
    removed: list[str] = []
    left: list[str] = []

    def remove(what: str, how: Callable[[str], None], which: str) -> None:
        try:
            how(which)
            removed.append(what)
        except Refused as error:
            left.append(f"{what} ({error.summary})")

    facts = world.engine.container(world.name)
    found = Found(facts) if facts else None
    if found and world.made_now(found.labels):
        remove(f"container {world.name}", world.engine.remove, found.id)
        compose.remove(world)
        found = None
    for network in world.engine.networks():
        if network["Name"] != world.network_name or not world.made_now(network["Labels"] or {}):
            continue
        what = f"network {world.network_name}"
        if not found or not _is_used(network, found):
            remove(what, world.engine.remove_network, network["Id"])
        elif not world.is_ours(found.labels):
            left.append(f"{what} (a container that spoold did not make is in it)")
    return removed, left


def _is_used(network: Facts, found: Found) -> bool:
    """Whether a container is in it, or will be when it is started.

    Another request was faster, perhaps, with the network that this one had made for it.
    """
    mode = found.facts["HostConfig"]["NetworkMode"]
    return network["Id"] in (mode, *found.networks.values()) or network["Name"] == mode


def _and_health(found: Found) -> str:
    return " and is healthy" if found.health == "healthy" else ""


def _was_there(world: World, found: Found) -> Result:
    """Another request made it: fine if it is what this one wants."""
    differs = list(_differences(world, found))
    if not differs:
        said = f"{world.name} was there already, and runs{_and_health(found)}."
        return done(world, found, "already-there", said)
    raise Permanent(
        "exists",
        f"There is a container {world.name} already, made by {found.dispatch_id}, and "
        f"{'; '.join(differs)}. Delete it first, or start or restart it.",
        found.says(),
    )


def _differences(world: World, found: Found) -> Iterator[str]:
    params, labels = world.params, world.config.labels
    host = found.facts["HostConfig"]
    if not found.works:
        yield f"it is {found.status} ({found.health})"
    pairs: list[tuple[str, Any, Any]] = [
        ("plan", found.labels.get(labels.plan), params.plan),
        ("image", found.facts["Config"]["Image"], params.image),
    ]
    if params.port is not None:
        pairs.append(("port", found.labels.get(labels.port), str(params.port)))
    for name, has, should in pairs:
        if has != should:
            yield f"its {name} is {has}, not {should}"
    if params.limits and any(host.get(k) != v for k, v in limits_of(params.limits).items()):
        yield f"its limits are not those that plan {params.plan} has now"


@contextmanager
def _cleaned_up(world: World) -> Iterator[None]:
    try:
        yield
    except LeftRunning:
        raise
    except ExecutionError as error:
        if error.code not in ("engine-unreachable", "engine-restarted"):
            removed, left = _clean_up(world)
            if removed:
                error.summary += f" Removed again: {', '.join(removed)}."
            if left:
                error.summary += f" Could not be removed: {', '.join(left)}."
                error.details["left"] = left
        raise


def _clean_up(world: World) -> tuple[list[str], list[str]]:
    try:
        return clean_up(world)
    except Transient as away:
        # It is tried again, and goes on from what is there; but not if nobody wants it any more.
        if not world.context.cancelled.is_set():
            raise
        return [], [f"container {world.name} and its network, if there are any ({away.summary})"]


# The image


def _have_image(world: World) -> None:
    name = str(world.params.image)
    if world.engine.image(name):
        return
    if not world.params.pull:
        raise Permanent(
            "image-missing",
            f"The engine has no image {name}. Load or pull it there, then `spoold retry`.",
        )
    try:
        world.engine.pull(name, world.context.stopping.is_set)
    except Refused as error:
        if _DENIED.search(error.text):
            raise Permanent("image-missing", error.summary) from None
        raise Transient("pull-failed", error.summary) from None
    halt(world)
    if not world.engine.image(name):
        raise Transient("pull-failed", f"The image {name} was pulled, but is not there.")
