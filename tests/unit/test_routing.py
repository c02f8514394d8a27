"""Routes: what is refused before any record comes, and what a record then becomes."""

import hashlib
import json
import re

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoold.cel.expression import Scope
from spoold.config.settings import SourceTable
from spoold.errors import BadInput, ConfigError
from spoold.record import Record
from spoold.routing import default_event_key
from spoold.strict_json import parse
from spoold.testing import Lab
from tests.conftest import route

#: The largest `max_depth` that a source can be given.
(DEEPEST,) = [m.le for m in SourceTable.model_fields["max_depth"].metadata if hasattr(m, "le")]

DEPTHS = (64, 200, 252, 253, 254, 255, 300)

COMMAND = (
    Lab.SETTINGS
    + """
[executors.cmd]
kind = "command"
programs = ["/usr/bin/true", "/usr/bin/false"]
[executors.web]
kind = "hook"
url = "http://127.0.0.1:9/"
[preflight]
programs = ["/usr/bin/test"]
"""
)


#: A command that needs nothing.
TRUE = '[params]\nargv = ["/usr/bin/true"]\n'


def refused(make_lab, text, toml=COMMAND):
    """The one line with which a route is refused, without the folder."""
    with pytest.raises(ConfigError) as error:
        make_lab(text, toml=toml)
    (line,) = str(error.value).split("\n/")
    return line.rpartition("/routes.d/")[2]


def line_with(text, mark):
    """The number of the first line that holds a mark."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if mark in line)


def record(body=None, **more):
    """A record from the inbox `decisions`."""
    fields = {"source": "decisions", "id": "d-1", "type": "decision", "body": body or {}}
    return Record(**{**fields, **more})


def action(lab, body=None, **more):
    """What a lab's routes make of a record."""
    made = record(body, **more)
    scope = Scope(made.as_dict())
    return lab.routing.match(made, scope).render(made, scope)


# Refused at load


@pytest.mark.parametrize(
    ("changes", "words", "mark"),
    [
        ({"source": "nowhere"}, "source: no source 'nowhere' is configured", "source"),
        ({"executor": "nobody"}, "executor: no executor 'nobody' is configured; there are: rec, ",
         "executor"),
        ({"match": "record.x =="}, "match: ", "match"),
        ({"match": "recrod.x == 1"}, "match: unknown name 'recrod", "match"),
        ({"match": "'yes'"}, "match: this must be true or false, but gives STRING", "match"),
        ({"match": "1"}, "but gives INT", "match"),
        ({"match": "[true]"}, "but gives LIST", "match"),
        ({"match": ""}, "match: the expression is empty", "match"),
        ({"more": 'event_key = "record."'}, "event_key: ", "event_key"),
        ({"more": 'intent_key = "x"'}, "intent_key: unknown name 'x'", "intent_key"),
        ({"more": 'lane = "dr"'}, "lane: unknown name 'dr'", "lane"),
        ({"more": 'target_ref = "=x"'}, "target_ref: unknown name 'x'", "target_ref"),
        ({"more": '[params]\nsay = "=x"'}, "params.say: unknown name 'x'", "say"),
        ({"more": '[params.say]\na = ["ok", "=x"]'}, "params.say.a.1: unknown name 'x'", "a = "),
        ({"more": "[params]\nsay = nan"}, "params.say: ", "nan"),
        ({"more": "[params]\nsey = 1"}, "params.sey: executor kind 'recorder' has no such", "sey"),
        ({"more": '[params]\nsey = "=record.id"'}, "params.sey: executor kind", "sey"),
        ({"more": '[params]\nsay = "no"'}, "it does not take 'no'", "[params]"),
    ],
)  # fmt: skip
def test_what_can_never_work_is_refused_at_load(make_lab, changes, words, mark):
    """A wrong name, expression or parameter is an error with its line before any record comes."""
    text = route(**changes)
    said = refused(make_lab, text)
    assert words in said
    assert said.startswith(f"10.toml:{line_with(text, mark)}: "), said


