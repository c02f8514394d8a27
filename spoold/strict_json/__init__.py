"""Bytes from strangers → one JSON object that every parser reads alike, or what is wrong."""

import gc
import json
import math
import re
from collections import Counter
from contextlib import suppress
from itertools import accumulate
from typing import Any, NoReturn

import orjson

from spoold.errors import BadInput
from spoold.record import JsonObject
from spoold.strict_json.cut import is_cut

#: Beyond this CEL, JavaScript and orjson no longer agree on an integer's value.
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1

# Possessive quantifiers throughout: a hostile megabyte must not make a matcher backtrack.
_SOUND = (
    r"[^\"\\]++ | \\[^u] | \\u(?![dD][89a-fA-F])"
    r" | \\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
#: In a text with the grammar of JSON: what is sound, then the first thing that may not be.
_ODD = re.compile(
    rf"""(?: [^"0-9NI-]++
           | "(?:{_SOUND})*+"
           | -?[0-9]{{1,18}}+(?:\.[0-9]++)?+(?:[eE](?:-[0-9]++|\+?[0-9]{{1,2}}+))?+(?![0-9.eE])
         )*+
    (?: (?P<end>\Z)
      | (?P<real>-?[0-9]++(?:\.[0-9]++(?:[eE][+-]?[0-9]++)?+|[eE][+-]?[0-9]++))
      | (?P<integer>-?[0-9]++)
      | (?P<nan>NaN|-?Infinity)
      | "(?:{_SOUND})*+(?P<half>\\u) )""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\.")
_NO_MARKS = bytes(set(range(256)) - set(b'[]{}:"'))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_DIGITS = b"0" * 19  # of the smallest integer that does not fit
_NUMBER = re.compile(_DIGITS + rb"(?<=[-:,\[ \t\n\r]" + _DIGITS + b")")
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)

#: It reads JSON in C and says where the grammar breaks, which orjson cannot be held to.
_GRAMMAR = json.JSONDecoder(parse_int=bool, parse_float=bool, parse_constant=bool)
#: What it misses, by how its message begins, in words for the person who must mend the file.
_MISSED = {
    "Expecting value": "a value",
    "Expecting property": "a key in double quotes",
    "Expecting ':'": "a colon",
    "Expecting ','": "a comma or a closing bracket",
    "Extra data": "the end of the file",
    "Invalid": "more of a string",
    "Unterminated": "the end of a string",
}

_QUOTED_AT_MOST = 40  # characters of a stranger's text in a message
_INTEGER_AT_MOST = 20  # characters in 64 bits; int() refuses a few thousand


def parse(raw: bytes, *, max_depth: int = 64) -> JsonObject:
    """Read one JSON object so that no second reader could understand it differently.

    Args:
        raw: the whole content of a file.
        max_depth: how many objects and arrays may lie inside each other, the outermost included;
            at most 1,024.

    Returns:
        The object. Its integers fit in 64 bits, its floats are finite, its text is valid Unicode.

    Raises:
        BadInput: with code `empty`, `not-utf8`, `truncated`, `not-json`, `not-an-object`,
            `duplicate-key`, `nul-character`, `not-a-number`, `number-out-of-range` or `too-deep`.
    """
    # JSON has no cycles; to look for some while half a million lists are made takes longer than
    # to make them.
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return _parse(raw, max_depth)
    finally:
        if is_collecting:
            gc.enable()


def _parse(raw: bytes, max_depth: int) -> JsonObject:
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        text = _decode(raw)
        _refuse_grammar(text)
        _refuse_odd(text)
        raise BadInput("too-deep", "The nesting is too deep to be read.") from error
    if type(document) is not dict:
        kind = "an array" if type(document) is list else "a single value"
        raise BadInput("not-an-object", f"The file holds {kind}, not an object.")
    _refuse_what_orjson_takes(document, raw, max_depth)
    if b"\\u0000" in raw and _holds_nul(document):
        raise BadInput("nul-character", "A text in it holds the character \\u0000.")
    return document


def _holds_nul(document: JsonObject) -> bool:
    """Whether a key or a text holds a NUL: CEL ends a text there."""
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if type(value) is str and "\0" in value:
            return True
        if type(value) is list:
            waiting += value
        elif type(value) is dict:
            waiting += [*value, *value.values()]
    return False


def _refuse_what_orjson_takes(document: JsonObject, raw: bytes, max_depth: int) -> None:
    r"""Refuse too many levels, integers that became floats, and keys that come twice.

    Each member costs one colon. orjson never adds or escapes one, so a colon that is missing when
    the document is written again went away with a member; unless one was spelled `\u003a`.
    """
    marks = b""
    if raw.count(b"[") + raw.count(b"{") > max_depth:
        marks = _marks(raw)
        if max(accumulate(memoryview(marks.translate(_STEPS, b":")).cast("b"))) > max_depth:
            raise BadInput("too-deep", f"The nesting is deeper than {max_depth} levels.")
    zeros = raw.translate(_DIGITS_AS_ZEROS)
    if _DIGITS in zeros and _NUMBER.search(zeros):
        _refuse_odd(raw.decode())
    written = b""
    if not (b"\\" in raw and (b"\\u003a" in raw or b"\\u003A" in raw)):
        with suppress(orjson.JSONEncodeError):  # it writes 254 levels, and reads more
            written = orjson.dumps(document)
    if written.count(b":") != raw.count(b":"):
        marks = marks or _marks(raw)
        if marks.count(b":") != _members(document):
            _refuse_repeat(raw)


def _marks(raw: bytes) -> bytes:
    """The brackets and colons of a sound text that are not in its strings."""
    if b"\\" in raw:
        raw = _ESCAPE.sub(b"", raw)
    return b"".join(raw.translate(None, _NO_MARKS).split(b'"')[::2])


def _members(document: JsonObject) -> int:
    """How many members all objects of a document have together."""
    count = 0
    level: list[Any] = [document]
    while level:
        count += sum(len(container) for container in level if type(container) is dict)
        level = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else container)
            if type(value) is dict or type(value) is list
        ]
    return count


def _refuse_repeat(raw: bytes) -> NoReturn:
    with suppress(RecursionError):
        json.loads(raw, object_pairs_hook=_distinct)
    raise BadInput("duplicate-key", "A key comes twice in one object.")


def _distinct(members: list[tuple[str, Any]]) -> JsonObject:
    found = dict(members)
    if len(found) == len(members):
        return found
    counts = Counter(key for key, _ in members)
    twice = next(key for key, count in counts.items() if count > 1)
    raise BadInput("duplicate-key", f"The key {_short(twice)} comes twice in one object.")


def _decode(raw: bytes) -> str:
    if not raw.strip(b" \t\n\r\0"):
        what = "zero bytes" if b"\0" in raw else "white space" if raw else "nothing"
        raise BadInput("empty", f"The file holds {what}, and no record.")
    encoding = json.detect_encoding(raw)
    if encoding != "utf-8":
        what = "a byte-order mark" if encoding == "utf-8-sig" else f"{encoding.upper()} text"
        raise BadInput("not-utf8", f"The file begins with {what}.")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            # A stand-in for the character that was cut: fine inside a string, and nowhere else.
            return raw[: error.start].decode() + "\ufffd"
        raise BadInput("not-utf8", f"Byte {error.start + 1} is not valid UTF-8.") from error


def _refuse_grammar(text: str) -> None:
    """Return if the text has the grammar of JSON, also with `NaN`; else say where it breaks."""
    try:
        _GRAMMAR.decode(text)
    except RecursionError:
        raise BadInput("too-deep", "The nesting is too deep to be read.") from None
    except json.JSONDecodeError as error:
        missed = (words for begins, words in _MISSED.items() if error.msg.startswith(begins))
        expected = next(missed, "what JSON allows")
        if is_cut(text, error):
            raise _bad("truncated", text, error.pos, f"the file ends before {expected}") from None
        rest = text[error.pos : error.pos + _QUOTED_AT_MOST]
        found = _short(rest.split("\n")[0] or "\n")
        what = f"there is {found} instead of {expected}"
        raise _bad("not-json", text, error.pos, what) from None


def _refuse_odd(text: str) -> None:
    """Refuse numbers that would change their value, and halves of surrogate pairs.

    Args:
        text: has the grammar of JSON, also with `NaN`.
    """
    at = 0
    while (found := _ODD.match(text, at)) and (kind := found.lastgroup or "end") != "end":
        token, start, at = found[kind], found.start(kind), found.end()
        if kind == "half":
            raise _bad("not-utf8", text, start, "a string has one half of a surrogate pair")
        if kind == "nan":
            raise _bad("not-a-number", text, start, f"there is {token}")
        if kind == "real":
            if math.isinf(float(token)):
                what = f"{_short(token)} is too large for a float"
                raise _bad("not-a-number", text, start, what)
        elif len(token) > _INTEGER_AT_MOST or not _INT_MIN <= int(token) <= _INT_MAX:
            what = f"{_short(token)} does not fit in 64 bits"
            raise _bad("number-out-of-range", text, start, what)


def _bad(code: str, text: str, at: int, what: str) -> BadInput:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return BadInput(code, f"At line {line}, column {column}, {what}.")


def _short(text: str) -> str:
    """Not too long, and with `repr` to escape whatever could play tricks on a terminal."""
    return repr(text if len(text) <= _QUOTED_AT_MOST else text[: _QUOTED_AT_MOST - 1] + "…")
