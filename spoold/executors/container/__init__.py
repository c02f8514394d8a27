"""An approved action on a customer's container → a Docker Engine in which it has been done.

Every action looks at the engine first and does what is missing, so it may be begun again at any
point. A label with the dispatch id says what an earlier attempt of this request has made.

Security: only what carries that label and the customer's is ours; nothing else is ever touched or
pruned. Secrets are read when a container is made, and taken out of all that is said of it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from spoold.config.secrets import SecretRef
from spoold.errors import ExecutionError, Permanent, Transient
from spoold.executors import Context, Finding, Result, Running
from spoold.executors.container.cancel import take_back
from spoold.executors.container.create import create_container
from spoold.executors.container.engine import Engine
from spoold.executors.container.health_check import health_check
from spoold.executors.container.lifecycle import (
    delete,
    has_policy,
    is_stopped,
    restart,
    start,
    stop,
    stopped,
    wait_on,
    was_restarted,
)
from spoold.executors.container.params import (
    LITERAL,
    OPTIONAL,
    PAST,
    Config,
    Params,
    check,
    complete,
)
from spoold.executors.container.wait import done
from spoold.executors.container.world import Found, World, looked_at

__all__ = [
    "LITERAL", "OPTIONAL", "Config", "Params", "check", "complete", "doctor", "lane", "probe",
    "resume", "run", "take_back",
]  # fmt: skip

_Answer = TypeVar("_Answer", Result, Result | Running)

_ACTIONS: Mapping[str, Callable[[World], Result]] = {
    "create": create_container,
    "delete": delete,
    "restart": restart,
    "stop": stop,
    "start": start,
    "health-check": health_check,
}


def lane(params: Params) -> str | None:
    """What is done for one customer is done one at a time."""
    return params.customer


def run(params: Params, context: Context) -> Result:
    """Do what is still to be done."""
    if context.cancelled.is_set():
        take_back(params, context)
    if context.stopping.is_set():
        raise Transient("interrupted", "The service was stopped before anything was done.")
    return _act(_ACTIONS[params.action], params, context)


def resume(params: Params, context: Context) -> Result:
    """Go on with what `probe` found begun."""
    return _act(create_container if params.action == "create" else wait_on, params, context)


def probe(params: Params, context: Context) -> Result | Running:
    """Look at what there is."""
    return _act(_look, params, context)


def _act(act: Callable[[World], _Answer], params: Params, context: Context) -> _Answer:
    """Call `act`; if it would be tried again but a person has cancelled it, take it back."""
    try:
        with looked_at(params, context) as world:
            return act(world)
    except Transient:
        if context.cancelled.is_set():
            take_back(params, context)
        raise


def _look(world: World) -> Result | Running:
    if world.params.action == "health-check":
        raise _never_started("Nobody saw the end of the look.")
    found = _found(world)
    if world.params.action == "delete":
        return _if_gone(world, found)
    if found is None:
        raise _never_started(f"There is no {world.name}.")
    return _state_of(world, found)


def _found(world: World) -> Found | None:
    try:
        return world.container()
    except Permanent:
        if world.params.action != "create":
            raise
        # A look changes nothing. The next try finds the same, and removes what was made.
        raise _never_started(
            f"There is a container {world.name} that spoold did not make."
        ) from None


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Whether the engine answers, and has the image; whether the secrets are there."""
    try:
        engine = Engine(config.engine, config.timeout)
    except Transient as error:
        yield Finding("docker", ok=False, detail=error.summary)
    else:
        yield Finding("docker", ok=True, detail=f"{engine.about['Version']} at {engine.address}")
        if config.image and not config.pull:
            there = engine.image(config.image) is not None
            detail = "there" if there else "missing; load or pull it into the engine"
            yield Finding(f"image {config.image}", there, detail)
        engine.close()
    for name, value in config.environment.items():
        if isinstance(value, SecretRef):
            try:
                secret(value)
            except ExecutionError as error:
                yield Finding(f"secret {name}", ok=False, detail=error.summary)


def _never_started(what: str) -> Transient:
    return Transient("never-started", f"{what} It is done from the beginning.")


def _if_gone(world: World, found: Found | None) -> Result:
    if found or world.networks():
        raise _never_started(f"{world.name} or its network is still there.")
    return Result("deleted", f"{world.name} is gone.", evidence={"container": "there is none"})


def _state_of(world: World, found: Found) -> Result | Running:
    action, name = world.params.action, world.name
    if action != "create" and not has_policy(found, "no" if action == "stop" else None):
        # It was not this request that stopped or started it: that sets the policy first.
        raise _never_started(f"{name} has the restart policy that it had before.")
    if action == "stop":
        if not is_stopped(found):
            raise _never_started(f"{name} still runs.")
        return stopped(world, found, "stopped")
    if action == "create" and not world.made_now(found.labels):
        raise _never_started(f"{name} is another request's.")
    if action == "restart" and not was_restarted(world, found):
        raise _never_started(f"{name} was not started again.")
    if action == "start" and (is_stopped(found) or found.status == "paused"):
        raise _never_started(f"{name} does not run.")
    if found.works and found.health == "healthy":
        return done(world, found, PAST[action], f"{name} runs and is healthy.")
    return Running(f"{name} is {found.status} ({found.health})")
