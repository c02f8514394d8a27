"""What a stage and the thread of an attempt tell each other while it runs."""

import threading
import time
from collections.abc import Callable
from typing import Any

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