LITERAL = "must be literal in the route"


@pytest.mark.parametrize(
    ("executor", "more", "words"),
    [
        ("cmd", '[params]\nargv = ["=record.body.x"]', f"params.argv.0: {LITERAL}"),
        ("cmd", '[params]\nargv = ["=record.body.x", "x"]', f"params.argv.0: {LITERAL}"),
        ("cmd", '[params]\nargv = "=record.body.argv"', f"params.argv: {LITERAL}"),
        ("cmd", f'preflight = [{{ argv = ["=record.body.x"] }}]\n{TRUE}',
         f"preflight.0.argv.0: {LITERAL}"),
        ("cmd", f'{TRUE}[[preflight]]\nargv=["/usr/bin/test"]\n[[preflight]]\nargv=["=record.id"]',
         f"preflight.1.argv.0: {LITERAL}"),
        ("cmd", '[params]\nargv = ["/bin/sh"]', "not on the executor's list"),
        # argv[0] is literal, so it is checked whatever follows it.
        ("cmd", '[params]\nargv = ["/bin/sh", "=record.body.x"]', "'/bin/sh'"),
        ("cmd", f'preflight = [{{ argv = ["/bin/sh"] }}]\n{TRUE}',
         "'/bin/sh' is not on the executor's list"),
        ("cmd", "[params]\nargv = []", "Executor cmd refuses"),
        ("cmd", TRUE + 'cwd = "relative"', "Executor cmd refuses"),
        ("cmd", TRUE + 'env = { LD_PRELOAD = "x" }', "Executor cmd refuses"),
        ("cmd", TRUE + "timeout = 5", "Executor cmd refuses"),
        ("web", '[params]\nurl = "http://elsewhere/"', "Executor web refuses"),
        ("web", '[params]\nmethod = "BREW"', "Executor web refuses"),
    ],
)  # fmt: skip
def test_what_an_executor_refuses_is_refused_at_load(make_lab, executor, more, words):
    """No record chooses a program, and what is literal in a route is checked before any outage."""
    text = route(executor=executor, more=more)
    said = refused(make_lab, text)
    assert words in said
    number = int(re.match(r"10\.toml:(\d+): ", said)[1])
    assert not more.startswith("preflight") or number == line_with(text, "preflight")


def test_a_record_may_choose_the_other_words(make_lab):
    """Expressions for every word but the first are what routes are for."""
    lab = make_lab(
        route(executor="cmd", more='[params]\nargv = ["/usr/bin/true", "=record.body.x"]'),
        toml=COMMAND,
    )
    assert action(lab, {"x": "; rm -rf /"}).params["argv"] == ["/usr/bin/true", "; rm -rf /"]


@pytest.mark.parametrize("value", ["2026-01-02", "2026-01-02T03:04:05Z", "03:04:05"])
@pytest.mark.parametrize("beside", ["", '"=record.id", '])
def test_a_date_is_written_as_text(make_lab, value, beside):
    """TOML's dates become the text they were written as, beside an expression or without one."""
    lab = make_lab(route(more=f"[params]\nsay = [{beside}{value}]"))
    assert action(lab).params["say"][-1] == value


def test_every_route_with_a_mistake_is_named(make_lab):
    """Mistakes in several routes are told together, one line each."""
    with pytest.raises(ConfigError) as error:
        make_lab(route(name="a", source="x"), route(name="b"), route(name="c", executor="y"))
    names = re.findall(r"/routes\.d/(\d+)\.toml:\d+: (\w+)", str(error.value))
    assert names == [("10", "source"), ("12", "executor")]


# Which route


def test_only_routes_of_the_inbox_are_asked(make_lab):
    """A route for another source does not match, though its expression would be true."""
    lab = make_lab(route(name="other", source="tasks", match="true"), route(name="mine"))
    assert action(lab).route == "mine"


