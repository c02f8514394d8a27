"""What routes may rely on in CEL, and what records cannot do to it."""

import datetime as dt
import sys
import time
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.cel.explain import Explanation, explain
from spoold.cel.expression import (
    EvalError,
    Expression,
    NotBoolean,
    RuleError,
    Scope,
)
from spoold.cel.limits import MAX_COLLECTED, MAX_SEARCHED
from spoold.cel.template import Template

TICKET = {
    "source": "webhooks",
    "id": None,
    "type": "plane.issue",
    "headers": {"x-plane-event": "issue"},
    "body": {"n": 3, "big": 2**63, "share": 1.5, "none": None, "on": True, "list": [1, "a", {}]},
    "facts": {"state": {"group": "backlog"}, "labels": ["bug"], "ticket_ref": "OPS-7"},
}
READY_TICKET = """
  record.type == "plane.issue" && record.facts.state.group == "unstarted"
  && record.facts.labels.exists(l, l in ["ready", "automation-go"])"""


def value(text: str, record: dict[str, Any] = TICKET) -> Any:
    return Expression(text).value(Scope(record))


def matches(text: str, record: dict[str, Any] = TICKET) -> bool:
    return Expression(text, boolean=True).test(Scope(record))


def failure(text: str, record: dict[str, Any] = TICKET) -> str:
    with pytest.raises(EvalError) as caught:
        Expression(text).value(Scope(record))
    return str(caught.value)


class TestConditions:
    """Only exactly true is a match."""

    def test_true_and_false(self) -> None:
        """A boolean result is the answer."""
        assert matches('record.type == "plane.issue"') is True
        assert matches('record.type == "plane.cycle"') is False
        assert matches("record.body.on") is True

    @pytest.mark.parametrize(
        "text",
        [
            "record.nope",
            "record.nope == 1",
            "has(record.nope.deeper)",
            "record.body.n / 0 == 1",
            "record.type < 2",
            "record.body.none.exists(x, true)",
            "record.facts.labels[7] == ''",
            "timestamp(record.type) < timestamp('2026-01-01T00:00:00Z')",
        ],
    )
    def test_an_error_is_never_true(self, text: str) -> None:
        """An evaluation that CEL ends with an error value raises, although that value is truthy."""
        with pytest.raises(EvalError) as caught:
            matches(text)
        assert not isinstance(caught.value, NotBoolean)

    @pytest.mark.parametrize(
        "name", ["n", "share", "none", "list", "on_text", "empty", "list[2]", "true_text"]
    )
    def test_what_is_not_a_boolean_is_never_true(self, name: str) -> None:
        """A number, a text, a list, an object or null is neither true nor false."""
        body = {**TICKET["body"], "on_text": "x", "empty": "", "true_text": "true"}
        with pytest.raises(NotBoolean):
            matches(f"record.body.{name}", {"body": body})

    def test_a_missing_key_is_an_error_and_has_asks_for_it(self) -> None:
        """A route that says has() first gets false instead of an error."""
        assert failure('record.facts.component == "db"') == "record.facts.component is missing"
        assert matches('has(record.facts.component) && record.facts.component == "db"') is False
        assert matches('record.facts.?component.orValue("db") == "db"') is True

    def test_errors_name_the_place(self) -> None:
        """The message of an error says which part of the record is to blame."""
        assert failure("record.body.n.x") == "record.body.n is a number, so it has no x"
        assert failure("record.body.none.x") == "record.body.none is null, so it has no x"
        assert failure("record.facts.labels[7]") == "record.facts.labels[7] is missing"
        assert failure('record.headers["x-y"]') == 'record.headers["x-y"] is missing'
        assert failure("record.body.n < record.type") == "< cannot be applied to (int, string)"
        assert failure("[{}].map(x, x.y)") == 'an object has no key "y"'


