"""A call of an OpenClaw gateway → what it would refuse, and what its answers mean.

`/hooks/agent` and `/hooks/wake`, as they are since 2026.2.12; older ones accept the same.
"""

from typing import Any, Literal

import httpx
from pydantic import JsonValue

from spoold.errors import OutcomeUnknown, Permanent
from spoold.executors import Result

Dialect = Literal["openclaw", "plain"]
Hook = Literal["agent", "wake"]

#: The field without which there is nothing to do.
_TEXT: dict[Hook, str] = {"agent": "message", "wake": "text"}
#: Where a body says when the gateway begins, and the values that it knows.
_WHEN: dict[Hook, str] = {"agent": "wakeMode", "wake": "mode"}
_TIMES = ("now", "next-heartbeat")
_LONGEST_TEXT = 200
_WAIT = "waitForCompletion"


def hook_of(url: httpx.URL, dialect: Dialect | None, body: JsonValue) -> Hook | None:
    """Which of the two a call is meant for; None if for neither.

    Where no dialect is given, the address decides, and the body: another program may have such
    addresses.
    """
    path = url.path.rstrip("/")
    hook: Hook = "wake" if path.endswith("/wake") else "agent"
    if dialect is not None:
        return hook if dialect == "openclaw" else None
    return hook if path.endswith(f"/hooks/{hook}") and _is_meant(hook, body) else None


def _is_meant(hook: Hook, body: JsonValue) -> bool:
    return isinstance(body, dict) and bool(body.keys() & {_TEXT[hook], "sessionKey"})


def forgotten(url: httpx.URL, body: object) -> str | None:
    """Why a call that is not taken for OpenClaw's may be one all the same; None if it is not.

    Args:
        url: where a route calls.
        body: as the route has it; text that begins with `=` may become anything.
    """
    path = url.path.rstrip("/")
    hook: Hook = "wake" if path.endswith("/wake") else "agent"
    computed = isinstance(body, str) and body.startswith("=")
    has = body.keys() if isinstance(body, dict) else ()
    if not path.endswith(f"/hooks/{hook}") or computed or {_TEXT[hook], "sessionKey"} & {*has}:
        return None
    return (
        f"a route calls {url} with a body without `{_TEXT[hook]}`; OpenClaw's /hooks/{hook} "
        "answers 400 to that after the approval. Add it to the body, or say "
        '`dialect = "plain"` if another program is there'
    )


def waits(body: JsonValue) -> bool:
    """Whether a body asks the gateway to answer only when the run has ended."""
    return isinstance(body, dict) and body.get(_WAIT) is True


def waiting(body: Any) -> Any:
    """The same body, asking for that; what already says something about it is left alone."""
    return {**body, _WAIT: True} if isinstance(body, dict) and _WAIT not in body else body


def check(hook: Hook, body: JsonValue, *, session_key: bool, timeout: float) -> None:
    """Refuse what the gateway would answer with 400, and what it would silently read otherwise.

    Args:
        hook: which one.
        body: what would be sent.
        session_key: whether the gateway was told to accept one from outside.
        timeout: of the call, in seconds.

    Raises:
        ValueError: with one sentence.
    """
    text = _TEXT[hook]
    where = f"OpenClaw's /hooks/{hook}"
    if not isinstance(body, dict) or not _is_text(body.get(text)):
        raise ValueError(f"{where} needs a body with a `{text}` that is not empty")
    if "idempotencyKey" in body:
        raise ValueError("the body must not have an `idempotencyKey`: spoold sends its own")
    if "sessionKey" in body and not session_key:
        raise ValueError(
            "since 2026.2.12 OpenClaw answers 400 to a `sessionKey` from outside, unless "
            "hooks.allowRequestSessionKey is set there; if it is, say `session_key = true` here"
        )
    when = _WHEN[hook]
    if body.get(when) is not None and body[when] not in _TIMES:
        raise ValueError(
            f"`{when}` is {' or '.join(_TIMES)}; OpenClaw reads anything else as {_TIMES[0]}"
        )
    if hook == "agent":
        _check_agent(body, timeout)


