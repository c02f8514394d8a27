"""A body and shared secrets → the headers by which a receiver verifies who sent it.

The format is https://www.standardwebhooks.com. Each secret signs, so that both sides can change
over to a new one while the old one still counts.
"""

import base64
from collections.abc import Iterable
from datetime import datetime

from standardwebhooks import Webhook

from spoold.text import encodings

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64


def signing_key(secret: str) -> bytes:
    """The key that a secret spells: base64, with or without `whsec_` before it.

    Raises:
        ValueError: it is no such secret; the message does not quote it.
    """
    text = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError("is no base64; write it as whsec_… or as the base64 after that") from None
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ValueError(f"has {len(key)} bytes, not {_SHORTEST} to {_LONGEST}")
    return key


def spellings(secret: str) -> list[str]:
    """The texts by which a secret could be recognised in an answer."""
    key = signing_key(secret)
    text = secret.removeprefix(_PREFIX).rstrip("=")
    return [text, *sorted(encodings(key)), *([key.decode()] if key.isascii() else [])]


def signed(keys: Iterable[bytes], message: str, at: datetime, body: bytes | None) -> dict[str, str]:
    """The three headers of a message; none without keys.

    Args:
        keys: of all secrets that count.
        message: its id, the same on every try.
        at: when it is sent (UTC); receivers refuse what is older than some minutes.
        body: what is sent, to the byte.
    """
    text = (body or b"").decode()
    signatures = [Webhook(key).sign(message, at, text) for key in keys]
    if not signatures:
        return {}
    return {
        "webhook-id": message,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
