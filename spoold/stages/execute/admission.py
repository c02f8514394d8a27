"""queued/NAME → running/NAME: which requests may start now, each one checked anew."""

import logging
import os
from collections.abc import Callable
from datetime import datetime

from spoold.disk import reading
from spoold.errors import BadInput
from spoold.executors.instance import Instance
from spoold.identity import named
from spoold.request import Request
from spoold.spool.copies import must_be_alone, must_be_unfinished
from spoold.spool.decisions import user_name
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.jobs import Job
from spoold.stages.execute.lanes import Lanes
from spoold.states import Role
from spoold.text import shown

log = logging.getLogger("spoold.execute")

_CHECKING = Place("checking")


class Admission:
    """Takes requests from one executor's queue.

    Args:
        spool: the executor's.
        instance: the executor.
        lanes: the order of its queue.
        clock: the time.
        wake: for the jobs, see there.
    """

    def __init__(
        self,
        spool: Spool,
        instance: Instance,
        lanes: Lanes,
        clock: Callable[[], datetime],
        wake: Callable[[], None],
    ) -> None:
        self._spool = spool
        self._instance = instance
        self._lanes = lanes
        self._clock = clock
        self._wake = wake
        self._queued = Place("queued", instance.name)
        self._running = Place("running", instance.name)
        self._key: bytes | None = None

    def admit(self, most: int, busy: set[str | None]) -> tuple[list[Job], int]:
        """Claim at most `most` requests, oldest first, whose lanes are not busy.

        Returns:
            the jobs that may start, and how many files have left the queue.
        """
        jobs: list[Job] = []
        names = self._lanes.next(most, busy)
        for name in names:
            job = self._claimed(name)
            if job is None:
                continue
            lane = job.request.lane
            if lane is not None and lane in busy:
                self.hand_back(name)
                self._lanes.learn(name, lane)
                continue
            busy = busy | {lane}
            jobs.append(job)
        claimed = {job.request.name for job in jobs}
        gone = [n for n in names if n in claimed or not self._spool.exists(self._queued, n)]
        return jobs, len(gone)

    def _claimed(self, name: str) -> Job | None:
        """A request that was queued and may start; what may never start is held."""
        try:
            now = self._clock()
            if not self._spool.move_or_hold(self._queued, self._running, name, now):
                return None
        except PermissionError as error:
            log.error("cannot take %s: %s", shown(name), error.strerror, extra=named(name))  # noqa: TRY400
            return None
        found = self.left_running(name)
        if found is None:
            return None
        try:
            must_be_unfinished(Role.EXECUTE, found)
            params = self._instance.approved(found.params, found.targets)
        except BadInput as problem:
            self._spool.hold(self._running, name, problem, self._clock())
            return None
        return Job(found, self._wake, params)

    def left_running(self, name: str) -> Request | None:
        """A request in running/ that the gate passed on; None if it is gone, or had to be held."""
        try:
            found = self._spool.request(self._running, name)
            self._must_be_genuine(found, name)
            must_be_alone(self._spool, Role.EXECUTE, found)
        except FileNotFoundError:
            log.error("%s/%s was taken away", self._running, shown(name), extra=named(name))  # noqa: TRY400
            self.forget(name)
            return None
        except BadInput as problem:
            self._spool.hold(self._running, name, problem, self._clock())
            return None
        return found

    def _must_be_genuine(self, found: Request, name: str) -> None:
        if (found.name, found.executor) != (name, self._instance.name) or not found.approvals:
            what = f"It is not what the gate passes to executor {self._instance.name}."
            raise BadInput("not-a-request", what)
        writer = reading.owner(self._spool.path(self._running, name))
        gate = reading.owner(self._spool.path(_CHECKING))
        # This executor has written only what it had begun; anything else is the gate's.
        if writer not in (None, gate) and (writer != os.geteuid() or not found.attempts):
            what = f"Neither the gate nor this executor wrote it, but user {user_name(writer)}."
            raise BadInput("not-a-request", what)
        # The folder guards the queue. Where one user runs all, the seal can be checked as well.
        key = self._key = self._key or self._spool.readable_seal_key()
        if key and not (found.seal_holds(key) and found.approvals_hold(key)):
            raise BadInput("altered", "The seal does not fit the content.")

    def hand_back(self, name: str) -> None:
        """Put a request that has not started back into the queue, as it is."""
        self._spool.move_or_hold(self._running, self._queued, name, self._clock())
        self.forget(name)
        self._spool.sync()

    def forget(self, name: str) -> None:
        """Drop what is remembered of a request that has left the queue."""
        self._lanes.forget(name)
