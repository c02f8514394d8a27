"""Other queues that keep jobs in a directory: put, take, acknowledge.

Each is used as its documentation says, and in the way that is fastest for it: in groups, so that
none has to look through a long queue.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from dirq.QueueSimple import QueueSimple
from huey.storage import FileStorage
from persistqueue import Empty, SQLiteAckQueue

#: Records that are put before they are taken.
GROUP = 64
#: persist-queue keeps what was acknowledged until it is told to clear it.
_CLEAR_EVERY = 512


class Peer(Protocol):
    """A queue in a folder."""

    def put(self, record: bytes) -> None:
        """Add a job."""

    def take(self) -> Any:
        """Take the next job; None if there is none."""

    def done(self, job: Any) -> None:
        """Say that a job is finished."""


class Dirq:
    """`dirq.QueueSimple`: add; lock and get; remove."""

    def __init__(self, folder: Path) -> None:
        self._queue = QueueSimple(str(folder))

    def put(self, record: bytes) -> None:
        """Add an element."""
        self._queue.add(record)

    def take(self) -> str | None:
        """Lock the next element that nobody has locked, and read it; look once more at the end."""
        return self._lock(self._queue.next()) or self._lock(self._queue.first())

    def _lock(self, name: str) -> str | None:
        while name:
            if self._queue.lock(name):
                self._queue.get(name)
                return name
            name = self._queue.next()
        return None

    def done(self, job: str) -> None:
        """Remove the element and its lock."""
        self._queue.remove(job)


class Huey:
    """`huey.storage.FileStorage`, the queue under `FileHuey`: what is taken is gone."""

    def __init__(self, folder: Path) -> None:
        self._storage = FileStorage("bench", str(folder))

    def put(self, record: bytes) -> None:
        """Enqueue."""
        self._storage.enqueue(record)

    def take(self) -> bytes | None:
        """Dequeue."""
        return self._storage.dequeue()  # type: ignore[no-any-return]

    def done(self, job: bytes) -> None:
        """There is nothing to acknowledge."""


class PersistQueue:
    """`persistqueue.SQLiteAckQueue`: put; get; ack."""

    def __init__(self, folder: Path) -> None:
        self._queue = SQLiteAckQueue(str(folder))
        self._acknowledged = 0

    def put(self, record: bytes) -> None:
        """Put."""
        self._queue.put(record)

    def take(self) -> dict[str, Any] | None:
        """Get, with its id."""
        try:
            return self._queue.get(block=False, raw=True)  # type: ignore[no-any-return]
        except Empty:
            return None

    def done(self, job: dict[str, Any]) -> None:
        """Acknowledge; clear now and then, as it must be."""
        self._queue.ack(id=job["pqid"])
        self._acknowledged += 1
        if self._acknowledged % _CLEAR_EVERY == 0:
            self._queue.clear_acked_data(keep_latest=0)


@dataclass(frozen=True, slots=True)
class Known:
    """A peer, and what its documentation tells an operator to do after a crash."""

    name: str
    make: Callable[[Path], Peer]
    cleaning: Callable[[Path], None] | None = None


def _purge(folder: Path) -> None:
    """The remedy of dirq itself, which takes locks older than ten minutes for dead ones."""
    QueueSimple(str(folder)).purge(maxlock=1)


PEERS = {
    "dirq": Known("dirq QueueSimple", Dirq, _purge),
    "huey": Known("huey FileStorage", Huey),
    "persist-queue": Known("persist-queue SQLiteAckQueue", PersistQueue),
}


def measure(peer: Peer, records: Sequence[bytes]) -> float:
    """Seconds to put, take and acknowledge them all."""
    begun = perf_counter()
    for start in range(0, len(records), GROUP):
        group = records[start : start + GROUP]
        for record in group:
            peer.put(record)
        for _ in group:
            job = peer.take()
            if job is None:
                raise RuntimeError(f"{type(peer).__name__} lost a job")
            peer.done(job)
    return perf_counter() - begun


def wait_out(peer: Peer, seconds: float = 1.0) -> bool:
    """Whether there is a job, now or within so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if peer.take() is not None:
            return True
        time.sleep(0.05)
    return False
