"""approvals/cancel/EXECUTOR → what runs is told to end, and what waits is not tried again."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from spoold import request
from spoold.disk import fs, reading
from spoold.errors import BadInput
from spoold.identity import named
from spoold.request import Request
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.jobs import Job

log = logging.getLogger("spoold.execute")


class Cancellations:
    """The cancellations of one executor's requests: files of the requests' names.

    Args:
        spool: the executor's.
        executor: its name.
        clock: the time.
    """

    def __init__(self, spool: Spool, executor: str, clock: Callable[[], datetime]) -> None:
        self._spool = spool
        self._clock = clock
        self._place = Place("cancel", executor)
        self._deferred = Place("deferred", executor)
        self._queued = Place("queued", executor)
        self._running = Place("running", executor)

    def apply(self, jobs: Mapping[str, Job]) -> set[str]:
        """Tell what runs to end; return the names of cancelled requests that are queued."""
        waiting = set()
        for name in self._spool.names(self._place):
            if job := jobs.get(name):
                if not job.cancelled.is_set():
                    log.warning("a person cancels it", extra=named(name))
                    job.cancel()
            # A request goes from deferred/ to queued/ to running/. Looked for in this order, it is
            # found even if it moves on meanwhile.
            elif self._spool.exists(self._deferred, name):
                continue  # until it is due, or a person queues it
            elif self._spool.exists(self._queued, name):
                waiting.add(name)
            elif not self._spool.exists(self._running, name):
                self.remove(name)
        return waiting

    def forbid(self, found: Request) -> bool:
        """Whether a request that was tried before is cancelled by now.

        The file is written before the request comes to the queue, but perhaps after `apply`.
        """
        return bool(found.attempts) and self._spool.exists(self._place, found.name)

    def remove(self, name: str) -> None:
        """Remove a cancellation that was carried out, or whose request is gone.

        A file that is no cancellation is held, so that it is not lost.
        """
        path = self._spool.path(self._place, name)
        try:
            status = reading.status(path)
        except FileNotFoundError:
            return
        is_empty = reading.kind_of(status) == "file" and not status.st_size
        fields = reading.json_object(path, request.MAX_BYTES) or {}
        if is_empty or fields.get("decision") == "cancel":
            fs.remove(path)
            return
        problem = BadInput("misplaced", "It lies among the cancellations, and is none.")
        self._spool.hold(self._place, name, problem, self._clock())
