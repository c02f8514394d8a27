"""Open and read files that somebody else may have replaced: through no link, waiting for no pipe.

Security: an agent runs as the same user as its executor, so it and all that it starts can put a
link, a pipe or a very large file wherever they may write.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: What changes when somebody writes a file, or puts another one in its place.
Mark = dict[str, int]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_below(folder: str, name: str) -> int:
    """A descriptor of the file; the folder itself may be reached through links.

    Args:
        folder: where.
        name: a relative path.

    Raises:
        OSError: it is not there, cannot be read, or there is a link on the way.
        ValueError: the path leads out of the folder.
    """
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


def mark(folder: str, name: str) -> Mark | None:
    """What the file is now; None if it is none that `open_below` would open."""
    with suppress(OSError):
        descriptor = open_below(folder, name)
        try:
            return mark_of(os.fstat(descriptor))
        finally:
            os.close(descriptor)
    return None


def mark_of(status: os.stat_result) -> Mark:
    """The same of a file that is open."""
    return {
        "dev": status.st_dev,
        "ino": status.st_ino,
        "mtime_ns": status.st_mtime_ns,
        "size": status.st_size,
    }


def read_whole(path: str, limit: int) -> bytes:
    """All of a file of at most `limit` bytes.

    Raises:
        OSError: it is gone, may not be read, is no regular file (EINVAL) or too large (EFBIG).
    """
    with _opened_regular(path) as (descriptor, _):
        read = b""
        while chunk := os.read(descriptor, limit + 1 - len(read)):
            read += chunk
            if len(read) > limit:
                raise OSError(errno.EFBIG, f"it has more than {limit} bytes", path)
        return read


def read_ends(path: str, limit: int) -> tuple[bytes, int]:
    """A file and its size; of one of more than `limit` bytes the first and the last lines.

    Raises:
        OSError: it is gone, may not be read, or is no regular file (EINVAL).
    """
    with _opened_regular(path) as (descriptor, size):
        if size <= limit:
            return os.pread(descriptor, limit, 0), size
        half = limit // 2
        last = os.pread(descriptor, half, size - half)
        return os.pread(descriptor, half, 0) + b"\n" + last, size


@contextmanager
def _opened_regular(path: str) -> Iterator[tuple[int, int]]:
    descriptor = os.open(path, _FILE)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)
