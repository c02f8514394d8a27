"""OpenClaw's answers: what they say of a run, and what is certain after them."""

import json
from typing import Any

import pytest

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import hook
from tests.conformance.hooks import ends_with


def _run(stage, receiver, answer: Any, *, waits: bool = False, status: int = 200, **more: Any):
    receiver.status = status
    receiver.body = (
        answer if isinstance(answer, bytes) else json.dumps(answer).encode() if answer else b""
    )
    config = hook.Config.model_validate({"url": receiver.url, **more.pop("config", {})})
    asked = {"message": "x", "waitForCompletion": True} if waits else {"message": "x"}
    params = hook.Params.model_validate({"url": receiver.url, "body": asked})
    return hook.run(params, stage.context(config, **more))


@pytest.mark.parametrize(
    ("status", "answer", "evidence"),
    [
        (200, {"ok": True, "runId": "r-1"}, {"runId": "r-1"}),
        (202, {"ok": True, "runId": "r-1"}, {"runId": "r-1"}),
        (200, {"ok": True, "eventOutcome": "coalesced"}, {"eventOutcome": "coalesced"}),
        (200, {"ok": True, "runId": "r1", "runIds": ["r1", "r2"], "dispatched": 2},
         {"runId": "r1", "runIds": ["r1", "r2"], "dispatched": 2}),
        (204, None, {}),
        (200, {"runId": "x" * 900, "runIds": [{}]}, {}),
    ],
)  # fmt: skip
def test_admitted_is_recorded_as_what_it_is(stage, receiver, status, answer, evidence):
    """Nobody waited, so the evidence is that it was taken, and the summary claims no more."""
    result = _run(stage, receiver, answer, status=status)
    assert result.code == f"http-{status}"
    assert result.evidence == {"admitted": True} | evidence
    assert "does not say that the work is done" in result.summary


_COMPLETION = {"status": "ok", "replyDisposition": "silent", "delivered": False,
               "deliveryAttempted": True, "deliverySuppressionReason": "silent"}  # fmt: skip


def test_a_run_that_ended_well_is_done_with_its_completion_as_evidence(stage, receiver):
    """Who waited has the terminal outcome in the result."""
    answer = {"ok": True, "runId": "r-1", "completion": _COMPLETION}
    result = _run(stage, receiver, answer, waits=True)
    assert (result.code, result.evidence) == ("run-ok", _COMPLETION)
    assert "ended well" in result.summary
    assert "delivered" not in result.summary
    assert result.details["body"]["runId"] == "r-1"


def test_a_reply_that_was_not_delivered_and_a_run_that_was_skipped_are_told(stage, receiver):
    """A run can be done although its answer was not delivered; skipped is no reason to repeat."""
    completion = {"status": "ok", "deliveryError": "delivery-failed", "deep": {"x": "y" * 999}}
    result = _run(stage, receiver, {"ok": True, "completion": completion}, waits=True)
    assert result.summary.endswith("Its reply could not be delivered.")
    assert result.evidence == {"status": "ok", "deliveryError": "delivery-failed"}
    answer = {"ok": True, "completion": {"status": "skipped"}}
    assert _run(stage, receiver, answer, waits=True).code == "run-skipped"


@pytest.mark.parametrize("waits", [True, False])
def test_a_run_that_ended_with_an_error_failed(stage, receiver, waits):
    """A 200 does not hide that the run failed, whether or not somebody asked."""
    answer = {"ok": True, "runId": "r-1", "completion": {"status": "error"}}
    with pytest.raises(Permanent) as raised:
        _run(stage, receiver, answer, waits=waits)
    assert (raised.value.code, raised.value.evidence) == ("run-error", {"status": "error"})


