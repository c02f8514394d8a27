"""What a person types → the one request that is meant.

An id is the whole dispatch id, its last digits, the producer's own id, or a path. Anything else is
no id, so that a part of a name never means a request by chance. Where two requests fit, in whatever
states, that is an error: what is shown and what is approved must be the same.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from spoold import request
from spoold.disk import reading
from spoold.errors import Ambiguous, UsageError
from spoold.identity import id_of
from spoold.spool.reader import Place, SpoolReader
from spoold.states import STATES
from spoold.text import age, shown
from spoold.view.counts import came_at

_MANY = 8
_LOOKS = 3
_DIGITS = re.compile(r"[0-9a-f]{4,8}")
_PIN = re.compile(r"[0-9a-f]{8}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
#: So much of a UUID is enough.
_UUID_PART = 8


def split_pin(given: str) -> tuple[str, str | None]:
    """`ID@PIN` → both; without a pin of 8 hex digits at the end it is all id."""
    name, at, pin = given.rpartition("@")
    return (name, pin) if at and _PIN.fullmatch(pin) else (given, None)


class Found(NamedTuple):
    """A file and where it lies."""

    place: Place
    name: str

    @property
    def id(self) -> str:
        """The name without its ending."""
        return self.name.removesuffix(".json")

    @property
    def shown(self) -> str:
        """The same, fit for a terminal and for JSON."""
        return shown(self.id)

    def __str__(self) -> str:
        """The path from the spool root."""
        return f"{self.place}/{shown(self.name)}"


def find(spool: SpoolReader, given: str, folders: Iterable[str] = ()) -> Found:
    """The file that `given` names.

    Args:
        spool: where to look.
        given: a dispatch id, its last 4 to 8 digits, the producer's own id (of a UUID 8 characters
            or more are enough), or a path, also one from the spool root.
        folders: besides the states; what lies there is named by its path only.

    Raises:
        Ambiguous: more than one file fits; the message lists them.
        UsageError: none does.
    """
    matches: list[Found] = []
    for _ in range(_LOOKS):
        # Files move on while the folders are read: one can be seen twice, or not at all.
        seen = set(_by_path(spool, given, folders) if "/" in given else ())
        if not seen and not _like_a_path(given):
            seen = set(_by_id(spool, given))
        matches = sorted(found for found in seen if spool.exists(found.place, found.name))
        if len(matches) == 1:
            return matches[0]
    if not matches:
        raise UsageError(
            f"no request is {shown(given)!r}. Give a whole id, its last 4 to 8 digits, the "
            "producer's own id or a path; `spoold ls` lists what there is"
        )
    listed = "\n".join(f"  {found}, for {_since(spool, found)}" for found in matches[:_MANY])
    more = f"\n  … and {len(matches) - _MANY} more" if len(matches) > _MANY else ""
    raise Ambiguous(
        f"{shown(given)!r} is {len(matches)} files:\n{listed}{more}\n"
        "Name one by its whole id, or by its path if there are two of that"
    )


def _since(spool: SpoolReader, found: Found) -> str:
    with suppress(OSError):
        return age(time.time() - came_at(spool, found.place, found.name))
    return "?"


def _by_path(spool: SpoolReader, given: str, folders: Iterable[str]) -> Iterator[Found]:
    # Links above the spool are as good as what they lead to; the file itself is not followed.
    wanted = {
        os.path.join(os.path.realpath(folder), base)
        for name in (given, f"{given}.json")
        for path in (os.path.abspath(name), os.path.join(spool.root, os.path.normpath(name)))
        for folder, base in [os.path.split(path)]
    }
    for place in spool.places(*STATES, *folders):
        top = os.path.realpath(spool.path(place)) + "/"
        for path in wanted:
            inside = path.removeprefix(top)
            # Originals lie in a folder of their day.
            if path.startswith(top) and inside.count("/") == (place.folder == "archive"):
                yield Found(place, inside)


def _like_a_path(given: str) -> bool:
    """Whether it can only be meant as a path, so that no producer's own id takes the place of one.

    What lay there may have moved on; a producer's id such as `team/ticket-1` is none.
    """
    first, *rest = given.split("/")
    named = {first, *rest} & {*STATES, "quarantine", "archive", "inbox"}
    return bool(rest) and (first in ("", ".", "..") or bool(named) or id_of(rest[-1]) is not None)


def _by_id(spool: SpoolReader, given: str) -> Iterator[Found]:
    known = id_of(given)
    if known:
        # Whoever gives a drop an id of this form does not speak for another's request.
        yield from (Found(place, f"{known}.json") for place in spool.find_all(f"{known}.json"))
    elif given:
        digits = f"-{given}.json" if len(given) == 8 else f"{given}.json"  # noqa: PLR2004
        by_digits = bool(_DIGITS.fullmatch(given))
        for found in _requests(spool):
            meant = (by_digits and found.name.endswith(digits)) or _is_of(spool, found, given)
            if meant and spool.is_believed(*found):
                yield found


def _requests(spool: SpoolReader) -> Iterator[Found]:
    for place in spool.places(*STATES):
        with suppress(FileNotFoundError, PermissionError):
            yield from (Found(place, name) for name in spool.scan(place) if id_of(name))


def _is_of(spool: SpoolReader, found: Found, given: str) -> bool:
    """Whether the producer calls it that."""
    fields = reading.json_object(spool.path(found.place, found.name), request.MAX_BYTES) or {}
    source = fields.get("source")
    own = source.get("id") if isinstance(source, dict) else None
    if own == given:
        return True
    is_part = len(given) >= _UUID_PART and isinstance(own, str) and _UUID.fullmatch(own)
    return bool(is_part) and str(own).lower().startswith(given.lower())