class TestLoading:
    """What can be known without a record is known at load."""

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("recrd.type", "unknown name 'recrd.type' (column 6)\n    recrd.type"),
            ('1 + "a"', '+ cannot be applied to (int, string) (column 3)\n    1 + "a"'),
            ("record.a ==", "Syntax error: unexpected end (column 12)\n    record.a =="),
            (" ", "the expression is empty"),
            ("'\ud800'", "the text is not valid Unicode\n    ' '"),
            (
                "(" * 40 + "1" + ")" * 40,
                "the expression is nested too deeply: CEL allows 32 levels",
            ),
            (".".join("a" * 500), None),
        ],
    )
    def test_mistakes_are_short(self, text: str, problem: str | None) -> None:
        """A mistake is named with its column and the line of the expression, nothing else."""
        with pytest.raises(RuleError) as caught:
            Expression(text)
        message = str(caught.value)
        assert problem is None or message == problem
        assert "INVALID_ARGUMENT" not in message
        assert message.count("\n") <= 1
        assert max(map(len, message.split("\n"))) < 1200

    def test_the_line_inside_a_long_expression_is_known(self) -> None:
        """Whoever knows where the expression begins can name the line of the mistake."""
        with pytest.raises(RuleError, match=r"\(line 3, column 19\)\n {7}&& record") as caught:
            Expression("\nrecord.b\n   && record.a && nope")
        assert caught.value.line == 3

    @pytest.mark.parametrize("text", ["'yes'", "1", "[true]", "record", "null", "'a' + record.b"])
    def test_a_condition_that_cannot_be_boolean_is_refused(self, text: str) -> None:
        """A match that only gives a string, a number or a list is a mistake at load."""
        with pytest.raises(RuleError, match="must be true or false"):
            Expression(text, boolean=True)

    @pytest.mark.parametrize(
        "text", ["b'x'", "{1: 2}", "[type(1)]", "record.?a", "{'a': {true: 1}}"]
    )
    def test_a_result_that_is_never_json_is_refused(self, text: str) -> None:
        """Bytes, types, optionals and objects with other keys than strings fail at load."""
        with pytest.raises(RuleError, match="cannot be written as JSON"):
            Expression(text)

    def test_a_regular_expression_is_checked(self) -> None:
        """A pattern that does not compile is not found by the first record that reaches it."""
        with pytest.raises(RuleError, match="invalid regular expression"):
            Expression('record.a.matches("[")')


class TestValues:
    """A result is JSON, typed, and the same every time."""

    def test_types_stay(self) -> None:
        """Integers stay integers, and lists, objects, null and booleans what they are."""
        assert value("record") == TICKET
        assert [type(v) for v in value("[record.body.n, 1u, 1.0, true]")] == [int, int, float, bool]
        assert value("record.body.big") == 2**63
        assert value("18446744073709551615u") == 2**64 - 1
        assert value("record.body.none") is None

    def test_times(self) -> None:
        """A timestamp is RFC 3339 in UTC, a duration is in seconds."""
        assert value("timestamp('2026-01-02T03:04:05+02:00')") == "2026-01-02T01:04:05Z"
        assert value("[timestamp('2026-01-02T03:04:05.25Z')]") == ["2026-01-02T03:04:05.250000Z"]
        texts = [value(f"duration('{text}')") for text in ("3.5s", "-3.5s", "4h", "0s", "1ms")]
        assert texts == ["3.5s", "-3.5s", "14400s", "0s", "0.001s"]

    @given(st.dictionaries(st.text("abcdef", max_size=4), st.integers(-5, 5), max_size=12))
    def test_order_is_determined(self, data: dict[str, int]) -> None:
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
    def test_what_is_not_json_is_an_error(self, text: str) -> None:
        """No infinity, bytes, type or optional can reach a request through dyn."""
        assert "\n" not in failure(text)

    @pytest.mark.parametrize("odd", ["\ud800", 2**64, -(2**63) - 1, (1, 2), object()])
    def test_a_record_that_cel_cannot_hold_is_an_error(self, odd: Any) -> None:
        """What no JSON parser of ours lets through still only raises EvalError."""
        assert failure("record.odd", {"odd": odd, "other": 1})
        assert failure("record.other == 1", {"odd": odd, "other": 1})

    def test_a_deep_result_is_an_error(self) -> None:
        """A result too deep for Python's stack raises EvalError."""
        record: dict[str, Any] = {}
        for _ in range(900):
            record = {"a": record}
        assert failure("record", record) == "the result is nested too deeply"

    def test_nulls_do_not_use_up_none(self) -> None:
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


