"""What routes may rely on in CEL, and what records cannot do to it."""

import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.cel.expression import (
    EvalError,
    Expression,
    NotBoolean,
    RuleError,
    Scope,
)
from spoold.cel.limits import MAX_COLLECTED, MAX_SEARCHED

TICKET = {
    "source": "webhooks",
    "id": None,
    "type": "plane.issue",
    "headers": {"x-plane-event": "issue"},
    "body": {"n": 3, "big": 2**63, "share": 1.5, "none": None, "on": True, "list": [1, "a", {}]},
    "facts": {"state": {"group": "backlog"}, "labels": ["bug"], "ticket_ref": "OPS-7"},
}


def value(text: str, record: dict[str, Any] = TICKET) -> Any:
    return Expression(text).value(Scope(record))


def matches(text: str, record: dict[str, Any] = TICKET) -> bool:
    return Expression(text, boolean=True).test(Scope(record))


def failure(text: str, record: dict[str, Any] = TICKET) -> str:
    with pytest.raises(EvalError) as caught:
        Expression(text).value(Scope(record))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ('record.type == "plane.issue"', True),
        ('record.type == "plane.cycle"', False),
        ("record.body.on", True),
        ('has(record.facts.component) && record.facts.component == "db"', False),
        ('record.facts.?component.orValue("db") == "db"', True),
    ],
)
def test_a_boolean_result_is_the_answer(text: str, *, is_true: bool) -> None:
    """A condition is true or false, also where it asks first whether a key is there."""
    assert matches(text) is is_true


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("record.nope", "record.nope is missing"),
        ("record.nope == 1", "record.nope is missing"),
        ("has(record.nope.deeper)", None),
        ("record.body.n / 0 == 1", None),
        ("record.body.none.exists(x, true)", None),
        ("timestamp(record.type) < timestamp('2026-01-01T00:00:00Z')", None),
        ('record.facts.component == "db"', "record.facts.component is missing"),
        ("record.body.n.x", "record.body.n is a number, so it has no x"),
        ("record.body.none.x", "record.body.none is null, so it has no x"),
        ("record.facts.labels[7] == ''", "record.facts.labels[7] is missing"),
        ('record.headers["x-y"]', 'record.headers["x-y"] is missing'),
        ("record.body.n < record.type", "< cannot be applied to (int, string)"),
        ("[{}].map(x, x.y)[0]", 'an object has no key "y"'),
    ],
)
def test_an_error_is_never_true_and_names_the_place(text: str, message: str | None) -> None:
    """An evaluation that CEL ends with an error value raises, although that value is truthy."""
    with pytest.raises(EvalError) as caught:
        matches(text)
    assert not isinstance(caught.value, NotBoolean)
    assert message in (None, str(caught.value))


@pytest.mark.parametrize(
    "name", ["n", "share", "none", "list", "on_text", "empty", "list[2]", "true_text"]
)
def test_what_is_not_a_boolean_is_never_true(name: str) -> None:
    """A number, a text, a list, an object or null is neither true nor false."""
    body = {**TICKET["body"], "on_text": "x", "empty": "", "true_text": "true"}
    with pytest.raises(NotBoolean):
        matches(f"record.body.{name}", {"body": body})


