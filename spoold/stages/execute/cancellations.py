"""approvals/cancel/EXECUTOR → what runs is told to end, and what waits is not tried again."""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime

from spoold import request
from spoold.disk import fs, reading
from spoold.errors import BadInput
from spoold.request import Request
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.running import Job

log = logging.getLogger("spoold.execute")


class Wishes:
    """What people do not want any more of one executor's requests: a file of the same name.

    Args:
        spool: in the executor's hands.
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

    def heed(self, jobs: Mapping[str, Job]) -> set[str]:
        """Tell attempts that a person does not want them; the names of others that are unwanted."""
        unwanted = set()
        for name in self._spool.names(self._place):
            if job := jobs.get(name):
                if not job.control.cancelled.is_set():
                    about = {"dispatch_id": job.request.dispatch_id}
                    log.warning("a person cancels it", extra=about)
                    job.control.cancel()
            # In the order in which others may move it on, so that it is not missed.
            elif self._spool.exists(self._deferred, name):
                continue  # until it is due, or somebody queues it
            elif self._spool.exists(self._queued, name):
                unwanted.add(name)
            elif not self._spool.exists(self._running, name):
                self.put_away(name)
        return unwanted

    def forbid(self, found: Request) -> bool:
        """Whether they are against a request that was tried, by what lies there now.

        Who cancels it says so before the file comes to the queue, but perhaps after `heed`.
        """
        return bool(found.attempts) and self._spool.exists(self._place, found.name)

    def put_away(self, name: str) -> None:
        """Remove a wish that is fulfilled, or is about nothing; what is no wish is kept."""
        path = self._spool.path(self._place, name)
        try:
            status = reading.status(path)
        except FileNotFoundError:
            return
        is_empty = reading.kind_of(status) == "file" and not status.st_size
        if (
            is_empty
            or (reading.json_object(path, request.MAX_BYTES) or {}).get("decision") == "cancel"
        ):
            fs.remove(path)
            return
        what = "It lies where people say what is to be stopped, and says nothing of the kind."
        problem = BadInput("misplaced", what)
        self._spool.hold(self._place, name, problem, self._clock())
