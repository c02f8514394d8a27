"""Writes and renames of one stage → durable, synced in groups.

Data is synced before the renames that show it, and folders after them.
"""

import itertools
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from spoold.disk import fs, private
from spoold.errors import StorageError

#: From so many files and folders on, one `syncfs` is cheaper than an `fsync` each. With fewer it is
#: not: it waits for all that other programs have written to the same disk.
_SYNCFS_FROM = 4


@dataclass(slots=True)
class Unsynced:
    """The files that one stage has written and moved since its last `flush`.

    Attributes:
        root: a folder on their file system.
        broken: the error of the first sync that failed; from then on nothing is written or synced.
    """

    root: str
    broken: StorageError | None = None
    _stamp: str = field(default_factory=lambda: f"{os.getpid()}.{secrets.token_hex(3)}")
    _count: Iterator[int] = field(default_factory=itertools.count)
    #: Path and open descriptor of each file that is written and not yet synced.
    _drafts: dict[str, int] = field(default_factory=dict)
    #: An ordered set: the folders to sync, in this order.
    _folders: dict[str, None] = field(default_factory=dict)
    _modes: dict[str, int] = field(default_factory=dict)

    def write(self, folder: str, prefix: str, data: bytes, mtime: float | None = None) -> str:
        """Write `data` under a fresh name in `folder` and return its path; not durable yet."""
        self.raise_if_broken()
        path = f"{folder}/{prefix}.{self._stamp}{next(self._count):06x}"
        mode = self._modes.get(folder)
        if mode is None:
            mode = self._modes[folder] = private.mode_in(folder, 0o644)
        self._drafts[path] = fs.write_draft(path, data, mtime, mode)
        return path

    def note_rename(self, source: str, target: str, *, temporary: bool = False) -> None:
        """Note that a file was renamed: the folder it came to is synced before the one it left.

        Args:
            source: the old path.
            target: the new path.
            temporary: the old name was that of a draft, which may come back after a power cut.
        """
        if source in self._drafts:
            raise RuntimeError(f"{source} was renamed before its data was synced")
        self._folders.setdefault(target.rpartition("/")[0])
        if not temporary:
            left = source.rpartition("/")[0]
            self._folders.pop(left, None)
            self._folders[left] = None

    def flush(self) -> None:
        """Make everything durable: first the data, then the folders.

        Raises:
            StorageError: a sync failed. Never retried: the stage must stop.
        """
        self.raise_if_broken()
        self._modes.clear()
        try:
            self._sync_drafts()
            self._sync_folders()
        except StorageError as error:
            self.broken = error
            raise

    def raise_if_broken(self) -> None:
        """Refuse to go on after a failed sync.

        Raises:
            StorageError: that of the sync that failed.
        """
        if self.broken:
            raise self.broken

    def discard_drafts(self) -> None:
        """After an error, remove what was written and not yet synced; renames stay to be synced."""
        drafts, self._drafts = self._drafts, {}
        for path, descriptor in drafts.items():
            os.close(descriptor)
            fs.remove(path)

    def _sync_drafts(self) -> None:
        drafts, self._drafts = self._drafts, {}
        try:
            if len(drafts) + len(self._folders) >= _SYNCFS_FROM:
                fs.sync_file_system(self.root)
                # That has synced the folders too.
                self._folders.clear()
            else:
                for path, descriptor in drafts.items():
                    fs.sync(descriptor, path)
        finally:
            for descriptor in drafts.values():
                os.close(descriptor)

    def _sync_folders(self) -> None:
        while self._folders:
            folder = next(iter(self._folders))
            try:
                fs.sync_folder(folder)
            except PermissionError:
                # An inbox: stages other than intake may write into it, and not open it.
                fs.sync_file_system(self.root)
            del self._folders[folder]
