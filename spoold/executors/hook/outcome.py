"""How a call went → what is known of the action: done, refused, to be repeated, or in doubt."""

from datetime import UTC, datetime
from typing import Any

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.executors.hook import openclaw
from spoold.executors.hook.answer import Redactor, keep, remark, retry_after
from spoold.executors.hook.exchange import Exchange

#: The receiver says it did not do it; anything else below 500 stays refused.
_REPEATABLE = frozenset({408, 409, 425, 429})
#: Above, all that nobody knows counts as 500 (RFC 9110, 15). These say that it cannot, or never.
_NEVER = frozenset({501, 505, 506, 508, 510, 511})
#: A proxy passed the request on and lost the answer (520, 522 and 524 are Cloudflare's).
_ANSWER_LOST = frozenset({504, 520, 522, 524, 598, 599})
_SERVER_ERROR = 500
_NOT_SENT = {"timeout": "connect-timeout", "disconnected": "not-sent"}


def is_ill(exchange: Exchange) -> bool | None:
    """What a call says of its destination: not well, well, or nothing, because we ended it."""
    if exchange.status is not None and exchange.status >= _SERVER_ERROR:
        return True
    return None if exchange.broken == "interrupted" else exchange.broken is not None


def judge(
    exchange: Exchange,
    context: Context,
    redact: Redactor,
    *,
    hook: openclaw.Hook | None,
    waits: bool,
) -> Result:
    """The result of a call that worked; raises what became of any other.

    Args:
        exchange: the call.
        context: of the attempt.
        redact: takes out what must not be kept.
        hook: which hook of an OpenClaw gateway was called, if one was.
        waits: it was asked to answer when the run has ended.
    """
    call = f"{exchange.method} {exchange.url}"
    data = keep(exchange, redact)
    if exchange.certainly_not_sent:
        raise _not_sent(exchange, call, data)
    code, said = f"http-{exchange.status}", f"{call} was answered with {exchange.status}"
    match (exchange.status or 0) // 100:
        case 2 if not exchange.broken:
            if waits and not isinstance(data["body"], dict):
                raise _unreadable(said, data)
            ended = openclaw.judge(said, data["body"], data) if hook else None
            return ended or _admitted(code, said, data, waits=waits)
        case 3:
            where = data["headers"].get("location", "nowhere")
            what = f"{said} to {where}; redirects are not followed"
            raise _refused(context, code, what, data)
        case 4 | 5 if openclaw.has_started_some(data["body"]):
            raise ambiguous(context, code, f"{said}, but names runs that it did admit.", data)
        case 5 if exchange.status in _ANSWER_LOST:
            raise ambiguous(context, code, f"{said}: a proxy lost the receiver's answer.", data)
        case 4 | 5 if _may_pass(exchange.status or 0):
            raise Transient(code, f"{said}.", data, retry_after=retry_after(exchange))
        case 4 | 5:
            what = f"{said}; the same call would not fare better"
            raise _refused(context, code, what, data)
    detail = exchange.detail or f"{exchange.status} is no status that ends a call"
    code = exchange.broken or "broken-answer"
    raise ambiguous(context, code, f"{call} was sent, but {detail}.", data)


def _may_pass(status: int) -> bool:
    return status in _REPEATABLE if status < _SERVER_ERROR else status not in _NEVER


def _not_sent(exchange: Exchange, call: str, data: dict[str, Any]) -> Transient:
    code = _NOT_SENT.get(exchange.broken or "", "interrupted")
    return Transient(code, f"{call} was not sent: {exchange.detail}.", data)


def _admitted(code: str, said: str, data: dict[str, Any], *, waits: bool) -> Result:
    evidence = openclaw.admitted(data["body"])
    if waits:
        what = f"{said}: it was admitted, but how the run ended is not in the answer."
        return Result("admitted", what, data, evidence=evidence)
    what = f"{said}: the receiver took it.{remark(data['body'])}"
    return Result(code, what, data, evidence=evidence)


def _unreadable(said: str, data: dict[str, Any]) -> OutcomeUnknown:
    why = "is longer than max_answer" if data["truncated"] else "is no JSON object"
    what = f"{said}, but the answer {why}: it does not tell how the run ended."
    return OutcomeUnknown("run-unclear", what, data)


def _refused(
    context: Context, code: str, what: str, data: dict[str, Any]
) -> Permanent | OutcomeUnknown:
    if context.in_doubt:
        earlier = f"{what}. An earlier attempt may have had its effect all the same."
        return OutcomeUnknown(code, earlier, data)
    return Permanent(code, f"{what}.", data)


def memory_left(context: Context) -> float:
    """Seconds for which the receiver still recognises the key; 0 when that is not sure."""
    age = (datetime.now(UTC) - context.first_started).total_seconds()
    window: float = context.config.idempotency_window
    # A clock that was set back says nothing about the age.
    return max(0.0, window - age) if age >= 0 else 0.0


def ambiguous(
    context: Context, code: str, detail: str, data: dict[str, Any]
) -> Transient | OutcomeUnknown:
    """It may have had its effect: to be repeated only if that is safe, and still wanted."""
    if context.cancelled.is_set():
        what = f"A person cancelled it while it was called. {detail} It may have had its effect."
        return OutcomeUnknown("cancelled", what, data)
    if memory_left(context) > 0:
        known = f"{detail} The receiver still recognises the key, so it is safe to repeat."
        return Transient(code, known, data | {"in_doubt": True})
    return OutcomeUnknown(code, f"{detail} It may have had its effect.", data)
