"""What runs on an engine and on this machine → the lowest port that is free.

Nothing is written down: what is taken is what the engine and the machine have now, so nothing can
be given twice, and what is deleted is free again.
"""

import errno
import random
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from spoold.errors import Permanent, Transient
from spoold.executors.container import valid
from spoold.executors.container.connection import Facts
from spoold.executors.container.engine import Engine
from spoold.executors.container.world import SHORT, World

#: Held from the look for what is free until it is visibly taken, against our own other threads.
CHOOSING = threading.Lock()


def free_port(world: World, lost: Iterable[int]) -> int:
    """The port that was asked for, or else the lowest that is free.

    Args:
        world: where to look.
        lost: what turned out to be taken, although it looked free.

    Raises:
        Permanent: `port-taken`: the one that was asked for.
        Transient: `ports-exhausted`: each of the range.
    """
    taken = dict.fromkeys(lost, "somebody the engine does not know") | dict(ports_of(world))
    wanted, address = world.params.port, world.params.publish or "127.0.0.1"
    if wanted is not None:
        if wanted not in taken and world.engine.is_local and not can_bind(address, wanted):
            taken[wanted] = "a process of this machine"
        if wanted in taken:
            raise Permanent(
                "port-taken",
                f"Port {wanted} is taken by {taken[wanted]}. Ask for another one, or for none to "
                "get one that is free.",
                {"port": wanted},
            )
        return wanted
    ports = world.params.ports or world.config.ports
    for port in valid.port_range(ports):
        if port not in taken and (not world.engine.is_local or can_bind(address, port)):
            return port
    raise Transient("ports-exhausted", f"No port of {ports} is free; delete what is not needed.")


def ports_of(world: World) -> Iterator[tuple[int, str]]:
    """Every port that a container has, or will have when it is started again, and which one."""
    label = world.config.labels.port
    for brief in world.engine.containers():
        name = f"container {_name(brief)}"
        for published in brief.get("Ports") or []:
            if port := published.get("PublicPort"):
                yield port, name
        with suppress(KeyError, ValueError):
            yield int((brief.get("Labels") or {})[label]), name
            continue
        if brief["State"] != "running":
            yield from ((port, name) for port in _bound(world.engine, brief["Id"]))


def others_with(world: World, port: int, container: str) -> list[str]:
    """The names of other containers that were given this port."""
    found = world.engine.containers(f"{world.config.labels.port}={port}")
    return [_name(brief) for brief in found if brief["Id"] != container]


def pause() -> float:
    """Seconds until one of two who hindered each other tries again: not the same for both."""
    return random.uniform(0.02, 0.4)  # noqa: S311 - hides nothing


def can_bind(address: str, port: int) -> bool:
    """Whether no process of this machine listens there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        # As the engine does: remains of closed connections do not keep a port busy.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((address, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        return True


def _name(brief: Facts) -> str:
    return str((brief.get("Names") or [f"/{brief['Id'][:SHORT]}"])[0])[1:]


def _bound(engine: Engine, container: str) -> Iterator[int]:
    facts = engine.container(container) or {}
    bindings = (facts.get("HostConfig") or {}).get("PortBindings") or {}
    for published in bindings.values():
        for one in published or []:
            # A range, of which the engine takes whichever is free when it starts it.
            first, _, last = str(one.get("HostPort") or "-").partition("-")
            with suppress(ValueError):
                yield from range(int(first), int(last or first) + 1)