class TestHostileRecords:
    """Whatever a record holds, an evaluation ends soon."""

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
    def test_loops_end(self, text: str) -> None:
        """Loops over long lists, and searches for long texts, end with an error in bounded time."""
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
    def test_the_largest_that_is_allowed_is_fast_enough(
        self, text: str, record: dict[str, Any]
    ) -> None:
        """Just below a limit, an evaluation still ends in a bounded time."""
        start = time.process_time()
        value(text, record)
        assert time.process_time() - start < 5

    @pytest.mark.parametrize(
        "text",
        [
            "record.a.matches(record.b)",
            "matches('a', record.b)",
            "record.a.join(record.b)",
            "record.a.replace('a', record.b)",
            "record.a.replace('a', 'b' + record.b)",
            "record.a.split(record.b)",
            "record.a.format([1])",
            "record.a.split(',').map(x, x)",
            "record.a.split(',').exists(x, x == record.b)",
        ],
    )
    def test_functions_that_data_could_turn_into_a_bomb_are_refused(self, text: str) -> None:
        """A pattern, separator, replacement or format that data chooses is a mistake at load."""
        with pytest.raises(RuleError):
            Expression(text)

    def test_the_same_functions_work_with_literals(self) -> None:
        """With a literal argument the string functions can be used on any data."""
        assert value("record.type.split('.')[1].upperAscii()") == "ISSUE"
        assert value("record.type.split('.', 9).map(x, x.trim())") == ["plane", "issue"]
        assert value("['a', record.type].join('/').replace('.', '-')") == "a/plane-issue"
        assert value("matches(record.type, r'^plane\\.') && record.type.matches('issue$')") is True

    def test_ordinary_loops_are_not_limited_by_the_size_of_the_rest(self) -> None:
        """A loop that reads only its own variable works beside megabytes of other data."""
        record = {**HOSTILE, "labels": ["bug", "ready"]}
        assert matches('record.labels.exists(l, l in ["ready"] && l.contains("read"))', record)
        assert matches("record.labels.all(l, l.startsWith('r') || l != '')", record)


class TestTemplates:
    """Literal values stay as they are; expressions keep their types."""

    PARAMS = """
        literal = "record.type {{ }} ${x} 'quoted'"
        count = 3
        ratio = 0.5
        on = false
        at = 2026-01-02T03:04:05Z
        day = 2026-01-02
        "=key" = "=1 + 1"
        argv = ["/usr/bin/true", "=record.facts.ticket_ref", "a=b"]
        [body]
        message = "='Ticket ' + record.facts.ticket_ref"
        all = "=record.facts"
        escaped = "='=x'"
    """

    def test_rendering(self) -> None:
        """Only text that begins with = is evaluated; keys never are."""
        template = Template(tomllib.loads(self.PARAMS), "params")
        assert template.render(Scope(TICKET)) == {
            "literal": "record.type {{ }} ${x} 'quoted'",
            "count": 3,
            "ratio": 0.5,
            "on": False,
            "at": "2026-01-02T03:04:05Z",
            "day": "2026-01-02",
            "=key": 2,
            "argv": ["/usr/bin/true", "OPS-7", "a=b"],
            "body": {"message": "Ticket OPS-7", "all": TICKET["facts"], "escaped": "=x"},
        }
        assert list(template.expressions()) == [
            ("=key",),
            ("argv", 1),
            ("body", "message"),
            ("body", "all"),
            ("body", "escaped"),
        ]

    @given(st.text().filter(lambda text: not text.startswith("=")))
    def test_literal_text_is_untouched(self, text: str) -> None:
        """No literal, whatever it looks like, is changed."""
        assert Template({"a": [text]}).render(Scope({})) == {"a": [text]}

    def test_renderings_share_nothing(self) -> None:
        """Changing one rendering does not change the next."""
        template = Template({"a": [1], "b": {}})
        template.render(Scope({}))["a"].append(2)
        assert template.render(Scope({})) == {"a": [1], "b": {}}

    def test_a_failing_expression_is_named(self) -> None:
        """The message of an error begins with the place in the route."""
        template = Template({"body": {"labels": ["x", "=record.facts.component"]}}, "params")
        with pytest.raises(EvalError) as caught:
            template.render(Scope(TICKET))
        assert str(caught.value) == "params.body.labels[1]: record.facts.component is missing"

    @pytest.mark.parametrize(
        "bad", ["=recrd.a", "=", float("nan"), 2**64, object(), dt.timedelta()]
    )
    def test_a_mistake_has_its_place(self, bad: Any) -> None:
        """A bad expression or literal says where in the value it is."""
        with pytest.raises(RuleError) as caught:
            Template({"body": {"a": 1, "b": [1, bad]}})
        assert caught.value.path == ("body", "b", 1)

    def test_a_text_by_itself(self) -> None:
        """A single field is a template too."""
        with pytest.raises(EvalError, match=r"\Atarget_ref: record.nope is missing\Z"):
            Template("=record.nope", "target_ref").render(Scope({}))
        assert Template("=record.a").render(Scope({"a": [1]})) == [1]


