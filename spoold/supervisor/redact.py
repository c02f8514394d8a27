"""Bytes of a stream → the same bytes without secrets, however they are cut into pieces."""

import re
from collections.abc import Iterable

from spoold.text import REDACTED, spellings

#: A line of a secret that is shorter than this (characters) is not hidden when it stands alone.
_TELLING = 8


class StreamRedactor:
    """Takes values out of a stream, and the longer lines of those that have several.

    Args:
        secrets: the values; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form.encode() for value in secrets for form in spellings(value, _TELLING)}
        self._values = sorted(forms, key=len, reverse=True)
        self._longest = len(self._values[0]) if self._values else 1
        # Of several that begin at one place the first is taken, so the longest.
        self._any = re.compile(b"|".join(map(re.escape, self._values)))
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """What may be written now; what could be the beginning of a secret is kept back."""
        whole = self._kept + data
        # What begins before this is all there, however long it is.
        sure = max(len(whole) - self._longest + 1, 0)
        out, at = self._without(whole, sure)
        at = max(at, sure)
        self._kept = whole[at:]
        return out

    def end(self) -> bytes:
        """What was kept back."""
        rest, self._kept = self._kept, b""
        return self._without(rest, len(rest))[0]

    def _without(self, whole: bytes, sure: int) -> tuple[bytes, int]:
        """What is before `sure`, without secrets that begin there; and where the last one ends."""
        parts, at = [], 0
        if any(value in whole for value in self._values):
            for found in self._any.finditer(whole):
                if found.start() >= sure:
                    break
                parts += [whole[at : found.start()], REDACTED.encode()]
                at = found.end()
        return b"".join([*parts, whole[at:sure]]), at
