"""Man pages in mdoc → what they say about what."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from spoold import executors

CHECKOUT = Path(__file__).resolve().parents[2]
MAN = CHECKOUT / "packaging/man"
#: This package's kinds of executors; other people document their own.
KINDS = sorted(executors.KINDS)


@dataclass
class Item:
    """An entry of a list.

    Attributes:
        heading: its lines that begin with `.It`, without that; mdoc as it is written.
        body: the lines up to the next entry.
    """

    heading: str
    body: list[str] = field(default_factory=list)

    def names(self, macro: str, within: str | None = None) -> Iterator[str]:
        """The words that a macro marks: `Cm a , b` has `a` and `b`."""
        marked = False
        for word in (self.heading if within is None else within).split():
            if word == macro:
                marked = True
            elif re.fullmatch(r"[A-Z][a-z]", word):
                marked = False
            elif marked and re.search(r"\w", word):
                yield word.strip("()")

    @property
    def mentioned(self) -> set[str]:
        """What the body marks as a key."""
        lines = [line for line in self.body if line.startswith(".Cm ")]
        return {name for line in lines for name in self.names("Cm", line[1:])}

    @property
    def text(self) -> str:
        """The body in plain words."""
        return " ".join(" ".join(self.body).split())


def items(text: str, section: str, sub: str | None = None) -> list[Item]:
    """The entries of a section (`.Sh`), or of one of its subsections (`.Ss`), whatever the depth.

    Where entries share a body, because one follows the other at once, each has it.
    """
    here: tuple[str, str | None] = ("", None)
    found: list[Item] = []
    for line in text.splitlines():
        if line.startswith(".Sh "):
            here = (line[4:], None)
        elif line.startswith(".Ss "):
            here = (here[0], line[4:])
        elif here[0] != section or sub not in (None, here[1]):
            continue
        elif line.startswith(".It "):
            found.append(Item(line[4:]))
        elif found:
            found[-1].body.append(line)
    return found


def named(text: str, section: str, sub: str | None = None, macro: str = "Cm") -> set[str]:
    """What the entries of a section are about."""
    return {name for item in items(text, section, sub) for name in item.names(macro)}


def page(name: str) -> str:
    """The source of a man page."""
    return (MAN / name).read_text(encoding="utf-8")


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the first Markdown table whose first line begins so."""
    lines = text.splitlines()
    (first,) = [n for n, line in enumerate(lines) if line.startswith(heading)][:1]
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows
