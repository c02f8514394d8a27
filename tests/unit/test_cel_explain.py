"""Why a condition holds or not: the parts that decided, and what the record had there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.cel.explain import Explanation, explain
from spoold.cel.expression import EvalError, Expression, NotBoolean, RuleError, Scope
from tests.unit.test_cel import TICKET

READY_TICKET = """
  record.type == "plane.issue" && record.facts.state.group == "unstarted"
  && record.facts.labels.exists(l, l in ["ready", "automation-go"])"""


def outcomes(explanation: Explanation) -> list[tuple[str, bool]]:
    return [(leaf.outcome, leaf.is_decisive) for leaf in explanation.leaves]


def test_the_route_of_the_manual() -> None:
    """A ticket in the wrong state, without the label, is explained part by part."""
    found = explain(READY_TICKET, Scope(TICKET))
    assert found.outcome == "false"
    assert [leaf.sentence for leaf in found.leaves] == [
        'record.type == "plane.issue" is true: record.type is "plane.issue"',
        ('record.facts.state.group == "unstarted" is false: record.facts.state.group is "backlog"'),
        (
            'record.facts.labels.exists(l, l in ["ready", "automation-go"]) is false: '
            'record.facts.labels is ["bug"]'
        ),
    ]
    assert [leaf.is_decisive for leaf in found.leaves] == [False, True, True]
    assert str(found).count("→") == 2


def test_a_missing_value() -> None:
    """A part that cannot be evaluated says in plain words what is missing."""
    text = 'record.type == "plane.issue" && record.facts.component == "db"'
    found = explain(text, Scope(TICKET))
    assert (found.outcome, found.message) == ("error", "record.facts.component is missing")
    assert [leaf.sentence for leaf in found.decisive] == [
        'record.facts.component == "db" fails: record.facts.component is missing'
    ]
    assert found.decisive[0].values == {"record.facts.component": "missing"}


def test_a_false_part_absorbs_an_error() -> None:
    """As in CEL, false && error is false: the error is shown, but did not decide."""
    found = explain("record.nope && record.body.n == 4", Scope(TICKET))
    assert (found.outcome, outcomes(found)) == ("false", [("error", False), ("false", True)])
    found = explain("record.nope || record.body.on", Scope(TICKET))
    assert (found.outcome, outcomes(found)) == ("true", [("error", False), ("true", True)])


def test_what_is_not_a_boolean() -> None:
    """A part that is a text is said to be no boolean, and its value is shown."""
    found = explain("record.type && record.body.on", Scope(TICKET))
    assert found.outcome == "error"
    assert found.decisive[0].sentence == (
        'record.type is not a boolean: record.type is "plane.issue"'
    )
    assert explain("record.type", Scope(TICKET)).outcome == "not a boolean"


@pytest.mark.parametrize(
    ("text", "leaves"),
    [
        ("((true)) && ((false || (true && false)))", ["true", "false", "true", "false"]),
        ("'a && b' != \"c || d\" && true", ["'a && b' != \"c || d\"", "true"]),
        ("'''a' && b''' == r'\\d ||' || true", ["'''a' && b''' == r'\\d ||'", "true"]),
        ('"""a" && """ == "\\" || " || true', ['"""a" && """ == "\\" || "', "true"]),
        ('b\'&&\' == b"\\"||" || true', ['b\'&&\' == b"\\"||"', "true"]),
        ("true // a && b ( '\n && false", ["true", "false"]),
        ("1 == // a || b\n  1", ["1 == 1"]),
        ("true ? false && true : true || false", ["true ? false && true : true || false"]),
        ("(true ? true : false) && true", ["true ? true : false", "true"]),
        ("[true && false][0] || {'a': false || true}['a']", None),
        ("!(true && false) && true", ["!(true && false)", "true"]),
        ("(true || false) == (true && true)", ["(true || false) == (true && true)"]),
        ("record.?x.orValue(false) || record[?'y'].orValue(true)", None),
    ],
)
def test_parts(text: str, leaves: list[str] | None) -> None:
    """A condition is split where && and || join it, never inside anything else."""
    found = explain(text, Scope({}))
    if leaves is not None:
        assert [leaf.text for leaf in found.leaves] == leaves
    assert all(leaf.outcome in {"true", "false"} for leaf in found.leaves)
    assert {leaf.outcome for leaf in found.decisive} == {found.outcome}


