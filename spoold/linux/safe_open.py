"""A path where another process may have put anything → a regular file that is open, or an error.

Security: an agent runs as the same user as its executor, so it and all that it starts can put a
link, a pipe or a very large file wherever they may write. No link is followed, no pipe is waited
for, and no more is read than asked for.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: What changes when a file is written, or another one is put in its place.
Mark = dict[str, int]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(name: str, folder: str | None = None) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file, open for reading: its descriptor, and what it is.

    Args:
        name: its path; below `folder`, if that is given.
        folder: may itself be reached through links; nothing on the way below it may be one.

    Raises:
        OSError: it is gone, may not be read, is a link, or is no regular file (EINVAL).
        ValueError: the path leads out of the folder.
    """
    descriptor = os.open(name, _FILE) if folder is None else _open_below(folder, name)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", name)
        yield descriptor, status
    finally:
        os.close(descriptor)


def read_whole(path: str, limit: int) -> bytes:
    """All of a file of at most `limit` bytes.

    Raises:
        OSError: as `opened`; or it is too large (EFBIG).
    """
    with opened(path) as (descriptor, _):
        read = b""
        while chunk := os.read(descriptor, limit + 1 - len(read)):
            read += chunk
            if len(read) > limit:
                raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
        return read


def read_ends(path: str, limit: int) -> tuple[bytes, int]:
    """A file and its size; of one of more than `limit` bytes the first and the last half of that.

    Raises:
        OSError: as `opened`.
    """
    with opened(path) as (descriptor, status):
        size = status.st_size
        if size <= limit:
            return os.pread(descriptor, limit, 0), size
        half = limit // 2
        last = os.pread(descriptor, half, size - half)
        return os.pread(descriptor, half, 0) + b"\n" + last, size


def mark(folder: str, name: str) -> Mark | None:
    """What the file below a folder is now; None if `opened` would not open it."""
    with suppress(OSError), opened(name, folder) as (_, status):
        return mark_of(status)
    return None


def mark_of(status: os.stat_result) -> Mark:
    """The same of a file that is open."""
    return {
        "dev": status.st_dev,
        "ino": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
        "size": status.st_size,
    }


def _open_below(folder: str, name: str) -> int:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or not parts:
        raise ValueError(f"{name} is not below its folder")
    at = os.open(folder, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(parts[-1], _FILE, dir_fd=at)
    finally:
        os.close(at)
