"""Templates of routes: literal values stay as they are, expressions keep their types."""

import datetime as dt
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.cel.expression import EvalError, RuleError, Scope
from spoold.cel.template import Template
from tests.unit.test_cel import TICKET

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


def test_rendering() -> None:
    """Only text that begins with = is evaluated; keys never are."""
    template = Template(tomllib.loads(PARAMS), "params")
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
def test_literal_text_is_untouched(text: str) -> None:
    """No literal, whatever it looks like, is changed."""
    assert Template({"a": [text]}).render(Scope({})) == {"a": [text]}


def test_renderings_share_nothing() -> None:
    """Changing one rendering does not change the next."""
    template = Template({"a": [1], "b": {}})
    template.render(Scope({}))["a"].append(2)
    assert template.render(Scope({})) == {"a": [1], "b": {}}


def test_a_failing_expression_is_named() -> None:
    """The message of an error begins with the place in the route."""
    template = Template({"body": {"labels": ["x", "=record.facts.component"]}}, "params")
    with pytest.raises(EvalError) as caught:
        template.render(Scope(TICKET))
    assert str(caught.value) == "params.body.labels[1]: record.facts.component is missing"


@pytest.mark.parametrize("bad", ["=recrd.a", "=", float("nan"), 2**64, object(), dt.timedelta()])
def test_a_mistake_has_its_place(bad: Any) -> None:
    """A bad expression or literal says where in the value it is."""
    with pytest.raises(RuleError) as caught:
        Template({"body": {"a": 1, "b": [1, bad]}})
    assert caught.value.path == ("body", "b", 1)


def test_a_text_by_itself() -> None:
    """A single field is a template too."""
    with pytest.raises(EvalError, match=r"\Atarget_ref: record.nope is missing\Z"):
        Template("=record.nope", "target_ref").render(Scope({}))
    assert Template("=record.a").render(Scope({"a": [1]})) == [1]
