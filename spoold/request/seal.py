"""What of a request file is sealed, the MACs of it, and the pin by which a yes names it."""

import hashlib
import hmac

import orjson

from spoold.identity import keyed
from spoold.request.parts import JsonObject

#: The fields that intake does not seal: what came after it.
NOT_SEALED = ("status", "seal", "approvals", "attempts", "result")
#: Nor does a yes name how often it was asked for: that changes while it waits, and what runs not.
_NOT_NAMED = (*NOT_SEALED, "asked", "repeats")
#: orjson sorts the keys of dictionaries only.
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def canonical(fields: JsonObject) -> bytes:
    """The bytes that are sealed: keys in order, no space."""
    return orjson.dumps(fields, vars, _SORTED)


def pin_of(fields: JsonObject) -> str:
    """The first 8 hex digits of the SHA-256 of what would run.

    That is all that intake has sealed, but how often it was asked for.

    Args:
        fields: all of a request file's.
    """
    kept = {key: fields[key] for key in fields if key not in _NOT_NAMED}
    return hashlib.sha256(canonical(kept)).hexdigest()[:8]


def same(one: str, other: str) -> bool:
    """Whether two seals are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


def mac(key: bytes, purpose: str, data: bytes) -> str:
    """The seal of `data`; one made for another purpose does not fit."""
    found = keyed(key)
    found.update(purpose.encode() + b"\0" + data)
    return "hmac-sha256:" + found.hexdigest()
