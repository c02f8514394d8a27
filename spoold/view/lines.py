"""Text that is shown → lines no wider than the terminal, and what in them may mislead the eye."""

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TextIO

from spoold.text import escaped, printable

#: Columns of a terminal that does not say how many it has.
_USUAL = 80
#: Begins each further line of one that is wider than the terminal. No line of JSON begins so.
GOES_ON = "» "
#: People write these together with Latin letters, and none looks like one of those.
_EAST_ASIAN = frozenset({"BOPOMOFO", "CJK", "HANGUL", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA"})
#: All letters before this are Latin, some by another name (the micro sign).
_BEYOND_LATIN = "\u0250"


def columns(stream: TextIO | None = None) -> int | None:
    """The width of the terminal that a stream is (stdout if None); None if it is none."""
    stream = stream or sys.stdout
    if not stream.isatty():
        return None
    said = os.environ.get("COLUMNS", "")
    # What was exported once may be of a wider terminal, on which nothing wrapped.
    of_terminal = os.get_terminal_size(stream.fileno()).columns
    return of_terminal or (int(said) if said.isdecimal() else 0) or _USUAL


def width(text: str) -> int:
    """The most columns that a terminal may give to a text of one line."""
    if text.isascii():
        return len(text)
    return sum(1 + (unicodedata.east_asian_width(c) in "WFA") for c in text)


def clip(text: str, most: int | None) -> str:
    """A line's beginning that fits into `most` columns, with `…` where something is left out."""
    if most is None or width(text) <= most:
        return text
    return _beginning(text, max(most - width("…"), 0)) + "…"


def fold(text: str, most: int | None) -> Iterator[str]:
    """The lines of a text, those wider than `most` columns in parts that say that they go on."""
    for line in text.split("\n"):
        rest = line
        if most is not None:
            room = most
            while width(rest) > room:
                part = _beginning(rest, room) or rest[:1]
                yield (GOES_ON if room < most else "") + part
                rest, room = rest[len(part) :], max(most - width(GOES_ON), 1)
            rest = (GOES_ON if room < most else "") + rest
        yield rest


def spelled_out(text: str) -> str:
    """A text of several lines, each without a character that could steer a terminal."""
    return "\n".join(map(escaped, text.split("\n")))


def mixed(text: str) -> list[str]:
    """Words with letters of several scripts, of which some may look like others."""
    return [] if text.isascii() else [word for word in text.split() if _is_mixed(word)]


def warnings(content: Any) -> list[str]:
    """What in the strings of JSON data may mislead the eye, a sentence each."""
    texts = list(_strings(content))
    words = sorted({word for text in texts for word in mixed(text)})
    unseen = sum(printable(c) != c for text in texts if not text.isprintable() for c in text)
    found = []
    if unseen:
        found.append(f"{unseen} characters of it cannot be seen; they are written as \\u….")
    if words:
        found.append(f"Letters of several scripts are mixed in: {printable(' '.join(words))}")
    return found


def _beginning(text: str, most: int) -> str:
    """As many characters as fit."""
    taken = 0
    for number, letter in enumerate(text):
        taken += width(letter)
        if taken > most:
            return text[:number]
    return text


def _is_mixed(word: str) -> bool:
    return len({_script(c) for c in word if c.isalpha()} - _EAST_ASIAN) > 1


@lru_cache(maxsize=1024)
def _script(letter: str) -> str:
    """The first word of its Unicode name, which for a letter is its script."""
    if letter < _BEYOND_LATIN:
        return "LATIN"
    return re.split(r"[ -]", unicodedata.name(letter, "UNKNOWN"), maxsplit=1)[0]


def _strings(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield key
            yield from _strings(value)
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value)
