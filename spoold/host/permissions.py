"""Who may do what, by the table → how it is on disk: what differs, and mended.

Access control lists are read and written as the kernel keeps them. Source: acl(5), and
`posix_acl_xattr.h` of the kernel.
"""

import errno
import grp
import os
import pwd
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from spoold import rights as access
from spoold.disk import fs
from spoold.errors import ConfigError, SpooldError
from spoold.rights import Access, letters
from spoold.spool import seal_key
from spoold.states import FOLDERS, SEAL_KEY, Per

_ATTRIBUTE = "system.posix_acl_access"
#: What everything that is made in a folder would be given.
_INHERITED = "system.posix_acl_default"
_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NOBODY = 0xFFFFFFFF

#: A list as (tag, id) → rights.
_List = Mapping[tuple[int, int], int]


class Differs(SpooldError):
    """What is on disk gives somebody more, or less, than the table."""

    exit_code = os.EX_NOPERM


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: the path, what it is and what it should be."""

    path: str
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An `Access` with the numbers of this machine."""

    path: str
    uid: int
    gid: int
    mode: int
    acl: _List


def compare(root: str, table: list[Access]) -> Iterator[Finding]:
    """What differs, folder by folder; the users and groups must exist.

    Raises:
        ConfigError: a user or a group does not exist.
    """
    for entry in [*table, access.of_seal_key(SEAL_KEY)]:
        wanted = _resolved(root, entry)
        try:
            descriptor = os.open(wanted.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            yield Finding(wanted.path, "it is missing", str(_shown(entry)))
            continue
        except OSError as error:
            yield Finding(wanted.path, str(error.strerror), str(_shown(entry)))
            continue
        try:
            if problem := _difference(descriptor, wanted):
                yield Finding(wanted.path, problem, _shown(entry))
        finally:
            os.close(descriptor)


def mend(root: str, table: list[Access]) -> None:
    """Make everything as the table says; what is there keeps its content.

    Raises:
        ConfigError: a user or a group does not exist, or the file system knows no lists.
        PermissionError: only root can.
    """
    for entry in table:
        with _below(root, entry.path) as descriptor:
            _give(descriptor, _resolved(root, entry))
    key = _resolved(root, access.of_seal_key(SEAL_KEY))
    seal_key.ensure(root)
    descriptor = os.open(key.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        known = {0, key.uid, os.stat(root).st_uid}
        is_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not is_file or status.st_uid not in known:
            raise ConfigError(
                f"{key.path} belongs to {_user(status.st_uid)}, who knows it, and could seal what "
                "runs. Restore the right one from a backup, or remove it: then a new one is made, "
                "and what waits must be dropped again"
            )
        _set(descriptor, key)
    finally:
        os.close(descriptor)
    fs.sync_folder(root)


@contextmanager
def _below(root: str, path: str) -> Iterator[int]:
    """A folder below the root, made if it is missing; no part of its path is followed elsewhere.

    The users of stages own some of these folders, and could put a link in the place of one.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in filter(None, path.split("/")):
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=descriptor)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            inner = os.open(part, flags, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def alone(root: str, paths: Mapping[str, int]) -> Iterator[Finding]:
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


def narrow(root: str, paths: Mapping[str, int]) -> None:
    """Take away what is too much in a spool of one user."""
    for path, mode in paths.items():
        with suppress(FileNotFoundError), _folder(os.path.join(root, path)) as descriptor:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & mode)


def modes_alone(sources: list[str], executors: list[str]) -> dict[str, int]:
    """The folders of a spool of one user, and the most that their permissions may be."""
    keys = {Per.NOTHING: [""], Per.SOURCE: sources, Per.EXECUTOR: executors}
    return {f.path(key): f.mode & 0o1777 for f in FOLDERS.values() for key in keys[f.per]}


def _resolved(root: str, entry: Access) -> _Wanted:
    """The same with numbers."""
    acl = {(_USER, _uid(name)): rights for name, rights in entry.users.items()}
    acl |= {(_GROUP, _gid(name)): rights for name, rights in entry.groups.items()}
    if acl:
        acl[_USER_OBJ, _NOBODY] = entry.mode >> 6 & 7
        acl[_GROUP_OBJ, _NOBODY] = entry.group_may
        acl[_MASK, _NOBODY] = entry.mode >> 3 & 7
        acl[_OTHER, _NOBODY] = entry.mode & 7
    path = os.path.join(root, entry.path).rstrip("/")
    return _Wanted(path, _uid(entry.owner), _gid(entry.group), entry.mode, acl)


def account(name: str) -> pwd.struct_passwd:
    """A user of this machine; raises `ConfigError` if there is none of that name."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"there is no user {name}. {_HOW}") from None


def _uid(name: str) -> int:
    return account(name).pw_uid


def _gid(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise ConfigError(f"there is no group {name}. {_HOW}") from None


_HOW = "As root, `spoold check --permissions --fix` makes it"


def _difference(descriptor: int, wanted: _Wanted) -> str:
    status = os.fstat(descriptor)
    has = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    acl, inherited = _acl(descriptor), _acl(descriptor, _INHERITED)
    if (*has, acl, inherited) == (wanted.uid, wanted.gid, wanted.mode, wanted.acl, {}):
        return ""
    more = f", and what is made in it gets{_list_shown(inherited)}" if inherited else ""
    return f"{_user(has[0])}:{_group(has[1])} {has[2]:04o}{_list_shown(acl)}{more}"


def _acl(descriptor: int, attribute: str = _ATTRIBUTE) -> _List:
    """A list of an open file; empty if it has none beyond its mode."""
    try:
        raw = os.getxattr(descriptor, attribute)
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
            return {}
        raise
    return {(tag, who): rights for tag, rights, who in struct.iter_unpack("<HHI", raw[4:])}


def _set(descriptor: int, wanted: _Wanted) -> None:
    os.fchown(descriptor, wanted.uid, wanted.gid)
    os.fchmod(descriptor, wanted.mode)
    try:
        if wanted.acl:
            entries = (struct.pack("<HHI", tag, rights, who)
                       for (tag, who), rights in sorted(wanted.acl.items()))  # fmt: skip
            os.setxattr(descriptor, _ATTRIBUTE, struct.pack("<I", _VERSION) + b"".join(entries))
        elif _acl(descriptor):
            os.removexattr(descriptor, _ATTRIBUTE)
        if _acl(descriptor, _INHERITED):
            os.removexattr(descriptor, _INHERITED)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise ConfigError(
                f"{wanted.path}: this file system has no access control lists, so stages cannot "
                "have users of their own here. Mount it with them, or use another one"
            ) from error
        raise


def _give(descriptor: int, wanted: _Wanted) -> None:
    """Set a folder; what belonged to its old owner in there belongs to the new one."""
    before = os.fstat(descriptor).st_uid
    _set(descriptor, wanted)
    if before != wanted.uid:
        _hand_over(descriptor, before, wanted)


def _hand_over(descriptor: int, before: int, wanted: _Wanted) -> None:
    for name in os.listdir(descriptor):
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        is_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        # A folder of the table is set by itself, later.
        is_day = stat.S_ISDIR(status.st_mode) and name[:1].isdigit()
        if status.st_uid == before and (is_file or is_day):
            os.chown(name, wanted.uid, wanted.gid, dir_fd=descriptor, follow_symlinks=False)
        if is_day:
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
            try:
                _hand_over(inside, before, wanted)
            finally:
                os.close(inside)


@contextmanager
def _folder(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _shown(entry: Access) -> str:
    """As getfacl(1) would name it, in one line."""
    more = [f"u:{name}:{letters(bits)}" for name, bits in entry.users.items()]
    more += [f"g:{name}:{letters(bits)}" for name, bits in entry.groups.items()]
    own = f" (the group: {letters(entry.group_may)})" if more else ""
    return " ".join([f"{entry.owner}:{entry.group} {entry.mode:04o}{own}", *more])


def _list_shown(acl: _List) -> str:
    names = {_USER: ("u", _user), _GROUP: ("g", _group)}
    more = [f"{names[tag][0]}:{names[tag][1](who)}:{letters(bits)}"
            for (tag, who), bits in acl.items() if tag in names]  # fmt: skip
    own = acl.get((_GROUP_OBJ, _NOBODY))
    return "".join([f" (the group: {letters(own)})" if own is not None else "",
                    *(f" {one}" for one in more)])  # fmt: skip
