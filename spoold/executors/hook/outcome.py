"""How a call went → what is known of the action: done, refused, to be repeated, or in doubt."""

from datetime import UTC, datetime
from typing import Any

from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.executors.hook import openclaw_answer
from spoold.executors.hook.answer import keep, remark, retry_after
from spoold.executors.hook.exchange import Exchange
from spoold.text import Redactor

#: The receiver says that it did nothing, and may later; other statuses below 500 are final.
_REPEATABLE = frozenset({408, 409, 425, 429})
#: From 500 on, an unknown status counts as 500 (RFC 9110, 15). These will not change.
_NEVER = frozenset({501, 505, 506, 508, 510, 511})
#: A proxy passed the request on and lost the answer (520, 522 and 524 are Cloudflare's).
_ANSWER_LOST = frozenset({504, 520, 522, 524, 598, 599})
_SERVER_ERROR = 500
_NOT_SENT = {"timeout": "connect-timeout", "disconnected": "not-sent"}


def is_ill(exchange: Exchange) -> bool | None:
    """Whether a call shows that its destination is ill; None if it was we who ended the call."""
    if exchange.status is not None and exchange.status >= _SERVER_ERROR:
        return True
    return None if exchange.broken == "interrupted" else exchange.broken is not None


def judge(
    exchange: Exchange,
    context: Context,
    redactor: Redactor,
    expected: openclaw_answer.Expected | None,
) -> Result:
    """The result of a call that worked.

    Args:
        exchange: the call.
        context: of the attempt.
        redactor: hides what must not be kept.
        expected: what the answer tells, if an OpenClaw gateway was called.

    Raises:
        ExecutionError: what became of a call that did not work.
    """
    call = f"{exchange.method} {exchange.url}"
    data = keep(exchange, redactor)
    if exchange.certainly_not_sent:
        code = _NOT_SENT.get(exchange.broken or "", "interrupted")
        raise Transient(code, f"{call} was not sent: {exchange.detail}.", data)
    code, said = f"http-{exchange.status}", f"{call} was answered with {exchange.status}"
    match (exchange.status or 0) // 100:
        case 2 if not exchange.broken:
            return _accepted(code, said, data, expected)
        case 3:
            where = data["headers"].get("location", "nowhere")
            what = f"{said} to {where}; redirects are not followed"
            raise _refused(context, code, what, data)
        case 4 | 5:
            raise _failed(exchange, context, code, said, data)
    detail = exchange.detail or f"{exchange.status} is no status that ends a call"
    code = exchange.broken or "broken-answer"
    raise ambiguous(context, code, f"{call} was sent, but {detail}.", data)


def _failed(
    exchange: Exchange, context: Context, code: str, said: str, data: dict[str, Any]
) -> ExecutionError:
    status = exchange.status or 0
    if openclaw_answer.names_runs(data["body"]):
        return ambiguous(context, code, f"{said}, but names runs that it did admit.", data)
    if status in _ANSWER_LOST:
        return ambiguous(context, code, f"{said}: a proxy lost the receiver's answer.", data)
    if status in _REPEATABLE if status < _SERVER_ERROR else status not in _NEVER:
        return Transient(code, f"{said}.", data, retry_after=retry_after(exchange))
    return _refused(context, code, f"{said}; the same call would not fare better", data)


def _accepted(
    code: str, said: str, data: dict[str, Any], expected: openclaw_answer.Expected | None
) -> Result:
    body = data["body"]
    waits = expected == "completion"
    if waits and not isinstance(body, dict):
        why = "is longer than max_answer" if data["truncated"] else "is no JSON object"
        what = f"{said}, but the answer {why}: it does not tell how the run ended."
        raise OutcomeUnknown("run-unclear", what, data)
    if expected and (ended := openclaw_answer.judge(said, body, data)):
        return ended
    evidence = openclaw_answer.admitted(body)
    if waits:
        what = f"{said}: it was admitted, but how the run ended is not in the answer."
        return Result("admitted", what, data, evidence=evidence)
    return Result(code, f"{said}: the receiver took it.{remark(body)}", data, evidence=evidence)


def _refused(
    context: Context, code: str, what: str, data: dict[str, Any]
) -> Permanent | OutcomeUnknown:
    if context.in_doubt:
        earlier = f"{what}. An earlier attempt may have had its effect all the same."
        return OutcomeUnknown(code, earlier, data)
    return Permanent(code, f"{what}.", data)


def memory_left(context: Context) -> float:
    """Seconds for which the receiver still recognises the key; 0 if that is not certain."""
    age = (datetime.now(UTC) - context.first_started).total_seconds()
    window: float = context.config.idempotency_window
    # A clock that was set back says nothing about the age.
    return max(0.0, window - age) if age >= 0 else 0.0


def ambiguous(
    context: Context, code: str, detail: str, data: dict[str, Any]
) -> Transient | OutcomeUnknown:
    """A call that may have had its effect: repeated only if that is safe and still wanted."""
    if context.cancelled.is_set():
        what = f"A person cancelled it while it was called. {detail} It may have had its effect."
        return OutcomeUnknown("cancelled", what, data)
    if memory_left(context) > 0:
        known = f"{detail} The receiver still recognises the key, so it is safe to repeat."
        return Transient(code, known, data | {"in_doubt": True})
    return OutcomeUnknown(code, f"{detail} It may have had its effect.", data)