NO_BOOLEAN = "this must be true or false, but gives"
NO_JSON = "cannot be written as JSON"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("recrd.type", "unknown name 'recrd.type' (column 6)\n    recrd.type"),
        ('1 + "a"', '+ cannot be applied to (int, string) (column 3)\n    1 + "a"'),
        ("record.a ==", "Syntax error: unexpected end (column 12)\n    record.a =="),
        (" ", "the expression is empty"),
        ("'\ud800'", "the text is not valid Unicode\n    ' '"),
        ("(" * 40 + "1" + ")" * 40, "the expression is nested too deeply: CEL allows 32 levels"),
        (".".join("a" * 500), ""),
        ("\nrecord.b\n   && record.a && nope", "(line 3, column 19)\n       && record"),
        ('record.a.matches("[")', "invalid regular expression"),
        *((text, NO_BOOLEAN)
          for text in ("'yes'", "1", "[true]", "record", "null", "'a' + record.b")),
        *((text, NO_JSON)
          for text in ("b'x'", "{1: 2}", "[type(1)]", "record.?a", "{'a': {true: 1}}")),
        # What data could turn into a bomb: a pattern, separator, replacement or format.
        *((text, "") for text in (
            "record.a.matches(record.b)", "matches('a', record.b)", "record.a.join(record.b)",
            "record.a.replace('a', record.b)", "record.a.replace('a', 'b' + record.b)",
            "record.a.split(record.b)", "record.a.format([1])", "record.a.split(',').map(x, x)",
            "record.a.split(',').exists(x, x == record.b)",
        )),
    ],
)  # fmt: skip
def test_what_can_never_work_is_a_short_mistake_at_load(text: str, problem: str) -> None:
    """A mistake is named with its column and the line of the expression, nothing else."""
    with pytest.raises(RuleError) as caught:
        Expression(text, boolean=problem == NO_BOOLEAN)
    message = str(caught.value)
    assert problem in message
    assert "INVALID_ARGUMENT" not in message
    assert message.count("\n") <= 1
    assert max(map(len, message.split("\n"))) < 1200
    assert caught.value.line == (3 if "line 3" in problem else 1)


def test_types_stay() -> None:
    """Integers stay integers, and lists, objects, null and booleans what they are."""
    assert value("record") == TICKET
    assert [type(v) for v in value("[record.body.n, 1u, 1.0, true]")] == [int, int, float, bool]
    assert value("record.body.big") == 2**63
    assert value("18446744073709551615u") == 2**64 - 1
    assert value("record.body.none") is None


def test_times() -> None:
    """A timestamp is RFC 3339 in UTC, a duration is in seconds."""
    assert value("timestamp('2026-01-02T03:04:05+02:00')") == "2026-01-02T01:04:05Z"
    assert value("[timestamp('2026-01-02T03:04:05.25Z')]") == ["2026-01-02T03:04:05.250000Z"]
    texts = [value(f"duration('{text}')") for text in ("3.5s", "-3.5s", "4h", "0s", "1ms")]
    assert texts == ["3.5s", "-3.5s", "14400s", "0s", "0.001s"]


@given(st.dictionaries(st.text("abcdef", max_size=4), st.integers(-5, 5), max_size=12))
def test_order_is_determined(data: dict[str, int]) -> None:
    """Objects come back sorted, however deep and in whatever order they went in."""
    backwards = dict(reversed(data.items()))
    for record in ({"a": [{"b": data}]}, {"a": [{"b": backwards}]}):
        result = value("record.a[0].b", record)
        assert list(result.items()) == sorted(data.items())
        assert list(value("{'z': record.a, 'a': record.a}", record)) == ["a", "z"]


@pytest.mark.parametrize(
    "text",
    [
        "1.0 / 0.0",
        "[0.0 / 0.0]",
        "dyn(b'x')",
        "dyn(record.?a)",
        "[1].map(x, dyn(record.?a))",
        "dyn({1: 2})",
        "dyn(type(1))",
    ],
)
def test_what_is_not_json_is_an_error(text: str) -> None:
    """No infinity, bytes, type or optional can reach a request through dyn."""
    assert "\n" not in failure(text)


@pytest.mark.parametrize("odd", ["\ud800", 2**64, -(2**63) - 1, (1, 2), object()])
def test_a_record_that_cel_cannot_hold_is_an_error(odd: Any) -> None:
    """What no JSON parser of ours lets through still only raises EvalError."""
    assert failure("record.odd", {"odd": odd, "other": 1})
    assert failure("record.other == 1", {"odd": odd, "other": 1})


def test_a_deep_result_is_an_error() -> None:
    """A result too deep for Python's stack raises EvalError."""
    record: dict[str, Any] = {}
    for _ in range(900):
        record = {"a": record}
    assert failure("record", record) == "the result is nested too deeply"


