"""File names that strangers chose: which drops are looked at, and names a person can type."""

import os
import re
import secrets

from spoold.states import REASON_SUFFIX

#: Leaves room for a suffix of our own within the 255 bytes of a file name.
_NAME_BYTES = 200


#: In the name of a drop that a person has taken for an event of its own, whatever its key.
AS_NEW = re.compile(r"\.as-new-[0-9a-f]{16}(?=\.json$)")


def as_new(name: str) -> str:
    """A name that says so."""
    stem = AS_NEW.sub("", readable_name(name)).removesuffix(".json")
    mark = f".as-new-{secrets.token_hex(8)}.json"
    while len(os.fsencode(stem + mark)) > _NAME_BYTES:
        stem = stem[:-1]
    return stem + mark


def is_candidate(name: str) -> bool:
    """Whether a name asks to be looked at: `.json`, and not begun with a dot."""
    return name.endswith(".json") and not name.startswith(".")


def another(name: str) -> str:
    """A name like `name` that nothing has."""
    return f"{name.removesuffix('.json')}.{secrets.token_hex(4)}.json"


def is_odd(name: str) -> bool:
    """Whether a name could mislead a person or a shell, or leaves no room for a suffix."""
    return (
        not name.isprintable()
        or name.startswith(("-", "."))
        or name.endswith(REASON_SUFFIX)
        or len(os.fsencode(name)) > _NAME_BYTES
    )


def readable_name(name: str) -> str:
    """`name` as it is, or when it is odd, a name that a person can read and type."""
    if not is_odd(name):
        return name
    stem = os.fsencode(name).removesuffix(b".json").removesuffix(b".reason")
    safe = "".join(chr(b) if 48 <= b < 123 and chr(b).isalnum() else "_" for b in stem[:80])  # noqa: PLR2004
    return f"odd-{safe}.{secrets.token_hex(4)}.json"
