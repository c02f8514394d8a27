"""An approved customer → the container as an engine is asked for it."""

from typing import Any

from spoold.config.secrets import SecretRef
from spoold.errors import Transient
from spoold.executors.container import valid
from spoold.executors.container.connection import Facts
from spoold.executors.container.tables import SHARES, Health, Limits, parse_memory
from spoold.executors.container.wait import START_INTERVAL
from spoold.executors.container.world import DISPATCH, RESTART, SECRETS, World

_NANO = 1_000_000_000
_LEAST_SHARES = 2


def read_secrets(world: World) -> dict[str, str]:
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


def container_spec(world: World, port: int, network: str, secrets: dict[str, str]) -> Facts:
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
            RESTART: params.restart or "no",
        },
        "ExposedPorts": {inner: {}},
        "HostConfig": {
            "PortBindings": {inner: [{"HostIp": params.publish, "HostPort": str(port)}]},
            "NetworkMode": network,
            "RestartPolicy": valid.restart_policy(params.restart or "no"),
            **(limits_of(params.limits) if params.limits else {}),
        },
    }
    if params.health:
        wanted["Healthcheck"] = _health(params.health, world.engine.version)
    return wanted


def limits_of(limits: Limits) -> dict[str, int]:
    """A plan in the engine's own units."""
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
