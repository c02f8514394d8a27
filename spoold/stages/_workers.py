"""Threads that carry out attempts; they never keep the process from ending."""

import queue
import threading
from collections.abc import Callable


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
