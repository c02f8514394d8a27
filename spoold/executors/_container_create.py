"""An approved customer → one container that works, whatever earlier attempts have left of it.

Each step looks at the world first, so it can be begun again at any point: after a crash, after the
engine was away, by another process. What does not come to work is removed, if this request made it.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spoold.config import SecretRef
from spoold.errors import ExecutionError, LeftRunning, Permanent, Transient
from spoold.executors import Result
from spoold.executors import _container_ports as ports
from spoold.executors import _container_terms as terms
from spoold.executors._container_ready import START_INTERVAL, done, until_ready
from spoold.executors._container_terms import SHARES, Health, Limits, parse_memory
from spoold.executors._container_world import DISPATCH, SECRETS, Found, World
from spoold.executors._docker import Facts, Refused

_NANO = 1_000_000_000
_IN_USE = re.compile(r"address already in use|port is already allocated", re.IGNORECASE)
_OVERLAP = re.compile(r"overlap", re.IGNORECASE)
_DENIED = re.compile(
    r"not found|denied|does not exist|unauthorized|unknown|invalid|forbidden", re.IGNORECASE
)
_CONFLICT = 409
_LEAST_SHARES = 2


def create(world: World) -> Result:
    """Make it, start it, and wait until it works."""
    began = time.monotonic()
    found = world.container()
    if found and not world.made_now(found.labels):
        return _was_there(world, found)
    secrets = _environment(world)
    with _cleaned_up(world):
        _have_image(world)
        network, subnet = _network(world)
        found, warnings = _running(world, found, network, secrets)
        found = until_ready(world, found, world.params.ready_timeout or 30.0)
    more: Facts = {"subnet": subnet, "seconds": round(time.monotonic() - began, 1)}
    if warnings:
        more["warnings"] = warnings
    return done(world, found, "created", f"{world.name} runs{_and_health(found)}.", more)


def clean_up(world: World) -> tuple[list[str], list[str]]:
    """Remove what this request has made; what was removed, and what could not be and why."""
    removed, left = [], []
    found = world.engine.container(world.name)
    if found and world.made_now(Found(found).labels):
        try:
            world.engine.remove(found["Id"])
            removed.append(f"container {world.name}")
        except Refused as error:
            left.append(f"container {world.name} ({error.summary})")
    for network in world.engine.networks():
        if network["Name"] == world.network_name and world.made_now(network["Labels"] or {}):
            try:
                world.engine.remove_network(network["Id"])
                removed.append(f"network {world.network_name}")
            except Refused as error:
                left.append(f"network {world.network_name} ({error.summary})")
    return removed, left


def _and_health(found: Found) -> str:
    return " and is healthy" if found.health == "healthy" else ""


def _was_there(world: World, found: Found) -> Result:
    """Another request made it: fine if it is what this one wants."""
    differs = list(_differences(world, found))
    if not differs:
        said = f"{world.name} was there already, and runs{_and_health(found)}."
        return done(world, found, "already-there", said)
    raise Permanent(
        "exists",
        f"There is a container {world.name} already, made by {found.dispatch_id}, and "
        f"{'; '.join(differs)}. Delete it first, or start or restart it.",
        found.says(),
    )


def _differences(world: World, found: Found) -> Iterator[str]:
    params, labels = world.params, world.config.labels
    host = found.facts["HostConfig"]
    if not found.works:
        yield f"it is {found.status} ({found.health})"
    pairs: list[tuple[str, Any, Any]] = [
        ("plan", found.labels.get(labels.plan), params.plan),
        ("image", found.facts["Config"]["Image"], params.image),
    ]
    if params.port is not None:
        pairs.append(("port", found.labels.get(labels.port), str(params.port)))
    for name, has, should in pairs:
        if has != should:
            yield f"its {name} is {has}, not {should}"
    if params.limits and any(host.get(k) != v for k, v in _limits(params.limits).items()):
        yield f"its limits are not those that plan {params.plan} has now"


@contextmanager
def _cleaned_up(world: World) -> Iterator[None]:
    try:
        yield
    except LeftRunning:
        raise
    except ExecutionError as error:
        if error.code not in ("engine-unreachable", "engine-restarted"):
            removed, left = _clean_up(world)
            if removed:
                error.summary += f" Removed again: {', '.join(removed)}."
            if left:
                error.summary += f" Could not be removed: {', '.join(left)}."
                error.details["left"] = left
        raise


def _clean_up(world: World) -> tuple[list[str], list[str]]:
    try:
        return clean_up(world)
    except Transient as away:
        # It is tried again, and goes on from what is there; but not if nobody wants it any more.
        if not world.context.cancelled.is_set():
            raise
        return [], [f"container {world.name} and its network, if there are any ({away.summary})"]


# Image and network


def _have_image(world: World) -> None:
    name = str(world.params.image)
    if world.engine.image(name):
        return
    if not world.params.pull:
        raise Permanent(
            "image-missing",
            f"The engine has no image {name}. Load or pull it there, then `spoold retry`.",
        )
    try:
        world.engine.pull(name, world.context.stopping.is_set)
    except Refused as error:
        if _DENIED.search(error.text):
            raise Permanent("image-missing", error.summary) from None
        raise Transient("pull-failed", error.summary) from None
    halt(world)
    if not world.engine.image(name):
        raise Transient("pull-failed", f"The image {name} was pulled, but is not there.")


def halt(world: World) -> None:
    """End here if this attempt must end.

    Raises:
        Permanent: `cancelled`.
        LeftRunning: the service stops; what was made is found again.
    """
    if world.context.cancelled.is_set():
        raise Permanent("cancelled", "A person cancelled it.")
    if world.context.stopping.is_set():
        raise LeftRunning(f"what was made for {world.name} is found again by its label")


def _network(world: World) -> tuple[str, str]:
    """The id and the subnet of the customer's network."""
    halt(world)
    with ports.CHOOSING:
        there = world.networks()
        if there:
            return there[0]["Id"], there[0]["IPAM"]["Config"][0]["Subnet"]
        labels = {world.config.labels.customer: world.customer, DISPATCH: world.context.dispatch_id}
        for subnet in ports.free_subnets(world):
            try:
                return world.engine.create_network(world.network_name, subnet, labels), subnet
            except Refused as error:
                # Another process was faster, or it overlaps something that only the engine knows.
                if not _OVERLAP.search(error.text):
                    raise
    pool = world.params.subnets
    raise Transient("subnets-exhausted", f"No subnet of {pool} is free; delete what is not needed.")


