"""The tokens of an expression → how its cost can grow with the record. Compared in `limits.py`."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from spoold.cel.tokens import Token, is_selected

_LOOPS = {"exists", "all", "exists_one", "map", "filter"}
_COLLECTING = {"map", "filter"}
_BINDING = _LOOPS | {"optMap", "optFlatMap"}
_LITERAL_ONLY = {"matches", "split", "join", "replace"}
_SEARCHING = {"contains", "indexOf", "lastIndexOf"}


@dataclass(slots=True)
class Pattern:
    """A regular expression as it is written, whether a loop applies it, and its weight if known."""

    text: str
    in_loop: bool
    weight: int = 0


@dataclass(slots=True)
class Cost:
    """What there is to limit in an expression.

    Attributes:
        depth: how deep loops are nested.
        collects: it uses map() or filter(), which copy all they have at every step.
        crosses: a loop uses more than its own variable, so that every step can touch the whole
            record; without that the cost of loops is linear.
        searches: data is searched for data, which is quadratic in the worst case.
        literals: no list that is written in the expression is longer.
        patterns: the regular expressions, as they are written.
        refusal: why the cost could not be limited at all.
    """

    depth: int = 0
    collects: bool = False
    crosses: bool = False
    searches: bool = False
    literals: int = 0
    patterns: list[Pattern] = field(default_factory=list)
    refusal: str | None = None

    @property
    def depends_on_record(self) -> bool:
        """Whether CEL's own limit on steps is not enough for a large record."""
        return self.collects or self.crosses or self.searches or bool(self.patterns)


@dataclass(slots=True)
class _Bracket:
    call: str = ""
    is_member: bool = False
    argument: int = 0
    variable: str = ""
    has_limit: bool = False

    @property
    def is_body(self) -> bool:
        return self.call in _BINDING and self.is_member and self.argument > 0


def cost_of(tokens: Sequence[Token]) -> Cost:
    """What a hostile record could make of an expression that CEL accepts."""
    cost = Cost(literals=len(tokens))
    stack = [_Bracket()]
    splits = False
    for index, token in enumerate(tokens):
        inner = stack[-1]
        if token.closes:
            splits |= inner.call == "split" and not inner.has_limit
            stack.pop()
        elif token.kind == "op" and token.text == ",":
            inner.argument += 1
        else:
            _note_argument(cost, stack, token)
            if token.opens:
                stack.append(_bracket(tokens, index))
                _note_call(cost, stack)
            elif token.kind == "name" and not is_selected(tokens, index):
                _note_name(cost, stack, token.text, tokens[index + 1 : index + 2])
    if splits and (cost.collects or cost.crosses):
        cost.refusal = 'beside a loop, split() needs a limit, such as split(",", 100)'
    return cost


def _bracket(tokens: Sequence[Token], index: int) -> _Bracket:
    if tokens[index].text != "(" or index == 0 or tokens[index - 1].kind != "name":
        return _Bracket()
    return _Bracket(tokens[index - 1].text, is_selected(tokens, index - 1))


def _note_call(cost: Cost, stack: Sequence[_Bracket]) -> None:
    call, is_member = stack[-1].call, stack[-1].is_member
    if is_member and call in _LOOPS:
        around = sum(bracket.is_body and bracket.call in _LOOPS for bracket in stack)
        cost.depth = max(cost.depth, around + 1)
        cost.collects |= call in _COLLECTING
    if call == "format":
        cost.refusal = "format() is not available; put texts together with + or join()"


def _note_argument(cost: Cost, stack: Sequence[_Bracket], token: Token) -> None:
    inner = stack[-1]
    is_literal = token.kind in {"string", "number"}
    # The function matches(text, pattern) has the text as its first argument.
    if inner.call in _LITERAL_ONLY and (inner.is_member or inner.argument > 0):
        inner.has_limit |= token.kind == "number"
        if not is_literal:
            cost.refusal = f"{inner.call}() takes only literals; data there could cost too much"
        elif inner.call == "matches":
            cost.patterns.append(Pattern(token.text, any(around.is_body for around in stack)))
    elif inner.call in _SEARCHING and not is_literal:
        cost.searches = True


def _note_name(
    cost: Cost, stack: Sequence[_Bracket], name: str, following: Sequence[Token]
) -> None:
    inner = stack[-1]
    if inner.call in _BINDING and inner.is_member and inner.argument == 0:
        inner.variable = name
        return
    is_function = bool(following) and following[0].text == "("
    bodies = [bracket for bracket in stack if bracket.is_body]
    if any(bracket.call in _LOOPS for bracket in bodies) and not is_function:
        own = {bodies[-1].variable, "true", "false", "null", "in"}
        cost.crosses |= name not in own
