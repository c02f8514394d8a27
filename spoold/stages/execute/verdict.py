"""How an attempt ended → what is written into the request, and which folder it goes to."""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypeVar

from spoold import request
from spoold.config.settings import Retry
from spoold.errors import (
    BadInput,
    ExecutionError,
    NeedsPerson,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from spoold.executors import Result
from spoold.identity import named
from spoold.request import Attempt, Request, Status
from spoold.spool.counters import Counts
from spoold.spool.spool import Place
from spoold.text import printable

log = logging.getLogger("spoold.execute")

#: How much of a summary is kept where there is too much, in characters.
_LONGEST = 2000

_Said = TypeVar("_Said", Attempt, request.Result)

FinalStatus = Literal["done", "failed", "unknown", "held"]
Ends = FinalStatus | Literal["deferred", "handed-back"]

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

    def count(self, counts: Counts) -> None:
        """Add the attempt to the numbers."""
        last, outcome = self.request.attempts[-1], self.target.folder
        if last.outcome == "handed-back":
            return
        if last.ended_at:
            took = request.parse_time(last.ended_at) - request.parse_time(last.started_at)
            labels = (self.request.executor, outcome)
            counts.observe("attempt", *labels, seconds=took.total_seconds())
        if outcome != "done":
            counts.add("errors", last.code or outcome)


def target_of(ended: Request) -> Place:
    """The folder for a request whose attempt is recorded as ended."""
    return _FINAL.get(ended.status) or Place("deferred", ended.executor)


def judge(
    found: Request,
    outcome: Result | ExecutionError,
    retry: Retry,
    now: datetime,
    *,
    cancelled: bool = False,
) -> Verdict:
    """What follows from the outcome of the last attempt; if that cannot be said in JSON, unknown.

    Args:
        found: the request, whose last attempt has begun or is still to be added.
        outcome: what the executor kind says.
        retry: how often, and how long to wait.
        now: the time.
        cancelled: a person has said meanwhile that it should not be done.
    """
    try:
        return _readable(_follows(found, outcome, retry, now, cancelled=cancelled))
    except Exception as error:
        log.exception("what an executor says is no outcome", extra=named(found.name))
        what = error.what if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        said = f"What the executor says of its attempt cannot be recorded, so nobody knows. {what}"
        unknown = OutcomeUnknown("executor-bug", printable(said)[:_LONGEST])
        return _readable(_final(found, now, "unknown", unknown))


def _follows(
    found: Request,
    outcome: Result | ExecutionError,
    retry: Retry,
    now: datetime,
    *,
    cancelled: bool,
) -> Verdict:
    doubtful = in_doubt(found) or outcome.details.get("in_doubt") is True
    match outcome:
        case Result():
            return _final(found, now, "done", outcome)
        case NeedsPerson():
            held_for = BadInput(outcome.code, outcome.summary)
            return replace(_final(found, now, "held", outcome), held_for=held_for)
        case Transient() | Permanent(code="cancelled") if cancelled and doubtful:
            said = f"A person cancelled it; an earlier try may have worked. {outcome.summary}"
            return _final(found, now, "unknown", OutcomeUnknown("cancelled", said, outcome.details))
        case Transient() if cancelled:
            said = f"A person cancelled it, and nothing was done: {outcome.summary}"
            return _final(found, now, "failed", Permanent("cancelled", said, outcome.details))
        case Transient() if not outcome.counts or _tries(found) < retry.tries:
            return _deferred(found, now, outcome, retry)
        case Transient():
            more = f" Given up after {_tries(found)} tries."
            more += " One of them may have worked." if doubtful else ""
            return _final(found, now, "unknown" if doubtful else "failed", outcome, more)
        case Permanent():
            return _final(found, now, "failed", outcome)
        case _:
            return _final(found, now, "unknown", outcome)


def must_be_readable(found: Request) -> None:
    """Refuse what could be written, but not be read back; what a kind says is whatever it made.

    Raises:
        BadInput: `too-large`; or something in it is no JSON, or of a wrong type.
    """
    try:
        data = found.to_bytes()
    except TypeError as error:
        what = f"It cannot be written: {printable(str(error))}."
        raise BadInput("not-a-request", what) from None
    # Somebody may still say yes to one more attempt.
    if len(data) > request.MAX_BYTES // 4 * 3:
        raise BadInput("too-large", f"It would have {len(data)} bytes, too many to be read back.")
    request.parse(data)


def _readable(verdict: Verdict) -> Verdict:
    """The same with a request that can be read back; what is too much for its file is left out."""
    for lighter in _ever_lighter(verdict.request):
        try:
            must_be_readable(lighter)
        except BadInput as problem:
            if problem.code != "too-large":
                raise
        else:
            return replace(verdict, request=lighter)
    raise BadInput("too-large", "It is too large to be read back.")


def _ever_lighter(found: Request) -> Iterator[Request]:
    yield found
    bare = [replace(_bare(tried), progress=None) for tried in found.attempts]
    yield found.with_(attempts=[*bare[:-1], found.attempts[-1]])
    yield found.with_(attempts=bare, result=found.result and _bare(found.result))


def _bare(said: _Said) -> _Said:
    """What is kept of an attempt, or its result, in a file that became too large."""
    details: dict[str, Any] = {"left_out": "The request file would be too large to be read back."}
    if said.details and "in_doubt" in said.details:
        details["in_doubt"] = said.details["in_doubt"]
    summary = said.summary and said.summary[:_LONGEST]
    return replace(said, summary=summary, evidence=None, output=None, details=details)


def _final(
    found: Request,
    now: datetime,
    ends: FinalStatus,
    outcome: Result | ExecutionError,
    more: str = "",
) -> Verdict:
    attempts = _with_end(found, now, ends, outcome, more)
    last = attempts[-1]
    final = request.Result(
        outcome=ends,
        code=outcome.code,
        started_at=last.started_at,
        ended_at=request.timestamp(now),
        summary=outcome.summary + more,
        details=outcome.details,
        evidence=outcome.evidence,
        output=outcome.output,
    )
    ended = found.with_(status=ends, attempts=attempts, result=final)
    return Verdict(ended, target_of(ended))


def _deferred(found: Request, now: datetime, outcome: Transient, retry: Retry) -> Verdict:
    wait = _delay(outcome, retry, _tries(found))
    due = now + timedelta(seconds=wait)
    ends: Literal["deferred", "handed-back"] = "deferred" if outcome.counts else "handed-back"
    attempts = _with_end(found, now, ends, outcome, f" Next try in {wait:.0f} s.")
    ended = found.with_(status="deferred", attempts=attempts, result=None)
    return Verdict(ended, target_of(ended), due.timestamp())


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


def in_doubt(found: Request) -> bool:
    """Whether a try may have had its effect, and nobody has said since that it had none."""
    for tried in reversed(found.attempts):
        if tried.outcome in ("done", "failed", "unknown"):
            return False
        if (tried.details or {}).get("in_doubt") is True:
            return True
    return False


def begun(found: Request, now: datetime) -> list[Attempt]:
    """The attempts with one more; it takes the place of one that was not really made."""
    earlier = found.attempts
    if earlier and earlier[-1].outcome == "handed-back":
        earlier = earlier[:-1]
    return [*earlier, Attempt(number=len(earlier) + 1, started_at=request.timestamp(now))]


def _with_end(
    found: Request, now: datetime, ends: Ends, outcome: Result | ExecutionError, more: str
) -> list[Attempt]:
    """The attempts with the last one ended, or with one that ended before it could begin."""
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
