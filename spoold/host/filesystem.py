"""What spoold asks of a file system, tried out; and mounts that split a spool."""

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from spoold.disk import fs
from spoold.disk.durable import Unsynced
from spoold.disk.free_space import ran_out
from spoold.disk.locks import written_to_now
from spoold.errors import ConfigError, NoRoom, explained
from spoold.spool.spool import Place, Spool
from spoold.states import FOLDERS

#: More than fits beside a file's status, so that there must be room for it.
_SAMPLE = b"spoold check\n" * 5000


def must_be_usable(spool: Spool) -> None:
    """Refuse a spool that is read-only or has mounts inside, before anything moves; writes nothing.

    Raises:
        ConfigError: which folders are mounts.
        StorageError: it is read-only.
    """
    if os.statvfs(spool.root).f_flag & os.ST_RDONLY:
        with _named(spool.root):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    ours = {folder.path().partition("/")[0] for folder in FOLDERS.values()}
    apart = [
        point
        for point in _inside(spool.root)
        if os.path.relpath(point, os.path.realpath(spool.root)).partition("/")[0] in ours
        and _is_apart(spool.root, point)
    ]
    if apart:
        raise _split(spool, apart)


def try_out(spool: Spool, *, everywhere: bool = True) -> Iterator[str]:
    """Write, sync, and try every kind of rename in every folder; leaves nothing behind.

    Args:
        spool: the spool.
        everywhere: whether this user should be able to write to all of them.

    Yields:
        What spoold can do without.

    Raises:
        ConfigError: what the file system cannot do.
        NoRoom: it is full.
        StorageError: it is read-only, or a sync fails.
        PermissionError: this user may not write there.
    """
    tmp, folders = spool.path(Place("tmp")), _folders(spool, everywhere=everywhere)
    if tmp not in folders and not everywhere:
        return
    home = tmp if tmp in folders else spool.root
    kind = _kind(home)
    if kind == "btrfs":
        yield (
            f"btrfs at {spool.root} may bring a file back under its old and its new name after a "
            "power cut. Nothing is lost and nothing runs twice, but you may find a copy in held/. "
            "ext4 and xfs do not do this"
        )
    with _drafts(spool.root, home) as (one, other):
        _must_refuse_to_overwrite(one, other)
        _must_exchange(one, other)
        apart = [folder for folder in sorted(folders) if not _moves_there_and_back(one, folder)]
        if apart:
            # When all others are apart from tmp, then tmp is what is apart.
            raise _split(spool, [tmp] if len(apart) == len(folders) - 1 else apart)
        if written_to_now(one) is None:
            yield (
                f"{kind} at {spool.root} does not tell who writes to a file (F_SETLEASE): "
                "a half-written one is known by its age only"
            )


def _folders(spool: Spool, *, everywhere: bool) -> set[str]:
    """The folders that there are; unless `everywhere` only those that this user may write to."""
    folders = {present(spool.path(place)) for place in spool.places()} - {spool.root}
    # To see what is there as well: an inbox is only half open to most users.
    may = os.R_OK | os.W_OK | os.X_OK
    return {folder for folder in folders if everywhere or os.access(folder, may)}


def present(folder: str) -> str:
    """The folder, or what there is of the way to it; the rest is laid out when a service starts."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    return folder


@contextmanager
def _drafts(root: str, folder: str) -> Iterator[tuple[str, str]]:
    """Two durable files of different sizes, removed at the end."""
    unsynced, made = Unsynced(root), list[str]()
    try:
        with _named(folder):
            made += [unsynced.write(folder, "person", data) for data in (_SAMPLE, b"")]
            unsynced.flush()
            fs.sync_folder(folder)
        yield made[0], made[1]
    finally:
        for path in made:
            with suppress(OSError):
                fs.remove(path)


@contextmanager
def _named(folder: str) -> Iterator[None]:
    """An error names the folder, not the file that was tried in it."""
    try:
        yield
    except OSError as error:
        if ran_out(error):
            what = f"cannot write to {folder}: {error.strerror}"
            raise NoRoom(f"{what}. Make room; `df` and `df -i` show what is left") from error
        named = OSError(error.errno, error.strerror, folder)
        raise explained(named) or named from error


def _must_refuse_to_overwrite(one: str, other: str) -> None:
    try:
        # To a new name first: that a name is taken, the kernel finds out without the file system.
        fs.rename_new(one, f"{one}.new")
        fs.rename_new(f"{one}.new", one)
        fs.rename_new(one, other)
    except FileExistsError:
        return
    except OSError as error:
        why = error.strerror or ""
    else:
        why = "it overwrote a file"
    raise _lacks("rename without overwriting (RENAME_NOREPLACE)", why, one)


def _must_exchange(one: str, other: str) -> None:
    sizes = os.path.getsize(one), os.path.getsize(other)
    why = "it did something else"
    try:
        fs.exchange(one, other)
        if (os.path.getsize(other), os.path.getsize(one)) == sizes:
            return
    except OSError as error:
        why = error.strerror or ""
    raise _lacks("exchange two files (RENAME_EXCHANGE)", why, one)


def _lacks(what: str, why: str, file: str) -> ConfigError:
    where = os.path.dirname(file)
    return ConfigError(
        f"{_kind(where)} at {where} cannot {what}: {why}. Use ext4, xfs, btrfs or tmpfs."
    )


def _moves_there_and_back(file: str, folder: str) -> bool:
    there = os.path.join(folder, f".check.{os.getpid()}")
    with _named(folder):
        try:
            fs.rename_new(file, there)
        except OSError as error:
            if error.errno == errno.EXDEV:
                return False
            raise
        try:
            fs.rename_new(there, file)
        except OSError:
            fs.remove(there)
            raise
    return True


def _is_apart(here: str, there: str) -> bool:
    """Whether two folders are on two mounts; the kernel says so before it looks for the file."""
    name = f".check.{os.getpid()}"
    try:
        fs.rename_new(os.path.join(here, name), os.path.join(there, name))
    except OSError as error:
        return error.errno == errno.EXDEV
    return False


def _split(spool: Spool, apart: Iterable[str]) -> ConfigError:
    mounts = {_mount_of(folder) for folder in apart} & set(_inside(spool.root))
    if mounts:
        where = ", ".join(sorted(mounts))
        what = f"{where} {'is a mount' if len(mounts) == 1 else 'are mounts'} inside the spool"
    else:
        what = f"{', '.join(apart)}: no file can be renamed into it, as if it were another disk"
    return ConfigError(
        f"{what}. A move must be one rename, so all folders of a spool must be on one mount and in "
        "one subvolume. Stop spoold, move the files in there to a folder beside it, unmount it, "
        f"and move them back; or mount all of {spool.root} instead"
    )


def _kind(path: str) -> str:
    """The name of the file system that a path is on."""
    return _mounts().get(_mount_of(path), "the file system")


def _mount_of(path: str) -> str:
    path = os.path.realpath(path)
    above = (point for point in _mounts() if f"{path}/".startswith(f"{point.rstrip('/')}/"))
    return max(above, key=len, default="/")


def _inside(root: str) -> list[str]:
    """Mount points inside a folder."""
    root = os.path.realpath(root).rstrip("/")
    return [point for point in _mounts() if point.startswith(f"{root}/")]


def _mounts() -> Mapping[str, str]:
    """Mount point → name of the file system; two of one device have one number (see proc(5))."""
    found = {}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            fields, _, kind = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields.split(" ")[4])
            found[point] = kind.split(" ")[0]
    return found
