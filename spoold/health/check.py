"""Managed containers → which of them work, and a drop that asks to restart those that do not.

The drop is a record in an inbox, like any other: its route says whether a person is asked.

Security: it reads the engine and the spool, and drops records. It approves and restarts nothing.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

import orjson

from spoold import request
from spoold.config.settings import HealthTable
from spoold.disk.reading import json_object
from spoold.errors import ExecutionError
from spoold.executors import Result
from spoold.executors.instance import Instance
from spoold.health.container import Check, Container, Transition
from spoold.health.history import History
from spoold.health.metrics import STATE_BYTES, as_text, read_containers
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.attempt import look_once
from spoold.stages.stage import StageContext
from spoold.states import Role

log = logging.getLogger("spoold.health")

_HEALTH = Place("health")


def health_spool(context: StageContext) -> Spool:
    """The spool with the rights of `spoold health`."""
    return context.spool(Role.HEALTH)


def container_executors(context: StageContext) -> Iterator[Instance]:
    """The executors that have containers to check."""
    for instance in context.routing.executors.values():
        if instance.kind_name == "container":
            yield instance


def check_containers(context: StageContext, instance: Instance) -> list[Container]:
    """Check all containers of an executor, remember what was found, ask for restarts that are due.

    Args:
        context: the configuration, the time.
        instance: an executor of kind `container`.

    Raises:
        ExecutionError: the engine cannot be asked; then nothing is known, and nothing changes.
    """
    spool, now, table = (
        health_spool(context),
        context.clock(),
        context.routing.config.settings.health,
    )
    checks = _ask_engine(context, instance)
    state = json_object(spool.path(_HEALTH, f"{instance.name}.json"), STATE_BYTES)
    before = {one.name: one for one in read_containers(state)}
    others = [one.name for one in container_executors(context)]
    transition = Transition(table, History(instance.name, others, spool), now)
    known, due = transition.after(before, checks)
    _write(spool, instance.name, known, due, table, now)
    return known


def _ask_engine(context: StageContext, instance: Instance) -> list[Check]:
    params = instance.complete({"action": "health-check"}, {})
    try:
        outcome: Result | ExecutionError = look_once(instance, context, params)
    except ExecutionError as error:
        if "checks" not in error.details:
            raise
        outcome = error
    return [Check.of(details) for details in outcome.details["checks"]]


def _write(
    spool: Spool, executor: str, known: list[Container], due: list[Container],
    table: HealthTable, now: datetime,
) -> None:  # fmt: skip
    """First ask, then remember: a restart that is asked for twice is known by its id."""
    drops = [(spool.draft(_restart(one, table)), _drop_name(one)) for one in due]
    state = {
        "executor": executor,
        "checked_at": request.timestamp(now),
        "containers": [asdict(one) for one in known],
    }
    files = [
        (spool.draft(orjson.dumps(state, option=orjson.OPT_INDENT_2)), f"{executor}.json"),
        (spool.draft(as_text([state])), f"{executor}.prom"),
    ]
    spool.sync()
    for draft, name in drops:
        try:
            spool.publish(draft, Place("inbox", str(table.inbox)), name)
        except FileExistsError:
            spool.discard(draft)
    spool.sync()
    for draft, name in files:
        spool.overwrite(draft, _HEALTH, name)
    spool.sync()


def _restart(one: Container, table: HealthTable) -> bytes:
    """The drop that asks for a restart."""
    log.warning("asking for a restart of %s: %s", one.name, one.message)
    drop = {
        "id": f"health-{one.name}-{one.since}-{one.wishes}",
        "action": "restart",
        "accountId": one.customer,
        "requested_by": "spoold health",
        "reason": f"{table.failures} checks in a row failed: {one.message}"[:400],
    }
    return orjson.dumps(drop, option=orjson.OPT_INDENT_2)


def _drop_name(one: Container) -> str:
    stamp = "".join(c for c in str(one.since) if c.isdigit())[:14]
    return f"health-{one.name}-{stamp}-{one.wishes}.json"