class TestScope:
    """One conversion of a record serves every expression."""

    def test_later_evaluations_are_cheap(self) -> None:
        """Ten conditions on a large record cost far less than ten conversions of it."""
        record = {"type": "x", "body": {str(i): {"url": "u" * 80} for i in range(5_000)}}
        expressions = [Expression(f'record.type == "{i}"') for i in range(10)]
        scope = Scope(record)
        times = []
        for expression in expressions:
            start = time.process_time()
            assert expression.test(scope) is False
            times.append(time.process_time() - start)
        assert sum(times[1:]) < times[0]


def outcomes(explanation: Explanation) -> list[tuple[str, bool]]:
    return [(leaf.outcome, leaf.is_decisive) for leaf in explanation.leaves]


class TestExplain:
    """An author sees which part decided, and what the record had there."""

    def test_the_route_of_the_manual(self) -> None:
        """A ticket in the wrong state, without the label, is explained part by part."""
        found = explain(READY_TICKET, Scope(TICKET))
        assert found.outcome == "false"
        assert [leaf.sentence for leaf in found.leaves] == [
            'record.type == "plane.issue" is true: record.type is "plane.issue"',
            (
                'record.facts.state.group == "unstarted" is false: '
                'record.facts.state.group is "backlog"'
            ),
            (
                'record.facts.labels.exists(l, l in ["ready", "automation-go"]) is false: '
                'record.facts.labels is ["bug"]'
            ),
        ]
        assert [leaf.is_decisive for leaf in found.leaves] == [False, True, True]
        assert str(found).count("→") == 2

    def test_a_missing_value(self) -> None:
        """A part that cannot be evaluated says in plain words what is missing."""
        text = 'record.type == "plane.issue" && record.facts.component == "db"'
        found = explain(text, Scope(TICKET))
        assert (found.outcome, found.message) == ("error", "record.facts.component is missing")
        assert [leaf.sentence for leaf in found.decisive] == [
            'record.facts.component == "db" fails: record.facts.component is missing'
        ]
        assert found.decisive[0].values == {"record.facts.component": "missing"}

    def test_a_false_part_absorbs_an_error(self) -> None:
        """As in CEL, false && error is false: the error is shown, but did not decide."""
        found = explain("record.nope && record.body.n == 4", Scope(TICKET))
        assert (found.outcome, outcomes(found)) == ("false", [("error", False), ("false", True)])
        found = explain("record.nope || record.body.on", Scope(TICKET))
        assert (found.outcome, outcomes(found)) == ("true", [("error", False), ("true", True)])

    def test_what_is_not_a_boolean(self) -> None:
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
    def test_parts(self, text: str, leaves: list[str] | None) -> None:
        """A condition is split where && and || join it, never inside anything else."""
        found = explain(text, Scope({}))
        if leaves is not None:
            assert [leaf.text for leaf in found.leaves] == leaves
        assert all(leaf.outcome in {"true", "false"} for leaf in found.leaves)
        assert {leaf.outcome for leaf in found.decisive} == {found.outcome}

    def test_values(self) -> None:
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

    def test_a_whole_that_costs_too_much(self) -> None:
        """When only the whole fails, no part is blamed, and the reason is shown."""
        record = {"x": [1] * 6_000}
        found = explain("record.x.all(a, a == 1) && record.x.all(b, b == 1)", Scope(record))
        assert (found.outcome, outcomes(found)) == ("error", [("true", False), ("true", False)])
        assert str(found).startswith("→ the whole fails: its loops take more than 10,000 steps")

    def test_what_is_no_expression(self) -> None:
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
