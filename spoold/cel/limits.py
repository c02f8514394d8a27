"""An expression's cost and a record's size → whether it may be evaluated.

Security: records are hostile, authors are not. CEL stops after 10,000 steps, but a step may copy a
megabyte. What was measured without a limit is beside each limit.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from spoold.cel.cost import Cost
from spoold.cel.result import EvalError

#: CEL stops an evaluation after this many steps of all its loops together.
_STEPS = 10_000
#: map() and filter() copy what they have at every step: 10,000 entries took 3.6 s and 1.6 GB.
MAX_COLLECTED = 500
#: Steps times size, where every step can touch all of the record: 18 GB took 31 s, all of it kept.
#: No record of less than 26 kB can reach it.
MAX_TOUCHED = 256 * 1024 * 1024
#: The size of a record in which data is searched for data: 750 kB took 2.6 s, quadratically.
MAX_SEARCHED = 256 * 1024
#: The weight of regular expressions times what they look at: 1 GB took 28 s.
MAX_MATCHED = 64 * 1024 * 1024
#: A loop compiles a regular expression at every step; so many bytes could be looked at meanwhile.
_COMPILING = 100


class Extent(NamedTuple):
    """The entries of the largest list or object; the bytes of all, and of the longest text."""

    widest: int
    size: int
    longest: int


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


def refuse_if_too_large(cost: Cost, extent: Extent) -> None:
    """Refuse a record that could make an expression take seconds, or hundreds of megabytes.

    Raises:
        EvalError: which part of the expression is too much for a record of this size.
    """
    widest, size, longest = extent
    if cost.collects and widest > MAX_COLLECTED:
        raise EvalError(
            f"map() and filter() are for records with at most {MAX_COLLECTED} entries "
            f"in any list or object; this one has {widest}"
        )
    steps = min(_STEPS, max(widest, cost.literals) ** cost.depth)
    if cost.crosses and steps * size > MAX_TOUCHED:
        raise EvalError("the record is too large for a loop that uses more than its variable")
    if cost.searches and size > MAX_SEARCHED:
        raise EvalError("the record is too large to be searched for a text from the record")
    looped = (steps * longest if cost.crosses else size) + steps * _COMPILING
    matched = sum(one.weight * (looped if one.in_loop else longest) for one in cost.patterns)
    if matched > MAX_MATCHED:
        raise EvalError("the record is too large for a regular expression this long")