@pytest.mark.parametrize("value", [1, "true", [True], {"a": True}, None, 1.0])
def test_only_true_is_true(make_lab, value):
    """A condition that gives anything else than true is no match, and says why."""
    lab = make_lab(route(match="record.body.x"))
    with pytest.raises(BadInput) as error:
        action(lab, {"x": value})
    assert error.value.code == "route-error"
    assert "not a boolean" in error.value.what
    assert action(lab, {"x": True}).route == "any"


def test_a_failing_route_does_not_keep_the_next_one_back(make_lab):
    """An expression that fails is no match; the routes after it are tried."""
    lab = make_lab(route(name="bad", match="record.body.x.y == 1"), route(name="good"))
    assert action(lab, {}).route == "good"


def test_no_match_names_the_type_shortly(make_lab):
    """What nobody routes is named by its type and source, however long a stranger made the type."""
    lab = make_lab(route(match="false"))
    with pytest.raises(BadInput) as error:
        action(lab, type="x" * 10_000)
    assert error.value.code == "no-route"
    assert len(error.value.what) < 200


# What it becomes


def test_parameters_come_from_the_route_then_the_executor_then_the_kind(make_lab):
    """A request shows the whole action: what the route leaves out is filled in, and shown."""
    toml = COMMAND.replace('kind = "command"', 'kind = "command"\ntimeout = "7m"\ncwd = "/srv"')
    more = '[params]\nargv = ["/usr/bin/true"]\ncwd = "/tmp"'
    lab = make_lab(route(executor="cmd", more=more), toml=toml)
    assert action(lab).params == {
        "argv": ["/usr/bin/true"], "cwd": "/tmp", "stdin": None, "env": {}, "timeout": "7m",
    }  # fmt: skip


def test_a_preflight_command_is_shown_completely(make_lab):
    """What will be run before the action is in the request, rendered, with its limits."""
    more = (
        '[params]\nargv = ["/usr/bin/true"]\n[[preflight]]\n'
        'argv = ["/usr/bin/test", "-e", "=record.body.p"]\ntimeout = "3s"'
    )
    (command,) = action(
        make_lab(route(executor="cmd", more=more), toml=COMMAND), {"p": "/x"}
    ).preflight
    assert command["argv"] == ["/usr/bin/test", "-e", "/x"]
    assert command["timeout"] == "3s"
    assert command.keys() == {"argv", "cwd", "stdin", "env", "timeout"}


def test_a_parameter_that_only_the_record_spoils_is_refused_then(make_lab):
    """What an expression gives is checked like what is literal, before a person sees it."""
    lab = make_lab(route(more='[params]\nsay = "=record.body.x"'))
    assert action(lab, {"x": "yes"}).params == {"say": "yes"}
    with pytest.raises(BadInput) as error:
        action(lab, {"x": "no"})
    assert error.value.code == "params-refused"


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), (True, "true"), (False, "false"), (7, "7"), (-1, "-1"), (2**62, str(2**62))],
)
def test_a_target_and_a_key_are_text(make_lab, value, text):
    """Text stays, and whole numbers and booleans are written out, in targets and in keys."""
    more = "\n".join(
        ['target_ref = "=record.body.x"']
        + [f'{key} = "record.body.x"' for key in ("event_key", "intent_key", "lane")]
    )
    made = action(make_lab(route(more=more)), {"x": value})
    found = (made.targets["target_ref"], made.event_key, made.intent_key, made.lane)
    assert found == (text,) * 4


