"""CEL text → tokens, and the places in the record that they name."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"""
      (?P<skip>   \s+ | //[^\n]* )
    | (?P<string> (?:[rR][bB]?|[bB][rR])  (?:\"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*')
                | [bB]? (?:\"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                          | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*') )
    | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | [0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?
                | [0-9]+[eE][+-]?[0-9]+ | [0-9]+[uU]? )
    | (?P<name>   [A-Za-z_][A-Za-z0-9_]* | `[^`\n]*` )
    | (?P<op>     && | \|\| | [=!<>]= | \.\? | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_SELECT = (".", ".?")


class Token(NamedTuple):
    """One word of an expression and where it stands."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def opens(self) -> bool:
        """Whether it is an opening bracket."""
        return self.kind == "op" and self.text in "([{"

    @property
    def closes(self) -> bool:
        """Whether it is a closing bracket."""
        return self.kind == "op" and self.text in ")]}"


class Path(NamedTuple):
    """A place in the record that an expression names, such as `record.facts.labels[0]`."""

    #: Each key with the source text up to and including it.
    steps: tuple[tuple[str | int, str], ...]

    def __str__(self) -> str:
        return self.steps[-1][1]

    def follow(self, record: Any) -> tuple[int, Any]:
        """How many steps lead somewhere, and the value at the last of them."""
        value = record
        for count, (key, _) in enumerate(self.steps):
            is_there = (
                isinstance(key, int) and key < len(value)
                if isinstance(value, list)
                else isinstance(value, dict) and key in value
            )
            if not is_there:
                return count, value
            value = value[key]
        return len(self.steps), value


def tokenize(text: str) -> list[Token]:
    """The tokens of an expression that CEL accepts, without white space and comments."""
    return [
        Token(found.lastgroup or "", found[0], *found.span())
        for found in _TOKEN.finditer(text)
        if found.lastgroup != "skip"
    ]


def with_depth(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """Each token with the number of brackets it stands in; a bracket stands outside itself."""
    depth = 0
    for token in tokens:
        depth -= token.closes
        yield depth, token
        depth += token.opens


def is_selected(tokens: Sequence[Token], index: int) -> bool:
    """Whether the name at `index` is a field or method of what stands before it."""
    # A leading dot selects nothing: `.record` is the variable, spelled from the root.
    return (
        index > 1
        and tokens[index - 1].text in _SELECT
        and (tokens[index - 2].kind in {"name", "string", "number"} or tokens[index - 2].closes)
    )


def record_paths(tokens: Sequence[Token]) -> tuple[Path, ...]:
    """Every different place in the record that is named, in the order of the text."""
    found: dict[str, Path] = {}
    for index, token in enumerate(tokens):
        if token.text == "record" and token.kind == "name" and not is_selected(tokens, index):
            steps: list[tuple[str | int, str]] = []
            at, text = index + 1, "record"
            while step := _step(tokens, at):
                key, shown, at = step
                text += shown
                steps.append((key, text))
            if steps:
                found.setdefault(text, Path(tuple(steps)))
    return tuple(found.values())


def _step(tokens: Sequence[Token], at: int) -> tuple[str | int, str, int] | None:
    """The key, its text and the index after a `.name`, `["name"]` or `[0]` that begins at `at`."""
    match tokens[at : at + 4]:
        case [Token(text="." | ".?"), Token("name"), Token(text="("), *_]:
            return None
        case [Token(text="." | ".?"), Token("name", text), *_]:
            return text.strip("`"), f".{text}", at + 2
        case [Token(text="["), Token(text="?"), Token() as key, Token(text="]")]:
            width = 4
        case [Token(text="["), Token() as key, Token(text="]"), *_]:
            width = 3
        case _:
            return None
    if key.kind == "number" and key.text.isdecimal():
        return int(key.text), f"[{key.text}]", at + width
    # A key with escapes or prefixes is rare; its path just ends before it.
    if key.kind == "string" and key.text[0] in "\"'" and "\\" not in key.text:
        quotes = 3 if key.text[:3] in {'"' * 3, "'" * 3} else 1
        return key.text[quotes:-quotes], f"[{key.text}]", at + width
    return None
