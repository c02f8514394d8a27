"""Bytes of a running attempt → a capped file, a count, and the end of it as text."""

import json
import os
from pathlib import Path

#: Four bytes are the longest UTF-8 character, so this holds a tail of 4000 in any script.
_END = 16_000

_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW


def printable(data: bytes | str) -> str:
    """Text that a terminal shows as it is: line ends and tabs stay, other controls are escaped."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1]  # `\x1b`, `\u202e`
        for c in text
    )


def escaped(line: str) -> str:
    """The same JSON on one line, without a character that could steer a terminal."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


class Capture:
    """An `Output`: the first `cap` bytes go to a file, the rest is counted, the end remembered.

    The file is made with the first byte, so that a silent attempt leaves none. A disk that is full
    costs output, not the attempt: what ran so far is worth more than its log.

    Args:
        path: where to write, in a folder that exists; the name must be new.
        cap: how many bytes to keep.

    Attributes:
        name: the file's name.
        total: bytes seen, kept or not.
        error: why the file is shorter than it could be, or None.
    """

    def __init__(self, path: Path, cap: int) -> None:
        self.name = path.name
        self.total = 0
        self.error: OSError | None = None
        self._path = path
        self._room = cap
        self._end = b""
        self._file = -1

    @property
    def truncated(self) -> bool:
        """Whether bytes were seen that are not in the file."""
        return self._room < 0 or self.error is not None

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            FileExistsError: the name is taken, so this is not the attempt it claims to be.
        """
        self.total += len(data)
        self._end = (self._end + data)[-_END:]
        kept = memoryview(data)[: max(self._room, 0)]
        self._room -= len(data)
        if not kept or self.error:
            return
        try:
            if self._file < 0:
                self._file = os.open(self._path, _FLAGS, 0o640)
            while kept:
                kept = kept[os.write(self._file, kept) :]
        except FileExistsError:
            raise
        except OSError as error:
            self.error = error

    def tail(self, limit: int = 4000) -> str:
        """The last characters seen, at most `limit`, safe to show."""
        return printable(self._end[-4 * limit :])[-limit:] if limit > 0 else ""

    def close(self) -> None:
        """End the file; what is written afterwards is counted only."""
        self._room = min(self._room, 0)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
