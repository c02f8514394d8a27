"""When a name appeared in a folder, to the fraction of a millisecond."""

import ctypes
import os
import select
import struct
from pathlib import Path
from time import perf_counter

_MOVED_TO, _CREATE = 0x80, 0x100
_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


class Arrivals:
    """Names that come into a folder.

    Args:
        folder: what to watch.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._descriptor < 0 or _libc.inotify_add_watch(
            self._descriptor, os.fsencode(folder), _MOVED_TO | _CREATE
        ) < 0:  # fmt: skip
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(folder))

    def wait(self, seconds: float) -> list[tuple[str, float]]:
        """Names that came, each with the time it was seen; none if nothing came in time."""
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
        seen = perf_counter()
        if not ready:
            return []
        data = os.read(self._descriptor, 1 << 16)
        found, at = [], 0
        while at < len(data):
            _, _, _, length = _HEADER.unpack_from(data, at)
            name = data[at + _HEADER.size : at + _HEADER.size + length].rstrip(b"\0")
            found.append((os.fsdecode(name), seen))
            at += _HEADER.size + length
        return found

    def close(self) -> None:
        """Stop watching."""
        os.close(self._descriptor)
