"""What lies under a name, and what is in it: looked at without following links or waiting."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Read:
    """A regular file's bytes, and its status when they were read."""

    data: bytes
    status: os.stat_result


class NotRegular(OSError):
    """Not a regular file; `kind` is one of `directory`, `symlink`, `special-file`."""

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(errno.EINVAL, f"is a {kind}", path)
        self.kind = kind


class TooLarge(OSError):
    """A regular file beyond the limit; `size` is in bytes, and nothing was read."""

    def __init__(self, path: str, size: int) -> None:
        super().__init__(errno.EFBIG, "is too large", path)
        self.size = size


def status(path: str) -> os.stat_result:
    """The status of a name; of a link, not of what it leads to."""
    return os.lstat(path)


def exists(path: str) -> bool:
    """Whether the name is taken, if only by a broken link."""
    # lstat would answer no with an exception. That takes longer than the call, and no is the rule.
    return os.access(path, os.F_OK, follow_symlinks=False)


def owner(path: str) -> int | None:
    """The user id that owns a file or folder; None if there is none of that name."""
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None


def utc(seconds: float) -> datetime:
    """A file system's time stamp as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def is_fixed_folder(path: str) -> bool:
    """Whether it is a folder that this user cannot rename: that takes write permission on it."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
    return is_folder and not os.access(path, os.W_OK, effective_ids=True)


def kind_of(status: os.stat_result) -> str:
    """`file`, `directory`, `symlink` or `special-file`."""
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(status.st_mode) else "special-file"


def entries(path: str) -> Iterator[os.DirEntry[str]]:
    """A folder's entries in no order; names that are not UTF-8 come with surrogate escapes."""
    with os.scandir(path) as found:
        yield from found


def read_regular(path: str, limit: int, *, seen_regular: bool = False) -> Read:
    """Read a whole regular file of at most `limit` bytes; follow no link, wait for no FIFO.

    Args:
        path: its path.
        limit: how many bytes it may have.
        seen_regular: the folder's listing has just said that it is a regular file, so it is not
            asked for again before it is opened.

    Raises:
        NotRegular: it is something else, and was not read.
        TooLarge: it is larger than `limit`, or grew beyond it while it was read.
        OSError: it is gone, or may not be read.
    """
    if not seen_regular:
        before = os.lstat(path)
        if not stat.S_ISREG(before.st_mode):
            raise NotRegular(path, kind_of(before))
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(path, kind_of(status))
        if status.st_size > limit:
            raise TooLarge(path, status.st_size)
        data = os.read(descriptor, status.st_size + 1)
        # One byte more than the size was asked for, so getting exactly the size means: the end.
        while len(data) != status.st_size and len(data) <= limit:
            if not (chunk := os.read(descriptor, 1 << 16)):
                break
            data += chunk
        if len(data) > limit:
            raise TooLarge(path, len(data))
    finally:
        os.close(descriptor)
    return Read(data, status)


def json_object(path: str, limit: int) -> dict[str, Any] | None:
    """The JSON object in a regular file of at most `limit` bytes; None if it holds none."""
    try:
        fields = orjson.loads(read_regular(path, limit).data)
    except (OSError, orjson.JSONDecodeError):
        return None
    return fields if isinstance(fields, dict) else None
