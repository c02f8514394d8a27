"""Drops that events announced, and drops that a scan found: how many events were missed."""

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

log = logging.getLogger("spoold.service")

#: How long (seconds) after a scan the event about a file that it found may still come.
_GRACE = 2.0
#: Seconds between two log lines.
_QUIET = 1.0
#: Names remembered between two scans of an inbox; where there were more, nothing is counted.
_MOST = 1 << 16


@dataclass(slots=True)
class _Inbox:
    """What was announced since the scan before the last one, as hashes: names are larger."""

    scanned: float = float("inf")
    before: set[int] = field(default_factory=set)
    since: set[int] = field(default_factory=set)


class Arrivals:
    """Compares what was announced with what was found; costs nothing for what lay there before.

    A file counts as missed if it came after one scan, the next one found it, and no event said so
    until a while later. Before `begin` nobody watches, and nothing is missed.

    Attributes:
        missed: how many files came without an event.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._begun = False
        self._inboxes: dict[str, _Inbox] = {}
        self._unannounced: dict[int, float] = {}
        self._said = 0
        self._quiet_until = 0.0
        self._guard = threading.Lock()

    def begin(self) -> None:
        """From now on somebody watches."""
        self._begun = True

    def scanning(self, folder: str) -> float:
        """A scan of an inbox begins.

        Returns:
            Since when (seconds since the epoch) a file must have come to be news to this scan.
        """
        if not self._begun:
            return float("inf")
        with self._guard:
            inbox = self._inboxes.setdefault(folder, _Inbox())
            since, inbox.scanned = inbox.scanned, time.time()
        return since

    def found(self, folder: str, names: Iterable[str]) -> None:
        """The scan has found these files that came since the one before."""
        with self._guard:
            if inbox := self._inboxes.get(folder):
                if max(len(inbox.before), len(inbox.since)) < _MOST:
                    new = {hash((folder, name)) for name in names} - inbox.before - inbox.since
                    self._unannounced |= dict.fromkeys(new, time.monotonic() + _GRACE)
                inbox.before, inbox.since = inbox.since, set()

    def announced(self, folder: str, names: Iterable[str]) -> None:
        """Events told of these files."""
        with self._guard:
            if inbox := self._inboxes.get(folder):
                for key in {hash((folder, name)) for name in names}:
                    self._unannounced.pop(key, None)
                    if len(inbox.since) < _MOST:
                        inbox.since.add(key)

    def settle(self) -> None:
        """Count what was not announced in time; every event so far has been passed on."""
        now = time.monotonic()
        with self._guard:
            while self._unannounced and next(iter(self._unannounced.values())) <= now:
                del self._unannounced[next(iter(self._unannounced))]
                self.missed += 1
            count = self.missed - self._said
            if not count or now < self._quiet_until:
                return
            self._said, self._quiet_until = self.missed, now + _QUIET
        text = "events missed: nothing announced %d files that a scan found"
        log.warning(text, count, extra={"events_missed": self._said})
