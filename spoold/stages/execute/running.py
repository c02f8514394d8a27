"""The requests in workers' hands: begun, heard of while they run, told to end, ended."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from spoold.errors import BadInput, ExecutionError, LeftRunning, OutcomeUnknown
from spoold.executors import Result
from spoold.identity import named
from spoold.request import Request
from spoold.stages.execute.verdict import must_be_readable

log = logging.getLogger("spoold.execute")

#: How an attempt ended, as far as this process sees it.
Ended = Result | ExecutionError | LeftRunning


#: How often (seconds) what a long attempt reports is written into its request file.
SHOWN_EVERY = 5.0


class Control:
    """One attempt: told to end by the stage, heard of through `report`.

    Args:
        wake: called when there is something to show.

    Attributes:
        stopping: the attempt must end now.
        cancelled: because a person said so.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.stopping = threading.Event()
        self.cancelled = threading.Event()
        self._wake = wake
        self._news: dict[str, Any] | None = None
        self._next = 0.0

    def stop(self) -> None:
        """The service does not wait for it any longer."""
        self.stopping.set()

    def cancel(self) -> None:
        """A person does not want it any more."""
        self.cancelled.set()
        self.stopping.set()

    def report(self, facts: dict[str, Any]) -> None:
        """Called by the attempt, as often as it likes."""
        self._news = facts
        if time.monotonic() >= self._next:
            self._wake()

    def news(self) -> dict[str, Any] | None:
        """What it has reported since, if it is time to show it."""
        if self._news is None or time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + SHOWN_EVERY
        facts, self._news = self._news, None
        return facts


class Workers:
    """As many threads as there has ever been work for at one time, kept for the next."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._unfinished = 0
        self._threads = 0
        self._guard = threading.Lock()

    def start(self, job: Callable[[], None]) -> None:
        """Run a job, which must not raise, in a thread of its own."""
        with self._guard:
            self._unfinished += 1
            is_new = self._unfinished > self._threads
            self._threads += is_new
        self._jobs.put(job)
        if is_new:
            name = f"{self._name} {self._threads}"
            threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            self._jobs.get()()
            with self._guard:
                self._unfinished -= 1


@dataclass(slots=True)
class Job:
    """A request that a worker has, as it was last written, and how the stage reaches the worker."""

    request: Request
    control: Control


class Crew:
    """What one executor has running.

    Args:
        name: of the threads.
        wake: called when there is something to collect or to show.

    Attributes:
        jobs: what runs, or has ended and is not recorded yet, by the file's name.
        ended: how these ended; None if a preflight has passed.
    """

    def __init__(self, name: str, wake: Callable[[], None]) -> None:
        self.jobs: dict[str, Job] = {}
        self.ended: dict[str, Result | ExecutionError | None] = {}
        self._wake = wake
        self._workers = Workers(name)
        self._reports: queue.SimpleQueue[tuple[str, Ended | None]] = queue.SimpleQueue()

    def start(self, found: Request, act: Callable[[Request, Control], Ended | None]) -> None:
        """Let a worker act on a request; if it has had it before, with the same control."""
        self.ended.pop(found.name, None)
        before = self.jobs.get(found.name)
        control = before.control if before else Control(self._wake)
        self.jobs[found.name] = Job(found, control)

        def work() -> None:
            outcome: Ended | None
            try:
                outcome = act(found, control)
            except BaseException as error:
                log.exception("a worker failed", extra={"dispatch_id": found.dispatch_id})
                outcome = OutcomeUnknown(
                    "executor-bug", f"A bug in spoold: {type(error).__name__}."
                )
            self._reports.put((found.name, outcome))
            self._wake()

        self._workers.start(work)

    def collect(self) -> None:
        """Take in what workers have reported; what goes on without this process is let go."""
        while True:
            try:
                name, outcome = self._reports.get_nowait()
            except queue.Empty:
                return
            if isinstance(outcome, LeftRunning):
                left = self.jobs.pop(name).request
                log.warning("%s", outcome, extra={"dispatch_id": left.dispatch_id})
            else:
                self.ended[name] = outcome

    def forget(self, name: str) -> Job | None:
        """It has left the executor's hands."""
        self.ended.pop(name, None)
        return self.jobs.pop(name, None)

    def stop(self) -> None:
        """Tell every attempt to end now."""
        for job in self.jobs.values():
            job.control.stop()

    def news(self) -> list[Request]:
        """The requests of attempts that go on, with what is to be shown of them now."""
        fresh = []
        for name, job in self.jobs.items():
            attempts = job.request.attempts
            if name in self.ended or not attempts or attempts[-1].outcome is not None:
                continue
            if facts := job.control.news():
                last = replace(attempts[-1], progress=facts)
                shown = job.request.with_(attempts=[*attempts[:-1], last])
                try:
                    must_be_readable(shown)
                except BadInput as problem:
                    log.warning("what it reports cannot be shown: %s", problem, extra=named(name))
                else:
                    fresh.append(shown)
        return fresh
