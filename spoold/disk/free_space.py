"""How much space a file system has left, and which errors mean that a resource ran out."""

import errno
import os
from dataclasses import dataclass

from spoold.errors import NoRoom

#: Space, quota, descriptors, memory: there may be some again without a repair.
_SCARCE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})

_DEFAULT_FLOOR = 64 << 20
_DEFAULT_FILES = 1000
#: On a small file system the floor is a tenth of it.
_PART = 10


def ran_out(error: BaseException) -> bool:
    """Whether a stage that meets this error should wait and go on, rather than stop."""
    return isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in _SCARCE)


@dataclass(frozen=True, slots=True)
class Floor:
    """The space that intake leaves free, so that other stages can still record what they do.

    Args:
        root: a folder on the file system.
        floor: bytes; None means 64 MiB or a tenth of the file system, whichever is less.
    """

    root: str
    floor: int | None

    def check(self) -> None:
        """Return if there is at least the floor.

        Raises:
            NoRoom: there is less, in bytes or in files that could be created.
        """
        found = os.statvfs(self.root)
        free, files = found.f_bavail * found.f_frsize, found.f_favail
        floor = self.floor
        if floor is None:
            floor = min(_DEFAULT_FLOOR, found.f_blocks * found.f_frsize // _PART)
        if free < floor:
            raise NoRoom(
                f"{self.root} has {_mib(free)} free, and `min_free` is {_mib(floor)}: drops stay "
                "in the inbox. Make room; it goes on by itself"
            )
        # A file system without a fixed number of files says 0.
        if self.floor != 0 and files < min(_DEFAULT_FILES, found.f_files // _PART):
            raise NoRoom(
                f"{self.root} has room for {files} more files (inodes): drops stay in the inbox. "
                "Make room; it goes on by itself"
            )


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"
