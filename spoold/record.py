"""What a drop says: strict JSON in, one `Record` out, whatever system it came from."""

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import orjson

from spoold.errors import BadInput

JsonObject = dict[str, Any]

#: Beyond this CEL, JavaScript and orjson no longer agree on an integer's value.
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1

# Possessive quantifiers throughout: a hostile megabyte must not make the matcher backtrack.
_STRING = r'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+'
_DIGITS = r"-?(?:0|[1-9][0-9]*+)"
_TOKEN = re.compile(
    rf"""[ \t\n\r]*+(?:
      (?P<end>\Z)
    | (?P<cut_string>{_STRING}(?:\\(?:u[0-9a-fA-F]{{0,3}})?)?\Z)
    | (?P<cut_value>(?:-|{_DIGITS}(?:\.|(?:\.[0-9]++)?[eE][+-]?)|t|tr|tru|f|fa|fal|fals|n|nu|nul)\Z)
    | (?P<string>{_STRING}")
    | (?P<real>{_DIGITS}(?:\.[0-9]++(?:[eE][+-]?[0-9]++)?|[eE][+-]?[0-9]++))
    | (?P<nan>NaN|-?Infinity)
    | (?P<integer>{_DIGITS})
    | (?P<literal>true|false|null)
    | (?P<mark>[\[\]{{}}:,])
    | (?P<bad>.))""",
    re.VERBOSE | re.DOTALL,
)
_OPEN_STRING = re.compile(_STRING)
_SURROGATE = re.compile("[\ud800-\udfff]")

# What may come next: the kinds of token, then the words for whoever must mend the file.
_Expected = tuple[frozenset[str], str]
_STRINGS = frozenset({"string", "cut_string"})
_VALUES = _STRINGS | {"real", "integer", "literal", "nan", "cut_value", "[", "{"}
_CHECKED = _VALUES - {"literal"}
_DOCUMENT: _Expected = (_VALUES, "a JSON object")
_VALUE: _Expected = (_VALUES, "a value")
_ITEM: _Expected = (_VALUES | {"]"}, "a value or ]")
_KEY: _Expected = (_STRINGS, "a key in double quotes")
_FIRST_KEY: _Expected = (_STRINGS | {"}"}, "a key in double quotes or }")
_COLON: _Expected = (frozenset({":"}), "a colon")
_NEXT_ITEM: _Expected = (frozenset({",", "]"}), "a comma or ]")
_NEXT_KEY: _Expected = (frozenset({",", "}"}), "a comma or }")
_END: _Expected = (frozenset({"end"}), "the end of the file")

_HARMLESS = frozenset({str, bool, type(None)})
_QUOTED_AT_MOST = 40  # characters of a stranger's text in a message
_INTEGER_AT_MOST = 20  # characters in 64 bits; int() refuses a few thousand


@dataclass(frozen=True, slots=True)
class Record:
    """One dropped event, in the words that routes use (`record` in CEL).

    Attributes:
        source: the inbox it was dropped in.
        id: the delivery's own identity, the same on every repeat, or None.
        type: what it is, such as `decision`, `plane.issue`, `github.push`, `task.agent`.
        occurred_at: when the producer says it happened, as it wrote it, or None.
        headers: HTTP headers that came with it; names in lower case.
        body: the JSON as it was dropped, unwrapped from its envelope.
        facts: what the source adapter derived; the same keys for every record of a type.
    """

    source: str
    id: str | None
    type: str
    occurred_at: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: JsonObject = field(default_factory=dict)
    facts: JsonObject = field(default_factory=dict)

    def as_dict(self) -> JsonObject:
        """The record as plain JSON data, the `record` variable of every expression."""
        return {
            "source": self.source,
            "id": self.id,
            "type": self.type,
            "occurred_at": self.occurred_at,
            "headers": self.headers,
            "body": self.body,
            "facts": self.facts,
        }


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
    try:
        document = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        _SecondReader(_decode(raw), max_depth).read()
        raise BadInput("not-json", f"The JSON is wrong: {error.msg}.") from error
    if type(document) is not dict:
        kind = "an array" if type(document) is list else "a single value"
        raise BadInput("not-an-object", f"The file holds {kind}, not an object.")
    if not _is_plain(document, max_depth) or not _has_distinct_keys(document, raw):
        _SecondReader(_decode(raw), max_depth).read()
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


def _is_plain(document: JsonObject, max_depth: int) -> bool:
    """False when depth or a number needs the slow look; level by level, so never recursing."""
    level: list[Any] = [document]
    for _ in range(max_depth):
        others = [
            value
            for container in level
            for value in (container.values() if type(container) is dict else container)
            if type(value) not in _HARMLESS
        ]
        level = []
        for value in others:
            if type(value) is dict or type(value) is list:
                level.append(value)
            # orjson makes a float of an integer that does not fit, so a large float may be one.
            elif not _INT_MIN < value <= _INT_MAX:
                return False
        if not level:
            return True
    return False


