"""Which deliveries are the same, which intents are, and the ids that come from them."""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache

#: What a source, an executor or a route may be called.
NAME = r"[a-z0-9][a-z0-9_-]{0,62}"
#: Characters of what identifies a delivery or an intent; a request holds a hundred of them.
LONGEST_KEY = 1024
_ID = re.compile(r"dispatch-\d{8}T\d{6}Z-[a-z0-9_-]+-[0-9a-f]{8}")


def digest(*parts: str) -> bytes:
    """SHA-256 over parts that cannot run into each other."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def event_digest(source: str, event_key: str) -> bytes:
    """The identity of a delivery: anybody can work it out, nobody can make two alike."""
    return digest(source, event_key)


def digits(key: bytes, event: bytes, before: str = "") -> str:
    """The 8 hex digits by which people call a request.

    So few could be searched for by trying event keys, so they come from the spool's own key.

    Args:
        key: the spool's own.
        event: the digest of its delivery.
        before: the id of the request that ended before this one asks for the same anew.
    """
    found = keyed(key)
    found.update(b"digits\0" + event + before.encode())
    return found.hexdigest()[:8]


def keyed(key: bytes) -> hmac.HMAC:
    """An HMAC with SHA-256 under a key, of nothing yet."""
    return _begun(key).copy()


@lru_cache(maxsize=4)
def _begun(key: bytes) -> hmac.HMAC:
    # What comes of the key alone takes longer than the rest.
    return hmac.new(key, digestmod="sha256")


def intent_digest(route: str, intent_key: str, dropper: int | None = None) -> bytes:
    """The identity of what a route wants done; with a user id, of what that user asked for."""
    return digest(route, intent_key, *(() if dropper is None else (str(dropper),)))


def dispatch_id(when: datetime, route: str, digits: str) -> str:
    """`dispatch-<YYYYMMDDTHHMMSSZ>-<route>-<8 hex>`."""
    return f"dispatch-{_second(when.replace(microsecond=0))}-{route}-{digits}"


def made_at(name: str) -> datetime | None:
    """The moment in a request's id, or in the name of its file; None if it is no such name."""
    if not id_of(name):
        return None
    try:
        return datetime.fromisoformat(name.split("-", 2)[1])
    except ValueError:
        return None


def id_of(name: str) -> str | None:
    """The request's id that the name of a file says; None for a stranger's file."""
    dispatch_id = name.removesuffix(".json")
    return dispatch_id if _ID.fullmatch(dispatch_id) else None


def named(name: str) -> dict[str, str | None]:
    """What a line of the log says of a file that it is about."""
    return {"dispatch_id": id_of(name)}


@lru_cache(maxsize=8)
def _second(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y%m%dT%H%M%SZ}"
