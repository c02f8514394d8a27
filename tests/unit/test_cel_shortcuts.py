"""What is not left to CEL, and what CEL is not shown, changes no result."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spoold.cel.expression import EvalError, Expression, Scope
from spoold.cel.result import MAX_RESULT
from spoold.cel.tokens import all_needs, keys_of, needs_of, pruned, tokenize

KEYS = st.sampled_from(["a", "b", "c d", "ä"])
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=3)
STEPS = st.lists(
    st.sampled_from([".a", ".b", '["c d"]', "['a']", ".?a", "[0]", '["ä"]', ".size()"]),
    min_size=1, max_size=4,
)  # fmt: skip
PARTS = st.sampled_from(
    [
        "has(record.a.b)",
        "record.a == record.b",
        "size(record.a) > 1",
        "record.b.a == 1 || record.a.b",
        "record.a.exists(x, x == record.b)",
        "[1].exists(record, record == 1)",
        "record['c d'][record.a]",
        "record.a[0].b == 1",
        "record.?a.b.orValue(1) == 1",
        "record == {'a': 1}",
        "'a' in record",
        "{'a': record}.a.b == 1",
        "record.a.map(x, x)[0] == record.a.b",
        "[record.a, record.a.b][0] == 1",
    ]
)


def result(expression: Expression, scope: Scope) -> Any:
    try:
        return repr(expression.value(scope))
    except EvalError as error:
        return f"error: {error}"


@settings(max_examples=300)
@given(STEPS, RECORDS)
@example([".a"], {"a": {"b": 1, "a": [None]}})
@example([".a"], {"a": "\ud800"})
@example([".a"], {"a": {"\ud800": 1}})
@example([".a"], {"a": float("nan")})
@example(["[0]"], {"a": 1})
@example([".a", "[0]"], {"a": "text"})
def test_a_place_has_the_value_that_cel_would_give_it(
    steps: list[str], record: dict[str, Any]
) -> None:
    """Naming a place in the record gives what CEL gives for it, or its very error."""
    text = "record" + "".join(steps)
    try:
        short, whole = Expression(text), Expression(f"({text})")
    except ValueError:
        return
    # An optional that is not taken apart is refused by both, each with its own text.
    found, expected = result(short, Scope(record)), result(whole, Scope(record))
    assert found == expected or (found.startswith("error: ") and expected.startswith("error: "))


def test_a_place_that_is_named_needs_no_cel() -> None:
    """A route that copies a field of the record has it copied, and the record is not converted."""
    scope = Scope({"body": {"name": "x"}, "bad": object()})
    assert Expression('record.body["name"]').value(scope) == "x"
    assert "activation" not in vars(scope)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("record.a['c d']", ("a", "c d")),
        (" record . a // text", ("a",)),
        ("record.a.size()", ()),
        ("record.a == 1", ()),
        ("!record.a", ()),
        ("record.a[0]", ()),
        ("record.?a", ()),
        ("record", ()),
    ],
)
def test_only_a_place_is_a_place(text: str, keys: tuple[str, ...]) -> None:
    """Whatever does more than to name one place by its keys is left to CEL."""
    assert keys_of(tokenize(text)) == keys


def test_a_copy_is_bounded_like_a_result() -> None:
    """A place that holds more than a result may have is refused."""
    with pytest.raises(EvalError, match="too large"):
        Expression("record.a").value(Scope({"a": "x" * (MAX_RESULT + 1)}))
    with pytest.raises(EvalError, match="too large"):
        Expression("record.a").value(Scope({"a": [1] * (MAX_RESULT // 50)}))


def test_a_copy_shares_nothing_with_the_record() -> None:
    """Changing what was rendered does not change the record."""
    record = {"a": {"list": [{}]}}
    Expression("record.a").value(Scope(record))["list"][0]["new"] = 1
    assert record == {"a": {"list": [{}]}}


@settings(max_examples=300)
@given(st.lists(PARTS, min_size=1, max_size=3), RECORDS)
def test_what_no_expression_names_need_not_be_shown_to_cel(
    texts: list[str], record: dict[str, Any]
) -> None:
    """With the record cut down to what several expressions need, each gives what it gave."""
    expressions = [Expression(text) for text in texts]
    needs = all_needs(expression.needs for expression in expressions)
    for expression in expressions:
        cut, whole = Scope(record, needs), Scope(record)
        found, expected = result(expression, cut), result(expression, whole)
        # What cannot be converted is no error where nobody looks at it.
        assert found == expected or expected.startswith("error: ")


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("record.a.b == 1", {"a": {"b": None}}),
        ("record.a.b == 1 && record.a", {"a": None}),
        ("record.a && record.a.b == 1", {"a": None}),
        ("record.a.b && record.a.c", {"a": {"b": None, "c": None}}),
        ("record.a[0].b", {"a": None}),
        ("record.a.exists(x, x)", {"a": None}),
        ("record.a[record.b]", {"a": None, "b": None}),
        ("record[record.b]", None),
        ("size(record)", None),
        ("record.exists(k, k == 'a')", None),
        ("true", {}),
    ],
)
def test_needs_are_what_is_named(text: str, needs: object) -> None:
    """An expression needs the places that it names, and all of the record if it names that."""
    assert needs_of(tokenize(text)) == needs


def test_a_record_is_cut_down_to_what_is_needed() -> None:
    """What is needed stays as it is, and what is not there is not made up."""
    record = {"a": {"b": [1], "x": 2}, "c": 3, "d": "text"}
    assert pruned(record, {"a": {"b": None}, "d": {"e": None}, "z": None}) == {
        "a": {"b": [1]},
        "d": "text",
    }
