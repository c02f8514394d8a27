"""CEL text + record → JSON values; a mistake is found at load, an error never counts as true.

Security: records are hostile, routes are not. Whatever a record holds, an evaluation ends after a
bounded time with bounded memory, and what is not exactly true is no match.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings

from spoold.cel.cost import cost_of
from spoold.cel.limits import Extent, extent_of, refuse_if_too_large
from spoold.cel.messages import compile_problem, eval_problem, shown, without_status
from spoold.cel.regex import weight_of
from spoold.cel.result import EvalError, NotPlain, Writer
from spoold.cel.tokens import Needs, keys_of, needs_of, pruned, record_paths, tokenize

_ENV = cel.NewEnv(
    variables={"record": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)},
    extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional()],
)
# Each look at these through the binding costs as much as a comparison.
_BOOL, _ERROR, _UNKNOWN = cel.Type.BOOL, cel.Type.ERROR, cel.Type.UNKNOWN
_NOT_JSON = re.compile(r"BYTES|TYPE<|optional_type|ERROR|MAP<(?:INT|UINT|BOOL)\b")

#: Where a value stands inside a TOML value: `("body", "labels", 0)`.
Place = tuple[str | int, ...]


class RuleError(ValueError):
    """An expression, or a literal, that can never work; found at load.

    Args:
        message: what is wrong, and after a line break the line of the expression where it is.
        path: where in a template it is.
        line: the line inside the expression, from 1.
    """

    def __init__(self, message: str, *, path: Place = (), line: int = 1) -> None:
        self.path = path
        self.line = line
        super().__init__(message)


class NotBoolean(EvalError):
    """A condition that is neither true nor false for this record."""


class Scope:
    """One record, ready for many evaluations.

    CEL converts the record at the first evaluation and keeps it, with everything it computes from
    it, as long as the scope lives: make one scope for a record, and let it go after.

    Args:
        record: JSON data from a parser with a depth limit; it must not change afterwards.
        needs: all that the expressions look at which will be evaluated; None if that is not known.
    """

    def __init__(self, record: Mapping[str, Any], needs: Needs | None = None) -> None:
        self.record = record
        self._needs = needs

    @cached_property
    def activation(self) -> cel.Activation:
        """The record, converted for CEL as far as the expressions look at it."""
        known = self.record if self._needs is None else pruned(self.record, self._needs)
        return _ENV.Activation({"record": known})

    @cached_property
    def extent(self) -> Extent:
        """How much there is to look at."""
        return extent_of(self.record)


class Expression:
    """A CEL expression over `record`, compiled and type-checked.

    Args:
        text: the CEL text.
        boolean: the result must be true or false, as far as that can be known at load.

    Raises:
        RuleError: if it does not compile, cannot give JSON (or a boolean), or if data could make
            it cost more than any limit here can hold.
    """

    def __init__(self, text: str, *, boolean: bool = False) -> None:
        self.text = text
        if not text.strip():
            raise RuleError("the expression is empty")
        try:
            self._compiled = _ENV.compile(text)
        except (RuntimeError, TypeError) as error:
            message, line = compile_problem(str(error), text)
            raise RuleError(message, line=line) from None
        given = self._compiled.return_type().name()
        if boolean and given not in {"BOOL", "DYN"}:
            raise RuleError(f"this must be true or false, but gives {given}\n    {shown(text)}")
        if found := _NOT_JSON.search(given):
            hint = "; end it with .orValue(...)" if found[0] == "optional_type" else ""
            raise RuleError(f"{given} cannot be written as JSON{hint}\n    {shown(text)}")
        tokens = tokenize(text)
        self.paths = record_paths(tokens)
        #: What it looks at; None is the record as a whole.
        self.needs = needs_of(tokens)
        self._keys = keys_of(tokens)
        self._cost = cost_of(tokens)
        if self._cost.refusal:
            raise RuleError(f"{self._cost.refusal}\n    {shown(text)}")
        for pattern in self._cost.patterns:
            pattern.weight = self._weigh(pattern.text)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def _weigh(self, literal: str) -> int:
        """The weight of a regular expression; raises `RuleError` if it is none."""
        tried = _ENV.compile(f'"".matches({literal})').eval(data={"record": {}})
        if tried.type() == _ERROR:
            raise RuleError(f"{without_status(str(tried.value()))}\n    {shown(self.text)}")
        return weight_of(str(_ENV.compile(literal).eval(data={"record": {}}).value()))

    def value(self, scope: Scope) -> Any:
        """The result as JSON data: times as RFC 3339 in UTC, durations like `3.5s`, keys sorted.

        Raises:
            EvalError: if there is no result, or if it is not JSON.
        """
        try:
            return self._selected(scope)
        except (KeyError, TypeError, NotPlain, RecursionError):
            result, kind = self._evaluate(scope)
        try:
            return Writer().result(result, kind)
        except RecursionError:
            raise EvalError("the result is nested too deeply") from None
        except (RuntimeError, TypeError, SystemError):
            raise EvalError(f"{shown(repr(result))} cannot be written as JSON") from None

    def _selected(self, scope: Scope) -> Any:
        """The value, if the expression does no more than to name a place in the record."""
        if not self._keys:
            raise NotPlain
        value: Any = scope.record
        for key in self._keys:
            value = value[key]
        return Writer().copy(value)

    def names_nothing(self, scope: Scope) -> bool:
        """Whether it does no more than to name a place in the record, and the record lacks it."""
        value: Any = scope.record
        for key in self._keys or ():
            if not isinstance(value, dict) or key not in value:
                return True
            value = value[key]
        return False

    def test(self, scope: Scope) -> bool:
        """Whether the result is exactly true.

        Raises:
            NotBoolean: if the result is neither true nor false.
            EvalError: if there is no result.
        """
        result, kind = self._evaluate(scope)
        if kind != _BOOL:
            raise NotBoolean("the result is not a boolean")
        return result.value() is True

    def _evaluate(self, scope: Scope) -> tuple[cel.Value, cel.Type]:
        if self._cost.depends_on_record:
            refuse_if_too_large(self._cost, scope.extent)
        try:
            result = self._compiled.eval(scope.activation)
            kind = result.type()
            # An error is a value too, and Python would take its text for true. An optional also
            # calls itself an error, but has no text.
            problem = str(result.value()) if kind == _ERROR else None
        except TypeError:
            raise EvalError("the result is an optional; end it with .orValue(...)") from None
        except (RuntimeError, ValueError, SystemError) as error:
            problem = str(error)
        if problem is not None:
            raise EvalError(eval_problem(problem, self.paths, scope.record))
        if kind == _UNKNOWN:
            raise EvalError("the result is unknown")
        return result, kind