def _check_agent(body: dict[str, JsonValue], timeout: float) -> None:
    if "model" in body and not _is_text(body["model"]):
        raise ValueError("OpenClaw answers 400 to a `model` that is empty; leave it out")
    if body.get("channel") == "last":
        raise ValueError('OpenClaw refuses the `channel` "last" in a call; name one')
    if (body.get("channel") is None) != (body.get("to") is None):
        raise ValueError("OpenClaw wants both `channel` and `to`, or neither")
    if body.get("sessionMode") == "persistent" and "sessionKey" not in body:
        raise ValueError("a persistent `sessionMode` needs a `sessionKey`")
    seconds = body.get("timeoutSeconds", 1)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise ValueError("`timeoutSeconds` is a positive number; OpenClaw ignores anything else")
    if type(body.get(_WAIT, False)) is not bool:
        raise ValueError(f"`{_WAIT}` is true or false")
    if waits(body) and "timeoutSeconds" in body and timeout <= seconds:
        raise ValueError(
            f"a call that waits for a run of {seconds:g} s needs a `timeout` longer than that; "
            "otherwise nobody knows how a long run ended"
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def admitted(body: JsonValue) -> dict[str, Any]:
    """The evidence of a good status: that it was taken, and under which names."""
    names = ("runId", "runIds", "dispatched", "eventOutcome")
    given = body if isinstance(body, dict) else {}
    return {"admitted": True} | {name: given[name] for name in names if _is_short(given.get(name))}


def _is_short(value: JsonValue) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) and _is_short(one) for one in value)
    is_text = isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT
    return is_text or (isinstance(value, int) and not isinstance(value, bool))


def has_started_some(body: JsonValue) -> bool:
    """Whether an answer that is no success still names runs that were admitted."""
    return isinstance(body, dict) and isinstance(body.get("runIds"), list) and bool(body["runIds"])


def judge(said: str, body: JsonValue, data: dict[str, Any]) -> Result | None:
    """What the body of a good status adds to it; None if nothing.

    Raises:
        Permanent: the run ended with an error, or was not admitted at all.
        OutcomeUnknown: it is not clear which.
    """
    if not isinstance(body, dict):
        return None
    completion = body.get("completion")
    if isinstance(completion, dict):
        return _completed(said, completion, data)
    if body.get("ok") is False:
        # Outside the contract, where an error has its own status. A run has an id as soon as it is
        # admitted; one that has none was refused.
        if "runId" in body or "runIds" in body:
            raise OutcomeUnknown(
                "not-ok", f"{said} and ok=false, but with the id of a run, which may go on.", data
            )
        raise Permanent("not-ok", f"{said}, but ok=false: the run was not admitted.", data)
    return None


def _completed(said: str, completion: dict[str, JsonValue], data: dict[str, Any]) -> Result:
    short = (str, int, float, bool)
    evidence = {
        name: value[:_LONGEST_TEXT] if isinstance(value, str) else value
        for name, value in completion.items()
        if isinstance(value, short) or value is None
    }
    match completion.get("status"):
        case "ok":
            undelivered = " Its reply could not be delivered." * ("deliveryError" in completion)
            summary = f"{said}: the run has ended well.{undelivered}"
            return Result("run-ok", summary, data, evidence=evidence)
        case "skipped":
            return Result("run-skipped", f"{said}: the run was skipped.", data, evidence=evidence)
        case "error":
            summary = f"{said}: the run has ended with an error."
            raise Permanent("run-error", summary, data, evidence=evidence)
        case other:
            summary = f"{said}: the run has ended with {str(other)[:40]!r}, whatever that means."
            raise OutcomeUnknown("run-unclear", summary, data, evidence=evidence)
