"""Text from strangers → what a person may be shown on a terminal, in a log line, in JSON."""

import base64
import json
import re
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import quote, quote_plus

#: What nobody sees, or what changes how all else is seen: controls, format characters (direction,
#: joiners, tags), line separators, and what Unicode calls default-ignorable (fillers, selectors).
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160"
    "\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
#: The first byte of each of these in UTF-8, without the controls that JSON escapes anyway.
_BEGINS_UNSEEN = b"\x7f\xc2\xcd\xd8\xdb\xdc\xe0\xe1\xe2\xe3\xef\xf0\xf3"
#: What stands in the place of a secret.
REDACTED = "[redacted]"
#: So many characters of a secret are hardly ever in a text by chance.
_ENOUGH = 8
#: Characters of a line, as `base64` and `xxd -p` break theirs.
_LINES = {"base64": 76, "hex": 60}
#: JSON and URLs may write a character that could stand for itself as `\/`, `\u002f` or `%2f`.
_LONGEST_LETTER = 12
#: The beginning of such a form, at the end of a text.
_CUT_LETTER = re.compile(r"(?:\\(?:u[0-9a-fA-F]{0,3})?|%[0-9a-fA-F]?)?")


def visible(data: bytes) -> bytes:
    """JSON as it is written to a file that people read: what cannot be seen is escaped.

    Args:
        data: JSON in UTF-8; its lines and indents stay.
    """
    if len(data.translate(None, _BEGINS_UNSEEN)) == len(data):
        return data
    # Line ends are between values: in a string they are escaped already.
    return UNSEEN.sub(lambda c: c[0] if c[0] == "\n" else _code(c[0]), data.decode()).encode()


def _code(letter: str) -> str:
    """As JSON spells it in ASCII; two halves beyond U+FFFF."""
    return json.dumps(letter)[1:-1] if letter > "\x7f" or letter < " " else f"\\u{ord(letter):04x}"


def _is_plain(text: str) -> bool:
    return text.isprintable() and (text.isascii() or not UNSEEN.search(text))


def _is_seen(letter: str) -> bool:
    return letter.isprintable() and not UNSEEN.match(letter)


def shown(name: str) -> str:
    """A file name fit for a terminal, a log line and JSON."""
    return name if _is_plain(name) else ascii(name)[1:-1]


def printable(data: bytes | str) -> str:
    """Text that a terminal shows as it is: line ends and tabs stay, other controls are escaped."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if _is_plain(text):
        return text
    return "".join(
        c if _is_seen(c) or c in "\n\t" else ascii(c)[1:-1]  # `\x1b`, `\u202e`
        for c in text
    )


def escaped(line: str) -> str:
    """The same JSON on one line, without a character that could steer a terminal."""
    if _is_plain(line):
        return line
    return "".join(c if _is_seen(c) else _code(c) for c in line)


def spellings(secret: str, shortest: int) -> set[str]:
    """How a secret may appear in text: as it is, in JSON or a URL, encoded, one of its lines.

    Args:
        secret: its value; an empty one appears nowhere.
        shortest: a line with fewer characters is also in text that is no secret.
    """
    lines = [line for line in map(str.strip, secret.splitlines()) if len(line) >= shortest]
    quoted = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    quoted |= {text.replace("/", r"\/") for text in quoted}
    data = secret.encode("utf-8", "replace")
    in_url = {quote(data, safe=""), quote(data), quote_plus(data)}
    in_url |= {re.sub("%..", lambda found: found[0].lower(), text) for text in in_url}
    return {secret, *quoted, *lines, *in_url, *encodings(data)} - {""}


def encodings(data: bytes) -> set[str]:
    """What base64, its form for URLs and hex make of a secret, also as a part of something longer.

    At the two ends of it a character of base64 may remain that it shares with its neighbours.
    """
    hexa = data.hex()
    forms = {hexa, hexa.upper(), *_broken(hexa, _LINES["hex"])}
    for ended in (data, data + b"\n"):  # `echo "$TOKEN" | base64`
        whole = base64.b64encode(ended).decode()
        forms |= {whole, whole.rstrip("="), *_broken(whole, _LINES["base64"])}
    for before in range(3):
        # Six bits a character: those that have bits of a neighbour as well are left out.
        whole = base64.b64encode(bytes(before) + data).decode()
        forms.add(whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    forms |= {form.translate(_FOR_URLS) for form in forms}
    return {form for form in forms if len(form) >= _ENOUGH}


#: base64 → its alphabet that needs no escape in a URL.
_FOR_URLS = str.maketrans("+/", "-_")


def _broken(text: str, width: int) -> list[str]:
    return [text[at : at + width] for at in range(0, len(text), width)]


class Redactor:
    """Takes secrets out of text, also encoded, and as JSON or a URL spells their characters.

    Args:
        secrets: the values; empty ones are ignored.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: another may be its beginning.
        values = {one for one in secrets if one}
        encoded = {form for one in values for form in encodings(one.encode("utf-8", "replace"))}
        self._secrets = sorted(values | encoded, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text with `[redacted]` in the place of each secret."""
        for secret in self._secrets:
            # The expression for a long secret takes a while to compile; most texts hold none.
            if _spelled(secret[:_ENOUGH]).search(text):
                text = _spelled(secret).sub(REDACTED, text)
        return text

    def cut(self, text: str) -> str:
        """The same of a text whose end is missing, and with it perhaps the end of a secret."""
        text = self.text(text)
        return text[: min((_cut_at(one, text) for one in self._secrets), default=None)]


@lru_cache(maxsize=128)
def _forms(letter: str) -> tuple[str, ...]:
    """One character as JSON or a URL may write it, and as itself."""
    code = f"{ord(letter):04x}"
    in_url = "".join(f"%{byte:02x}" for byte in letter.encode("utf-8", "replace"))
    hexa = {f"\\u{code}", f"\\u{code.upper()}", in_url, in_url.upper()}
    return (*sorted({*hexa, json.dumps(letter)[1:-1]} - {letter}), f"\\{letter}", letter)


@lru_cache(maxsize=32)
def _spelled(secret: str) -> re.Pattern[str]:
    letters = ("|".join(map(re.escape, _forms(letter))) for letter in secret)
    return re.compile("".join(f"(?:{letter})" for letter in letters))


def _cut_at(secret: str, text: str) -> int:
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


def age(seconds: float) -> str:
    """A duration for a person: `42s`, `13m`, `5h`, `9d`; negative ones with a minus."""
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    for limit, unit, size in ((100, "s", 1), (6000, "m", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{sign}{seconds / size:.0f}{unit}"
    return f"{sign}{seconds / 86400:.0f}d"
