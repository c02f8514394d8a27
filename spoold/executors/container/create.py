"""An approved customer → one container that works, whatever earlier attempts have left of it.

Each step looks at the world first, so it can be begun again at any point: after a crash, after the
engine was away, by another process. What does not come to work is removed, if this request made it.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from spoold.errors import ExecutionError, LeftRunning, Permanent, Transient
from spoold.executors import Result
from spoold.executors.container import compose_file as compose
from spoold.executors.container import ports
from spoold.executors.container.cancel import clean_up
from spoold.executors.container.connection import CONFLICT, Facts, Refused
from spoold.executors.container.network import have_network
from spoold.executors.container.spec import container_spec, limits_of, read_secrets
from spoold.executors.container.wait import done, end_if_told, until_ready
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
        # It is tried again, and goes on from what is there; unless a person has cancelled it.
        if not world.context.cancelled.is_set():
            raise
        return [], [f"container {world.name} and its network, if there are any ({away.summary})"]


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
    end_if_told(world)
    if not world.engine.image(name):
        raise Transient("pull-failed", f"The image {name} was pulled, but is not there.")


@dataclass
class Placing:
    """One customer's container on its way to a port.

    Attributes:
        world: where.
        network: the id of the customer's network.
        subnet: its addresses.
        secrets: the values of variables that are secrets.
        warnings: what the person who reads the result may want to know.
    """

    world: World
    network: str
    subnet: str
    secrets: dict[str, str]
    warnings: list[str] = field(default_factory=list)
    _lost: set[int] = field(default_factory=set)

    def started(self, found: Found | None) -> Found:
        """The container, running; `found` is what an earlier attempt has made of it.

        Raises:
            Permanent: `port-taken`, if it was to be that one; `exists`, if others made one now.
            Transient: `ports-exhausted`, or `network-contended`.
        """
        while True:
            end_if_told(self.world)
            found = found or self._make()
            if found is None:
                continue
            self._describe(found)
            if found.status in ("running", "restarting", "paused"):
                return found
            if self._is_alone(found) and self._start(found):
                return self.world.needed()
            found = None

    def _make(self) -> Found | None:
        """Make it on a free port; None if another container came and went under this name."""
        world = self.world
        with ports.CHOOSING:
            port = ports.free_port(world, self._lost)
            wanted = container_spec(world, port, self.network, self.secrets)
            try:
                _, self.warnings = world.engine.create(world.name, wanted)
            except Refused as error:
                if error.status != CONFLICT:
                    raise
        found = world.container()
        if found and not world.made_now(found.labels):
            raise Permanent("exists", f"{found.dispatch_id} has just made {world.name}.")
        return found

    def _describe(self, found: Found) -> None:
        """Write its compose file: before it starts, and again if it has another port now."""
        wanted = container_spec(self.world, found.port, self.network, self.secrets)
        problem = compose.write(self.world, wanted, self.subnet, self.secrets)
        if problem and problem not in self.warnings:
            self.warnings.append(problem)

    def _is_alone(self, found: Found) -> bool:
        """Whether no other container has its port; if one has, it is removed again.

        Two processes that chose at the same time may both give way, but never do both stay: each
        looks after its own is there, so the later one sees the earlier.
        """
        if not ports.others_with(self.world, found.port, found.id):
            return True
        self.world.engine.remove(found.id)
        self.world.context.stopping.wait(ports.pause())
        return False

    def _start(self, found: Found) -> bool:
        """Start it; if its port was taken meanwhile, remove it again."""
        try:
            self.world.engine.start(found.id)
        except Refused as error:
            if error.is_for_network:
                # Another request for this customer is at it: had made it, or has made a second.
                raise Transient("network-contended", error.summary) from None
            if not error.is_for_port:
                raise
            self._lost.add(found.port)
            self.world.engine.remove(found.id)
            return False
        return True
