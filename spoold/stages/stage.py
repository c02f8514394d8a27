"""What every stage is, what it is given, and what it says of each pass over its folders."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol, TypeVar

from spoold.disk.locks import FolderLock
from spoold.routing import Routing
from spoold.spool.spool import Place, Spool
from spoold.stages.arrivals import Arrivals
from spoold.states import Role

#: Files that share their syncs. Larger groups gain little and make the first file wait.
BATCH = 64


@dataclass(frozen=True, slots=True)
class Step:
    """What one pass over a stage's folders did.

    Attributes:
        moved: how many files changed their place.
        busy: how many actions are running now.
        due: the earliest time (seconds since the epoch) at which more can move, or None.
        look_again: the earliest time at which looking again makes sense, though nothing may move.
    """

    moved: int = 0
    busy: int = 0
    due: float | None = None
    look_again: float | None = None


@dataclass(slots=True)
class StageContext:
    """What every stage is given: the configuration, the time, and when to wake and to stop.

    `offered` takes the place of `routing` between two steps; then the stage is told to `adopt` it.
    """

    routing: Routing
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    wake: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    stop_now: threading.Event = field(default_factory=threading.Event)
    arrivals: Arrivals = field(default_factory=Arrivals)
    offered: Routing | None = None

    def spool(self, role: Role, executor: str = "") -> Spool:
        """The spool for a role; if an executor is given, without the queues of others."""
        routing = self.routing
        root = str(routing.config.root)
        return Spool(root, role, routing.inboxes, routing.executors, executor)

    def for_stage(self) -> "StageContext":
        """The same, with a wake-up of its own."""
        return replace(self, wake=threading.Event())

    def age(self, since: float) -> float:
        """Seconds since a file system time; a time in the future counts as long ago."""
        age = self.clock().timestamp() - since
        return age if age > -60 else float("inf")  # noqa: PLR2004 - more than skew: a stepped clock


class Stage(Protocol):
    """One service: it claims from `inputs`, and is alone on the spool while it has `lock`."""

    name: str
    spool: Spool
    lock: FolderLock
    context: StageContext

    def inputs(self) -> list[Place]:
        """The folders whose changes wake it."""
        ...

    def unfinished(self) -> list[Place]:
        """Where files lie that it has to move before a drain may end."""
        ...

    def adopt(self) -> None:
        """Take on what `context.routing` says now; also called when it is made."""
        ...

    def recover(self) -> None:
        """Finish or undo what a crash left; called once, with the lock held."""
        ...

    def step(self) -> Step:
        """Move everything that can move now."""
        ...

    def close(self) -> None:
        """Stop what is running, within the grace period, and leave the rest to `recover`."""
        ...


T = TypeVar("T")


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    """Lists of at most `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def earliest(*times: float | None) -> float | None:
    """The smallest of the times that are not None."""
    known = [moment for moment in times if moment is not None]
    return min(known, default=None)


def seconds_until(moment: float | None, limit: float) -> float:
    """How long to sleep for `moment` (since the epoch), at most `limit`."""
    return limit if moment is None else min(limit, max(0.0, moment - time.time()))
