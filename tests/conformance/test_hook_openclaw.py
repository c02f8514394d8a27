"""OpenClaw's hooks: what is refused before a person is asked, and what a wait adds."""

from typing import Any

import pytest

from spoold.config.settings import NAME
from spoold.executors import hook
from spoold.identity import dispatch_id
from spoold.request import now
from tests.conftest import route

_AGENT = "http://127.0.0.1:9/hooks/agent"
_WAKE = "http://127.0.0.1:9/hooks/wake"

#: What the gateway's own documentation shows, without what needs a setting there.
_FULL = {
    "message": "Run this", "name": "Email", "agentId": "main", "sessionMode": "isolated",
    "wakeMode": "now", "deliver": True, "channel": "telegram", "to": "+15551234567",
    "accountId": "default", "model": "openai/gpt-5.2-mini", "thinking": "low",
    "timeoutSeconds": 120, "waitForCompletion": False,
}  # fmt: skip


def _check(url: str, body: Any, *, config: Any = None, **more: Any) -> None:
    table = hook.Config.model_validate({"url": url, **(config or {})})
    given = hook.complete({"url": url, "body": body, **more}, table, {})
    assert hook.complete(given, table, {}) == given, "what is approved changes no more"
    hook.check(hook.Params.model_validate(given), table)


# Before a person is asked


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (_AGENT, {"message": "x"}),
        (_AGENT, _FULL),
        (_AGENT + "/", {"message": " x "}),
        (_AGENT, {"message": "x", "timeoutSeconds": 0.5, "channel": None}),
        (_AGENT + "?a=b", {"message": "x"}),
        (_WAKE, {"text": "x", "mode": "now", "agentId": "main"}),
        (_WAKE, {"text": "x", "mode": "next-heartbeat", "wakeMode": "soon"}),
        (_WAKE, {"text": "x", "mode": None}),
        (_AGENT, {"message": "x", "wakeMode": "next-heartbeat", "mode": "soon"}),
        ("http://127.0.0.1:9/hooks/github", {"anything": 1}),
        ("http://127.0.0.1:9/hooks/agent/x", None),
        ("http://127.0.0.1:9/tasks", {"idempotencyKey": "x", "sessionKey": "y"}),
    ],
)
def test_what_the_gateway_takes_is_accepted(url, body):
    """The documented payloads pass, and other hooks are none of this business."""
    _check(url, body)


