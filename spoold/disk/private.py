"""One user's files: no right for the group, for others or by an access control list.

A folder that is closed to others makes what is made in it closed, too: so a spool of one user is
closed as a whole, from its root down, and one whose stages have users of their own is not.
"""

import errno
import os
import stat

#: Permission bits of the group and of all others.
OTHERS = 0o077
#: The access control list of a file, and the one that a folder passes on to what is made in it.
_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
_NONE = (errno.ENODATA, errno.EOPNOTSUPP)


def mode_in(folder: str, mode: int) -> int:
    """The permission bits for what is made in a folder: in a closed one, none for others.

    Args:
        folder: its path; the working folder if empty.
        mode: the bits that it is to have where the folder lets others in.
    """
    return mode if os.stat(folder or ".").st_mode & OTHERS else mode & ~OTHERS


def too_much(path: str) -> str:
    """What others may do with a file or folder by its mode or lists, in words; empty if nothing.

    Raises:
        OSError: it is gone, or may not be looked at.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return ""
    found = [f"mode {stat.S_IMODE(status.st_mode):04o}"] if status.st_mode & OTHERS else []
    lists = [name for name in _LISTS if _has(path, name)]
    words = ("an access control list", "a list that it passes on")
    found += [word for name, word in zip(_LISTS, words, strict=True) if name in lists]
    return ", ".join(found)


def close(path: str, status: os.stat_result | None = None) -> None:
    """Take all rights of others away, by mode and by lists; what its owner may do stays.

    Args:
        path: of a file or folder; what a link leads to is closed.
        status: of it, where that is known.
    """
    mode = (status or os.stat(path)).st_mode
    if mode & OTHERS:
        # The bits for special rights go with them: a folder's set-group-id is one.
        os.chmod(path, mode & 0o1700)
    # Only a folder passes a list on.
    for name in _LISTS if stat.S_ISDIR(mode) else _LISTS[:1]:
        if _has(path, name):
            # The group's bits are those of the list's mask, which are none by now.
            os.removexattr(path, name)


def _has(path: str, name: str) -> bool:
    try:
        os.getxattr(path, name)
    except OSError as error:
        if error.errno in _NONE:
            return False
        raise
    return True
