"""The only module that renames, links, syncs and unlinks.

Three ways to make a name appear, and no others:

* `rename_new`: one `renameat2(RENAME_NOREPLACE)`. Every state change. Never overwrites.
* `replace`: a rename over a file of the same name in the same folder. New content, same state.
* `exchange`: one `renameat2(RENAME_EXCHANGE)`. New content for a file that others may move away at
  any moment: it fails when the file is gone, where `replace` would bring it back.

A failed sync is never retried: the kernel may have dropped the pages and would report success the
second time. `unsynced.py` syncs in groups.
"""

import ctypes
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from spoold.errors import StorageError

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
#: What `os.fsencode` does on Linux, at a tenth of its price.
_NAMES = ("utf-8", "surrogateescape")
_libc = ctypes.CDLL(None, use_errno=True)
_call_renameat2 = _libc.renameat2
_call_renameat2.argtypes = (
    ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
)  # fmt: skip

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _renameat2(source: str, target: str, flags: int) -> None:
    old, new = source.encode(*_NAMES), target.encode(*_NAMES)
    if _call_renameat2(_AT_FDCWD, old, _AT_FDCWD, new, flags) == 0:
        return
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), source, None, target)


def rename_new(source: str, target: str) -> None:
    """Rename, and fail if the target exists.

    Raises:
        FileNotFoundError: the source is gone: somebody else was faster.
        FileExistsError: the target exists; nothing was changed.
        OSError: EXDEV across mounts, EINVAL where the file system cannot do it.
    """
    _renameat2(source, target, _RENAME_NOREPLACE)


def exchange(source: str, target: str) -> None:
    """Swap two files' names in one step.

    Raises:
        FileNotFoundError: one of them is gone; nothing was changed.
    """
    _renameat2(source, target, _RENAME_EXCHANGE)


def replace(source: str, target: str) -> None:
    """Rename over the target, which may or may not exist."""
    os.rename(source, target)  # noqa: TID251 - this module is where it belongs


def remove(path: str) -> None:
    """Unlink a temporary file; gone already is fine, and so is a name that no file can have."""
    try:
        os.unlink(path)  # noqa: TID251 - this module is where it belongs
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise


def owner(path: str) -> int | None:
    """The number of the user whose file or folder it is; None if there is none."""
    try:
        return os.lstat(path).st_uid
    except FileNotFoundError:
        return None


def give_to_owner(folder: str, *paths: str) -> None:
    """What root has made in somebody's folder becomes theirs, so that they can go on with it."""
    owner = os.stat(folder)
    for path in filter(exists, paths if os.geteuid() == 0 else ()):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def remove_if_empty(path: str) -> None:
    """Remove a folder in which nothing is left; any other stays."""
    with suppress(OSError):
        os.rmdir(path)


def make_folder(path: str, mode: int, *, durable: bool = True) -> None:
    """Create a folder and its parents, durably or not; an existing one is left as it is."""
    path = path.rstrip("/")  # else dirname would name the folder itself
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    is_new = not os.path.isdir(above)
    # Never wider than it shall be, also if this ends here.
    os.makedirs(path, mode=mode & 0o777, exist_ok=True)
    os.chmod(path, mode)
    if not durable:
        return
    sync_folder(above)
    if is_new:
        sync_folder(os.path.dirname(above))


def create(path: str, data: bytes, mode: int = 0o600) -> None:
    """Create a file, private by default, whole and durable from the moment it can be seen.

    Raises:
        FileExistsError: it exists; nothing was changed.
    """
    draft = f"{path}.{secrets.token_hex(6)}"
    descriptor = os.open(draft, _WRITE_NEW, mode)
    try:
        _write_all(descriptor, data)
        sync(descriptor, draft)
        rename_new(draft, path)
    except BaseException:
        remove(draft)
        raise
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


def show(path: str, data: bytes) -> None:
    """Write a file that is whole whenever somebody looks; a crash of the machine may lose it."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(data)
    replace(draft, path)


def point(path: str, target: str) -> None:
    """Make a symbolic link."""
    os.symlink(target, path)


@dataclass(frozen=True, slots=True)
class Read:
    """A regular file's bytes and what it looked like when they were read."""

    data: bytes
    status: os.stat_result


class NotRegular(OSError):
    """Not a regular file; `kind` is one of `directory`, `symlink`, `special-file`."""

    def __init__(self, path: str, kind: str) -> None:
        super().__init__(errno.EINVAL, f"is a {kind}", path)
        self.kind = kind


