"""What a route says of a container → the whole of one action, as a person approves it."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spoold.config.quantities import Duration
from spoold.config.secrets import SecretRef
from spoold.executors import Model
from spoold.executors.container import valid
from spoold.executors.container.tables import PLANS, Health, Labels, Limits, Plan

Action = Literal["create", "delete", "restart", "stop", "start", "health-check"]

_FOR_CREATE = (
    "plan", "limits", "port", "ports", "publish", "image", "pull", "container_port", "environment",
    "health", "restart", "ready_timeout", "network", "subnets", "subnet_size",
)  # fmt: skip
#: What has an effect on an action, beside its customer and the container's name.
_USED: Mapping[str, tuple[str, ...]] = {
    "create": _FOR_CREATE,
    "delete": ("network", "stop_timeout"),
    "restart": ("stop_timeout", "ready_timeout"),
    "stop": ("stop_timeout",),
    "start": ("ready_timeout",),
    "health-check": ("check_timeout",),
}
#: What is said of it when it is done.
PAST: Mapping[str, str] = {
    "create": "created",
    "delete": "deleted",
    "restart": "restarted",
    "stop": "stopped",
    "start": "started",
}


class Config(Model):
    """`[executors.<name>]` with `kind = "container"`.

    Attributes:
        engine: `unix:///…` or `tcp://…`; else `$DOCKER_HOST`, else the usual socket.
        timeout: of one call to the engine.
        plans: what a plan allows; without any, `starter`, `pro` and `enterprise`.
        name_prefix: of a container's name, before the customer's id.
        network_prefix: of its network's.
        labels: what carries customer, plan and port.
        compose_dir: a folder for a compose file of each customer, for people who want to look.
        image: as the parameter of that name, when the route leaves it out, like all that follow.
        pull: whether an image that is missing is fetched.
        container_port: where the program in the container listens.
        ports: from which the lowest free one is taken.
        publish: the address of this machine on which the port is open; `0.0.0.0` for all.
        subnets: from which each customer's network is taken.
        subnet_size: of one customer's network.
        environment: literally, or as a reference to a secret; `CUSTOMER_ID` is added.
        health: how the engine finds out whether a container works.
        restart: what the engine does when a container ends by itself.
        ready_timeout: until when it must be healthy.
        stop_timeout: what it gets to end by itself.
        check_timeout: of a health check, for each container.
    """

    engine: str | None = None
    timeout: Duration = Field(default=30.0, gt=0)
    plans: dict[str, Plan] = Field(default_factory=lambda: dict(PLANS), min_length=1)
    name_prefix: str = "customer-"
    network_prefix: str = "mission-control-network-"
    labels: Labels = Field(default_factory=Labels)
    compose_dir: str | None = None
    image: str | None = None
    pull: bool = False
    container_port: int = 3000
    ports: str = "5000-14999"
    publish: str = "127.0.0.1"
    subnets: str = "10.213.0.0/16"
    subnet_size: int = Field(default=28, ge=8, le=30)
    environment: dict[str, str | SecretRef] = Field(default_factory=dict)
    health: Health | None = None
    restart: str = "on-failure:5"
    ready_timeout: Duration = Field(default=30.0, gt=0)
    stop_timeout: Duration = Field(default=10.0, le=3600)
    check_timeout: Duration = Field(default=5.0, gt=0)

    @model_validator(mode="after")
    def _as_an_engine_takes_it(self) -> Self:
        if self.engine is not None and not re.fullmatch(
            r"unix:///[!-~]+|tcp://[A-Za-z0-9.:\[\]-]+", self.engine
        ):
            raise ValueError(f"engine: {self.engine!r} is neither unix:///path nor tcp://host:port")
        if self.compose_dir is not None and not self.compose_dir.startswith("/"):
            raise ValueError(f"compose_dir: {self.compose_dir!r} is no absolute path")
        for prefix in (self.name_prefix, self.network_prefix):
            valid.must_be_name(f"{prefix}x")
        for plan in self.plans:
            valid.must_be_name(f"{plan}x")
        _must_be_possible(self)
        return self


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _given(value) if isinstance(value, dict) else value
        for name, value in fields.items()
        if value is not None
    }


class Params(Model):
    """One action on the container of one customer; what has no effect on it is left out."""

    action: Action
    customer: str | None = None
    name: str | None = None
    plan: str | None = None
    limits: Limits | None = None
    image: str | None = None
    pull: bool | None = None
    port: int | None = None
    ports: str | None = None
    publish: str | None = None
    container_port: int | None = None
    environment: dict[str, str | SecretRef] | None = None
    health: Health | None = None
    restart: str | None = None
    network: str | None = None
    subnets: str | None = None
    subnet_size: int | None = Field(default=None, ge=8, le=30)
    ready_timeout: Duration | None = Field(default=None, gt=0)
    stop_timeout: Duration | None = Field(default=None, le=3600)
    check_timeout: Duration | None = Field(default=None, gt=0)

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return _given(handler(self))


#: A record need not have them: a delete names no plan, and a health check may be for all.
OPTIONAL = frozenset({"customer", "plan", "port"})


def _is_free(_value: object, _config: object) -> None:
    """It is the author's choice; the model says whether it is possible."""


