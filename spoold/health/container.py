"""What is known of a container, before and after a check: pure, without files, engine and clock.

A container that fails several checks in a row gets a restart asked for. One that had too many
restarts asked for waits for a person (a circuit breaker), and one that a request has stopped is
left alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from spoold import request
from spoold.config.settings import HealthTable
from spoold.health.history import DONE, UNKNOWN, History
from spoold.record import JsonObject


@dataclass(frozen=True, slots=True)
class Container:
    """What is known of one container; `health/EXECUTOR.json` has the same fields.

    Attributes:
        customer: whose it is.
        name: the container's.
        passed: whether it worked at the last check; None if that could not be found out.
        message: what was wrong.
        failures: failed checks in a row since a restart was last asked for; a check that found out
            nothing counts neither way.
        since: when it began to fail.
        asked: when restarts were asked for, as far as the breaker counts them.
        wishes: restarts ever asked for: the number of the last one. The file has this name.
        note: why no restart is asked for, although it is time.
        stopped: a request has stopped it, so that it does not work is no failure.
        worked: it has been seen to work. One that never did is not missed when it is gone.
        gone: it was not there.
    """

    customer: str
    name: str
    passed: bool | None = True
    message: str = ""
    failures: int = 0
    since: str | None = None
    asked: list[str] = field(default_factory=list)
    wishes: int = 0
    note: str = ""
    stopped: bool = False
    worked: bool = False
    gone: bool = False


class Check(NamedTuple):
    """What the engine says of one container now; None is what it does not tell."""

    name: str
    customer: str
    passed: bool | None
    message: str
    stopped: bool | None
    started_at: str | None

    @classmethod
    def of(cls, details: JsonObject) -> Self:
        """From what the executor's `health-check` gives for each container."""
        stopped, started = details.get("stopped"), details.get("startedAt")
        return cls(
            name=str(details["name"]),
            customer=str(details.get("customer") or ""),
            passed=details["passed"],
            message=str(details.get("errorMessage") or "it failed"),
            stopped=stopped if isinstance(stopped, bool) else None,
            started_at=started if isinstance(started, str) else None,
        )


class Transition(NamedTuple):
    """From what was known and what is seen to what is known, and what to ask for.

    Attributes:
        table: `[health]`.
        history: what requests did last to each customer's container.
        now: the time of the checks.
    """

    table: HealthTable
    history: History
    now: datetime

    def after(
        self, before: Mapping[str, Container], checks: Iterable[Check]
    ) -> tuple[list[Container], list[Container]]:
        """What is known now, and those of it for which a restart is to be asked.

        Args:
            before: what was known, by the container's name.
            checks: what the engine says now.
        """
        seen = [self._checked(before.get(check.name), check) for check in checks]
        names = {one.name for one in seen}
        # After a change of the prefix a customer's container has another name.
        customers = {one.customer for one in seen}
        gone = [
            self._gone(one)
            for one in before.values()
            if one.name not in names and one.customer not in customers and self._is_missed(one)
        ]
        wishes = {name: known.wishes for name, known in before.items()}
        return [*seen, *gone], [one for one in seen if one.wishes > wishes.get(one.name, 0)]

    def _checked(self, before: Container | None, check: Check) -> Container:
        known = before or Container(check.customer, check.name)
        if known.gone:
            # What was missed before is no failure of what is there now.
            known = replace(known, failures=0, since=None)
        known = replace(
            known,
            customer=check.customer or known.customer,
            passed=check.passed,
            message=check.message,
            # A check that passes does not close the breaker: else a container that works for a
            # moment after each restart would be restarted for ever.
            asked=self._that_count(known),
            note="",
            stopped=False,
            gone=False,
        )
        if check.passed:
            return replace(known, message="", failures=0, since=None, worked=True)
        if check.passed is None:
            return known
        if self._was_stopped(known.customer, check):
            note = "it was stopped by a request"
            return replace(known, failures=0, since=None, stopped=True, note=note)
        since = known.since or request.timestamp(self.now)
        return self._failed(replace(known, failures=known.failures + 1, since=since), check)

    def _failed(self, known: Container, check: Check) -> Container:
        """The same with one more restart asked for, or with the reason why not."""
        table = self.table
        if known.failures < table.failures or not known.customer:
            return known
        if check.stopped is None and self.history.last(known.customer).folder == UNKNOWN:
            return replace(known, note="a stop in unknown/ has stopped it, perhaps")
        if table.inbox is None:
            return replace(known, note="no inbox is configured to ask for a restart")
        if len(known.asked) >= table.breaker.restarts:
            return replace(known, note="asked for too often; a person must look")
        if known.asked and not _was_started_since(known.asked[-1], check):
            return replace(known, note=f"asked for at {known.asked[-1]}, and not done yet")
        asked = [*known.asked, request.timestamp(self.now)]
        return replace(known, failures=0, asked=asked, wishes=known.wishes + 1)

    def _gone(self, known: Container) -> Container:
        """A container that is not there; a restart is no help, so none is asked for."""
        if known.gone:
            since = known.since or request.timestamp(self.now)
            known = replace(known, passed=False, failures=known.failures + 1, since=since)
        else:
            # Perhaps a delete removes it just now, and has not ended yet.
            known = replace(known, passed=None, failures=0, since=None)
        return replace(
            known,
            message="it is gone",
            asked=self._that_count(known),
            note="create it again, or delete it",
            stopped=False,
            gone=True,
        )

    def _is_missed(self, known: Container) -> bool:
        """Whether a container that was there before should be there: no request has removed it."""
        last = self.history.last(known.customer)
        if last.action == "delete" or self.history.is_deleted_elsewhere(known.customer, known.name):
            return False
        return known.worked or bool(last.action)

    def _was_stopped(self, customer: str, check: Check) -> bool:
        """Whether the last thing that was done to a customer's container was to stop it."""
        # What the container itself says does not depend on how long done/ is kept.
        if check.stopped is not None:
            return check.stopped
        last = self.history.last(customer)
        return last.action == "stop" and last.folder == DONE

    def _that_count(self, known: Container) -> list[str]:
        """When restarts were asked for within the time that the breaker looks at."""
        since = request.timestamp(self.now - timedelta(seconds=self.table.breaker.within))
        return [at for at in known.asked if at > since]


def _was_started_since(at: str, check: Check) -> bool:
    """Whether it was started after a restart was asked for, or the engine does not tell."""
    started = check.started_at
    return started is None or request.parse_time(started) > request.parse_time(at)