def test_nulls_do_not_use_up_none() -> None:
    """Any number of nulls in results leaves Python's None alone."""
    reserve = [None] * 100_000
    record = {"a": [None] * 100, "b": None}
    before = sys.getrefcount(None)
    for _ in range(50):
        assert value("[record, record.a, record.b, null]", record)
    assert before - sys.getrefcount(None) < 2_000
    assert len(reserve) == 100_000


HOSTILE = {
    "x": [1] * 100_000,
    "xx": [[1] * 300] * 300,
    "m": {str(i): 1 for i in range(100_000)},
    "s": "a" * 500_000,
    "t": "a" * 250_000 + "b",
}


@pytest.mark.parametrize(
    "text",
    [
        "record.x.exists(a, a == 2)",
        "record.x.exists(a, record.x.exists(b, record.x.exists(c, c == 5)))",
        "record.xx.all(a, a.all(b, b == 1))",
        "record.xx.all(a, a.all(b, a.all(c, c == b)))",
        "record.m.exists(k, k == 'none')",
        "record.x.map(a, a).size()",
        "record.x.filter(a, a == 1).size()",
        "record.xx.map(a, a.map(b, b)).size()",
        "record.x.map(a, record.x)",
        "record.x.all(a, record.s + record.s != '')",
        "record.x.exists(a, record.s.matches('(a|b)+z'))",
        "record.s.contains(record.t)",
        "record.s.indexOf(record.t)",
    ],
)
def test_loops_end(text: str) -> None:
    """Loops over long lists, and searches for long texts, end with an error in bounded time.

    Measured is the processor's time, which does not depend on how busy the machine is.
    """
    expression, scope = Expression(text), Scope(HOSTILE)
    start = time.process_time()
    with pytest.raises(EvalError, match=r"steps|entries|too large"):
        expression.value(scope)
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "record"),
    [
        ("record.a.map(x, x.map(y, y)).size()", {"a": [[1] * MAX_COLLECTED] * 19}),
        ("record.a.all(x, record.s + record.s != '')", {"a": [1] * 9_000, "s": "s" * 10_000}),
        ("record.s.contains(record.t)", {"s": "a" * 160_000, "t": "a" * 80_000 + "b"}),
        ("record.s.split('').size()", {"s": "a" * MAX_SEARCHED}),
        ("record.s.replace('', 'ab').size()", {"s": "a" * MAX_SEARCHED}),
        ("record.s.matches('^(a?){50}(b|a)*$')", {"s": "a" * MAX_SEARCHED}),
    ],
)
def test_the_largest_that_is_allowed_is_fast_enough(text: str, record: dict[str, Any]) -> None:
    """Just below a limit, an evaluation still ends in a bounded time."""
    start = time.process_time()
    value(text, record)
    assert time.process_time() - start < 5


def test_the_same_functions_work_with_literals() -> None:
    """With a literal argument the string functions can be used on any data."""
    assert value("record.type.split('.')[1].upperAscii()") == "ISSUE"
    assert value("record.type.split('.', 9).map(x, x.trim())") == ["plane", "issue"]
    assert value("['a', record.type].join('/').replace('.', '-')") == "a/plane-issue"
    assert value("matches(record.type, r'^plane\\.') && record.type.matches('issue$')") is True


def test_ordinary_loops_are_not_limited_by_the_size_of_the_rest() -> None:
    """A loop that reads only its own variable works beside megabytes of other data."""
    record = {**HOSTILE, "labels": ["bug", "ready"]}
    assert matches('record.labels.exists(l, l in ["ready"] && l.contains("read"))', record)
    assert matches("record.labels.all(l, l.startsWith('r') || l != '')", record)


def test_later_evaluations_are_cheap() -> None:
    """A record is converted once, whatever number of conditions is asked about it."""
    scope = Scope({"type": "x"})
    assert matches_in(scope, "1") is False
    converted = vars(scope)["activation"]
    assert matches_in(scope, "2") is False
    assert vars(scope)["activation"] is converted


def matches_in(scope: Scope, kind: str) -> bool:
    return Expression(f'record.type == "{kind}"').test(scope)
