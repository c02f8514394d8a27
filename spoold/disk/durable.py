"""What one stage has written and moved and must become durable: synced in groups.

Data before the renames that show it, folders after.
"""

import itertools
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

from spoold.disk import fs
from spoold.errors import StorageError

#: From this many files and folders on, one `syncfs` is cheaper than an `fsync` each. Where others
#: write a lot to the same disk it waits for them, which one request need not.
_SYNCFS_FROM = 4


@dataclass(slots=True)
class Unsynced:
    """What one stage has written and moved since its last `flush`.

    Attributes:
        broken: how a sync failed, if one did; from then on nothing is written or synced.
    """

    root: str
    broken: StorageError | None = None
    _stamp: str = field(default_factory=lambda: f"{os.getpid()}.{secrets.token_hex(3)}")
    _count: Iterator[int] = field(default_factory=itertools.count)
    _drafts: dict[str, int] = field(default_factory=dict)
    _folders: dict[str, None] = field(default_factory=dict)

    def write(self, folder: str, prefix: str, data: bytes, mtime: float | None = None) -> str:
        """Write `data` under a fresh name in `folder` and return its path; not durable yet."""
        self.must_be_sound()
        path = f"{folder}/{prefix}.{self._stamp}{next(self._count):06x}"
        self._drafts[path] = fs.begin(path, data, mtime)
        return path

    def renamed(self, source: str, target: str, *, temporary: bool = False) -> None:
        """Note that a name moved; the folder it came to is synced before the one it left.

        Args:
            source: the old path.
            target: the new path.
            temporary: the old name was nobody's state, so that it need not be durably gone.
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
        self.must_be_sound()
        try:
            self._flush()
        except StorageError as error:
            self.broken = error
            raise

    def must_be_sound(self) -> None:
        """Return if no sync has failed yet: after one, nothing may count as durable any more.

        Raises:
            StorageError: what the failed sync said.
        """
        if self.broken:
            raise self.broken

    def _flush(self) -> None:
        drafts, self._drafts = self._drafts, {}
        try:
            if len(drafts) + len(self._folders) >= _SYNCFS_FROM:
                fs.sync_all(self.root)
                # It wrote the folders out too.
                self._folders.clear()
            else:
                for path, descriptor in drafts.items():
                    fs.sync(descriptor, path)
        finally:
            for descriptor in drafts.values():
                os.close(descriptor)
        while self._folders:
            folder = next(iter(self._folders))
            try:
                fs.sync_folder(folder)
            except PermissionError:
                # It may be written to, but not opened: an inbox, for all but intake.
                fs.sync_all(self.root)
            del self._folders[folder]

    def abandon(self) -> None:
        """Throw away what has no name yet, after an error; what moved still has to be synced."""
        drafts, self._drafts = self._drafts, {}
        for path, descriptor in drafts.items():
            os.close(descriptor)
            fs.remove(path)
