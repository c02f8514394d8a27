"""Managed containers → which of them work, and a wish for a restart of those that do not.

The wish is a record in an inbox, like anybody else's: whether a person is asked is for its route to
say. What was asked for too often is not asked for again until a person has looked (a circuit
breaker), and neither is what was stopped by a request.

Security: it reads the engine and the spool, and drops records. It approves and restarts nothing.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import orjson

from spoold import request
from spoold.config.settings import HealthTable
from spoold.disk.reading import json_object
from spoold.errors import ExecutionError
from spoold.executors import Result
from spoold.executors.instance import Instance
from spoold.health.history import DONE, NEVER, UNKNOWN, Ended, ended
from spoold.record import JsonObject
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.attempt import look_once
from spoold.stages.stage import StageContext
from spoold.states import Role

log = logging.getLogger("spoold.health")

_HEALTH = Place("health")
_STATE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known of one container.

    Attributes:
        customer: whose it is.
        name: the container's.
        passed: whether it worked when it was last looked at; None if that could not be found out.
        message: what was wrong.
        failures: looks in a row that found something wrong, since a restart was last asked for; one
            that found out nothing counts neither way.
        since: when it began to fail.
        asked: when restarts were asked for, as far as the breaker counts them.
        wishes: restarts ever asked for: the number of the last wish.
        note: why none is asked for, although it is time.
        stopped: it does not work because a request has stopped it, so that is no failure.
        worked: it has been seen to work; one that never did goes with the create that failed.
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


class Health:
    """One look at all containers of one executor.

    Args:
        context: the configuration, the time.
        instance: an executor of kind `container`.
    """

    def __init__(self, context: StageContext, instance: Instance) -> None:
        self.context = context
        self.table: HealthTable = context.routing.config.settings.health
        self.spool = health_spool(context)
        self._instance = instance
        self._file = f"{instance.name}.json"
        self._drops: list[tuple[str, Place, str]] = []

    def look(self) -> list[Watched]:
        """Check every container side by side, remember what was found, ask for what is due.

        Raises:
            ExecutionError: the engine cannot be asked; then nothing is known, and nothing changes.
        """
        now = self.context.clock()
        before = self._before()
        found = [self._judged(check, before, now) for check in self._checks()]
        there = {one.name for one in found}
        # After a change of the prefix a customer's container has another name.
        seen = {one.customer for one in found}
        found += [
            self._gone(one, now)
            for name, one in before.items()
            if name not in there and one.customer not in seen and self._is_missed(one)
        ]
        self._write(found, now)
        return found

    def _checks(self) -> list[JsonObject]:
        params = self._instance.complete({"action": "health-check"}, {})
        try:
            outcome: Result | ExecutionError = look_once(self._instance, self.context, params)
        except ExecutionError as error:
            if "checks" not in error.details:
                raise
            outcome = error
        checks: list[JsonObject] = outcome.details["checks"]
        return checks

    def _judged(self, check: JsonObject, before: dict[str, Watched], now: datetime) -> Watched:
        name, customer = str(check["name"]), str(check.get("customer") or "")
        known = before.get(name) or Watched(customer, name)
        if known.gone:
            # That was no failure of what is there now.
            known = replace(known, failures=0, since=None)
        # One that works for a moment after each restart must not be restarted for ever.
        known = replace(
            known,
            customer=customer or known.customer,
            asked=self._that_count(known, now),
            message=str(check.get("errorMessage") or "it failed"),
            note="",
            stopped=False,
            gone=False,
        )
        if check["passed"]:
            return replace(known, passed=True, message="", failures=0, since=None, worked=True)
        if check["passed"] is None:
            return replace(known, passed=None)
        customer = known.customer
        if self._was_stopped(customer, check):
            note = "it was stopped by a request"
            return replace(known, passed=False, failures=0, since=None, stopped=True, note=note)
        failing = replace(
            known,
            passed=False,
            failures=known.failures + 1,
            since=known.since or request.timestamp(now),
        )
        if failing.failures < self.table.failures or not customer:
            return failing
        if check.get("stopped") is None and self._last_done.get(customer, NEVER).place == UNKNOWN:
            return replace(failing, note="a stop in unknown/ has stopped it, perhaps")
        return self._asked_for(failing, check, now)

    def _is_missed(self, known: Watched) -> bool:
        """Whether a container that was there before should be there: no request has removed it."""
        last = self._last_done.get(known.customer, NEVER).action
        if last == "delete" or self._has_another_deleted(known):
            return False
        return known.worked or bool(last)

    def _has_another_deleted(self, known: Watched) -> bool:
        """Whether another executor has since removed what it, too, has under that name."""
        mine = self._last_done.get(known.customer, NEVER)
        for one in containers(self.context):
            last = self._ended.get(one.name, {}).get(known.customer, NEVER)
            if last.action == "delete" and last > mine and last.container in ("", known.name):
                return True
        return False

    def _gone(self, known: Watched, now: datetime) -> Watched:
        """A restart is no help, so none is asked for."""
        if not known.gone:
            # A delete that removes it just now has not ended yet, perhaps.
            known = replace(known, passed=None, failures=0, since=None)
        else:
            since = known.since or request.timestamp(now)
            known = replace(known, passed=False, failures=known.failures + 1, since=since)
        return replace(
            known,
            message="it is gone",
            asked=self._that_count(known, now),
            note="create it again, or delete it",
            stopped=False,
            gone=True,
        )

    def _asked_for(self, failing: Watched, check: JsonObject, now: datetime) -> Watched:
        """The same after a restart was asked for, or why it was not."""
        if self.table.inbox is None:
            return replace(failing, note="no inbox is configured to ask for a restart")
        if len(failing.asked) >= self.table.breaker.restarts:
            return replace(failing, note="asked for too often; a person must look")
        if failing.asked and not _was_started_since(failing.asked[-1], check):
            return replace(failing, note=f"asked for at {failing.asked[-1]}, and not done yet")
        number = failing.wishes + 1
        self._ask(failing, number)
        asked = [*failing.asked, request.timestamp(now)]
        return replace(failing, failures=0, asked=asked, wishes=number)

    def _that_count(self, known: Watched, now: datetime) -> list[str]:
        since = request.timestamp(now - timedelta(seconds=self.table.breaker.within))
        return [at for at in known.asked if at > since]

    def _ask(self, failing: Watched, number: int) -> None:
        wish = {
            "id": f"health-{failing.name}-{failing.since}-{number}",
            "action": "restart",
            "accountId": failing.customer,
            "requested_by": "spoold health",
            "reason": f"{self.table.failures} checks in a row failed: {failing.message}"[:400],
        }
        draft = self.spool.draft(orjson.dumps(wish, option=orjson.OPT_INDENT_2))
        inbox = Place("inbox", str(self.table.inbox))
        stamp = "".join(c for c in str(failing.since) if c.isdigit())[:14]
        self._drops.append((draft, inbox, f"health-{failing.name}-{stamp}-{number}.json"))
        log.warning("asking for a restart of %s: %s", failing.name, failing.message)

    def _was_stopped(self, customer: str, check: JsonObject) -> bool:
        """Whether the last thing that was done to a customer's container was to stop it."""
        # What the container itself says does not depend on how long done/ is kept.
        if isinstance(stopped := check.get("stopped"), bool):
            return stopped
        last = self._last_done.get(customer, NEVER)
        return last.action == "stop" and last.place == DONE

    @property
    def _last_done(self) -> dict[str, Ended]:
        """What this executor has done last, by customer."""
        return self._ended.get(self._instance.name, {})

    @cached_property
    def _ended(self) -> dict[str, dict[str, Ended]]:
        return ended(self.spool)

    def _before(self) -> dict[str, Watched]:
        """What the last look found; nothing if that cannot be read."""
        said = json_object(self.spool.path(_HEALTH, self._file), _STATE_BYTES) or {}
        known = said.get("containers")
        before = {}
        for fields in known if isinstance(known, list) else []:
            try:
                watched = Watched(**fields)
            except TypeError:
                continue
            before[watched.name] = watched
        return before

    def _write(self, found: list[Watched], now: datetime) -> None:
        state = {
            "executor": self._instance.name,
            "checked_at": request.timestamp(now),
            "containers": [asdict(one) for one in found],
        }
        drafts = [
            (self.spool.draft(orjson.dumps(state, option=orjson.OPT_INDENT_2)), self._file),
            (self.spool.draft(metrics(self._instance.name, found, now)), f"{self._file[:-5]}.prom"),
        ]
        self.spool.sync()
        # First what is asked for: a wish that is dropped twice is known by its id.
        for draft, inbox, name in self._drops:
            try:
                self.spool.publish(draft, inbox, name)
            except FileExistsError:
                self.spool.discard(draft)
        self.spool.sync()
        for draft, name in drafts:
            self.spool.overwrite(draft, _HEALTH, name)
        self.spool.sync()