def test_values() -> None:
    """Every way to name a place in the record is shown, shortened and without controls."""
    record = {"a-b": {"c": ["x", "\x1b[31m" + "y" * 100]}, "method": "m", "n": None}
    text = (
        "record['a-b'].c[0] == record.`a-b`.c[1] || record.?n.orValue('') == '' "
        "|| record.method.startsWith(record['nope'][\"x\"]) "
        "|| ' record.text' == record['a-b'].z"
    )
    values = [dict(leaf.values) for leaf in explain(text, Scope(record)).leaves]
    assert values[0] == {
        "record['a-b'].c[0]": '"x"',
        "record.`a-b`.c[1]": '"\\u001b[31m' + "y" * 48 + "…",
    }
    assert values[1:] == [
        {"record.n": "null"},
        {"record.method": '"m"', "record['nope'][\"x\"]": "missing"},
        {"record['a-b'].z": "missing"},
    ]


def test_a_whole_that_costs_too_much() -> None:
    """When only the whole fails, no part is blamed, and the reason is shown."""
    record = {"x": [1] * 6_000}
    found = explain("record.x.all(a, a == 1) && record.x.all(b, b == 1)", Scope(record))
    assert (found.outcome, outcomes(found)) == ("error", [("true", False), ("true", False)])
    assert str(found).startswith("→ the whole fails: its loops take more than 10,000 steps")


def test_what_is_no_expression() -> None:
    """A text that does not compile is the mistake that loading would report."""
    with pytest.raises(RuleError, match="unknown name 'x'"):
        explain("true && x", Scope({}))


ATOMS = st.sampled_from(
    [
        "true",
        "false",
        "record.t",
        "record.f",
        "record.missing",
        "record.text",
        "record.a.b == 1",
        "record.a.b == 'x ) && ( y'",
        "has(record.a.b)",
        "record.list.exists(x, x == 1 || x == 2)",
        'record.text.matches("^(a|b) && c$")',
        "(record.t ? record.f : record.t || record.f)",
        "[record.t || record.f, true][0]",
    ]
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" && ".join),
        st.lists(inner, min_size=2, max_size=3).map(" ||\n ".join),
        inner.map("!({})".format),
        inner.map("( {} // ) ' &&\n)".format),
    ),
    max_leaves=8,
)
RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "t": st.sampled_from([True, "true", None]),
        "f": st.sampled_from([False]),
        "text": st.sampled_from(["", "a && c"]),
        "a": st.sampled_from([{}, {"b": 1}, {"b": None}, "text", None, []]),
        "list": st.sampled_from([[], [1], ["x"], None]),
    },
)


@given(CONDITIONS, RECORDS)
def test_explanations_agree_with_evaluation(text: str, record: dict[str, Any]) -> None:
    """For any condition and record, explain gives its outcome and parts that agree."""
    try:
        expected = "true" if Expression(text).test(Scope(record)) else "false"
    except NotBoolean:
        expected = "not a boolean"
    except EvalError:
        expected = "error"
    found = explain(text, Scope(record))
    assert found.outcome == expected
    assert str(found)
    assert found.decisive
    same = {expected, "not a boolean"} if expected == "error" else {expected}
    assert {leaf.outcome for leaf in found.decisive} <= same


@given(st.text("recod.ab[]()'\"\\&|!?:=<> \n/1,", max_size=40))
def test_any_text_is_an_expression_or_a_rule_error(text: str) -> None:
    """Loading raises nothing but RuleError, and explaining what loads raises nothing."""
    try:
        Expression(text)
    except RuleError:
        return
    assert explain(text, Scope({"a": 1})).leaves