# The container


def _running(
    world: World, found: Found | None, network: str, secrets: dict[str, str]
) -> tuple[Found, list[str]]:
    """The customer's container, made and started on a port that nobody else has."""
    lost: set[int] = set()
    warnings: list[str] = []
    while True:
        halt(world)
        if found is None:
            found, warnings = _make(world, lost, network, secrets)
        if found.status in ("running", "restarting", "paused"):
            return found, warnings
        port = int(found.labels[world.config.labels.port])
        if rivals := ports.others_with(world, port, found.id):
            # Two processes chose at once. Both may give way, but never will both stay.
            world.engine.remove(found.id)
            found = None
            if world.params.port is not None:
                raise ports.port_taken(port, f"container {rivals[0]}")
            world.context.stopping.wait(ports.pause())
        elif _start(world, found, port):
            found = world.needed()
        else:
            world.engine.remove(found.id)
            found = None
            lost.add(port)


def _start(world: World, found: Found, port: int) -> bool:
    """Start it; False if somebody has taken its port since."""
    try:
        world.engine.start(found.id)
    except Refused as error:
        if not _IN_USE.search(error.text):
            raise
        if world.params.port is not None:
            raise ports.port_taken(port, "somebody who is not known to the engine") from None
        return False
    return True


def _make(
    world: World, lost: set[int], network: str, secrets: dict[str, str]
) -> tuple[Found, list[str]]:
    with ports.CHOOSING:
        port = ports.free_port(world, lost)
        wanted = model(world, port, network, secrets)
        try:
            _, warnings = world.engine.create(world.name, wanted)
        except Refused as error:
            if error.status != _CONFLICT:
                raise
            # The name was free a moment ago: ours or not, it is looked at like any other.
            found = world.needed()
            if not world.made_now(found.labels):
                raise Permanent("exists", f"Another request has just made {world.name}.") from None
            return found, []
    return world.needed(), warnings


def _environment(world: World) -> dict[str, str]:
    """The values of the secrets by variable, hidden from now on."""
    values = {
        name: world.context.secret(value)
        for name, value in (world.params.environment or {}).items()
        if isinstance(value, SecretRef)
    }
    for name, value in values.items():
        world.engine.hidden.add(value)
        if "\0" in value:
            raise Transient("secret-unusable", f"The secret for {name} contains a NUL.")
    return values


def model(world: World, port: int, network: str, secrets: dict[str, str]) -> Facts:
    """The container as the engine is asked for it."""
    params, names = world.params, world.config.labels
    inner = f"{params.container_port}/tcp"
    environment = {**(params.environment or {}), **secrets, "CUSTOMER_ID": world.customer}
    wanted: Facts = {
        "Image": params.image,
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {
            names.customer: world.customer,
            names.plan: params.plan,
            names.port: str(port),
            DISPATCH: world.context.dispatch_id,
            SECRETS: " ".join(secrets),
        },
        "ExposedPorts": {inner: {}},
        "HostConfig": {
            "PortBindings": {inner: [{"HostIp": params.publish, "HostPort": str(port)}]},
            "NetworkMode": network,
            "RestartPolicy": terms.restart_policy(params.restart or "no"),
            **(_limits(params.limits) if params.limits else {}),
        },
    }
    if params.health:
        wanted["Healthcheck"] = _health(params.health, world.engine.version)
    return wanted


def _limits(limits: Limits) -> dict[str, int]:
    memory = parse_memory(limits.memory)
    return {
        "NanoCpus": round(limits.cpus * _NANO),
        "Memory": memory,
        "MemorySwap": memory,
        "MemoryReservation": parse_memory(limits.reserved_memory),
        "CpuShares": max(_LEAST_SHARES, round(limits.reserved_cpus * SHARES)),
    }


def _health(health: Health, version: tuple[int, ...]) -> dict[str, Any]:
    wanted: dict[str, Any] = {
        "Test": health.command,
        "Interval": round(health.interval * _NANO),
        "Timeout": round(health.timeout * _NANO),
        "Retries": health.retries,
        "StartPeriod": round(health.start_period * _NANO),
    }
    if version >= START_INTERVAL and health.start_period:
        wanted["StartInterval"] = min(_NANO, wanted["Interval"])
    return wanted