def _follows(_value: object, _config: object) -> None:
    raise ValueError("it follows from the customer, the plan and the executor's configuration")


def _must_be(possible: Callable[[str], object]) -> Callable[[object, Config], None]:
    def look(value: object, _config: Config) -> None:
        if isinstance(value, str):
            possible(value)

    return look


#: A record chooses what is done for whom, and neither which image nor which secrets.
LITERAL: Mapping[tuple[str, ...], Callable[[object, Config], None]] = {
    **{(name,): _is_free for name in Params.model_fields if name not in ("action", *OPTIONAL)},
    **{(name,): _follows for name in ("name", "network", "limits")},
    ("image",): _must_be(valid.must_be_image),
    ("ports",): _must_be(valid.port_range),
    ("publish",): _must_be(valid.must_be_address),
    ("restart",): _must_be(valid.restart_policy),
}


def complete(given: dict[str, Any], config: Config, targets: object) -> dict[str, Any]:
    """The whole action: names, limits and settings filled in, what has no effect left out.

    Raises:
        ValueError: it says something else than what follows from the configuration.
    """
    del targets
    action, customer = given.get("action"), given.get("customer")
    if not isinstance(action, str) or action not in _USED:
        return given
    whole = {"action": action, "customer": customer}
    settings = _given(config.model_dump(mode="json"))
    for name in _USED[action]:
        whole[name] = settings.get(name) if given.get(name) is None else given[name]
    for name, follows in _following(action, customer, whole.get("plan"), config).items():
        if given.get(name) not in (None, follows):
            raise ValueError(f"{name} is {given[name]!r}, where {follows!r} is what follows")
        whole[name] = follows
    return whole | {name: given[name] for name in given if name not in Params.model_fields}


def _following(
    action: str, customer: object, plan: object, config: Config
) -> dict[str, str | dict[str, Any]]:
    """The parameters that follow from those that were given."""
    found: dict[str, str | dict[str, Any]] = {}
    if isinstance(customer, str):
        found["name"] = config.name_prefix + customer
        if "network" in _USED[action]:
            found["network"] = config.network_prefix + customer
    if action == "create" and isinstance(plan, str) and plan in config.plans:
        found["limits"] = config.plans[plan].limits().model_dump()
    return found


def check(params: Params, config: Config) -> None:
    """Refuse ids, names and plans that are none, and a port that is not ours to give."""
    if params.customer is not None:
        valid.customer_id(params.customer)
        valid.must_be_name(config.name_prefix + params.customer)
        valid.must_be_name(config.network_prefix + params.customer)
    elif params.action != "health-check":
        raise ValueError(f"a {params.action} needs a customer")
    _must_be_possible(params)
    if params.action == "create":
        _check_create(params, config)


def _check_create(params: Params, config: Config) -> None:
    if params.plan not in config.plans:
        what = f"Unknown plan: {params.plan[:80]}" if params.plan else "a create needs a plan"
        raise ValueError(f"{what}; there are {', '.join(config.plans)}")
    if params.image is None:
        raise ValueError("a create needs an image, from its route or from the executor")
    ports = params.ports or config.ports
    if params.port is not None and params.port not in valid.port_range(ports):
        raise ValueError(f"port {params.port} is not among {ports}")


def _must_be_possible(settings: Config | Params) -> None:
    """Refuse what no engine would take, in a configuration and in an action alike."""
    if settings.image is not None:
        valid.must_be_image(settings.image)
    if settings.ports is not None:
        valid.port_range(settings.ports)
    if settings.publish is not None:
        valid.must_be_address(settings.publish)
    if settings.restart is not None:
        valid.restart_policy(settings.restart)
    if settings.subnets is not None:
        valid.pool(settings.subnets, settings.subnet_size or 28)
    if settings.container_port is not None:
        valid.port_range(f"{settings.container_port}-{settings.container_port}")
    valid.must_be_variables(settings.environment or ())
    for value in (settings.environment or {}).values():
        if isinstance(value, str) and "\0" in value:
            raise ValueError("a variable contains a NUL")
