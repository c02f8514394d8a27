"""Root, for a while, with no more rights than the user whose folder it works in: credentials(7)."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_owner_of(folder: str) -> Iterator[None]:
    """Within it root is the owner of a folder, in all that the kernel asks of files.

    What the owner has put there, a link say, then leads root nowhere that the owner could not go.
    Nothing changes for anybody but root, for a folder of root's, or where there is no folder. It is
    for a process without threads: what these do meanwhile, they do as the owner as well.

    Args:
        folder: its path.
    """
    status = os.lstat(folder) if os.geteuid() == 0 and os.path.lexists(folder) else None
    if status is None or status.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    try:
        os.setgroups(_groups_of(status))
        os.setegid(status.st_gid)
        os.seteuid(status.st_uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _groups_of(status: os.stat_result) -> list[int]:
    """All groups of a file's owner, and the file's."""
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        return [status.st_gid]
    return os.getgrouplist(name, status.st_gid)
