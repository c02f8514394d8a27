"""A customer → the container, made and started on a port that nobody else has or gets."""

import re
from dataclasses import dataclass, field

from spoold.errors import Permanent, Transient
from spoold.executors.container import compose_file as compose
from spoold.executors.container import ports
from spoold.executors.container.engine import CONFLICT, Refused
from spoold.executors.container.spec import model
from spoold.executors.container.wait import halt
from spoold.executors.container.world import Found, World

_IN_USE = re.compile(r"address already in use|port is already allocated", re.IGNORECASE)
_NO_NETWORK = re.compile(r"network \S+ (not found|is ambiguous)", re.IGNORECASE)


def is_in_use(error: Refused) -> bool:
    """Whether the engine would not start a container because somebody has its port."""
    return bool(_IN_USE.search(error.text))


def has_no_network(error: Refused) -> bool:
    """Whether the engine would not start a container because its network is gone."""
    return bool(_NO_NETWORK.search(error.text))


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
            halt(self.world)
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
        """Make it on a free port; None if somebody else came and went under the same name."""
        world = self.world
        with ports.CHOOSING:
            port = ports.free_port(world, self._lost)
            wanted = model(world, port, self.network, self.secrets)
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
        """Before it starts, so that none runs without; again if it has another port now."""
        wanted = model(self.world, found.port, self.network, self.secrets)
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
        """Start it; if somebody has taken its port since, it is removed again."""
        try:
            self.world.engine.start(found.id)
        except Refused as error:
            if has_no_network(error):
                # Another request for this customer is at it: had made it, or has made a second.
                raise Transient("network-contended", error.summary) from None
            if not is_in_use(error):
                raise
            self._lost.add(found.port)
            self.world.engine.remove(found.id)
            return False
        return True
