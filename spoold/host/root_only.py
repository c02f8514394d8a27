"""Files that root alone may write, and some that root alone may read: who has what says what runs.

The folders of the spool are in `permissions.py`; these lie beside the configuration.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress

from spoold.host.permissions import Finding

#: Permission bits that only root may have.
NO_WRITE, NO_ACCESS = 0o022, 0o077


def compare(paths: Mapping[str, int]) -> Iterator[Finding]:
    """Which of these are not root's, or allow others too much; links and what is missing are left.

    Args:
        paths: a file or folder → the bits of its mode that it may not have.
    """
    for path, forbidden in paths.items():
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISLNK(status.st_mode) or _is_right(status, forbidden):
                continue
            wanted = f"owned by uid 0, mode {mode & ~forbidden:04o} or less"
            yield Finding(path, f"owned by uid {status.st_uid}, mode {mode:04o}", wanted)


def mend(paths: Mapping[str, int]) -> None:
    """Give them to root, and take the forbidden bits away."""
    for path, forbidden in paths.items():
        with suppress(FileNotFoundError):
            if stat.S_ISLNK(os.lstat(path).st_mode):
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                status = os.fstat(descriptor)
                if not _is_right(status, forbidden):
                    os.fchown(descriptor, 0, -1)
                    os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~forbidden)
            finally:
                os.close(descriptor)


def _is_right(status: os.stat_result, forbidden: int) -> bool:
    return status.st_uid == 0 and not stat.S_IMODE(status.st_mode) & forbidden