@pytest.mark.parametrize("key", ["event_key", "intent_key", "lane", "target_ref"])
@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"x": 1.5}, " is a "),
        ({"x": [1]}, " is a "),
        ({"x": {"a": 1}}, " is a "),
        ({}, "body.x is"),
    ],
)
def test_what_has_no_one_spelling_is_no_key(make_lab, key, body, words):
    """What could be written in two ways, or is not there, is an error that names it: no key."""
    expression = "=record.body.x" if key == "target_ref" else "record.body.x"
    lab = make_lab(route(more=f'{key} = "{expression}"'))
    with pytest.raises(BadInput) as error:
        action(lab, body)
    assert error.value.code == "route-error"
    assert error.value.what.startswith("Route any matches, but ")
    assert words in error.value.what


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize("written", [True, False])
def test_an_empty_key_is_none(make_lab, value, written):
    """Null, the empty text and a route without keys fold nothing and lock nothing."""
    keys = ("event_key", "intent_key", "lane") if written else ()
    more = "\n".join(f'{key} = "record.body.x"' for key in keys)
    made = action(make_lab(route(more=more)), {"x": value})
    found = (made.event_key, made.intent_key, made.lane, made.on_repeat)
    assert found == ("d-1", None, None, "fold")


def test_the_time_to_decide_is_the_routes_else_the_settings(make_lab):
    """A route's `expires_after` wins over that of spoold.toml, which wins over seven days."""
    assert action(make_lab(route())).expires_after == 7 * 86400
    toml = 'expires_after = "2d"\n' + Lab.SETTINGS
    assert action(make_lab(route(), toml=toml)).expires_after == 2 * 86400
    assert action(make_lab(route(more='expires_after = "5m"'), toml=toml)).expires_after == 300


# The key of an event without one


def texts(size):
    """Texts without the NUL, which is refused before a record is made of it."""
    return st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=size)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts(5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(3), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip
BODIES = st.dictionaries(texts(4), JSON, max_size=4)


def backwards(value):
    """The same JSON with the keys of all objects in the other order."""
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return [backwards(inner) for inner in value] if isinstance(value, list) else value


def key_of(raw):
    """The default key of a drop without an id."""
    return default_event_key(record(parse(raw), id=None))


def test_an_id_is_the_key():
    """A record's own id identifies its delivery, whatever the content is."""
    assert default_event_key(record({"a": 1})) == "d-1"
    assert default_event_key(record({"a": 2})) == "d-1"


@pytest.mark.parametrize("none", [None, ""])
def test_without_an_id_the_content_is_the_key(none):
    """No id, or an empty one: the digest of the content in its one spelling."""
    expected = hashlib.sha256(b'{"a":1,"b":[2]}').hexdigest()
    assert default_event_key(record({"b": [2], "a": 1}, id=none)) == f"sha256:{expected}"


@settings(max_examples=40)
@given(BODIES)
def test_the_same_content_has_the_same_key_however_it_is_written(body):
    """White space, the order of keys at every depth and escapes make no difference."""
    spellings = [
        orjson.dumps(body),
        orjson.dumps(backwards(body)),
        orjson.dumps(body, option=orjson.OPT_INDENT_2),
        json.dumps(body, ensure_ascii=True).encode(),
        b"\n\t" + orjson.dumps(body) + b" ",
    ]
    assert len({key_of(raw) for raw in spellings}) == 1


@settings(max_examples=50)
@given(BODIES, BODIES)
def test_other_content_has_another_key(one, two):
    """Two contents have one key only if they are the same."""
    keys = {key_of(orjson.dumps(body)) for body in (one, two)}
    same = orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        two, option=orjson.OPT_SORT_KEYS
    )
    assert len(keys) == (1 if same else 2)


@pytest.mark.parametrize("more", ['[params]\nsay = "=record.body.x"', ""])
@pytest.mark.parametrize("depth", [d for d in DEPTHS if d < DEEPEST] + [DEEPEST])
def test_a_depth_that_may_be_configured_is_no_problem(make_lab, depth, more):
    """What `max_depth` lets through ends as a request or in quarantine, and stops nothing."""
    toml = Lab.SETTINGS.replace('"task"', f'"task"\nmax_depth = {DEEPEST}')
    lab = make_lab(route(source="tasks", more=more), toml=toml)
    body = b'{"type": "t", "x": ' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    lab.drop("tasks", "t.json", body)
    assert lab.drain() == 0
    assert len(lab.files("awaiting-approval") + lab.files("quarantine")) == 1
