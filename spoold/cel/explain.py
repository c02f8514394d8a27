"""A condition + a record → which of its parts decided, and what they found in the record."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from spoold.cel.expression import Expression, NotBoolean, Scope
from spoold.cel.messages import shown
from spoold.cel.result import EvalError
from spoold.cel.tokens import Path, Token, tokenize, with_depth

Outcome = Literal["true", "false", "error", "not a boolean"]

_LONGEST_VALUE = 60


@dataclass(frozen=True, slots=True)
class Leaf:
    """A part of a condition that `&&` and `||` join.

    Attributes:
        text: its CEL text on one line.
        outcome: what it gives for the record, evaluated by itself.
        is_decisive: the whole has its outcome because of this part.
        message: why it has no boolean result, or None.
        values: what the record has at each `record.…` path it names, as JSON, or `missing`.
    """

    text: str
    outcome: Outcome
    is_decisive: bool = False
    message: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """For a person: `record.a == "x" is false: record.a is "y"`."""
        verb = "fails" if self.outcome == "error" else f"is {self.outcome}"
        found = [f"{path} is {value}" for path, value in self.values.items()]
        if self.message and self.outcome == "error" and self.message not in found:
            found.insert(0, self.message)
        return f"{self.text} {verb}" + (f": {', '.join(found)}" if found else "")


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a condition holds or not.

    Attributes:
        outcome: of the whole, as a route sees it; only `true` is a match.
        message: why the whole has no boolean result, or None.
        leaves: its parts in the order of the text; those after a decisive one are shown too.
    """

    outcome: Outcome
    message: str | None
    leaves: tuple[Leaf, ...]

    @property
    def decisive(self) -> tuple[Leaf, ...]:
        """The parts that made the outcome.

        There are none if only the whole fails, because it costs too much.
        """
        return tuple(leaf for leaf in self.leaves if leaf.is_decisive)

    def __str__(self) -> str:
        lines = [f"{'→' if leaf.is_decisive else ' '} {leaf.sentence}" for leaf in self.leaves]
        if self.message and not self.decisive:
            lines.insert(0, f"→ the whole fails: {self.message}")
        return "\n".join(lines)


def explain(text: str, scope: Scope) -> Explanation:
    """What each part of a condition gives for a record.

    Raises:
        RuleError: if the text is no expression.
    """
    outcome, message = _outcome(Expression(text), scope)
    tree = _tree(text, tokenize(text), scope)
    if _operand(tree.outcome) == _operand(outcome):
        tree = tree.decide()
    return Explanation(outcome, message, tuple(tree.walk()))


@dataclass(frozen=True, slots=True)
class _Node:
    """A leaf, or a chain of one operator."""

    outcome: Outcome
    leaf: Leaf | None = None
    parts: tuple["_Node", ...] = ()

    def decide(self) -> "_Node":
        """Mark what gave this node its outcome: the parts that have the same."""
        leaf = self.leaf and replace(self.leaf, is_decisive=True)
        same = _operand(self.outcome)
        parts = (p.decide() if _operand(p.outcome) == same else p for p in self.parts)
        return replace(self, leaf=leaf, parts=tuple(parts))

    def walk(self) -> Iterator[Leaf]:
        if self.leaf:
            yield self.leaf
        for part in self.parts:
            yield from part.walk()


def _operand(outcome: Outcome) -> str:
    """The three things an operand can be for `&&` and `||`."""
    return "error" if outcome == "not a boolean" else outcome


def _tree(text: str, tokens: Sequence[Token], scope: Scope) -> _Node:
    tokens = _unwrap(tokens)
    # ?: binds weaker than || and &&, so neither may be split out of it.
    if not any(depth == 0 and token.text == "?" for depth, token in with_depth(tokens)):
        for operator in ("||", "&&"):
            chain = list(_split(tokens, operator))
            if len(chain) > 1:
                parts = tuple(_tree(text, part, scope) for part in chain)
                return _Node(_combine(operator, [_operand(p.outcome) for p in parts]), parts=parts)
    return _leaf(text, tokens, scope)


def _combine(operator: str, outcomes: Iterable[str]) -> Outcome:
    """CEL's own rule, in which a decisive operand absorbs the errors of others."""
    known = set(outcomes)
    deciding: Outcome = "true" if operator == "||" else "false"
    other: Outcome = "false" if operator == "||" else "true"
    return deciding if deciding in known else "error" if "error" in known else other


def _unwrap(tokens: Sequence[Token]) -> Sequence[Token]:
    while tokens[0].text == "(":
        closing = next(i for i, (depth, _) in enumerate(with_depth(tokens)) if i and depth == 0)
        if closing != len(tokens) - 1:
            break
        tokens = tokens[1:-1]
    return tokens


def _split(tokens: Sequence[Token], operator: str) -> Iterator[Sequence[Token]]:
    start = 0
    for index, (depth, token) in enumerate(with_depth(tokens)):
        if depth == 0 and token.kind == "op" and token.text == operator:
            yield tokens[start:index]
            start = index + 1
    yield tokens[start:]


def _leaf(text: str, tokens: Sequence[Token], scope: Scope) -> _Node:
    expression = Expression(text[tokens[0].start : tokens[-1].end])
    outcome, message = _outcome(expression, scope)
    values = {str(path): _show(path, scope.record) for path in expression.paths}
    return _Node(outcome, Leaf(_one_line(tokens), outcome, message=message, values=values))


def _outcome(expression: Expression, scope: Scope) -> tuple[Outcome, str | None]:
    try:
        return ("true" if expression.test(scope) else "false"), None
    except NotBoolean as error:
        return "not a boolean", str(error)
    except EvalError as error:
        return "error", str(error)


def _one_line(tokens: Sequence[Token]) -> str:
    """The text without comments and line breaks, but with every literal as it was written."""
    text, end = "", tokens[0].start
    for token in tokens:
        text += (" " if token.start > end else "") + token.text
        end = token.end
    return text


def _show(path: Path, record: Any) -> str:
    count, value = path.follow(record)
    if count < len(path.steps):
        return "missing"
    try:
        return shown(json.dumps(value, ensure_ascii=False), _LONGEST_VALUE)
    except RecursionError:
        return "too deep to show"
