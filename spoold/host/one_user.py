"""The folders of a spool whose stages share one user: no owner but that one, no rights too wide."""

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress

from spoold.disk import fs
from spoold.host.permissions import Finding
from spoold.states import FOLDERS, Per


def modes(sources: list[str], executors: list[str]) -> dict[str, int]:
    """The folders of a spool of one user, and the most that their permissions may be."""
    keys = {Per.NOTHING: [""], Per.SOURCE: sources, Per.EXECUTOR: executors}
    return {f.path(key): f.mode & 0o1777 for f in FOLDERS.values() for key in keys[f.per]}


def compare(root: str, paths: Mapping[str, int]) -> Iterator[Finding]:
    """What differs in a spool of one user: other owners, and rights that are too wide.

    Args:
        root: the spool; its owner is the user.
        paths: folders from the root, and the most that their permissions may be.
    """
    owner = os.stat(root).st_uid
    for path, mode in paths.items():
        whole = os.path.join(root, path)
        try:
            status = os.lstat(whole)
        except FileNotFoundError:
            continue
        if status.st_uid != owner:
            yield Finding(whole, f"owned by uid {status.st_uid}", f"owned by uid {owner}")
        if wide := stat.S_IMODE(status.st_mode) & ~mode:
            yield Finding(whole, f"mode {stat.S_IMODE(status.st_mode):04o}",
                          f"no more than {mode:04o} (too much: {wide:04o})")  # fmt: skip


def mend(root: str, paths: Mapping[str, int]) -> None:
    """Take away what is too much in a spool of one user."""
    for path, mode in paths.items():
        with (
            suppress(FileNotFoundError),
            fs.opened(os.path.join(root, path), flags=os.O_NOFOLLOW) as descriptor,
        ):
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & mode)
