"""A JSON file that another program replaces now and then → what it says now."""

import errno

import orjson
from pydantic import JsonValue

from spoold.errors import BadInput
from spoold.linux.safe_open import read_whole
from spoold.record import JsonObject
from spoold.strict_json import parse
from spoold.text import escaped

_LARGEST = 1 << 20
_QUOTED_AT_MOST = 200
_PROBLEMS = {
    errno.ENOENT: "is not there",
    errno.ENOTDIR: "is not there",
    errno.ELOOP: "is a link, which is not followed",
}


class Unusable(Exception):
    """A file cannot be read; the message is a phrase that follows its name."""


def read(file: str) -> JsonObject:
    """The object in a regular file of at most 1 MiB.

    Raises:
        Unusable: there is no such file, or it holds no whole JSON object.
    """
    try:
        return parse(read_whole(file, _LARGEST))
    except BadInput as problem:
        # Only the code: the message quotes the file, which may hold secrets.
        raise Unusable(f"is no JSON object ({problem.code})") from None
    except OSError as error:
        found = _PROBLEMS.get(error.errno or 0) or f"cannot be read: {error.strerror}"
        raise Unusable(found) from None


def find(state: JsonValue, key: str) -> tuple[bool, JsonValue]:
    """Whether an object has the member `a.b`, and its value.

    A name may have dots in it: where `a.b` could mean two members, the longer name wins.
    """
    if not isinstance(state, dict):
        return False, None
    if key in state:
        return True, state[key]
    for dot in reversed([n for n, letter in enumerate(key) if letter == "."]):
        if key[:dot] in state:
            there, value = find(state[key[:dot]], key[dot + 1 :])
            if there:
                return True, value
    return False, None


def same(found: JsonValue, wanted: JsonValue) -> bool:
    """Whether two values are equal as JSON: 1 equals 1.0; true is not 1, as it is in Python."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return found is wanted
    if isinstance(found, dict) and isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(same(found[k], wanted[k]) for k in found)
    if isinstance(found, list) and isinstance(wanted, list):
        both = zip(found, wanted, strict=False)
        return len(found) == len(wanted) and all(same(a, b) for a, b in both)
    return found == wanted


def as_json(value: JsonValue) -> str:
    """A value on one line; of a long one, its beginning."""
    text = escaped(orjson.dumps(value).decode())
    return text if len(text) <= _QUOTED_AT_MOST else text[: _QUOTED_AT_MOST - 1] + "…"
