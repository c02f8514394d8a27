"""One file of a spool, as it is on disk, and the reason beside it."""

from contextlib import suppress
from typing import Any, NamedTuple

import orjson

from spoold import request
from spoold.disk import reading
from spoold.errors import BadInput, NotPossible
from spoold.record import JsonObject
from spoold.spool.reader import SpoolReader
from spoold.text import shown
from spoold.view import lines
from spoold.view.find import Found, find, split_pin


class Described(NamedTuple):
    """A file, its bytes, and what the reason beside it says."""

    found: Found
    data: bytes
    reason: JsonObject | None

    @property
    def pin(self) -> str | None:
        """By which a yes names it as it is here; None if it is no request."""
        with suppress(BadInput):
            return request.validated(self.data).pin
        return None

    @property
    def warnings(self) -> list[str]:
        """What in it may mislead the eye, a sentence each."""
        try:
            return lines.warnings(orjson.loads(self.data))
        except orjson.JSONDecodeError:
            return lines.warnings(self.data.decode("utf-8", "replace"))

    def as_json(self) -> dict[str, Any]:
        """All of it; the content as text if it is no JSON."""
        row = {
            "folder": str(self.found.place), "file": shown(self.found.name), "reason": self.reason,
        }  # fmt: skip
        try:
            return {**row, "pin": self.pin, "request": orjson.loads(self.data)}
        except orjson.JSONDecodeError:
            return {**row, "content": self.data.decode("utf-8", "replace")}


def describe(spool: SpoolReader, part: str) -> Described:
    """The request, or quarantined file, that `part` names.

    Raises:
        UsageError: none is meant, or more than one.
        NotPossible: it has moved meanwhile.
    """
    given, _ = split_pin(part)
    found = find(spool, given, ("quarantine", "archive"))
    try:
        path = spool.path(found.place, found.name)
        data = reading.read_regular(path, request.MAX_BYTES).data
    except FileNotFoundError:
        raise NotPossible(f"{found.id} has just been moved; look again") from None
    return Described(found, data, spool.reason(found.place, found.name))
