"""Folders that may have changed → events that wake a stage. A hint, never the truth."""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import watchfiles
from watchfiles._rust_notify import RustNotify
from watchfiles.main import FileChange

from spoold.disk import reading
from spoold.stages.arrivals import Arrivals

log = logging.getLogger("spoold.service")

#: Milliseconds between two looks at what the kernel said: the price of latency in idle wake-ups.
_STEP = 6
#: The same for so many seconds after something has changed.
_QUICK_STEP, _QUICK_FOR = 1, 3.0
#: Milliseconds without a change after which the library shows that it has begun to watch.
_IDLE = 50
#: Seconds before watching anew.
_PAUSE = 0.05
#: The same where the system refuses to let us watch; doubled each time, up to the second number.
_REFUSED, _LONGEST = 1.0, 10.0
#: Seconds between two log lines about that: a bad name every moment must not fill the log.
_QUIET = 60.0


class Watcher:
    """Sets events when folders may have changed; starts over when watching fails.

    Args:
        folders: a folder's path → the events of those who look into it.
        arrivals: is told which files the changes are about.
    """

    def __init__(
        self, folders: Mapping[str, Sequence[threading.Event]], arrivals: Arrivals | None = None
    ) -> None:
        self._paths = {os.path.realpath(path): path for path in folders}
        self._folders = {real: folders[path] for real, path in self._paths.items()}
        self._arrivals = arrivals or Arrivals()
        self._armed: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()
        self._pause = _REFUSED
        self._quiet_until = 0.0

    def check(self) -> None:
        """Start watching, or start over if a folder is not the one that is being watched."""
        with self._guard:
            now = [_identity(folder) for folder in self._folders]
            if self._thread is not None and self._thread.is_alive() and now == self._armed:
                return
            if self._thread is not None and now != self._armed:
                log.warning("a folder was replaced; watching the new one")
            self._arrivals.begin()
            self._stop.set()
            self._armed = now
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._watch, args=(self._stop,), daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _watch(self, stop: threading.Event) -> None:
        try:
            self._pass_on(stop)
        except Exception as error:  # noqa: BLE001 - a name that is not UTF-8 is enough to end it
            self._wake(set())
            stop.wait(self._after(error))
        if not stop.is_set():
            self._arrivals.settle()
            self._wake(set())

    def _pass_on(self, stop: threading.Event) -> None:
        """Wake the stages that a change may concern, until a folder is gone."""
        begun = False
        for changes in _changes(list(filter(os.path.isdir, self._folders)), stop):
            if not begun:
                # A change between the last scan and now was not announced.
                begun = True
                self._wake(set())
                self._works()
            if changes:
                self._announce(changes)
                paths = {path for _, path in changes}
                self._wake({os.path.dirname(path) for path in paths} | paths)
            self._arrivals.settle()
            # A folder that is made again may get the number of the one that went.
            gone = {path for kind, path in changes if kind is watchfiles.Change.deleted}
            if gone & self._folders.keys():
                return

    def _announce(self, changes: set[FileChange]) -> None:
        named = defaultdict(list)
        for kind, path in changes:
            if kind is not watchfiles.Change.deleted:
                folder, _, name = path.rpartition("/")
                named[folder].append(name)
        for folder, names in named.items():
            self._arrivals.announced(self._paths.get(folder, folder), names)

    def _wake(self, changed: set[str]) -> None:
        known = changed & self._folders.keys()
        for folder in known or self._folders:
            for event in self._folders[folder]:
                event.set()

    def _after(self, error: Exception) -> float:
        """Say what ended the watching; how many seconds to wait before the next try."""
        vanished = isinstance(error, FileNotFoundError)
        refused = not vanished and (isinstance(error, OSError) or "os error" in str(error))
        if not vanished and time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + _QUIET
            hint = "; see fs.inotify.max_user_instances and max_user_watches" if refused else ""
            log.warning("watching ended (%s)%s; scanning, and watching anew", error, hint)
        if not refused:
            return _PAUSE
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST)
        return pause

    def _works(self) -> None:
        if self._pause > _REFUSED:
            self._pause, self._quiet_until = _REFUSED, 0.0
            log.info("watching again")


def _changes(folders: list[str], stop: threading.Event) -> Iterator[set[FileChange]]:
    """Changes as they come, or none every `_IDLE` ms; ends when it is told to.

    watchfiles.watch looks at one pace. Where something has just happened more will, and the second
    one should not wait as long as the first.
    """
    quick_until = 0.0
    with RustNotify(folders, False, False, 0, False, False) as notify:  # noqa: FBT003 - its signature
        while True:
            step = _QUICK_STEP if time.monotonic() < quick_until else _STEP
            found = notify.watch(step, step, _IDLE, stop)
            if found == "timeout":
                yield set()
            elif isinstance(found, str):
                return
            else:
                quick_until = time.monotonic() + _QUICK_FOR
                yield {(watchfiles.Change(kind), path) for kind, path in found}


def _identity(folder: str) -> tuple[int, int]:
    try:
        status = reading.status(folder)
    except FileNotFoundError:
        return 0, 0
    return status.st_dev, status.st_ino
