"""Which deliveries are the same, which intents are, and the ids that come from them."""

import hashlib
from datetime import UTC, datetime
from functools import lru_cache

#: Characters of what identifies a delivery or an intent; a request holds a hundred of them.
LONGEST_KEY = 1024


def digest(*parts: str) -> bytes:
    """SHA-256 over parts that cannot run into each other."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def event_digest(source: str, event_key: str) -> bytes:
    """The identity of a delivery."""
    return digest(source, event_key)


def intent_digest(route: str, intent_key: str) -> bytes:
    """The identity of what a route wants done."""
    return digest(route, intent_key)


def dispatch_id(when: datetime, route: str, event: bytes) -> str:
    """`dispatch-<YYYYMMDDTHHMMSSZ>-<route>-<8 hex>`; the hex is the event's and stays."""
    return f"dispatch-{_second(when.replace(microsecond=0))}-{route}-{event.hex()[:8]}"


@lru_cache(maxsize=8)
def _second(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y%m%dT%H%M%SZ}"
