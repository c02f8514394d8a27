"""CEL tokens → how the cost of an expression can grow with the record that it is given.

Security: records are hostile, authors are not. CEL stops after 10,000 steps, but a step may copy a
megabyte: what was measured is beside each limit in rules.py.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spoold.cel.tokens import Token, is_selected

_LOOPS = {"exists", "all", "exists_one", "map", "filter"}
_COLLECTING = {"map", "filter"}
_BINDING = _LOOPS | {"optMap", "optFlatMap"}
_LITERAL_ONLY = {"matches", "split", "join", "replace"}
_SEARCHING = {"contains", "indexOf", "lastIndexOf"}

#: The parts of a regular expression, and what each adds to the program that it is compiled to.
_PART = re.compile(
    r"""(?P<quoted>\\Q.*?(?:\\E|\Z)) | (?P<script>\\[pP](?:\{[^}]*\}|.))
      | (?P<kind>\\[dDwWsSCX]|\.) | (?P<escape>\\x\{[^}]*\}|\\.)
      | (?P<set>\[\^?\]?(?:\[:[^\]]*:\]|\\[pP]\{[^}]*\}|\\.|[^\]\\])*\])
      | (?P<times>\{(?P<low>[0-9]+)(?P<range>,(?P<high>[0-9]*))?\})
      | (?P<opens>\((?:\?(?:P?<\w+>|[a-zA-Z-]*:?))?) | (?P<closes>\)) | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
_SCRIPT, _SET = 1500, 8


class Extent(NamedTuple):
    """The entries of the largest list or object; the bytes of all, and of the longest text."""

    widest: int
    size: int
    longest: int


class Pattern(NamedTuple):
    """A regular expression as it is written, and whether a loop applies it."""

    text: str
    in_loop: bool


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


def weight_of(pattern: str) -> int:
    """About how large the program is that a regular expression is compiled to, `{n}` unrolled."""
    sums, last = [0], 0
    for part in _PART.finditer(pattern):
        if part["opens"]:
            sums.append(0)
            last = 0
        elif part["times"]:
            times = max(int(part["low"]), int(part["high"] or 0)) * (3 if part["range"] else 1)
            sums[-1] += last * (times - 1)
            last *= times
        else:
            last = sums.pop() + 2 if part["closes"] and len(sums) > 1 else _weight(part)
            sums[-1] += last
    return sum(sums)


def _weight(part: re.Match[str]) -> int:
    text = part[0]
    if part["script"] or (part["set"] and not (text.isascii() and r"\p" not in text.lower())):
        return _SCRIPT
    if part["set"] or part["kind"]:
        return _SET
    return len(text) if part["quoted"] else len(text.encode("utf-8", "surrogatepass"))


def extent_of(record: Any) -> Extent:
    """How much of a record an expression could look at."""
    widest = size = longest = 0
    for value in _values(record):
        size += 1
        if isinstance(value, str):
            length = len(value) if value.isascii() else len(value.encode(errors="replace"))
            size, longest = size + length, max(longest, length)
        elif isinstance(value, dict | list):
            widest = max(widest, len(value))
    return Extent(widest, size, longest)


def _values(record: Any) -> Iterator[Any]:
    """All values and keys, at any depth; nothing recurses."""
    waiting: list[Any] = [record]
    while waiting:
        value = waiting.pop()
        yield value
        if isinstance(value, dict | list):
            waiting += value
            if isinstance(value, dict):
                waiting += value.values()
