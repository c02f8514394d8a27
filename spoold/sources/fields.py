"""JSON values of any type → the types that facts promise; a wrong type counts as absent."""

import re

from spoold.record import JsonObject

_NAME_AT_MOST = 64  # characters of a stranger's event name in a record's type


def text(*values: object) -> str:
    """The first value that says something, trimmed; integers as digits; else ``""``."""
    for value in values:
        if isinstance(value, str):
            if stripped := value.strip():
                return stripped
        elif isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return ""


def optional_text(*values: object) -> str | None:
    """The same, but None when no value says anything."""
    return text(*values) or None


def identifier(*values: object) -> str | None:
    """The first value that can name something, such as a text or any number; else None."""
    return optional_text(*(repr(value) if isinstance(value, float) else value for value in values))


def obj(value: object) -> JsonObject:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[object]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def integer(*values: object) -> int | None:
    """The first value that is an integer, or a short string of digits; else None."""
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            return int(value)
    return None


def boolean(value: object) -> bool | None:
    """The value if it is true or false, else None: unknown is neither."""
    return value if isinstance(value, bool) else None


def slug(name: str) -> str:
    """A label or state name as routes compare it: ``Comp: Blood Bank!`` is ``comp-blood-bank``."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def event_name(name: str) -> str:
    """A stranger's event name as a part of a record's type: short, lower case, one word."""
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower())[:_NAME_AT_MOST].strip("-_.")


def identity(*parts: str) -> str:
    """Parts joined by colons so that different parts never give the same text."""
    *first, last = (part.replace("%", "%25") for part in parts)
    return ":".join([*(part.replace(":", "%3A") for part in first), last])
