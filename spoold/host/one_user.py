"""The files of a spool whose stages share one user: nobody else may do anything with them."""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from spoold.disk import private, reading
from spoold.host.permissions import Finding

_WANTED = "of no use to the group, to others or by a list (mode {:04o})"
#: Permission bits that let others write.
_WRITE = 0o022


def compare(root: str, config: str) -> Iterator[Finding]:
    """What others may do with a spool of one user, in it, or to its configuration.

    Args:
        root: the spool; its owner is the user.
        config: the file `spoold.toml`.
    """
    owner = os.stat(root).st_uid
    for path in _everything(root):
        with suppress(FileNotFoundError):
            status = os.lstat(path)
            if status.st_uid != owner and stat.S_ISDIR(status.st_mode):
                yield Finding(path, f"owned by uid {status.st_uid}", f"owned by uid {owner}")
            if wide := private.too_much(path):
                yield Finding(path, wide, _WANTED.format(status.st_mode & 0o700))
    for path in _configuration(config):
        with suppress(FileNotFoundError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & _WRITE:
                yield Finding(path, f"mode {mode:04o}", f"mode {mode & ~_WRITE:04o} or less")


def mend(root: str, config: str) -> None:
    """Take away what is too much; the owner can, and so can root. What belongs to others stays."""
    for path in _everything(root):
        _mend(path, os.stat(root).st_uid)
    for path in _configuration(config):
        with suppress(FileNotFoundError, PermissionError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
            if mode & _WRITE:
                os.chmod(path, mode & ~_WRITE)


def _mend(path: str, owner: int) -> None:
    """Close one; a link is not followed, and nothing outside is reached through a hard link."""
    with suppress(FileNotFoundError, PermissionError):
        status = os.lstat(path)
        theirs = status.st_uid == owner and (
            stat.S_ISDIR(status.st_mode) or status.st_nlink == 1 or owner == os.geteuid()
        )
        if theirs and private.too_much(path):
            # By its number: the name may lead elsewhere by now.
            descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW)
            try:
                if os.path.samestat(os.fstat(descriptor), status):
                    private.close(f"/proc/self/fd/{descriptor}")
            finally:
                os.close(descriptor)


def _everything(root: str) -> Iterator[str]:
    """The root, and what is in it: a folder before its content, so that it can be closed first."""
    yield root
    with suppress(FileNotFoundError, PermissionError):
        for entry in sorted(reading.entries(root), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                yield from _everything(entry.path)
            else:
                yield entry.path


def _configuration(config: str) -> Iterator[str]:
    """What says what runs: the configuration, its folder, and the routes."""
    folder = os.path.dirname(config)
    routes = f"{folder}/routes.d"
    yield from (folder, config)
    if os.path.isdir(routes):
        yield routes
        yield from (entry.path for entry in reading.entries(routes) if entry.is_file())
