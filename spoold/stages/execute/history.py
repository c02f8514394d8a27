"""What a request's attempts say: how often it was tried, and whether a try may have worked."""

from dataclasses import replace
from datetime import datetime
from typing import Literal

from spoold import request
from spoold.errors import ExecutionError
from spoold.executors import Result
from spoold.request import Attempt, Request

Ends = Literal["done", "failed", "unknown", "held", "deferred", "handed-back"]


def in_doubt(found: Request) -> bool:
    """Whether a try may have had its effect, and no person has said since that it had none."""
    for tried in reversed(found.attempts):
        if tried.outcome in ("done", "failed", "unknown"):
            return False
        if (tried.details or {}).get("in_doubt") is True:
            return True
    return False


def tries(found: Request) -> int:
    """This try and the deferred ones right before it; a person's decision starts the count anew."""
    count = 1
    for tried in reversed([tried for tried in found.attempts if tried.outcome is not None]):
        if tried.outcome != "deferred":
            break
        count += 1
    return count


def begun(found: Request, now: datetime) -> list[Attempt]:
    """The attempts with one more; it takes the place of one that was not really made."""
    earlier = found.attempts
    if earlier and earlier[-1].outcome == "handed-back":
        earlier = earlier[:-1]
    return [*earlier, Attempt(number=len(earlier) + 1, started_at=request.timestamp(now))]


def ended(
    found: Request, now: datetime, ends: Ends, outcome: Result | ExecutionError, more: str
) -> list[Attempt]:
    """The attempts with the last one ended, or with one that ended before it could begin.

    `more` is added to the outcome's summary.
    """
    is_open = bool(found.attempts) and found.attempts[-1].outcome is None
    attempts = found.attempts if is_open else begun(found, now)
    tried = replace(
        attempts[-1],
        ended_at=request.timestamp(now),
        outcome=ends,
        code=outcome.code,
        summary=outcome.summary + more,
        evidence=outcome.evidence,
        output=outcome.output,
        details=outcome.details,
    )
    return [*attempts[:-1], tried]