def _has_distinct_keys(document: JsonObject, raw: bytes) -> bool:
    r"""False when a repeated key is possible.

    Each member costs one colon and orjson never adds or escapes one, so a colon that is missing
    when the document is written again went away with a member; unless one was spelled `\u003a`.
    """
    if b"\\" in raw and (b"\\u003a" in raw or b"\\u003A" in raw):
        return False
    try:
        return orjson.dumps(document).count(b":") == raw.count(b":")
    except orjson.JSONEncodeError:  # it writes 254 levels, and reads more
        return False


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


class _SecondReader:
    """Names the first thing wrong with a JSON text.

    orjson says neither whether the text could have gone on nor which key came twice; this reader
    does, slower and in Python, without recursion and in time linear in the text.
    """

    def __init__(self, text: str, max_depth: int) -> None:
        self._text = text
        self._max_depth = max_depth
        self._start = 0  # of the token in hand
        self._keys: list[set[str] | None] = []  # of each open container; None for an array
        self._expected = _DOCUMENT

    def read(self) -> None:
        """Return if the text is sound, or raise `BadInput`."""
        for found in _TOKEN.finditer(self._text):
            kind = found.lastgroup or "bad"
            self._start = found.start(kind)
            if kind == "mark":
                kind = self._text[self._start]
            if kind not in self._expected[0]:
                self._refuse_token(kind)
            if kind in _CHECKED:
                self._check(kind, self._text[self._start : found.end()])
            self._move(kind)

    def _move(self, kind: str) -> None:
        """Set what may come after a token of this kind."""
        keys = self._keys
        if kind in {"{", "["}:
            keys.append(set() if kind == "{" else None)
            self._expected = _FIRST_KEY if kind == "{" else _ITEM
        elif kind == ",":
            self._expected = _VALUE if keys[-1] is None else _KEY
        elif kind == ":":
            self._expected = _VALUE
        elif kind == "string" and (self._expected is _KEY or self._expected is _FIRST_KEY):
            self._expected = _COLON
        else:
            if kind in {"}", "]"}:
                keys.pop()
            self._expected = _END if not keys else _NEXT_ITEM if keys[-1] is None else _NEXT_KEY

    def _check(self, kind: str, token: str) -> None:
        """Refuse what the grammar would take, or would take if there were more of it."""
        if kind == "string":
            self._check_string(token)
        elif kind == "integer":
            if len(token) > _INTEGER_AT_MOST or not _INT_MIN <= int(token) <= _INT_MAX:
                self._refuse("number-out-of-range", f"{_short(token)} does not fit in 64 bits")
        elif kind == "nan":
            self._refuse("not-a-number", f"there is {token}")
        elif kind == "real":
            if math.isinf(float(token)):
                self._refuse("not-a-number", f"{_short(token)} is too large for a float")
        elif kind in {"cut_string", "cut_value"}:
            what = kind.removeprefix("cut_")
            self._refuse("truncated", f"the file ends inside the {what} that begins there")
        elif len(self._keys) == self._max_depth:
            self._refuse("too-deep", f"the nesting becomes deeper than {self._max_depth} levels")

    def _check_string(self, token: str) -> None:
        text = json.loads(token) if "\\" in token else token[1:-1]
        if _SURROGATE.search(text):
            self._refuse("not-utf8", "a string has one half of a surrogate pair")
        keys = self._keys[-1] if self._keys else None
        if keys is None or self._expected is _VALUE:
            return
        if text in keys:
            self._refuse("duplicate-key", f"the key {_short(text)} comes again in one object")
        keys.add(text)

    def _refuse_token(self, kind: str) -> NoReturn:
        expected = self._expected[1]
        if kind == "end":
            self._refuse("truncated", f"the file ends before {expected}")
        if kind == "bad" and (opened := _OPEN_STRING.match(self._text, self._start)):
            self._start = opened.end()
            expected = "more of a string"
        rest = self._text[self._start : self._start + _QUOTED_AT_MOST]
        found = _short(rest.split("\n")[0] or "\n")
        self._refuse("not-json", f"there is {found} instead of {expected}")

    def _refuse(self, code: str, what: str) -> NoReturn:
        line = self._text.count("\n", 0, self._start) + 1
        column = self._start - self._text.rfind("\n", 0, self._start)
        raise BadInput(code, f"At line {line}, column {column}, {what}.")


def _short(text: str) -> str:
    """Not too long, and with `repr` to escape whatever could play tricks on a terminal."""
    return repr(text if len(text) <= _QUOTED_AT_MOST else text[: _QUOTED_AT_MOST - 1] + "…")
