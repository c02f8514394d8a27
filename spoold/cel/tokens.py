"""CEL text → tokens, and the places in the record that they name."""

import re
from collections.abc import Iterable, Iterator, Sequence
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
    for path in _mentions(tokens):
        if path.steps:
            found.setdefault(str(path), path)
    return tuple(found.values())


def _mentions(tokens: Sequence[Token]) -> Iterator[Path]:
    """Every use of the record; without steps where it is used as a whole."""
    for index, token in enumerate(tokens):
        if token.text == "record" and token.kind == "name" and not is_selected(tokens, index):
            steps: list[tuple[str | int, str]] = []
            at, text = index + 1, "record"
            while step := _step(tokens, at):
                key, shown, at = step
                text += shown
                steps.append((key, text))
            yield Path(tuple(steps))


def keys_of(tokens: Sequence[Token]) -> tuple[str, ...]:
    """The keys, if all that an expression does is to name one place by keys; else none."""
    match record_paths(tokens):
        case (path,) if str(path) == "".join(token.text for token in tokens):
            keys = tuple(key for key, _ in path.steps if isinstance(key, str))
            return keys if len(keys) == len(path.steps) else ()
    return ()


#: Keys of the record, each with what is needed inside it; None is everything.
Needs = dict[str, "Needs | None"]


def needs_of(tokens: Sequence[Token]) -> Needs | None:
    """What of the record an expression can see; None is everything."""
    needs: Needs = {}
    for path in _mentions(tokens):
        one: Needs | None = None
        for key, _ in reversed(path.steps):
            one = {key: one} if isinstance(key, str) else None
        if one is None:
            return None
        needs = _both(needs, one)
    return needs


def all_needs(several: Iterable[Needs | None]) -> Needs | None:
    """What expressions can see together."""
    found: Needs = {}
    for needs in several:
        if needs is None:
            return None
        found = _both(found, needs)
    return found


def _both(one: Needs, other: Needs) -> Needs:
    found = dict(one)
    for key, inner in other.items():
        here = found.get(key, inner)
        found[key] = None if here is None or inner is None else _both(here, inner)
    return found


def pruned(value: Any, needs: Needs) -> Any:
    """A copy of an object with no more than is needed; what is no object stays as it is."""
    if not isinstance(value, dict):
        return value
    return {
        key: value[key] if inner is None else pruned(value[key], inner)
        for key, inner in needs.items()
        if key in value
    }


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
