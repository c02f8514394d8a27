"""Folders that may have changed → events that wake a stage. A hint, never the truth."""

import logging
import os
import threading
from collections.abc import Mapping, Sequence

import watchfiles

from spoold import fs

log = logging.getLogger("spoold.service")

#: Milliseconds between two looks at the kernel's queue: the price of latency in idle wake-ups.
_STEP = 5
#: Seconds to wait before watching anew: one bad name a second must not fill the log.
_PAUSE = 1.0


class Watcher:
    """Sets events when folders may have changed; starts over when watching fails.

    Args:
        folders: a folder's path → the events of those who look into it.
    """

    def __init__(self, folders: Mapping[str, Sequence[threading.Event]]) -> None:
        self._folders = {os.path.realpath(path): events for path, events in folders.items()}
        self._armed: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._guard = threading.Lock()

    def check(self) -> None:
        """Start watching, or start over if a folder is not the one that is being watched."""
        with self._guard:
            now = [_identity(folder) for folder in self._folders]
            if self._thread is not None and self._thread.is_alive() and now == self._armed:
                return
            if self._thread is not None and now != self._armed:
                log.warning("a folder was replaced; watching the new one")
            self._stop.set()
            self._armed = now
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._watch, args=(self._stop,), daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _watch(self, stop: threading.Event) -> None:
        present = [folder for folder in self._folders if os.path.isdir(folder)]
        try:
            for changes in watchfiles.watch(
                *present,
                watch_filter=None,
                debounce=_STEP,
                step=_STEP,
                stop_event=stop,
                rust_timeout=1000,
                recursive=False,
                raise_interrupt=False,
            ):
                paths = {path for _, path in changes}
                self._wake({os.path.dirname(path) for path in paths} | paths)
                # A folder that is made again may get the number of the one that went.
                gone = {path for kind, path in changes if kind is watchfiles.Change.deleted}
                if gone & self._folders.keys():
                    break
        except Exception as error:  # noqa: BLE001 - a name that is not UTF-8 is enough to end it
            log.warning("the watcher stopped (%s); scanning, and watching anew", error)
            self._wake(set())
            stop.wait(_PAUSE)
        if not stop.is_set():
            self._wake(set())

    def _wake(self, changed: set[str]) -> None:
        known = changed & self._folders.keys()
        for folder in known or self._folders:
            for event in self._folders[folder]:
                event.set()


def _identity(folder: str) -> tuple[int, int]:
    try:
        status = fs.status(folder)
    except FileNotFoundError:
        return 0, 0
    return status.st_dev, status.st_ino
