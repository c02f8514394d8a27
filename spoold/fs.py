"""The only module that renames, links, syncs and unlinks.

Three ways to make a name appear, and no others:

* `rename_new`: one `renameat2(RENAME_NOREPLACE)`. Every state change. Never overwrites.
* `replace`: a rename over a file of the same name in the same folder. New content, same state.
* `exchange`: one `renameat2(RENAME_EXCHANGE)`. New content for a file that others may move away at
  any moment: it fails when the file is gone, where `replace` would bring it back.

`Unsynced` collects what must become durable and makes it so in groups: data before the renames that
show it, folders after. A failed sync is never retried: the kernel may have dropped the pages and
would report success the second time.
"""

import ctypes
import errno
import itertools
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from spoold.errors import StorageError
from spoold.values import value

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


#: From this many files and folders on, one `syncfs` is cheaper than an `fsync` each. Where others
#: write a lot to the same disk it waits for them, which one request need not.
_SYNCFS_FROM = 4


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
        _sync(descriptor, draft)
        rename_new(draft, path)
    except BaseException:
        remove(draft)
        raise
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


@value
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


def moment(seconds: float) -> datetime:
    """A file system time as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


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


def sync_folder(path: str) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(descriptor, path)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Unsynced:
    """What one stage has written and moved since its last `flush`.

    Attributes:
        broken: how a sync failed, if one did; from then on nothing is written or synced.
    """

    root: str
    broken: StorageError | None = None
    _stamp: str = field(default_factory=lambda: f"{os.getpid()}.{secrets.token_hex(3)}")
    _count: Iterator[int] = field(default_factory=itertools.count)
    _drafts: dict[str, int] = field(default_factory=dict)
    _folders: dict[str, None] = field(default_factory=dict)

    def write(self, folder: str, prefix: str, data: bytes, mtime: float | None = None) -> str:
        """Write `data` under a fresh name in `folder` and return its path; not durable yet."""
        self.must_be_sound()
        path = f"{folder}/{prefix}.{self._stamp}{next(self._count):06x}"
        descriptor = os.open(path, _WRITE_NEW, 0o644)
        try:
            _write_all(descriptor, data)
            if mtime is not None:
                os.utime(descriptor, (mtime, mtime))
        except BaseException:
            os.close(descriptor)
            remove(path)
            raise
        self._drafts[path] = descriptor
        return path

    def renamed(self, source: str, target: str, *, temporary: bool = False) -> None:
        """Note that a name moved; the folder it came to is synced before the one it left.

        Args:
            source: the old path.
            target: the new path.
            temporary: the old name was nobody's state, so that it need not be durably gone.
        """
        if source in self._drafts:
            raise RuntimeError(f"{source} was renamed before its data was synced")
        self._folders.setdefault(target.rpartition("/")[0])
        if not temporary:
            left = source.rpartition("/")[0]
            self._folders.pop(left, None)
            self._folders[left] = None

    def flush(self) -> None:
        """Make everything durable: first the data, then the folders.

        Raises:
            StorageError: a sync failed. Never retried: the stage must stop.
        """
        self.must_be_sound()
        try:
            self._flush()
        except StorageError as error:
            self.broken = error
            raise

    def must_be_sound(self) -> None:
        """Return if no sync has failed yet: after one, nothing may count as durable any more.

        Raises:
            StorageError: what the failed sync said.
        """
        if self.broken:
            raise self.broken

    def _flush(self) -> None:
        drafts, self._drafts = self._drafts, {}
        try:
            if len(drafts) + len(self._folders) >= _SYNCFS_FROM:
                self._sync_all()
                # It wrote the folders out too.
                self._folders.clear()
            else:
                for path, descriptor in drafts.items():
                    _sync(descriptor, path)
        finally:
            for descriptor in drafts.values():
                os.close(descriptor)
        while self._folders:
            folder = next(iter(self._folders))
            sync_folder(folder)
            del self._folders[folder]

    def abandon(self) -> None:
        """Throw away what has no name yet, after an error; what moved still has to be synced."""
        drafts, self._drafts = self._drafts, {}
        for path, descriptor in drafts.items():
            os.close(descriptor)
            remove(path)

    def _sync_all(self) -> None:
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _libc.syncfs(descriptor) != 0:
                code = ctypes.get_errno()
                raise _sync_failed(self.root, os.strerror(code))
        finally:
            os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(descriptor: int, path: str) -> None:
    try:
        os.fsync(descriptor)  # noqa: TID251 - this module is where it belongs
    except OSError as error:
        raise _sync_failed(path, error.strerror or str(error)) from error


def _sync_failed(path: str, why: str) -> StorageError:
    return StorageError(
        f"cannot make {path} durable: {why}. The files are where they were. "
        "Check the disk (dmesg), then start the stage again."
    )
