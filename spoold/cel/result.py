"""What an expression gives → JSON data, within a limit."""

import datetime as dt
import math
from typing import Any

from cel_expr_python import cel

from spoold.cel.messages import shown

#: The characters of a result, and so many for each value in it: 9 MB in 4.5 million took 30 s.
MAX_RESULT = 4 * 1024 * 1024
_VALUE = 80

# Each look at these through the binding costs as much as a comparison.
_NULL, _ERROR = cel.Type.NULL, cel.Type.ERROR
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


class EvalError(ValueError):
    """An expression that has no usable value for this record; the message is one line."""


class NotPlain(Exception):
    """A value that CEL has to look at: it is no JSON that a strict parser would give."""


class Writer:
    """Writes one result, which can be far larger than the record.

    Times become RFC 3339 in UTC, durations like `3.5s`, and keys are sorted: CEL keeps no order,
    and two renderings of one record must have the same digest.
    """

    def __init__(self) -> None:
        self._left = MAX_RESULT

    def result(self, value: cel.Value, kind: cel.Type) -> Any:
        """What CEL computed.

        Raises:
            EvalError: it is no JSON, or too large.
        """
        # Asking a null for its value takes a reference from Python's None that was never added:
        # before Python 3.12 a few thousand nulls end the process.
        if kind == _NULL:
            return None
        if kind == _ERROR:
            raise EvalError(f"{shown(repr(value))} cannot be written as JSON")
        match plain := value.value():
            case str():
                self._take(len(plain))
                return plain
            case list():
                self._take(_VALUE * len(plain))
                return [self.result(inner, inner.type()) for inner in plain]
            case dict():
                for key in plain:
                    if not isinstance(key, str):
                        raise EvalError(f"the keys of an object are strings, but one is {key!r}")
                    self._take(_VALUE + len(key))
                return {key: self.result(plain[key], plain[key].type()) for key in sorted(plain)}
        return _scalar(plain)

    def copy(self, value: Any) -> Any:
        """What the record holds, as `result` would have it if CEL had selected it.

        Raises:
            EvalError: it is too large.
            NotPlain: only CEL can say what becomes of it.
        """
        kind = type(value)
        if kind is str:
            if not value.isascii():
                _must_be_unicode(value)
            self._take(len(value))
            return value
        if value is None or kind is bool or (kind is int and _INT_MIN <= value <= _INT_MAX):
            return value
        if kind is float and math.isfinite(value):
            return value
        if kind is list:
            self._take(_VALUE * len(value))
            return [self.copy(inner) for inner in value]
        if kind is not dict:
            raise NotPlain
        for key in value:
            _must_be_unicode(key)
            self._take(_VALUE + len(key))
        return {key: self.copy(value[key]) for key in sorted(value)}

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise EvalError("the result is too large")


def _must_be_unicode(text: Any) -> None:
    try:
        text.encode()
    except (UnicodeEncodeError, AttributeError):
        raise NotPlain from None


def _scalar(value: Any) -> Any:
    if isinstance(value, int):
        return value
    match value:
        case float() if math.isfinite(value):
            return value
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.timedelta():
            return _seconds(value)
    raise EvalError(f"{shown(str(value))} cannot be written as JSON")


def _seconds(value: dt.timedelta) -> str:
    whole, part = divmod(abs(value // dt.timedelta(microseconds=1)), 1_000_000)
    fraction = f".{part:06}".rstrip("0") if part else ""
    return f"{'-' if value < dt.timedelta() else ''}{whole}{fraction}s"
