"""Bytes of a stream → the same bytes without secrets, however they are cut into pieces."""

import json
from collections.abc import Iterable

_MARK = b"[redacted]"


class Redactor:
    """Takes values out of a stream.

    Args:
        secrets: the values; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        spelled = {form for value in secrets if value for form in (value, json.dumps(value)[1:-1])}
        self._values = sorted((form.encode() for form in spelled), key=len, reverse=True)
        self._longest = len(self._values[0]) if self._values else 1
        self._kept = b""

    def feed(self, data: bytes) -> bytes:
        """What may be written now; the beginning of what could be a secret is kept back."""
        whole = self._without(self._kept + data)
        cut = max(len(whole) - self._longest + 1, 0)
        self._kept = whole[cut:]
        return whole[:cut]

    def end(self) -> bytes:
        """What was kept back."""
        rest, self._kept = self._kept, b""
        return rest

    def text(self, text: str) -> str:
        """A whole text without them."""
        return self._without(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    def _without(self, data: bytes) -> bytes:
        for value in self._values:
            data = data.replace(value, _MARK)
        return data
