"""The only module that renames, links, syncs and unlinks. `reading.py` looks, `durable.py` batches.

Three ways to make a name appear, and no others:

* `rename_new`: one `renameat2(RENAME_NOREPLACE)`. Every state change. Never overwrites.
* `replace`: a rename over a file of the same name in the same folder. New content, same state.
* `exchange`: one `renameat2(RENAME_EXCHANGE)`. New content for a file that others may move away at
  any moment: it fails when the file is gone, where `replace` would bring it back.

A failed sync is never retried: the kernel may have dropped the pages and would report success the
second time.
"""

import ctypes
import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from spoold.disk import private
from spoold.disk.reading import exists
from spoold.errors import StorageError

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
#: What `os.fsencode` does on Linux, in a tenth of its time.
_NAMES = ("utf-8", "surrogateescape")
_libc = ctypes.CDLL(None, use_errno=True)
_call_renameat2 = _libc.renameat2
_call_renameat2.argtypes = (
    ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint,
)  # fmt: skip

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
        FileNotFoundError: the source is gone: another process was faster.
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
    """Rename over the target, whether or not it exists."""
    os.rename(source, target)  # noqa: TID251 - this module is where it belongs


def remove(path: str) -> None:
    """Unlink a temporary file. One that is gone, or whose name no file can have, is no error."""
    try:
        os.unlink(path)  # noqa: TID251 - this module is where it belongs
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise


def remove_if_empty(path: str) -> None:
    """Remove an empty folder; one with entries stays."""
    with suppress(OSError):
        os.rmdir(path)


def make_link(path: str, target: str) -> None:
    """Make a symbolic link at `path` that leads to `target`."""
    os.symlink(target, path)


def make_folder(path: str, mode: int, *, durable: bool = True) -> None:
    """Create a folder and its parents; an existing one is left as it is.

    In a folder that is closed to others it is closed, too, whatever `mode` says.
    """
    path = path.rstrip("/")  # else dirname would name the folder itself
    if os.path.isdir(path):
        return
    above = os.path.dirname(path) or "."
    make_folder(above, mode & 0o777, durable=durable)
    mode = private.mode_in(above, mode)
    try:
        # The mode is given here too: a crash before chmod must not leave it open to others.
        os.mkdir(path, mode & 0o777)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    os.chmod(path, mode)
    if not mode & private.OTHERS:
        private.close(path)
    if durable:
        sync_folder(above)


def give_to_owner(folder: str, *paths: str) -> None:
    """Give files that root has made in a folder to the folder's owner, who works with them."""
    owner = os.stat(folder)
    for path in filter(exists, paths if os.geteuid() == 0 else ()):
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def create(path: str, data: bytes, mode: int = 0o600) -> None:
    """Create a file, private by default, whole and durable from the moment it can be seen.

    Raises:
        FileExistsError: it exists; nothing was changed.
        StorageError: it could not be made durable, and is not there.
    """
    draft = f"{path}.{secrets.token_hex(6)}"
    descriptor = os.open(draft, _WRITE_NEW, private.mode_in(os.path.dirname(path), mode))
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


def make_empty(path: str, mode: int) -> None:
    """Make a file, without content and not durable, if there is none."""
    with suppress(FileExistsError):
        os.close(os.open(path, _WRITE_NEW, private.mode_in(os.path.dirname(path), mode)))


def publish(path: str, data: bytes) -> None:
    """Replace a file that all may read who may enter its folder; a power cut may lose it.

    It is whole at any moment.
    """
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as file:
        os.fchmod(file.fileno(), private.mode_in(os.path.dirname(path), 0o644))
        file.write(data)
    replace(draft, path)


def write_draft(path: str, data: bytes, mtime: float | None, mode: int) -> int:
    """Write a new file and return its open descriptor, for `sync`; on an error there is no file.

    It has that mode, whatever this process's umask is.
    """
    descriptor = os.open(path, _WRITE_NEW, mode)
    try:
        if mode & private.OTHERS and _umask_hides():
            os.fchmod(descriptor, mode)
        _write_all(descriptor, data)
        if mtime is not None:
            os.utime(descriptor, (mtime, mtime))
    except BaseException:
        os.close(descriptor)
        remove(path)
        raise
    return descriptor


@cache
def _umask_hides() -> bool:
    """Whether this process's umask hides new files from others; asking by `umask(2)` sets it."""
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


def sync_file_system(folder: str) -> None:
    """Make everything durable that is on a folder's file system.

    Raises:
        StorageError: it failed. Never retried: the stage must stop.
    """
    with opened(folder) as descriptor:
        if _libc.syncfs(descriptor) != 0:
            raise _sync_failed(folder, os.strerror(ctypes.get_errno()))


def sync_folder(path: str) -> None:
    """Make the names in a folder durable.

    Raises:
        StorageError: it failed. Never retried: the stage must stop.
    """
    with opened(path) as descriptor:
        sync(descriptor, path)


@contextmanager
def opened(folder: str, *, flags: int = 0) -> Iterator[int]:
    """A folder's descriptor, closed at the end; `flags` as of open(2), such as `O_NOFOLLOW`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | flags)
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
