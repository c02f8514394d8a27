"""Output of a running attempt → a capped file, a count of bytes, and the end as text."""

import os
import time
from pathlib import Path

from spoold.disk.private import mode_in
from spoold.text import printable

#: Four bytes are the longest UTF-8 character, so this holds a tail of 4000 in any script.
_END = 16_000

#: Seconds between two updates of the end in the file, while a stream goes on.
_SHOWN_EVERY = 1.0

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW


class Capture:
    """An `Output`: a file that keeps all bytes up to a cap, and beyond it the first and the last.

    The file is made with the first byte, so a silent attempt leaves none. On a full disk the
    output is cut short and the attempt goes on.

    Args:
        path: of the file, in a folder that exists; the name must be new.
        cap: how many bytes to keep; of more, half of them from the beginning.

    Attributes:
        name: the file's name.
        total: bytes seen, kept or not.
        error: why bytes are missing that the cap allows, or None.
    """

    def __init__(self, path: Path, cap: int) -> None:
        self.name = path.name
        self.total = 0
        self.error: OSError | None = None
        self._path = path
        self._cap = cap
        self._head = cap // 2
        self._end = bytearray()
        self._kept = max(cap - self._head, _END)
        self._file = -1
        self._closed = False
        self._shown_at = 0.0

    @property
    def truncated(self) -> bool:
        """Whether the file lacks bytes that were seen."""
        return self.total > self._cap or self.error is not None

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            FileExistsError: the name is taken: another attempt has the same number.
        """
        before, self.total = self.total, self.total + len(data)
        self._end += data
        if len(self._end) > 2 * self._kept:
            del self._end[: -self._kept]
        if not data or not self._cap or self._closed:
            return
        if self.total <= self._cap:
            self._put(data, before)
            return
        if before < self._head:
            self._put(data[: self._head - before], before)
        if time.monotonic() - self._shown_at > _SHOWN_EVERY:
            self._show_end()

    def _show_end(self) -> None:
        """Write the end behind the beginning, and between them how much is missing."""
        self._shown_at = time.monotonic()
        end = bytes(self._end[-(self._cap - self._head) :])
        missing = self.total - self._head - len(end)
        gap = f"\n… {missing} bytes are left out here …\n".encode() if missing else b""
        self._put(gap + end, self._head)

    def _put(self, data: bytes, at: int) -> None:
        """Write `data` at `at`, and cut the file off behind it."""
        if self.error:
            return
        try:
            if self._file < 0:
                self._file = os.open(self._path, _FLAGS, mode_in(str(self._path.parent), 0o640))
            left = memoryview(data)
            while left:
                at += (done := os.pwrite(self._file, left, at))
                left = left[done:]
            os.ftruncate(self._file, at)
        except FileExistsError:
            raise
        except OSError as error:
            self.error = error

    def tail(self, limit: int = 4000) -> str:
        """The last `limit` characters seen, safe to show."""
        return printable(bytes(self._end[-4 * limit :]))[-limit:] if limit > 0 else ""

    def close(self) -> None:
        """Complete the file; what is written afterwards is only counted."""
        if self.total > self._cap and not self._closed and self._cap:
            self._show_end()
        self._closed = True
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
