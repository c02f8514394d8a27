"""Counts drops that a scan found and no event of the kernel announced."""

import logging
import threading
import time
from collections.abc import Iterable

log = logging.getLogger("spoold.service")

#: How long (seconds) after a scan the event about a file that it found may still come.
_GRACE = 2.0
#: Seconds between two log lines.
_QUIET = 1.0
#: Names remembered between two scans; where there were more, nothing is counted.
_MOST = 1 << 16


class Arrivals:
    """Compares what was announced with what was found; costs nothing for what lay there before.

    A file counts as missed if it came after one scan, the next one found it, and no event said so
    until a while later. Before `begin` there are no events, so nothing is missed. Names are kept
    as hashes, which are smaller.

    Attributes:
        missed: how many files came without an event.
    """

    def __init__(self) -> None:
        self.missed = 0
        self._is_watched = False
        self._inboxes: set[str] = set()
        self._scanned = float("inf")
        self._announced: set[int] = set()
        self._announced_before: set[int] = set()
        self._unannounced: dict[int, float] = {}
        self._logged, self._quiet_until = 0, 0.0
        self._guard = threading.Lock()

    def begin(self) -> None:
        """From now on events are passed on to `announced`."""
        self._is_watched = True

    def scanning(self, inboxes: Iterable[str]) -> float:
        """A scan of these folders begins; what is announced of others does not matter.

        Returns:
            The time (seconds since the epoch) since which a file is news to this scan.
        """
        if not self._is_watched:
            return float("inf")
        with self._guard:
            self._inboxes = set(inboxes)
            since, self._scanned = self._scanned, time.time()
            self._announced_before, self._announced = self._announced, set()
        return since

    def found(self, folder: str, names: Iterable[str]) -> None:
        """The scan has found these files, and they are news."""
        with self._guard:
            known = max(len(self._announced_before), len(self._announced))
            if self._is_watched and known < _MOST:
                new = {hash((folder, name)) for name in names}
                new -= self._announced_before | self._announced
                self._unannounced |= dict.fromkeys(new, time.monotonic() + _GRACE)

    def announced(self, folder: str, names: Iterable[str]) -> None:
        """Events told of these files."""
        with self._guard:
            if folder not in self._inboxes:
                return
            for key in {hash((folder, name)) for name in names}:
                self._unannounced.pop(key, None)
                if len(self._announced) < _MOST:
                    self._announced.add(key)

    def settle(self) -> None:
        """Count what was not announced in time; every event so far has been passed on."""
        now = time.monotonic()
        with self._guard:
            late = [key for key, until in self._unannounced.items() if until <= now]
            for key in late:
                del self._unannounced[key]
            self.missed += len(late)
            count = self.missed - self._logged
            if not count or now < self._quiet_until:
                return
            self._logged, self._quiet_until = self.missed, now + _QUIET
        text = "events missed: nothing announced %d files that a scan found"
        log.warning(text, count, extra={"events_missed": self._logged})
