"""Two drops, or what they ask for → how they differ, in few words."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from spoold.record import JsonObject

#: So many differences are told, and so many characters of each.
_MOST, _LONGEST = 20, 200
_MISSING = object()


def between(there: JsonObject, here: JsonObject) -> JsonObject:
    """What is another value here, by its path (`params.body.message`); cut short as JSON text."""
    return {path: _short(value) for path, value in islice(_unlike(there, here), _MOST)}


def fields(there: JsonObject, here: JsonObject) -> list[str]:
    """The names of the outermost fields that are not alike, in order."""
    names = sorted({*there, *here})
    unlike = (name for name in names if there.get(name, _MISSING) != here.get(name, _MISSING))
    return [name[:_LONGEST] for name in islice(unlike, _MOST)]


def _unlike(there: Any, here: Any) -> Iterator[tuple[str, Any]]:
    """Each path at which they part, with what is here; `1` and `true` are not alike."""
    todo = [("", there, here)]
    while todo:
        path, there, here = todo.pop()
        if isinstance(there, dict) and isinstance(here, dict):
            for name in sorted({*there, *here}, reverse=True):
                inner = f"{path}.{name}" if path else name
                todo.append((inner, there.get(name, _MISSING), here.get(name, _MISSING)))
        elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
            pairs = enumerate(zip(there, here, strict=True))
            todo += reversed([(f"{path}[{number}]", *pair) for number, pair in pairs])
        elif type(there) is not type(here) or there != here:
            yield path[:_LONGEST], here


def _short(value: Any) -> str:
    if value is _MISSING:
        return "(nothing)"
    text = orjson.dumps(value).decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
