"""A file in whose place somebody may have put anything → its bytes; no link, no pipe, no flood.

Security: an agent runs as the same user as its executor, and so do all that it starts.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

# Without O_NONBLOCK a pipe would be waited for.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_whole(path: str, limit: int) -> bytes:
    """All of a file of at most `limit` bytes.

    Raises:
        OSError: it is gone, may not be read, is no regular file (EINVAL) or too large (EFBIG).
    """
    with _opened(path) as (descriptor, _):
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
    with _opened(path) as (descriptor, size):
        if size <= limit:
            return os.pread(descriptor, limit, 0), size
        half = limit // 2
        last = os.pread(descriptor, half, size - half)
        return os.pread(descriptor, half, 0) + b"\n" + last, size


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, int]]:
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)
