"""Text from strangers → what a person may be shown on a terminal, in a log line, in JSON."""

import json


def shown(name: str) -> str:
    """A file name fit for a terminal, a log line and JSON."""
    return name if name.isprintable() else ascii(name)[1:-1]


def printable(data: bytes | str) -> str:
    """Text that a terminal shows as it is: line ends and tabs stay, other controls are escaped."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1]  # `\x1b`, `\u202e`
        for c in text
    )


def escaped(line: str) -> str:
    """The same JSON on one line, without a character that could steer a terminal."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def spellings(secret: str, shortest: int) -> set[str]:
    """How a secret may appear in text: as it is, as JSON, one of its lines alone.

    Args:
        secret: its value; an empty one appears nowhere.
        shortest: a line with fewer characters is also in text that is no secret.
    """
    lines = [line for line in map(str.strip, secret.splitlines()) if len(line) >= shortest]
    quoted = (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    return {secret, *quoted, *lines} - {""}
