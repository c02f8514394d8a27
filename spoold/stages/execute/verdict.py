"""How an attempt ended → what is written into the request, and which folder it goes to."""

import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from spoold import request
from spoold.config.settings import Retry
from spoold.errors import (
    ADVICE,
    BadInput,
    ExecutionError,
    NeedsPerson,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from spoold.executors import Result
from spoold.identity import named
from spoold.request import Request, Status
from spoold.spool.counters import Counts
from spoold.spool.spool import Place
from spoold.stages.execute import history
from spoold.stages.execute.history import in_doubt, tries
from spoold.stages.execute.readable import LONGEST_SUMMARY, shortened
from spoold.states import FOLDERS
from spoold.text import printable

log = logging.getLogger("spoold.execute")

FinalStatus = Literal["done", "failed", "unknown", "held"]

#: Status → the folder it means; whatever else a request says, it is tried again.
_FINAL: dict[Status, str] = {
    "done": "done",
    "failed": "failed",
    "unknown": "unknown",
    "held": "held-by-executor",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """A request with its attempt ended, and where it goes.

    Attributes:
        request: what is written.
        data: the same, as the file's bytes.
        not_before: the file's new mtime (seconds since the epoch), for deferred/.
        held_for: what the reason file says, for held/EXECUTOR.
    """

    request: Request
    data: bytes
    not_before: float | None = None
    held_for: BadInput | None = None

    @property
    def target(self) -> Place:
        """Where the file goes."""
        return _target(self.request)

    def reason(self, now: datetime) -> bytes | None:
        """The content of the reason file, if one goes with it."""
        if not (why := self.held_for):
            return None
        return request.reason(why.code, why.what, why.advice, now)

    def count(self, counts: Counts) -> None:
        """Add the attempt to the numbers."""
        last, outcome = self.request.attempts[-1], FOLDERS[self.target.folder].top
        if last.outcome == "handed-back":
            return
        if last.ended_at:
            took = request.parse_time(last.ended_at) - request.parse_time(last.started_at)
            labels = (self.request.executor, outcome)
            counts.observe("attempt", *labels, seconds=took.total_seconds())
        if outcome != "done":
            counts.add("errors", last.code or outcome)


class _End(NamedTuple):
    """The same before anybody knows whether it can be read back."""

    request: Request
    not_before: float | None = None
    held_for: BadInput | None = None


def _target(ended: Request) -> Place:
    return Place(_FINAL.get(ended.status, "deferred"), ended.executor)


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
        return _verdict(_follows(found, outcome, retry, now, cancelled=cancelled))
    except Exception as error:
        log.exception("what an executor says is no outcome", extra=named(found.name))
        what = error.what if isinstance(error, BadInput) else f"{type(error).__name__}: {error}"
        said = f"What the executor says of its attempt cannot be recorded, so nobody knows. {what}"
        unknown = OutcomeUnknown("executor-bug", printable(said)[:LONGEST_SUMMARY])
        return _verdict(_final(found, now, "unknown", unknown))


def recorded(found: Request, mtime: float) -> Verdict:
    """The verdict that a dead run wrote into a file in running/ and did not carry out.

    `mtime` is the file's, in seconds since the epoch.
    """
    last, target = found.attempts[-1], _target(found)
    held_for = None
    if found.status == "held" and last.code and last.code in ADVICE:
        held_for = BadInput(last.code, last.summary or "")
    not_before = mtime if target.folder == "deferred" else None
    return Verdict(found, found.to_bytes(), not_before, held_for)


def _verdict(end: _End) -> Verdict:
    found, data = shortened(end.request)
    return Verdict(found, data, end.not_before, end.held_for)


def _follows(
    found: Request,
    outcome: Result | ExecutionError,
    retry: Retry,
    now: datetime,
    *,
    cancelled: bool,
) -> _End:
    doubtful = in_doubt(found) or outcome.details.get("in_doubt") is True
    match outcome:
        case Result():
            return _final(found, now, "done", outcome)
        case NeedsPerson():
            held_for = BadInput(outcome.code, outcome.summary)
            return _final(found, now, "held", outcome)._replace(held_for=held_for)
        case Transient() | Permanent(code="cancelled") if cancelled and doubtful:
            said = f"A person cancelled it; an earlier try may have worked. {outcome.summary}"
            return _final(found, now, "unknown", OutcomeUnknown("cancelled", said, outcome.details))
        case Transient() if cancelled:
            said = f"A person cancelled it, and nothing was done: {outcome.summary}"
            return _final(found, now, "failed", Permanent("cancelled", said, outcome.details))
        case Transient() if not outcome.counts or tries(found) < retry.tries:
            return _deferred(found, now, outcome, retry)
        case Transient():
            more = f" Given up after {tries(found)} tries."
            more += " One of them may have worked." if doubtful else ""
            return _final(found, now, "unknown" if doubtful else "failed", outcome, more)
        case Permanent():
            return _final(found, now, "failed", outcome)
        case _:
            return _final(found, now, "unknown", outcome)


def _final(
    found: Request,
    now: datetime,
    ends: FinalStatus,
    outcome: Result | ExecutionError,
    more: str = "",
) -> _End:
    attempts = history.ended(found, now, ends, outcome, more)
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
    return _End(found.with_(status=ends, attempts=attempts, result=final))


def _deferred(found: Request, now: datetime, outcome: Transient, retry: Retry) -> _End:
    wait = _delay(outcome, retry, tries(found))
    due = now + timedelta(seconds=wait)
    ends: Literal["deferred", "handed-back"] = "deferred" if outcome.counts else "handed-back"
    attempts = history.ended(found, now, ends, outcome, f" Next try in {wait:.0f} s.")
    ended = found.with_(status="deferred", attempts=attempts, result=None)
    return _End(ended, due.timestamp())


def _delay(outcome: Transient, retry: Retry, tries: int) -> float:
    """Seconds to wait: what the far side asked for, else doubling with a tenth of jitter."""
    if outcome.retry_after is not None:
        return outcome.retry_after
    wait = min(retry.cap, retry.base * 2.0 ** (tries - 1))
    return float(wait * random.uniform(0.9, 1.1))  # noqa: S311 - spreads load, hides nothing
