"""Access control lists of files, read and written as the kernel keeps them.

Source: acl(5), and `posix_acl_xattr.h` of the kernel.
"""

import errno
import grp
import os
import pwd
import struct
from collections.abc import Mapping

from spoold.rights import letters

_ACCESS = "system.posix_acl_access"
#: What everything that is made in a folder would be given.
INHERITED = "system.posix_acl_default"
_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF

#: A list as (tag, id) → rights.
List = Mapping[tuple[int, int], int]


def extended(
    users: Mapping[int, int], groups: Mapping[int, int], mode: int, group_may: int
) -> List:
    """The list that gives users and groups rights beside a mode; empty if there are none.

    Args:
        users: uid → rights.
        groups: gid → rights.
        mode: of the file; where there is a list, its group bits are the most that anybody gets.
        group_may: the rights of the file's own group.
    """
    acl = {(_USER, uid): rights for uid, rights in users.items()}
    acl |= {(_GROUP, gid): rights for gid, rights in groups.items()}
    if acl:
        acl[_USER_OBJ, _NOBODY] = mode >> 6 & 7
        acl[_GROUP_OBJ, _NOBODY] = group_may
        acl[_MASK, _NOBODY] = mode >> 3 & 7
        acl[_OTHER, _NOBODY] = mode & 7
    return acl


def read(descriptor: int, attribute: str = _ACCESS) -> List:
    """A list of an open file; empty if it has none beyond its mode."""
    try:
        raw = os.getxattr(descriptor, attribute)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return {}
        raise
    return {(tag, who): rights for tag, rights, who in struct.iter_unpack("<HHI", raw[4:])}


def write(descriptor: int, acl: List) -> None:
    """Give an open file this list, or none, and nothing to inherit.

    Raises:
        OSError: EOPNOTSUPP if the file system has no lists.
    """
    if acl:
        entries = [struct.pack("<HHI", tag, rights, who)
                   for (tag, who), rights in sorted(acl.items())]  # fmt: skip
        os.setxattr(descriptor, _ACCESS, struct.pack("<I", _VERSION) + b"".join(entries))
    elif read(descriptor):
        os.removexattr(descriptor, _ACCESS)
    if read(descriptor, INHERITED):
        os.removexattr(descriptor, INHERITED)


def user_name(uid: int) -> str:
    """A user, by name if it has one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """A group, by name if it has one."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def shown(acl: List) -> str:
    """As getfacl(1) would name it, in one line."""
    names = {_USER: ("u", user_name), _GROUP: ("g", group_name)}
    more = [f"{names[tag][0]}:{names[tag][1](who)}:{letters(bits)}"
            for (tag, who), bits in acl.items() if tag in names]  # fmt: skip
    own = acl.get((_GROUP_OBJ, _NOBODY))
    return "".join([f" (the group: {letters(own)})" if own is not None else "",
                    *(f" {one}" for one in more)])  # fmt: skip
