"""Between spoold and the disk: what a stage changes, call by call, and its end at any of them."""

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from spoold.disk import fs

#: The flags of renameat2(2).
_MODES = {0: "over", 1: "new", 2: "swap"}
_CHANGES = frozenset({
    "rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "makedirs", "rmdir",
    "write", "pwrite", "writev", "truncate", "ftruncate", "utime", "chmod", "fchmod", "fsync",
    "fdatasync", "posix_fallocate",
})  # fmt: skip
_LOOKS = frozenset({"lstat", "stat", "fstat", "scandir", "access", "read"})

#: Told of each rename: both paths, `new`, `over` or `swap`, and what to call to do it.
Renamed = Callable[[str, str, str, Callable[[], Any]], Any]


class Died(BaseException):
    """The process ends here: nothing that it would have done later happens."""


class Disk:
    """Watches every call that `spoold.fs` makes, in the thread that made this.

    Death is only tried before changes, since before a look it is the same as before the next
    change; a person also acts before looks.

    Attributes:
        renamed: stands in for every rename.
        calls: how many calls were counted since `watch` began.
    """

    def __init__(self, renamed: Renamed) -> None:
        self.renamed = renamed
        self.calls = 0
        self._at = 0
        self._act: Callable[[], None] | None = None
        self._watching = False
        self._dead = False
        self._thread = threading.get_ident()

    @contextmanager
    def watch(self, at: int = 0, act: Callable[[], None] | None = None):
        """Count calls; before the one with number `at` call `act`, or die if that is None."""
        self.calls, self._at, self._act = 0, at, act
        self._watching, self._dead = True, False
        try:
            yield
        finally:
            self._watching = self._dead = False

    @contextmanager
    def installed(self):
        """`spoold.fs` with all its ways to the disk going through this."""
        before = dict(vars(fs))
        for name, value in before.items():
            if value is os:
                setattr(fs, name, _Module(self, os))
            elif isinstance(value, ctypes.CDLL):
                setattr(fs, name, _Library(self, value))
            elif isinstance(value, ctypes._CFuncPtr):
                setattr(fs, name, self.wrap(name, value))
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(fs, name, value)

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call that is counted, or made no more."""

        def wrapped(*args: Any, **more: Any) -> Any:
            if not self._watching or threading.get_ident() != self._thread:
                return call(*args, **more)
            if self._dead:
                raise Died
            looks = name in _LOOKS or (name == "open" and not args[1] & os.O_CREAT)
            if looks and self._act is None:
                return call(*args, **more)
            self._count()
            if name in ("rename", "replace"):
                return self.renamed(args[0], args[1], "over", lambda: call(*args, **more))
            if len(args) == 5 and isinstance(args[3], bytes):
                old, new = os.fsdecode(args[1]), os.fsdecode(args[3])
                return self.renamed(old, new, _MODES[args[4]], lambda: call(*args))
            return call(*args, **more)

        return wrapped

    def _count(self) -> None:
        self.calls += 1
        if self.calls != self._at:
            return
        if self._act is None:
            self._dead = True
            raise Died
        self._watching = False
        try:
            self._act()
        finally:
            self._watching = True


class _Module:
    def __init__(self, disk: Disk, module: ModuleType) -> None:
        self._disk = disk
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._module, name)
        watched = name in _CHANGES or name in _LOOKS or name == "open"
        return self._disk.wrap(name, value) if watched else value


class _Library:
    def __init__(self, disk: Disk, library: ctypes.CDLL) -> None:
        self._disk = disk
        self._library = library

    def __getattr__(self, name: str) -> Any:
        return self._disk.wrap(name, getattr(self._library, name))
