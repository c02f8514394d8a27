"""The receiver's answer → what is kept of it: without secrets, safe on a terminal."""

import json
import re
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from spoold.executors.hook.exchange import Exchange
from spoold.text import REDACTED, Redactor, printable

#: An answer must not nest deeper than the request file that will hold it can.
_DEEPEST = 32
_LONGEST_WAIT = 86_400.0
_LONGEST_HEADER = 200


def body_of(answer: bytes, redactor: Redactor, *, cut: bool) -> Any:
    """An answer without secrets, as data if it is JSON, else as text; `cut`: its end is missing."""
    if not cut:
        with suppress(ValueError, RecursionError):
            return _without_secrets(_parsed(answer), redactor, 0)
    text = answer.decode("utf-8", "replace")
    return printable(redactor.cut(text) if cut else redactor.text(text))


def _without_secrets(value: Any, redactor: Redactor, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(value, dict):
        return {
            redactor.text(name): _without_secrets(inner, redactor, depth + 1)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_without_secrets(item, redactor, depth + 1) for item in value]
    if isinstance(value, str):
        return redactor.text(value)
    # A secret may be all digits.
    text = str(value)
    return value if redactor.text(text) == text else REDACTED


def _parsed(answer: bytes) -> Any:
    """An answer as JSON. Half a surrogate pair, which some programs write, becomes U+FFFD."""
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        text = json.dumps(json.loads(answer.decode("utf-8", "replace")), ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def keep(exchange: Exchange, redactor: Redactor) -> dict[str, Any]:
    """The details of a call that a result keeps, without secrets."""
    data: dict[str, Any] = {"duration_ms": round(exchange.seconds * 1000)}
    if exchange.status is None:
        return data | {"sent": exchange.sent}
    headers = {
        # What follows the question mark is where a receiver puts secrets of its own.
        name: printable(redactor.text(value.partition("?")[0]))[:_LONGEST_HEADER]
        for name in ("content-type", "location", "retry-after")
        if (value := exchange.answer_headers.get(name))
    }
    cut = exchange.truncated or exchange.broken is not None
    return data | {
        "status": exchange.status,
        "headers": headers,
        "body": body_of(exchange.answer, redactor, cut=cut),
        "truncated": exchange.truncated,
    }


def remark(body: object) -> str:
    """A sentence for a good status: it does not say whether the work is done, or has failed."""
    if isinstance(body, dict):
        completion = body.get("completion")
        ended = completion.get("status") if isinstance(completion, dict) else None
        if ended not in (None, "ok"):
            return f" Its answer says that the run ended with {str(ended)[:40]!r}."
        if body.get("ok") is False:
            return " Its answer says ok=false."
    return " That does not say that the work is done."


def retry_after(exchange: Exchange) -> float | None:
    """Seconds that the receiver asked us to wait, a day at most; None if it did not."""
    value = exchange.answer_headers.get("retry-after", "")
    if re.fullmatch(r"[+-]?\d{1,15}(\.\d{1,9})?", value):
        seconds = float(value)
    else:
        try:
            when = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT)