class TooLarge(OSError):
    """A regular file beyond the limit; nothing was read."""

    def __init__(self, path: str, size: int) -> None:
        super().__init__(errno.EFBIG, "is too large", path)
        self.size = size


def status(path: str) -> os.stat_result:
    """What a name stands for, links not followed."""
    return os.lstat(path)


def exists(path: str) -> bool:
    """Whether there is something of that name, links not followed."""
    # lstat says no with an exception, which takes longer than the call, and no is the rule.
    return os.access(path, os.F_OK, follow_symlinks=False)


def utc(seconds: float) -> datetime:
    """A file system time as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def is_stuck(path: str) -> bool:
    """Whether it is a folder that this user cannot rename: that takes write permission on it."""
    try:
        is_folder = stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
    return is_folder and not os.access(path, os.W_OK, effective_ids=True)


def kind_of(status: os.stat_result) -> str:
    """`file`, `directory`, `symlink` or `special-file`."""
    if stat.S_ISREG(status.st_mode):
        return "file"
    if stat.S_ISDIR(status.st_mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(status.st_mode) else "special-file"


def read_regular(path: str, limit: int, *, seen_regular: bool = False) -> Read:
    """Read a whole regular file of at most `limit` bytes; follow no link, wait for no FIFO.

    Args:
        path: its path.
        limit: how many bytes it may have.
        seen_regular: the folder's listing said a moment ago that it is a regular file, so that
            there is no need to ask before it is opened.

    Raises:
        NotRegular: it is something else; it was not opened, or only closed again.
        TooLarge: it is larger than `limit`, also if it grew while it was read.
        OSError: it is gone, or may not be read.
    """
    if not seen_regular:
        before = os.lstat(path)
        if not stat.S_ISREG(before.st_mode):
            raise NotRegular(path, kind_of(before))
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotRegular(path, kind_of(status))
        if status.st_size > limit:
            raise TooLarge(path, status.st_size)
        data = os.read(descriptor, status.st_size + 1)
        # Exactly what it had means that the end was seen: one byte more was asked for.
        while len(data) != status.st_size and len(data) <= limit:
            if not (chunk := os.read(descriptor, 1 << 16)):
                break
            data += chunk
        if len(data) > limit:
            raise TooLarge(path, len(data))
    finally:
        os.close(descriptor)
    return Read(data, status)


def entries(path: str) -> Iterator[os.DirEntry[str]]:
    """A folder's entries in no order; names that are not UTF-8 come with surrogate escapes."""
    with os.scandir(path) as found:
        yield from found


def begin(path: str, data: bytes, mtime: float | None = None) -> int:
    """Write a new file and return it open, for `sync`; if that fails there is none.

    Whoever may enter its folder may read it, whatever the umask of the person who writes it.
    """
    descriptor = os.open(path, _WRITE_NEW, 0o644)
    try:
        if _masks():
            os.fchmod(descriptor, 0o644)
        _write_all(descriptor, data)
        if mtime is not None:
            os.utime(descriptor, (mtime, mtime))
    except BaseException:
        os.close(descriptor)
        remove(path)
        raise
    return descriptor


@cache
def _masks() -> bool:
    """Whether this process's umask hides from others what it writes."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as lines:
        umask = next((line.split()[1] for line in lines if line.startswith("Umask:")), "777")
    return bool(int(umask, 8) & 0o044)


def sync(descriptor: int, path: str) -> None:
    """Make an open file's content, or an open folder's names, durable.

    Raises:
        StorageError: it failed. Never retried: the stage must stop.
    """
    try:
        os.fsync(descriptor)  # noqa: TID251 - this module is where it belongs
    except OSError as error:
        raise _sync_failed(path, error.strerror or str(error)) from error


def sync_all(folder: str) -> None:
    """Make everything durable that is on a folder's file system.

    Raises:
        StorageError: it failed. Never retried: the stage must stop.
    """
    with _opened(folder) as descriptor:
        if _libc.syncfs(descriptor) != 0:
            raise _sync_failed(folder, os.strerror(ctypes.get_errno()))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    with _opened(path) as descriptor:
        sync(descriptor, path)


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_failed(path: str, why: str) -> StorageError:
    return StorageError(
        f"cannot make {path} durable: {why}. The files are where they were. "
        "Check the disk (dmesg). systemd starts a service again, which then begins from the files."
    )
