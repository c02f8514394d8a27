"""A cancelled request that was tried → what its tries have made, removed or named.

What a create has made is removed. What another action has done cannot be undone, only looked at.
"""

from collections.abc import Callable
from typing import NoReturn

from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context
from spoold.executors.container import compose_file as compose
from spoold.executors.container.connection import Facts, Refused
from spoold.executors.container.params import Params
from spoold.executors.container.world import Found, World, looked_at


def take_back(params: Params, context: Context) -> NoReturn:
    """Say how a request ends that is not tried again, after removing what it has made.

    Raises:
        Transient: nothing was done, or nothing is left of it.
        Permanent: `cancelled`: what was made was removed, as far as it could be.
        OutcomeUnknown: `cancelled`: it may have had its effect.
    """
    if params.action == "health-check":
        raise Transient("cancelled", "It only looks.")
    try:
        with looked_at(params, context) as world:
            ended = _removed(world) if params.action == "create" else _seen(world)
    except (Transient, Permanent) as error:
        # Whether the engine is asked again, or when, is no matter any more.
        why = error.summary.partition(";")[0].rstrip(".")
        raise _not_seen(params, why) from None
    raise ended


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


def _removed(world: World) -> ExecutionError:
    removed, left = clean_up(world)
    if not removed and not left:
        return Transient("cancelled", f"Nothing is there of what it would make as {world.name}.")
    said = "A person cancelled it."
    if removed:
        said += f" Removed again: {', '.join(removed)}."
    if left:
        said += f" Could not be removed: {', '.join(left)}."
    return Permanent("cancelled", said, {"left": left} if left else {})


def _seen(world: World) -> OutcomeUnknown:
    found = world.container()
    state = f"is {found.status} ({found.health})" if found else "is not there"
    return OutcomeUnknown(
        "cancelled",
        f"A person cancelled it. A try may have had its effect; {world.name} {state} now.",
        found.says() if found else {},
    )


def _not_seen(params: Params, why: str) -> OutcomeUnknown:
    if params.action != "create":
        said = f"A try may have had its effect, and {params.name} cannot be looked at: {why}."
        return OutcomeUnknown("cancelled", f"A person cancelled it. {said}")
    left = [f"container {params.name}", f"network {params.network}"]
    return OutcomeUnknown(
        "cancelled",
        f"A person cancelled it. What tries may have made could not be removed: {why}. If there "
        f"are {' and '.join(left)}, a `delete` of {params.customer} removes them.",
        {"left": left},
    )
