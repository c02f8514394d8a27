"""What the far side sent back → what may be kept: without secrets, without terminal tricks."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import orjson

from spoold.executors.hook.exchange import Exchange
from spoold.text import printable

#: An answer must not nest deeper than the request file that will hold it can.
_DEEPEST = 32
_LONGEST_WAIT = 86_400.0
_LONGEST_HEADER = 200

#: JSON and URLs may write a character that could stand for itself as `\/`, `\u002f` or `%2f`.
_LONGEST_LETTER = 6
#: So many letters of a secret are hardly ever there by chance.
_ENOUGH = 8
_CUT_LETTER = re.compile(r"(?:\\(?:u[0-9a-fA-F]{0,3})?|%[0-9a-fA-F]?)?")


class Redactor:
    """Takes secrets out by their value, wherever the far side repeats them, and however spelled.

    Args:
        secrets: the values, printable ASCII; empty ones are none.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: another may be its beginning.
        self._secrets = sorted({one for one in secrets if one}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """One piece of text, safe to show."""
        return printable(self._without(text))

    def body(self, answer: bytes, *, cut: bool) -> Any:
        """An answer as data if it is JSON, else as text; `cut` when its end is missing."""
        if not cut:
            with suppress(ValueError, RecursionError):
                return self._json(_parsed(answer), 0)
        text = self._without(answer.decode("utf-8", "replace"))
        if cut:
            # Cut in the middle of a secret, its first part would survive.
            text = text[: min((_beginning_at(one, text) for one in self._secrets), default=None)]
        return printable(text)

    def _json(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            return {self._without(k): self._json(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [self._json(item, depth + 1) for item in value]
        if isinstance(value, str):
            return self._without(value)
        # A secret may be all digits.
        text = str(value)
        return value if self._without(text) == text else "[redacted]"

    def _without(self, text: str) -> str:
        for secret in self._secrets:
            # The expression for a long secret takes a while to compile; most answers hold none.
            if _spelled(secret[:_ENOUGH]).search(text):
                text = _spelled(secret).sub("[redacted]", text)
        return text


def _parsed(answer: bytes) -> Any:
    """An answer as JSON; half a character, as many a program writes it, spoils only itself."""
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError:
        # Escapes of half a surrogate pair become U+FFFD, like bytes that are no UTF-8.
        text = json.dumps(json.loads(answer.decode("utf-8", "replace")), ensure_ascii=False)
        return orjson.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


@lru_cache(maxsize=128)
def _forms(letter: str) -> tuple[str, ...]:
    """One character as JSON or a URL may write it, and as itself."""
    code = f"{ord(letter):02x}"
    spelled = {f"{how}{hexa}" for how in ("\\u00", "%") for hexa in (code, code.upper())}
    return (*sorted(spelled), f"\\{letter}", letter)


@lru_cache(maxsize=32)
def _spelled(secret: str) -> re.Pattern[str]:
    letters = ("|".join(map(re.escape, _forms(letter))) for letter in secret)
    return re.compile("".join(f"(?:{letter})" for letter in letters))


def _beginning_at(secret: str, text: str) -> int:
    """Where a secret begins that the end of the text cuts off; the text's length if none does."""
    for start in range(max(0, len(text) - _LONGEST_LETTER * len(secret)), len(text)):
        reached = {start}
        for letter in secret:
            forms = _forms(letter)
            reached = {n + len(f) for n in reached for f in forms if text.startswith(f, n)}
            if not reached:
                break
            if any(_CUT_LETTER.fullmatch(text, n) for n in reached):
                return start
    return len(text)


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
        except (ValueError, OverflowError):
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), _LONGEST_WAIT)