def _was_started_since(at: str, check: JsonObject) -> bool:
    """Whether it was started after a restart was asked for, or nobody can say."""
    started = check.get("startedAt")
    return not isinstance(started, str) or request.parse_time(started) > request.parse_time(at)


def health_spool(context: StageContext) -> Spool:
    """The spool in the hands of whoever looks."""
    return context.spool(Role.HEALTH)


def containers(context: StageContext) -> Iterator[Instance]:
    """The executors that have containers to look at."""
    for instance in context.routing.executors.values():
        if instance.kind_name == "container":
            yield instance


def metrics(executor: str, found: list[Watched], now: datetime) -> bytes:
    """The same for Prometheus."""
    lines = [
        "# HELP spoold_container_known Whether the last look found out how a container is.",
        "# TYPE spoold_container_known gauge",
        *(
            f"spoold_container_known{_labels(executor, one)} {int(one.passed is not None)}"
            for one in found
        ),
        "# HELP spoold_container_up Whether it worked then; left out if that is not known.",
        "# TYPE spoold_container_up gauge",
        *(
            f"spoold_container_up{_labels(executor, one)} {int(one.passed)}"
            for one in found
            if one.passed is not None
        ),
        "# HELP spoold_container_stopped Whether it does not work because a request stopped it.",
        "# TYPE spoold_container_stopped gauge",
        *(f"spoold_container_stopped{_labels(executor, one)} {int(one.stopped)}" for one in found),
        "# HELP spoold_container_failures Looks in a row that found it not working.",
        "# TYPE spoold_container_failures gauge",
        *(f"spoold_container_failures{_labels(executor, one)} {one.failures}" for one in found),
        "# HELP spoold_container_restarts_asked Restarts asked for that the breaker counts.",
        "# TYPE spoold_container_restarts_asked gauge",
        *(
            f"spoold_container_restarts_asked{_labels(executor, one)} {len(one.asked)}"
            for one in found
        ),
        "# HELP spoold_health_last_run_timestamp_seconds When all were looked at.",
        "# TYPE spoold_health_last_run_timestamp_seconds gauge",
        f'spoold_health_last_run_timestamp_seconds{{executor="{executor}"}} {now.timestamp():.3f}',
    ]
    return "\n".join([*lines, ""]).encode()


def _labels(executor: str, one: Watched) -> str:
    def quoted(text: Any) -> str:
        return str(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return f'{{executor="{quoted(executor)}",customer="{quoted(one.customer)}"}}'
