"""As much of PromQL as the example alerts use: what an expression gives for two looks at metrics.

Source: https://prometheus.io/docs/prometheus/latest/querying/operators/ and .../functions/.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<word>[a-z_]+)(?P<matchers>\{[^}]*\})?(?P<range>\[\w+\])?"
    r"|(?P<sign>==|[()>,-]))"
)


@dataclass
class Look:
    """What Prometheus has scraped at one time: metric → labels → value."""

    at: float
    series: dict[str, Vector] = field(default_factory=dict)

    def add(self, name: str, labels: dict[str, str], value: float) -> None:
        """One sample."""
        self.series.setdefault(name, {})[frozenset(labels.items())] = value


class Query:
    """An expression, evaluated at the second of two looks.

    Args:
        text: the expression.
        before: an earlier look, for `increase`.
        now: the look that it is evaluated at.
    """

    def __init__(self, text: str, before: Look, now: Look) -> None:
        self._before, self._now = before, now
        self._tokens, end = [], 0
        while found := _TOKEN.match(text, end):
            self._tokens.append(found)
            end = found.end()
        assert not text[end:].strip(), f"not known here: {text[end:]}"
        self._next = 0

    def value(self) -> Vector:
        """The series that the expression gives."""
        found = self._either()
        assert self._next == len(self._tokens)
        assert isinstance(found, dict)
        return found

    def _peek(self) -> str:
        ended = self._next >= len(self._tokens)
        return "" if ended else self._tokens[self._next][0].strip()

    def _take(self, *texts: str) -> bool:
        if taken := self._peek() in texts:
            self._next += 1
        return taken

    def _either(self) -> float | Vector:
        left = self._both()
        while self._take("or"):
            left = {**_vector(self._both()), **_vector(left)}
        return left

    def _both(self) -> float | Vector:
        left = self._compared()
        while (word := self._peek()) in ("and", "unless"):
            self._next += 1
            right, wanted = _vector(self._compared()), word == "and"
            left = {key: one for key, one in _vector(left).items() if (key in right) == wanted}
        return left

    def _compared(self) -> float | Vector:
        left = self._difference()
        for sign, holds in _COMPARISONS.items():
            if self._take(sign):
                limit = self._difference()
                assert isinstance(limit, float)
                left = {key: one for key, one in _vector(left).items() if holds(one, limit)}
        return left

    def _difference(self) -> float | Vector:
        left = self._term()
        while self._take("-"):
            right = self._term()
            assert isinstance(left, float)
            left = {key: left - one for key, one in _vector(right).items()}
        return left

    def _term(self) -> float | Vector:
        if self._take("("):
            return self._closed()
        token = self._tokens[self._next]
        self._next += 1
        if token["number"]:
            return float(token["number"])
        if token["word"] == "sum":
            return self._sum()
        if self._take("("):
            return self._call(token["word"])
        return self._select(token, self._now)

    def _closed(self) -> float | Vector:
        found = self._either()
        assert self._take(")")
        return found

    def _call(self, name: str) -> float | Vector:
        if name == "time":
            assert self._take(")")
            return self._now.at
        if name == "absent":
            return {} if self._closed() else {frozenset(): 1.0}
        assert name == "increase", name
        token = self._tokens[self._next]
        assert token["range"]
        before, now = self._select(token, self._before), _vector(self._closed())
        # A series that has just come has no increase yet.
        return {key: one - before[key] for key, one in now.items() if key in before}

    def _sum(self) -> Vector:
        assert self._take("by")
        assert self._take("(")
        kept = []
        while not self._take(")"):
            kept.append(self._peek())
            self._next += 1
            self._take(",")
        assert self._take("(")
        found: Vector = {}
        for key, one in _vector(self._closed()).items():
            rest = frozenset(label for label in key if label[0] in kept)
            found[rest] = found.get(rest, 0.0) + one
        return found

    @staticmethod
    def _select(token: re.Match[str], look: Look) -> Vector:
        wanted = re.findall(r'(\w+)(=~|=)"([^"]*)"', token["matchers"] or "")
        return {
            key: one
            for key, one in look.series.get(token["word"], {}).items()
            if all(_fits(dict(key).get(label, ""), sign, text) for label, sign, text in wanted)
        }


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">": lambda one, limit: one > limit,
    "==": lambda one, limit: one == limit,
}


def _fits(value: str, sign: str, text: str) -> bool:
    return value == text if sign == "=" else re.fullmatch(text, value) is not None


def _vector(found: float | Vector) -> Vector:
    assert isinstance(found, dict)
    return found
