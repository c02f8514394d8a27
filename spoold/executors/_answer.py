"""What the far side sent back → what may be kept: without the secret, without terminal tricks."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from spoold.capture import printable
from spoold.executors._exchange import Exchange

#: An answer must not nest deeper than the request file that will hold it can.
_DEEPEST = 32
_LONGEST_WAIT = 86_400.0
_LONGEST_HEADER = 200


class Redactor:
    """Takes one secret out by its value, wherever the far side repeats it.

    Args:
        secret: the value, or an empty string when there is none.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def text(self, text: str) -> str:
        """One piece of text, safe to show."""
        return printable(self._without(text))

    def body(self, answer: bytes, *, cut: bool) -> Any:
        """An answer as data if it is JSON, else as text; `cut` when its end is missing."""
        if not cut:
            try:
                return self._json(orjson.loads(answer), 0)
            except ValueError:
                pass
        text = self._without(answer.decode("utf-8", "replace"))
        # Cut in the middle of the secret, its first part would survive.
        for length in range(len(self._secret) - 1 if cut else 0, 0, -1):
            if text.endswith(self._secret[:length]):
                return printable(text[:-length])
        return printable(text)

    def _json(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            return {self._without(k): self._json(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self._json(item, depth + 1) for item in value]
        return self._without(value) if isinstance(value, str) else value

    def _without(self, text: str) -> str:
        return text.replace(self._secret, "[redacted]") if self._secret else text


def keep(exchange: Exchange, redact: Redactor) -> dict[str, Any]:
    """What a person, or a later program, may want to know of a call."""
    data: dict[str, Any] = {"duration_ms": round(exchange.seconds * 1000)}
    if exchange.status is None:
        return data | {"sent": exchange.sent}
    headers = {
        # What follows the question mark is where a receiver puts secrets of its own.
        name: redact.text(value.partition("?")[0])[:_LONGEST_HEADER]
        for name in ("content-type", "location", "retry-after")
        if (value := exchange.answer_headers.get(name))
    }
    return data | {
        "status": exchange.status,
        "headers": headers,
        "body": redact.body(exchange.answer, cut=exchange.truncated or exchange.broken is not None),
        "truncated": exchange.truncated,
    }


def remark(body: object) -> str:
    """What a good status does not say: that the work is done, or that it already failed."""
    if isinstance(body, dict):
        completion = body.get("completion")
        ended = completion.get("status") if isinstance(completion, dict) else None
        if ended not in (None, "ok"):
            return f" Its answer says that the run ended with {str(ended)[:40]!r}."
        if body.get("ok") is False:
            return " Its answer says ok=false."
    return " That does not say that the work is done."


def retry_after(exchange: Exchange) -> float | None:
    """Seconds that the receiver asked us to wait, within reason, or None."""
    value = exchange.answer_headers.get("retry-after", "")
    if re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,9})?", value):
        seconds = float(value)
    else:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT)