@pytest.mark.parametrize("status", ["paused", None, 7, "\x1b[31m" + "x" * 900])
def test_an_end_that_nobody_knows_is_left_to_a_person(stage, receiver, status):
    """A completion with another status than the three is neither success nor failure."""
    with pytest.raises(OutcomeUnknown) as raised:
        _run(stage, receiver, {"ok": True, "completion": {"status": status}}, waits=True)
    assert raised.value.code == "run-unclear"
    assert raised.value.summary.isprintable()
    assert len(raised.value.summary) < 300


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (rb"\ud83d", "\ufffd"),
        (rb"cut \ud83d, whole \ud83d\ude00", "cut \ufffd, whole \U0001f600"),
        (b"\xf0\x9f", "\ufffd"),
    ],
    ids=["escape", "pair", "bytes"],
)
def test_half_a_character_hides_no_failure(stage, receiver, error, shown):
    """An error text that was cut in the middle of a character spoils nothing but that."""
    answer = b'{"ok":true,"completion":{"status":"error","error":"%s"}}' % error
    with pytest.raises(Permanent) as raised:
        _run(stage, receiver, answer, waits=True)
    assert raised.value.code == "run-error"
    assert raised.value.evidence == {"status": "error", "error": shown}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"reply": "x" * 70_000, "completion": {"status": "error"}}, "longer than max_answer"),
        ({"completion": {"status": "ok"}, "reply": "x" * 70_000}, "longer than max_answer"),
        *((answer, "no JSON object") for answer in
          (b'{"completion":{"status":"error"}', b'{"completion":{"status":"error","cost":NaN}}',
           b"upstream is fine", ["completion"], None)),
    ],
)  # fmt: skip
def test_who_waited_for_an_answer_that_cannot_be_read_does_not_know(stage, receiver, answer, why):
    """How the run ended was asked for; what does not tell it is neither done nor failed."""
    with pytest.raises(OutcomeUnknown) as raised:
        _run(stage, receiver, answer, waits=True)
    assert raised.value.code == "run-unclear"
    assert why in raised.value.summary
    assert _run(stage, receiver, answer).code == "http-200"


@pytest.mark.parametrize("answer", [{"ok": True, "runId": "r-1"}, {"completion": "ok"}])
def test_who_waited_in_vain_has_only_that_it_was_admitted(stage, receiver, answer):
    """An older gateway answers at once; that is done as `admitted`, and says what it is not."""
    result = _run(stage, receiver, answer, waits=True)
    assert result.code == "admitted"
    assert result.evidence["admitted"] is True
    assert "how the run ended is not in the answer" in result.summary


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"ok": False, "error": "agent busy"}, Permanent),
        ({"ok": False, "error": "lost", "runId": "r-1"}, OutcomeUnknown),
        ({"ok": False, "runIds": ["r-1"]}, OutcomeUnknown),
    ],
)
def test_ok_false_is_no_success_whatever_the_status(stage, receiver, answer, error):
    """Without a run's id nothing was admitted; with one, only a person can say what it does."""
    with ends_with(error) as raised:
        _run(stage, receiver, answer)
    assert (raised.value.code, raised.value.details["body"]) == ("not-ok", answer)


def test_the_answer_of_another_program_at_such_an_address_is_read_plainly(stage, receiver):
    """What was not meant for OpenClaw is not answered in its words."""
    receiver.body = b'{"ok": false, "completion": {"status": "error"}}'
    config = hook.Config.model_validate({"url": receiver.url})
    params = hook.Params.model_validate({"url": receiver.url, "body": {"ticket": 1}})
    assert hook.run(params, stage.context(config)).code == "http-200"


@pytest.mark.parametrize(
    ("error", "statuses"),
    [(Permanent, [400, 401, 404, 405, 413]), (Transient, [408, 409, 429, 500, 502, 503])],
)
def test_a_refusal_is_what_the_gateway_documents(stage, receiver, error, statuses):
    """What it never admitted is repeated or final as its documentation says, also with an id."""
    for status in statuses:
        with ends_with(error):
            _run(stage, receiver, {"ok": False, "error": "no", "runId": "r"}, status=status)


@pytest.mark.parametrize("status", [400, 500, 502, 503])
def test_a_fan_out_that_half_worked_is_not_repeated_blindly(stage, receiver, status):
    """An error that names admitted runs leaves them to a person, or to the memory of the key."""
    answer = {"ok": False, "runIds": ["r1"], "dispatched": 1}
    with pytest.raises(OutcomeUnknown, match="did admit"):
        _run(stage, receiver, answer, status=status)
    with pytest.raises(Transient) as raised:
        _run(stage, receiver, answer, status=status, config={"idempotency_window": "5m"})
    assert raised.value.details["in_doubt"] is True


# In doubt


@pytest.mark.parametrize("status", [307, 400, 401, 404, 501])
def test_a_refusal_says_nothing_about_an_earlier_attempt_in_doubt(stage, receiver, status):
    """A repeat that is refused does not turn what may have been done into a failure."""
    window = {"idempotency_window": "5m"}
    with pytest.raises(OutcomeUnknown, match="An earlier attempt") as raised:
        _run(stage, receiver, None, status=status, in_doubt=True, config=window)
    assert raised.value.code == f"http-{status}"
    assert _run(stage, receiver, None, in_doubt=True, config=window).code == "http-200"


def test_what_is_repeated_in_doubt_and_ended_with_an_error_failed(stage, receiver):
    """The gateway answers a repeat with the first run's end, and then there is no doubt left."""
    answer = {"ok": True, "completion": {"status": "error"}}
    with ends_with(Permanent):
        _run(stage, receiver, answer, in_doubt=True, config={"idempotency_window": "5m"})
