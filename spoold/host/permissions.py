"""Who may do what, by the table → how it is on disk: what differs, and mended."""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from spoold import rights as access
from spoold.disk import fs
from spoold.errors import ConfigError, SpooldError
from spoold.host import acl
from spoold.identity import id_of
from spoold.rights import Access, letters
from spoold.spool import seal_key
from spoold.spool.seal_key import SEAL_KEY
from spoold.spool.upgrade import set_foreign_aside, upgrade


class Differs(SpooldError):
    """The rights on disk are not those of the table."""

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
    acl: acl.List


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
    whole, *below = table
    of_one_user = os.stat(root).st_uid
    for entry in [*below, whole]:
        with _folder_in(root, entry.path) as descriptor:
            _give(descriptor, _resolved(root, entry), of_one_user)
    # Nobody but root can plant anything in its way now.
    upgrade(root)
    set_foreign_aside(root)
    for entry in _of_former_executors(root, table):
        with _folder_in(root, entry.path) as descriptor:
            _set(descriptor, _resolved(root, entry))
    key = _resolved(root, access.of_seal_key(SEAL_KEY))
    seal_key.ensure(root)
    descriptor = os.open(key.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        known = {0, key.uid, os.stat(root).st_uid}
        is_file = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
        if not is_file or status.st_uid not in known:
            raise ConfigError(
                f"{key.path} belongs to {acl.user_name(status.st_uid)}, who knows it, and "
                "could seal what runs. Restore the right one from a backup, or remove it: then a "
                "new one is made, and what waits must be dropped again"
            )
        _set(descriptor, key)
    finally:
        os.close(descriptor)
    fs.sync_folder(root)


def _of_former_executors(root: str, table: list[Access]) -> Iterator[Access]:
    """Folders that the upgrade made, of executors that the configuration has no more."""
    known = {entry.path for entry in table}
    for entry in table:
        if entry.path in access.OF_RESULTS:
            with _folder_in(root, entry.path) as descriptor, os.scandir(descriptor) as inside:
                names = [one.name for one in inside if one.is_dir(follow_symlinks=False)]
                mine = [one for one in names if os.stat(one, dir_fd=descriptor).st_uid == 0]
            paths = {f"{entry.path}/{name}" for name in mine if not id_of(name)}
            yield from (access.of_former(entry, path) for path in sorted(paths - known))


@contextmanager
def _folder_in(root: str, path: str) -> Iterator[int]:
    """A folder in the root, made if it is missing; no link in its path is followed.

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


def _resolved(root: str, entry: Access) -> _Wanted:
    """The same with numbers."""
    users = {_uid(name): may for name, may in entry.users.items()}
    groups = {_gid(name): may for name, may in entry.groups.items()}
    listed = acl.extended(users, groups, entry.mode, entry.group_may)
    path = os.path.join(root, entry.path).rstrip("/")
    return _Wanted(path, _uid(entry.owner), _gid(entry.group), entry.mode, listed)


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
    listed, inherited = acl.read(descriptor), acl.read(descriptor, acl.INHERITED)
    if (*has, listed, inherited) == (wanted.uid, wanted.gid, wanted.mode, wanted.acl, {}):
        return ""
    more = f", and what is made in it gets{acl.shown(inherited)}" if inherited else ""
    return f"{acl.user_name(has[0])}:{acl.group_name(has[1])} {has[2]:04o}{acl.shown(listed)}{more}"


def _set(descriptor: int, wanted: _Wanted) -> None:
    os.fchown(descriptor, wanted.uid, wanted.gid)
    os.fchmod(descriptor, wanted.mode)
    try:
        acl.write(descriptor, wanted.acl)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise ConfigError(
                f"{wanted.path}: this file system has no access control lists, so stages cannot "
                "have users of their own here. Mount it with them, or use another one"
            ) from error
        raise


def _give(descriptor: int, wanted: _Wanted, of_one_user: int) -> None:
    """Set a folder; what belonged to root or to the one user of the spool belongs to its owner.

    What a stage's user or an approver has made there before is not made anybody else's word.
    """
    before = os.fstat(descriptor).st_uid
    _set(descriptor, wanted)
    if before != wanted.uid and before in (0, of_one_user):
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


def _shown(entry: Access) -> str:
    """As getfacl(1) would name it, in one line."""
    more = [f"u:{name}:{letters(bits)}" for name, bits in entry.users.items()]
    more += [f"g:{name}:{letters(bits)}" for name, bits in entry.groups.items()]
    own = f" (the group: {letters(entry.group_may)})" if more else ""
    return " ".join([f"{entry.owner}:{entry.group} {entry.mode:04o}{own}", *more])