#: What a message must not have beside it, by the reason that is given.
_REFUSED = {
    "400 to a `model` that is empty": [{"model": ""}, {"model": " "}, {"model": None}],
    "both `channel` and `to`, or neither": [
        {"channel": "telegram"}, {"to": "+1"}, {"channel": "telegram", "to": None}],
    '"last"': [{"channel": "last", "to": "+1"}, {"channel": "last"}],
    "positive": [{"timeoutSeconds": seconds} for seconds in (0, -1, "60", True, None)],
    "idempotencyKey": [{"idempotencyKey": "k"}],
    "persistent": [{"sessionMode": "persistent"}],
    "`wakeMode` is now or next-heartbeat": [{"wakeMode": when} for when in ("later", "", ["now"])],
    "waitForCompletion": [{"waitForCompletion": "yes"}, {"waitForCompletion": 1}],
    r"since 2026\.2\.12 .* 400 .*allowReq": [{"sessionKey": "hook:1"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("url", "body", "words"),
    [
        *((_AGENT, body, "needs a body with a `message`") for body in
          (None, "text", {}, {"text": "x"}, {"message": " \n\t"}, {"message": ["x"]})),
        (_AGENT + "/", {}, "needs a body with a `message`"),
        *((_WAKE, body, "needs a body with a `text`") for body in ({"message": "x"}, {"text": ""})),
        (_WAKE, {"text": "x", "sessionKey": "hook:1"}, "session_key = true"),
        (_WAKE, {"text": "x", "idempotencyKey": "k"}, "idempotencyKey"),
        (_WAKE, {"text": "x", "mode": "next_heartbeat"}, "`mode` is now or next-heartbeat"),
        *((_AGENT, {"message": "x", **more}, words) for words in _REFUSED
          for more in _REFUSED[words]),
    ],
)  # fmt: skip
def test_what_the_gateway_would_refuse_never_waits_for_a_yes(url, body, words):
    """A call that would fail, or be read as something else, is refused with the reason."""
    with pytest.raises(ValueError, match=words) as raised:
        _check(url, body, config={"dialect": "openclaw"})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("body", [None, "text", {}, {"ticket": 1}, [1]])
def test_another_program_may_have_such_an_address(body):
    """What does not look like a call of OpenClaw is sent, unless the configuration says it is."""
    _check(_AGENT, body)


def _warnings(url: Any, *routes: dict[str, Any], **table: Any) -> list[str]:
    return list(hook.warnings(hook.Config.model_validate({"url": url, **table}), list(routes)))


@pytest.mark.parametrize(
    ("url", "body", "word"),
    [(_AGENT, None, "`message`"), (_AGENT, {"text": "x"}, "`message`"),
     (_AGENT, {"ticket": "=record.id"}, "`message`"), (_AGENT + "/", "text", "`message`"),
     (_WAKE, {"message": "x"}, "`text`"), (_WAKE + "?a=b", [1], "`text`")],
)  # fmt: skip
def test_a_route_that_has_forgotten_what_openclaw_needs_is_warned_of(url, body, word):
    """What would be sent, and answered with 400 after the approval, is said before there is one."""
    (warning,) = _warnings(url, {"body": body})
    assert (f"without {word}" in warning, 'dialect = "plain"' in warning) == (True, True)
    assert _warnings(url, {}, body=body) == [warning]
    assert _warnings("http://127.0.0.1:9/x", {"url": url, "body": body}, urls=[url]) == [warning]
    assert _warnings(url, {"body": body}, {"body": body}) == [warning]
    assert _warnings(url) == _warnings(url, {"body": body}, dialect="plain") == []
    _check(url, body)


@pytest.mark.parametrize(
    "params",
    [{"body": {"message": "=record.body.text"}}, {"body": {"sessionKey": "x"}},
     {"body": "=record.body"}, {"url": "=record.body.url", "body": {}},
     {"url": "http://127.0.0.1:9/hooks/github", "body": {}}, {"url": "no url", "body": {}},
     {"url": 5, "body": {}}, {"url": _WAKE, "body": {"text": ""}}],
)  # fmt: skip
def test_a_route_that_may_be_right_is_not_warned_of(params):
    """What only a record decides, what is refused anyway, and other addresses are left alone."""
    assert _warnings(_AGENT, params) == []
    assert _warnings(_AGENT, {}, body={"message": "x"}) == []


@pytest.mark.parametrize("body", [{"message": ""}, {"sessionKey": "x"},
                                  {"message": "x", "sessionKey": "x"}])  # fmt: skip
def test_what_looks_like_a_call_of_openclaw_is_held_to_its_rules(body):
    """By its address and its body a call is known to be one, without any configuration."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        _check(_AGENT, body)


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_method_that_the_gateway_does_not_have_is_refused(method):
    """OpenClaw takes a POST and nothing else."""
    with pytest.raises(ValueError, match=f"405 to a {method}"):
        _check(_AGENT, {"message": "x"}, method=method)
    _check(_AGENT, {"ticket": 1}, method=method)


def test_a_session_key_may_be_sent_to_a_gateway_that_was_told_so():
    """The setting of the gateway is repeated here, once, and then a route may name a session."""
    body = {"message": "x", "sessionKey": "hook:1", "sessionMode": "persistent"}
    _check(_AGENT, body, config={"session_key": True})
    _check(_WAKE, {"text": "x", "sessionKey": "hook:1"}, config={"session_key": True})


def test_the_dialect_can_be_switched_off_and_on():
    """A bridge at the same path is not OpenClaw, and a gateway may be behind another path."""
    _check(_AGENT, {"text": "x", "sessionKey": "agent:a:1"}, config={"dialect": "plain"})
    for path, words in (("/a", "`message`"), ("/oc/agent", "`message`"), ("/oc/wake", "`text`")):
        with pytest.raises(ValueError, match=words):
            _check(f"http://127.0.0.1:9{path}", {}, config={"dialect": "openclaw"})


def test_no_key_is_too_long_for_the_gateway():
    """OpenClaw silently ignores a key of more than 256 characters; ours never has as many."""
    longest = "r" * 63
    assert NAME.endswith("{0,62}$")
    assert len(dispatch_id(now(), longest, "d" * 8)) <= 256


# Waiting for the end of a run


def test_who_waits_says_so_in_the_body_that_the_person_sees():
    """`wait_for_completion` is a field of what is sent, and of nothing else."""
    table = hook.Config.model_validate({"url": _AGENT})
    given = {"url": _AGENT, "body": {"message": "x"}, "wait_for_completion": True}
    done = hook.complete(given, table, {})
    assert done["body"] == {"message": "x", "waitForCompletion": True}
    assert given["body"] == {"message": "x"}
    shown = hook.Params.model_validate(done).model_dump(mode="json")
    assert hook.complete(shown, table, {}) == shown
    silent = hook.Params.model_validate({"url": _AGENT}).model_dump(mode="json")
    assert "wait_for_completion" not in silent


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"url": _WAKE, "body": {"text": "x"}}, "can wait_for_completion"),
        ({"url": "http://127.0.0.1:9/hooks/github"}, "can wait_for_completion"),
        ({"body": {"message": "x", "waitForCompletion": False}}, "another"),
        ({"body": {"message": "x", "timeoutSeconds": 180}, "timeout": "20s"}, "180 s"),
        ({"body": {"message": "x", "timeoutSeconds": 180}, "timeout": "3m"}, "longer"),
    ],
)
def test_a_wait_that_cannot_end_well_is_refused(more, words):
    """Only an agent's run can be waited for, unambiguously, and for longer than it may take."""
    given = {"url": _AGENT, "body": {"message": "x"}, "wait_for_completion": True, **more}
    with pytest.raises(ValueError, match=words):
        _check(given.pop("url"), given.pop("body"), **given)


def test_a_body_that_waits_by_itself_is_a_wait():
    """Who writes it into the body means the same, unless the parameter says no."""
    body = {"message": "x", "waitForCompletion": True, "timeoutSeconds": 180}
    _check(_AGENT, body, timeout="4m")
    with pytest.raises(ValueError, match="another"):
        _check(_AGENT, body, timeout="4m", wait_for_completion=False)
    with pytest.raises(ValueError, match="longer"):
        _check(_AGENT, body)


_TOML = """
[sources.decisions]
format = "decision"
[executors.gateway]
kind = "hook"
url = "{url}"
retry = {{ tries = 3, base = "1s", cap = "1s" }}
{more}
"""


def test_the_limit_is_that_of_the_bytes_that_are_sent(make_lab, receiver):
    """A body is measured with all that is added to it; at the limit it goes out as measured."""
    plain, waits = b'{"message":""}', b'{"message":"","waitForCompletion":true}'
    text = route(executor="gateway", more='[params]\nbody = { message = "=record.body.rationale" }')
    table = _TOML.format(url=receiver.url, more="max_body = 4096\nwait_for_completion = true")
    lab = make_lab(text, toml=table)
    for number, room in enumerate((4096 - len(plain), 4096 - len(waits))):
        # Two bytes each, so that characters would come out shorter.
        message = "ä" * (room // 2) + "x" * (room % 2)
        record = {"decision_type": "x", "decision_id": str(number), "rationale": message}
        lab.drop("decisions", f"{number}.json", record)
    lab.drain()
    assert "has 4121 bytes" in lab.reason(lab.only("quarantine"))["what"]
    lab.approve()
    lab.drain()
    (seen,) = receiver.seen
    assert len(seen.body) == 4096
