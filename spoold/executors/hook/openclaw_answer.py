"""The answer of an OpenClaw gateway → what is known of the run."""

from typing import Any, Literal

from pydantic import JsonValue

from spoold.errors import OutcomeUnknown, Permanent
from spoold.executors import Result

#: A good answer says that a run was admitted, or how it ended.
Expected = Literal["admission", "completion"]

_LONGEST_TEXT = 200


def admitted(body: JsonValue) -> dict[str, Any]:
    """The evidence in an answer with a good status: the ids that the receiver gave the call."""
    names = ("runId", "runIds", "dispatched", "eventOutcome")
    given = body if isinstance(body, dict) else {}
    return {"admitted": True} | {name: given[name] for name in names if _is_short(given.get(name))}


def _is_short(value: JsonValue) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) and _is_short(one) for one in value)
    is_text = isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT
    return is_text or (isinstance(value, int) and not isinstance(value, bool))


def names_runs(body: JsonValue) -> bool:
    """Whether an answer names runs that were admitted, which one with a bad status may too."""
    return isinstance(body, dict) and isinstance(body.get("runIds"), list) and bool(body["runIds"])


def judge(said: str, body: JsonValue, data: dict[str, Any]) -> Result | None:
    """The result that the body of a good answer tells; None if it tells no more than the status.

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
        # The contract has no such answer: an error has a status of its own. A run has an id as
        # soon as it is admitted, so one without an id was refused.
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
