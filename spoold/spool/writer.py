"""Writing and moving in a spool: `states.py` carried out with `disk/`.

New content is a draft first: written, synced, and only then given its name. A move is one rename.
Each stage has a spool of its own, bound to its role, so that it cannot make a move by mistake that
the table does not give to that role. Nothing is durable before `sync` returns, and after a failed
sync nothing is written or moved any more.
"""

import errno
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress

from spoold.disk import fs, reading
from spoold.disk.durable import Unsynced
from spoold.spool.counters import Counts
from spoold.spool.reader import Place, SpoolReader
from spoold.states import REASON_SUFFIX, Role, allowed

_TMP = "tmp"
_DRAFTS = Place(_TMP)


class SpoolWriter(SpoolReader):
    """A spool in which one role writes and moves files.

    Args:
        root: its path.
        role: whose moves are allowed.
        sources: names of the configured inboxes.
        executors: names of the configured executors.
        executor: the only one whose folders it knows; all if empty.
    """

    def __init__(
        self,
        root: str,
        role: Role,
        sources: Iterable[str] = (),
        executors: Iterable[str] = (),
        executor: str = "",
    ) -> None:
        super().__init__(root, sources, executors, executor)
        self.role = role
        # Each process removes its own drafts at its start, so their names say whose they are.
        self._drafts = f"{role.value}-{executor}" if executor else role.value
        self._unsynced = Unsynced(self.root)
        #: Places where files were put; what wakes the next stages reads and clears it.
        self.touched: set[Place] = set()
        self.counts = Counts()
        self.log = logging.getLogger(f"spoold.{role.value}")
        self._stuck: set[str] = set()

    # Writing

    def draft(self, data: bytes, mtime: float | None = None) -> str:
        """Write a file that has no name in the spool yet; `sync` before it gets one."""
        return self._unsynced.write(self.path(_DRAFTS), self._drafts, data, mtime)

    def discard(self, draft: str) -> None:
        """Remove a draft."""
        fs.remove(draft)

    def remove_drafts(self) -> None:
        """Remove what a dead run of the same stage had begun to write."""
        for entry in reading.entries(self.path(_DRAFTS)):
            if entry.name.startswith(f"{self._drafts}.") and entry.is_file(follow_symlinks=False):
                # Other users may write to tmp/; their file may have such a name.
                with suppress(PermissionError):
                    fs.remove(entry.path)

    @property
    def broken(self) -> bool:
        """Whether a sync has failed: then this process can move and write nothing any more."""
        return self._unsynced.broken is not None

    def sync(self) -> None:
        """Make all drafts and moves since the last `sync` durable.

        Raises:
            StorageError: it failed, now or before. Never retried: the stage must stop.
        """
        self._unsynced.flush()
        self.active_at = time.monotonic()

    def abandon(self) -> None:
        """Forget the drafts that were not synced, so that a stage can begin anew after an error."""
        self._unsynced.discard_drafts()

    def publish(self, draft: str, place: Place, name: str) -> None:
        """Give a draft its name.

        Raises:
            FileExistsError: the name is taken.
        """
        self._must_be_allowed(_TMP, place.folder)
        target = self.path(place, name)
        fs.rename_new(draft, target)
        self._unsynced.note_rename(draft, target, temporary=True)
        self.touched.add(place)
        self.counts.add("moves", _TMP, place.folder)

    def overwrite(self, draft: str, place: Place, name: str) -> None:
        """Replace a file's content in a folder that only this role writes to."""
        target = self.path(place, name)
        fs.replace(draft, target)
        self._unsynced.note_rename(draft, target, temporary=True)

    def swap(self, draft: str, place: Place, name: str) -> bool:
        """Replace the content of a file that a person may move away at any moment.

        Returns:
            False if the file is gone; then nothing was changed.
        """
        target = self.path(place, name)
        try:
            fs.exchange(draft, target)
        except FileNotFoundError:
            fs.remove(draft)
            return False
        # The old content may be a file of another user's, which the sweep removes later.
        with suppress(PermissionError):
            fs.remove(draft)
        self._unsynced.note_rename(draft, target, temporary=True)
        return True

    def add_reason(self, draft: str, place: Place, name: str) -> None:
        """Put a reason beside a file, before or after the file itself gets there."""
        try:
            self.overwrite(draft, place, name + REASON_SUFFIX)
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ENAMETOOLONG):
                raise
            # A folder has its name, or the file's name is too long: the file matters more.
            self.discard(draft)

    # Moving

    def move(self, source: Place, target: Place, name: str, new_name: str | None = None) -> bool:
        """Move a file to another state: one rename.

        Returns:
            False if it is no longer there: another process or a person was faster.

        Raises:
            FileExistsError: the name is taken there; nothing was changed.
        """
        self._must_be_allowed(source.folder, target.folder)
        self._unsynced.raise_if_broken()
        old, new = self.path(source, name), self.path(target, new_name or name)
        try:
            fs.rename_new(old, new)
        except FileNotFoundError:
            if not os.path.isdir(os.path.dirname(new)):
                raise
            return False
        except PermissionError:
            if self.is_stuck(source, name):
                return False
            raise
        self._unsynced.note_rename(old, new)
        self.touched.add(target)
        self.counts.add("moves", source.folder, target.folder)
        return True

    def is_stuck(self, place: Place, name: str) -> bool:
        """Whether a folder of another user's has that name: only they or root can remove it."""
        path = self.path(place, name)
        if not reading.is_fixed_folder(path):
            return False
        if path not in self._stuck:
            self._stuck.add(path)
            self.log.error("%s is a folder of another user's and cannot be moved; remove it", path)
        return True

    def _must_be_allowed(self, source: str, target: str) -> None:
        if not allowed(source, target, self.role):
            raise RuntimeError(f"{self.role} may not move a file from {source} to {target}")
