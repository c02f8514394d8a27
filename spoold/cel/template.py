"""A TOML value with expressions in it → JSON data for one record."""

import datetime as dt
import math
from collections.abc import Callable, Iterator
from typing import Any

from spoold.cel.expression import Expression, Place, RuleError, Scope
from spoold.cel.messages import shown
from spoold.cel.result import EvalError

#: What an optional key renders to when the record lacks its field: the key is left out.
_ABSENT = object()


class Template:
    """A TOML value in which every text that begins with `=` is an expression.

    Everything else is literal, and so is every key. The text `=x` is written `"='=x'"`.

    Args:
        value: what tomllib gave.
        name: the place of the value in the route; messages of `render` begin with it.
        optional: keys that are left out when their expression only names a field of the record,
            and the record does not have it.

    Raises:
        RuleError: with its `path`, if an expression is wrong or a literal cannot be JSON.
    """

    def __init__(self, value: Any, name: str = "", optional: frozenset[str] = frozenset()) -> None:
        self._name = name
        self._optional = optional
        self._expressions: dict[Place, Expression] = {}
        self._value = self._compile(value, ())

    def expressions(self) -> Iterator[Place]:
        """The places that hold an expression, such as `("argv", 1)`."""
        return iter(self._expressions)

    def compiled(self) -> Iterator[tuple[Place, Expression]]:
        """The expressions themselves, each with its place."""
        return iter(self._expressions.items())

    def render(self, scope: Scope) -> Any:
        """New JSON data for one record.

        Raises:
            EvalError: that names the place of the expression without a value.
        """
        return _filled(self._value, scope)

    def _compile(self, value: Any, place: Place) -> Any:
        """A scalar as it is; what makes a new value, where renderings would share it."""
        match value:
            case dict():
                fields = {key: self._compile(inner, (*place, key)) for key, inner in value.items()}
                return lambda scope: {
                    key: one
                    for key, compiled in fields.items()
                    if (one := _filled(compiled, scope)) is not _ABSENT
                }
            case list():
                items = [self._compile(inner, (*place, i)) for i, inner in enumerate(value)]
                return lambda scope: [_filled(one, scope) for one in items]
            case str() if value.startswith("="):
                return self._compile_expression(value[1:], place)
            case dt.datetime() | dt.date() | dt.time():
                return value.isoformat().replace("+00:00", "Z")
            case None | bool() | str():
                return value
            case int() if -(2**63) <= value < 2**64:
                return value
            case float() if math.isfinite(value):
                return value
        raise RuleError(f"{shown(str(value))} cannot be written as JSON", path=place)

    def _compile_expression(self, text: str, place: Place) -> Callable[[Scope], Any]:
        try:
            expression = self._expressions[place] = Expression(text)
        except RuleError as error:
            raise RuleError(str(error), path=place, line=error.line) from None

        is_optional = len(place) == 1 and place[0] in self._optional

        def value(scope: Scope) -> Any:
            if is_optional and expression.names_nothing(scope):
                return _ABSENT
            try:
                return expression.value(scope)
            except EvalError as error:
                raise EvalError(f"{_dotted(self._name, place)}{error}") from None

        return value


def _filled(compiled: Any, scope: Scope) -> Any:
    return compiled(scope) if callable(compiled) else compiled


def _dotted(name: str, place: Place) -> str:
    text = name + "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in place)
    return text.removeprefix(".") + ": " if text else ""
