"""The tables of `spoold.toml` and of a route, as typed models: their keys, defaults and limits."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from spoold import identity
from spoold.config.quantities import Duration, Repeats, Size, parse_duration


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


NAME = f"^{identity.NAME}$"
Name = Annotated[str, Field(pattern=NAME)]


#: A user, or a group with an `@` before its name.
Producer = Annotated[str, Field(pattern=r"^@?[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]


#: This machine only: a loopback address, or a socket.
_LISTEN = r"^(127(\.[0-9]{1,3}){3}:[0-9]{1,5}|\[::1\]:[0-9]{1,5}|unix:/.{1,100})$"


class SourceTable(BaseModel):
    """`[sources.<name>]`: an inbox. Keys beyond these are the format's options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    format: str
    max_bytes: int = Field(default=1 << 20, ge=1, le=64 << 20)
    max_depth: int = Field(default=64, ge=1, le=200)
    settle: Duration = 2.0
    abandoned_after: Duration = Field(default=86400.0, gt=0)
    producers: list[Producer] = []
    repeats: Repeats | None = None


class Retry(_Table):
    """`retry` of an executor: how often, and how long it waits in between (doubling)."""

    tries: int = Field(default=8, ge=1)
    base: Duration = 10.0
    cap: Duration = 900.0


class ExecutorTable(BaseModel):
    """`[executors.<name>]`. Keys beyond these are the kind's."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    kind: str
    concurrency: int = Field(default=4, ge=1, le=256)
    retry: Retry = Retry()


class Breaker(_Table):
    """`breaker` of `[health]`: after so many restarts within that time a person must look."""

    restarts: int = Field(default=3, ge=1)
    within: Duration = Field(default=3600.0, gt=0)


class HealthTable(_Table):
    """`[health]`: what `spoold health` does about containers that fail.

    Attributes:
        inbox: the source that is asked for a restart; None to ask for none.
        failures: so many looks in a row must have failed.
        breaker: when to stop asking.
    """

    inbox: Name | None = None
    failures: int = Field(default=3, ge=1)
    breaker: Breaker = Breaker()


class MetricsTable(_Table):
    """`[metrics]`: numbers for Prometheus.

    Attributes:
        textfile: where they are written; None for `metrics/spoold.prom` in `runtime`.
        interval: seconds between two writings.
        listen: `127.0.0.1:9464`, `[::1]:9464` or `unix:PATH` to serve them as well.
    """

    textfile: str | None = None
    interval: Duration = Field(default=15.0, ge=1)
    listen: Annotated[str, Field(pattern=_LISTEN)] | None = None


class Settings(_Table):
    """`spoold.toml`."""

    root: str
    runtime: str | None = None
    separate_users: bool = False
    sources: dict[Name, SourceTable]
    executors: dict[Name, ExecutorTable] = {}
    preflight: dict[str, Any] = {}
    health: HealthTable = HealthTable()
    metrics: MetricsTable = MetricsTable()
    expires_after: Duration = Field(default=7 * 86400.0, gt=0)
    rescan: Duration = Field(default=10.0, ge=0.1)
    min_free: Size | None = None
    stop_grace: Duration = 10.0


class ApprovalTable(_Table):
    """`[approval]` of a route. `named` and `signed` are not built yet."""

    policy: Literal["move", "named", "signed"] = "move"
    quorum: int = 1
    approvers: list[str] = []

    @model_validator(mode="after")
    def _only_what_is_built(self) -> Self:
        if self.policy != "move":
            raise ValueError(f"approval policy {self.policy!r} is not built yet; use 'move'")
        if self.quorum != 1 or self.approvers:
            raise ValueError(
                "policy 'move' cannot tell people apart: quorum must be 1 and approvers empty"
            )
        return self


class PreflightTable(_Table):
    """One command of `preflight`: it must exit 0 before the action may start."""

    argv: list[str]
    cwd: str | None = None
    env: dict[str, str] = {}
    timeout: Annotated[str, AfterValidator(lambda text: (parse_duration(text), text)[1])] = "10m"


class RouteTable(_Table):
    """`routes.d/*.toml`: one route."""

    name: Name
    source: Name
    match: str
    executor: Name
    target_kind: str | None = None
    target_ref: str | None = None
    target_env: str | None = None
    execution_plane: str | None = None
    rationale: str | None = None
    requires_approval: bool = True
    approval: ApprovalTable = ApprovalTable()
    expires_after: Annotated[Duration, Field(gt=0)] | None = None
    event_key: str | None = None
    intent_key: str | None = None
    on_repeat: Literal["fold", "supersede", "separate"] = "fold"
    supersede_others: bool = False
    repeats: Repeats | None = None
    lane: str | None = None
    preflight: list[PreflightTable] = []
    params: dict[str, Any] = {}
