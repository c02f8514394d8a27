"""How an attempt ended → what is written into the request, and which folder it goes to."""

import random
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from spoold import request
from spoold.config import Retry
from spoold.errors import BadInput, ExecutionError, Permanent, Transient
from spoold.executors import Result
from spoold.request import Attempt, Request, Status
from spoold.spool import Place

_FINAL: dict[Status, Place] = {
    "done": Place("done"),
    "failed": Place("failed"),
    "unknown": Place("unknown"),
    "held": Place("held"),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A request with its attempt ended, and where it goes.

    Attributes:
        request: what is written.
        target: where the file goes then.
        not_before: the file's new mtime, for deferred/.
        held_for: what the reason file says, for held/.
    """

    request: Request
    target: Place
    not_before: float | None = None
    held_for: BadInput | None = None


def target_of(ended: Request) -> Place:
    """The folder for a request whose attempt is recorded as ended."""
    return _FINAL.get(ended.status) or Place("deferred", ended.executor)


def judge(
    found: Request, outcome: Result | ExecutionError | BadInput, retry: Retry, now: datetime
) -> Verdict:
    """What follows from the outcome of the last attempt."""
    match outcome:
        case Result():
            ended = _ended(found, now, "done", outcome.code, outcome.detail, outcome.data)
            return Verdict(ended, target_of(ended))
        case BadInput():
            data = dict(getattr(outcome, "data", {}))
            ended = _ended(found, now, "held", outcome.code, outcome.what, data)
            return Verdict(ended, target_of(ended), held_for=outcome)
        case Transient() if (tries := _tries(found)) < retry.tries:
            wait = _delay(outcome, retry, tries)
            detail = f"{outcome.detail} Next try in {wait:.0f} s."
            ended = _ended(found, now, "deferred", outcome.code, detail, outcome.data)
            return Verdict(ended, target_of(ended), now.timestamp() + wait)
        case Transient():
            detail = f"{outcome.detail} Given up after {_tries(found)} tries."
            ended = _ended(found, now, "failed", outcome.code, detail, outcome.data)
        case Permanent():
            ended = _ended(found, now, "failed", outcome.code, outcome.detail, outcome.data)
        case _:
            ended = _ended(found, now, "unknown", outcome.code, outcome.detail, outcome.data)
    return Verdict(ended, target_of(ended))


def _delay(outcome: Transient, retry: Retry, tries: int) -> float:
    """Seconds to wait: what the far side asked for, else doubling with a tenth of jitter."""
    if outcome.retry_after is not None:
        return outcome.retry_after
    wait = min(retry.cap, retry.base * 2.0 ** (tries - 1))
    return float(wait * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, hides nothing


def _tries(found: Request) -> int:
    """This try and the deferred ones right before it; a person's decision starts the count anew."""
    tries = 1
    ended = (tried for tried in reversed(found.attempts) if tried.outcome is not None)
    for tried in ended:
        if tried.outcome != "deferred":
            break
        tries += 1
    return tries


def _ended(
    found: Request, now: datetime, outcome: Any, code: str, detail: str, data: dict[str, Any]
) -> Request:
    """The request with its last attempt ended, or with one that ended before it could begin."""
    at = request.timestamp(now)
    earlier, last = found.attempts, None
    if earlier and earlier[-1].outcome is None:
        earlier, last = earlier[:-1], earlier[-1]
    begun = last or Attempt(number=len(earlier) + 1, started_at=at)
    tried = replace(begun, ended_at=at, outcome=outcome, code=code, detail=detail, data=data)
    final = None
    if outcome != "deferred":
        final = request.Result(outcome=outcome, code=code, detail=detail, at=at, data=data)
    return found.with_(status=outcome, attempts=[*earlier, tried], result=final)
