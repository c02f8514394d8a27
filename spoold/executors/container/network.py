"""A customer → a bridge network that only this customer has, made once."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from spoold.errors import Transient
from spoold.executors.container import ports, valid
from spoold.executors.container.connection import CONFLICT, Facts, Refused
from spoold.executors.container.params import PAST
from spoold.executors.container.wait import end_if_told
from spoold.executors.container.world import DISPATCH, Details, Found, World

# Below `self`: a service that sees nothing but processes in /proc sees this one.
_ROUTES = Path("/proc/self/net/route")
_Network = ipaddress.IPv4Network
_OVERLAP = re.compile(r"overlap", re.IGNORECASE)


def have_network(world: World, did: str = "") -> tuple[str, str]:
    """The id and the subnet of the customer's network; it is made if there is none.

    Args:
        world: where.
        did: what was done so far, for the person who cancels it before that.

    Raises:
        Permanent: `name-taken`, by a network that is not ours.
        Transient: `subnets-exhausted`, or `network-contended`.
    """
    end_if_told(world, did)
    with ports.CHOOSING:
        made = "" if world.networks() else _make(world)
        # The engine lets two who are quick enough make the same. Both see the same one first.
        there = world.networks()
        if made and there and there[0]["Id"] != made:
            world.engine.remove_network(made)
    if not there:
        raise Transient("network-contended", f"Somebody has removed {world.network_name}.")
    return str(there[0]["Id"]), _subnet_of(there[0])


def reconnect(world: World, found: Found) -> Details:
    """Connect a container whose network is gone to a new one; what a result tells of that.

    The engine starts no container whose network is gone, and `docker network prune` removes the
    networks of all stopped containers.

    Raises:
        Permanent: `name-taken`, by a network that is not ours.
        Transient: `subnets-exhausted`, or `network-contended`.
    """
    was = world.networks()
    there = {str(one["Id"]): str(one["Name"]) for one in world.engine.networks()}
    gone = [
        name
        for name, which in found.networks.items()
        if which not in there and (which or name not in there.values())
    ]
    has_one = _has_one(world, found, there, gone)
    if not has_one:
        # First: what fails or dies here leaves the container as it was.
        did = f"{world.name} was not {PAST[world.params.action]}; its restart policy is set again."
        network, subnet = have_network(world, did)
    for name in gone:
        world.engine.disconnect(found.id, name)
    if has_one:
        return {}
    world.engine.connect(found.id, network)
    how = "it was connected again to" if was else "its network was gone; it has a new one,"
    return {"subnet": subnet, "warnings": [f"{how} {world.network_name}"]}


def _has_one(world: World, found: Found, there: dict[str, str], gone: list[str]) -> bool:
    """Whether a container is in its customer's network, or was made for another one."""
    left = {name: which for name, which in found.networks.items() if name not in gone}
    if any(there.get(which, name) == world.network_name for name, which in left.items()):
        return True
    # With an earlier prefix, perhaps. One that a person has added is no customer's network.
    mode = str(found.facts["HostConfig"]["NetworkMode"])
    named = "bridge" if mode == "default" else there.get(mode, mode)
    is_another = named in there.values() and named != world.network_name
    return is_another and bool(left) and world.network_name not in gone


def _make(world: World) -> str:
    """Make it on the lowest free subnet; its id, or nothing if the subnet was taken meanwhile."""
    labels = {world.config.labels.customer: world.customer, DISPATCH: world.context.dispatch_id}
    for subnet in free_subnets(world):
        try:
            return world.engine.create_network(world.network_name, subnet, labels)
        except Refused as error:
            if error.status == CONFLICT:
                return ""
            # Another customer was faster, or it overlaps something that only the engine knows.
            if not _OVERLAP.search(error.text):
                raise
    pool = world.params.subnets or world.config.subnets
    raise Transient("subnets-exhausted", f"No subnet of {pool} is free; delete what is not needed.")


def _subnet_of(network: Facts) -> str:
    return str(network["IPAM"]["Config"][0]["Subnet"])


def free_subnets(world: World) -> Iterator[str]:
    """The subnets of the pool that overlap no network of the engine and no route, lowest first."""
    taken = [*_subnets_of(world.engine.networks()), *(routes() if world.engine.is_local else [])]
    params, config = world.params, world.config
    size = params.subnet_size or config.subnet_size
    for subnet in valid.pool(params.subnets or config.subnets, size):
        if not any(subnet.overlaps(other) for other in taken):
            yield str(subnet)


def _subnets_of(networks: Iterable[Facts]) -> Iterator[_Network]:
    for network in networks:
        for one in (network.get("IPAM") or {}).get("Config") or []:
            with suppress(ValueError, KeyError):
                yield _Network(one["Subnet"], strict=False)


def routes(table: Path = _ROUTES) -> Iterator[_Network]:
    """Where this machine sends packets by more than its default route."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for fields in map(str.split, lines):
        to, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 7))
        if mask:
            yield _Network((to, mask.bit_count()), strict=False)
