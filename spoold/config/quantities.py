"""Durations and sizes, as they are written in TOML: `4h`, `64MiB`."""

import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

#: Seconds; beyond it a date cannot be computed.
_LONGEST = 3650 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: object) -> float:
    """Seconds in a duration such as `30s`, `5m`, `4h`, `7d`, `500ms`.

    Raises:
        ValueError: if the text is none.
    """
    found = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text) if isinstance(text, str) else None
    if not found:
        raise ValueError(f"{text!r} is no duration; write it like 30s, 5m, 4h or 7d")
    amount, unit = int(found[1]), found[2]
    seconds = amount / 1000 if unit == "ms" else float(amount * _UNITS[unit])
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is more than ten years")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as `seconds` (to the millisecond)."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds) // _UNITS[unit]}{unit}"
    return f"{int(seconds)}s"


#: Seconds; written `30s`, `5m`, `4h`, `7d` in TOML and in a request file.
Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]


#: How long the key of an event counts as seen: for good, or until what it asked for has ended.
FOREVER, WHILE_OPEN = "forever", "while-open"


def _how_long(text: object) -> str:
    """`forever`, `while-open` or a duration, as it was written.

    Raises:
        ValueError: it is none of them.
    """
    if text not in (FOREVER, WHILE_OPEN):
        try:
            parse_duration(text)
        except ValueError as error:
            raise ValueError(f'{error}; or "{FOREVER}" or "{WHILE_OPEN}"') from None
    return str(text)


#: How long the same key is a repeat; written `forever`, `while-open` or `1h`.
Repeats = Annotated[str, BeforeValidator(_how_long)]


_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def parse_size(value: object) -> int:
    """`512KiB 64MiB 2GiB`, or a number of bytes → bytes.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(r"([0-9]{1,6})([KMGT]iB)", value) if isinstance(value, str) else None
    if not found:
        raise ValueError('a size is a number of bytes, or written like "64MiB" (KiB MiB GiB TiB)')
    return int(found[1]) * _SIZES[found[2]]


#: Bytes.
Size = Annotated[int, BeforeValidator(parse_size)]
