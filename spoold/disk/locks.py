"""Whether another process has it: the lock of a folder, or a file open for writing."""

import errno
import fcntl
import os

from spoold.errors import TryLater


def written_to_now(path: str) -> bool | None:
    """Whether any process has the file open for writing; None where that cannot be asked.

    A read lease is granted only if none has; it is given back at once. Source: fcntl(2).
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    else:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(descriptor)


class FolderLock:
    """An exclusive lock on a folder, held until the process ends: one instance of a stage."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            TryLater: another process has it.
        """
        if self._descriptor >= 0:
            return
        descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise TryLater(f"another process works on {self._path}") from None
        self._descriptor = descriptor

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to the locked folder, and not to one put in its place."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
