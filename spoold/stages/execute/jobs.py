"""Requests that worker threads have: started, heard of while they run, told to end, ended."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel

from spoold.errors import BadInput, ExecutionError, LeftRunning, OutcomeUnknown
from spoold.executors import Result
from spoold.identity import named
from spoold.request import Request
from spoold.stages.execute.readable import readable_bytes

log = logging.getLogger("spoold.execute")

#: How an attempt ended, as far as this process sees it.
Ended = Result | ExecutionError | LeftRunning

#: How often (seconds) what a long attempt reports is written into its request file.
SHOWN_EVERY = 5.0


@dataclass(slots=True, eq=False)
class Job:
    """One request in this executor's running/, and how the stage and its worker reach each other.

    Attributes:
        request: as it was last written.
        wake: called when there is something to show.
        params: the validated parameters; None for what a dead run left; its worker does it.
        stopping: the attempt must end now.
        cancelled: because a person said so.
    """

    request: Request
    wake: Callable[[], None]
    params: BaseModel | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    _facts: dict[str, Any] | None = field(default=None, init=False)
    _next: float = field(default=0.0, init=False)

    def cancel(self) -> None:
        """A person does not want it any more."""
        self.cancelled.set()
        self.stopping.set()

    def report(self, facts: dict[str, Any]) -> None:
        """Called by the attempt, as often as it likes."""
        self._facts = facts
        if time.monotonic() >= self._next:
            self.wake()

    def with_progress(self) -> tuple[Request, bytes] | None:
        """The request with what was reported since, and its bytes, if it is time to show it."""
        last = self.request.attempts[-1] if self.request.attempts else None
        if self._facts is None or time.monotonic() < self._next or not last or last.outcome:
            return None
        self._next = time.monotonic() + SHOWN_EVERY
        last, self._facts = replace(last, progress=self._facts), None
        found = self.request.with_(attempts=[*self.request.attempts[:-1], last])
        try:
            return found, readable_bytes(found)
        except BadInput as problem:
            log.warning("what it reports cannot be shown: %s", problem, extra=named(found.name))
            return None


class Workers:
    """As many threads as there has ever been work for at one time, kept for the next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._unfinished = 0
        self._threads = 0
        self._guard = threading.Lock()

    def start(self, work: Callable[[], None]) -> None:
        """Run a function, which must not raise, in a thread of its own."""
        with self._guard:
            self._unfinished += 1
            is_new = self._unfinished > self._threads
            self._threads += is_new
        self._work.put(work)
        if is_new:
            name = f"{self._name} {self._threads}"
            threading.Thread(target=self._run, name=name, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()
            with self._guard:
                self._unfinished -= 1


class Jobs:
    """What one executor has running.

    Args:
        name: of the threads.
        wake: called when there is something to collect.

    Attributes:
        running: what runs, or has ended and is not recorded yet, by the file's name.
        ended: how these ended; None if a preflight has passed.
        workers: the threads.
    """

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self.running: dict[str, Job] = {}
        self.ended: dict[str, Result | ExecutionError | None] = {}
        self.workers = Workers(name)
        self._wake = wake
        self._reports: queue.SimpleQueue[tuple[str, Ended | None]] = queue.SimpleQueue()

    def start(self, job: Job, act: Callable[[Job], Ended | None]) -> None:
        """Let a worker act on a request."""
        name = job.request.name
        self.ended.pop(name, None)
        self.running[name] = job

        def work() -> None:
            outcome: Ended | None
            try:
                outcome = act(job)
            except BaseException as error:
                log.exception("a worker failed", extra=named(name))
                what = f"A bug in spoold: {type(error).__name__}."
                outcome = OutcomeUnknown("executor-bug", what)
            self._reports.put((name, outcome))
            self._wake()

        self.workers.start(work)

    def collect(self) -> None:
        """Take in what workers have reported; what goes on without this process is let go."""
        while True:
            try:
                name, outcome = self._reports.get_nowait()
            except queue.Empty:
                return
            if isinstance(outcome, LeftRunning):
                del self.running[name]
                log.warning("%s", outcome, extra=named(name))
            else:
                self.ended[name] = outcome

    def forget(self, name: str) -> Job | None:
        """Drop a request that has left running/."""
        self.ended.pop(name, None)
        return self.running.pop(name, None)

    def stop(self) -> None:
        """Tell every attempt to end now."""
        for job in self.running.values():
            job.stopping.set()
