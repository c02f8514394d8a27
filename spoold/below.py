"""A path below a folder → the open file, reached through no link; and what tells it from another.

Security: whoever may write below the folder can put links and pipes there.
"""

import os
from contextlib import suppress

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
