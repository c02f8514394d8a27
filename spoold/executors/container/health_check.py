"""Containers that spoold made → which of them work, looked at side by side."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

from spoold.errors import ExecutionError, Permanent, Transient
from spoold.executors import Result
from spoold.executors.container.engine import Engine
from spoold.executors.container.world import DISPATCH, SHORT, Details, Found, World

#: Looked at at the same time: one that hangs must not keep the others waiting.
_SIDE_BY_SIDE = 16


def health_check(world: World) -> Result:
    """Look at the customer's container, or at all that are managed, also those that are stopped."""
    one = world.params.customer
    checks = look(world, dict(managed(world)) if one is None else {world.name: one})
    failed = [check for check in checks if check["passed"] is False]
    unknown = [check for check in checks if check["passed"] is None]
    passed = len(checks) - len(failed) - len(unknown)
    details = {"checks": checks, "passed": passed, "failed": len(failed), "unknown": len(unknown)}
    if failed:
        said = f"{len(failed)} of {len(checks)} containers fail; {_first(failed)}"
        raise Permanent("unhealthy", said, details, evidence={"failed": len(failed)})
    if unknown:
        said = f"{len(unknown)} of {len(checks)} containers could not be looked at; "
        raise Transient("engine-error", said + _first(unknown), details)
    what = f"{len(checks)} of {len(checks)} containers pass" if checks else "There are none"
    return Result("healthy", f"{what}.", details, {"passed": len(checks)})


def _first(checks: list[Details]) -> str:
    return f"{checks[0]['name']}: {checks[0]['errorMessage'].rstrip('.')}."


def managed(world: World) -> Iterator[tuple[str, str]]:
    """The names of the containers that spoold made under this configuration, and whose they are."""
    label, prefix = world.config.labels.customer, world.config.name_prefix
    for brief in world.engine.containers(DISPATCH, label):
        for name in brief.get("Names") or []:
            customer = brief["Labels"][label]
            if name == f"/{prefix}{customer}":
                yield name.removeprefix("/"), customer


def look(world: World, names: dict[str, str]) -> list[Details]:
    """One check a container: `containerId, passed, errorMessage?`, and whose it is.

    `passed` is None where the engine did not say how the container is: that is no failure of it.

    Args:
        world: where they are.
        names: of the containers, each with its customer.
    """
    seconds = world.params.check_timeout or world.config.check_timeout
    pool = ThreadPoolExecutor(_SIDE_BY_SIDE, "health")
    try:
        checks = {
            name: pool.submit(partial(_check, world, name, customer, seconds))
            for name, customer in sorted(names.items())
        }
        # Each call ends in its time, and so does a queue of them.
        rounds = -(-len(names) // _SIDE_BY_SIDE)
        until = time.monotonic() + (seconds + 1.0) * rounds
        while time.monotonic() < until and wait(checks.values(), 0.1).not_done:
            if world.context.stopping.is_set():
                raise Transient("interrupted", "The service was stopped during a look.")
        return [
            check.result()
            if check.done()
            else _failed(name, names[name], "no time was left to look at it", passed=None)
            for name, check in checks.items()
        ]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _check(world: World, name: str, customer: str, seconds: float) -> Details:
    try:
        engine = Engine(world.config.engine, seconds)
        try:
            facts = engine.container(name)
        finally:
            engine.close()
    except ExecutionError as error:
        return _failed(name, customer, error.summary, passed=None)
    if facts is None:
        return _failed(name, customer, "there is no such container")
    found = Found(facts)
    labels = world.config.labels
    if DISPATCH not in found.labels or found.labels.get(labels.customer) != customer:
        return _failed(name, customer, "spoold did not make this container")
    about = {
        "customer": customer,
        "port": found.labels.get(labels.port),
        "stopped": found.stopped_by_request,
        "startedAt": found.started_at.isoformat() if found.started_at else None,
    }
    if found.works:
        return _result(name, found, about)
    world.hide_secrets_of(found)
    if found.status != "running":
        return _result(name, found, about) | {"errorMessage": found.status}
    state, why = found.health, world.engine.hidden.line(found.last_check)
    return _result(name, found, about) | {"errorMessage": f"{state}: {why}" if why else state}


def _result(name: str, found: Found, about: Details) -> dict[str, Any]:
    return {"containerId": found.id[:SHORT], "passed": found.works, "name": name} | about


def _failed(name: str, customer: str, why: str, *, passed: bool | None = False) -> Details:
    return {
        "containerId": None, "passed": passed, "name": name, "customer": customer,
        "errorMessage": why,
    }  # fmt: skip
