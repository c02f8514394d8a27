"""spoold.toml and routes.d/*.toml → typed models; a mistake is named with file and line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_serializer,
    model_validator,
)

from spoold.config.toml import Document, complaints, parse_toml, read_toml
from spoold.errors import ConfigError
from spoold.rights import user_of

#: Seconds; beyond it a date cannot be computed.
_LONGEST = 3650 * 86400
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: object) -> float:
    """Seconds in a duration such as `30s`, `5m`, `4h`, `7d`, `500ms`.

    Raises:
        ValueError: if the text is none.
    """
    found = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text) if isinstance(text, str) else None
    if not found:
        raise ValueError(f"{text!r} is no duration; write it like 30s, 5m, 4h or 7d")
    amount, unit = int(found[1]), found[2]
    seconds = amount / 1000 if unit == "ms" else float(amount * _UNITS[unit])
    if seconds > _LONGEST:
        raise ValueError(f"{text!r} is more than ten years")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest text that `parse_duration` reads back as `seconds` (to the millisecond)."""
    if seconds != int(seconds):
        return f"{round(seconds * 1000)}ms"
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds) // _UNITS[unit]}{unit}"
    return f"{int(seconds)}s"


#: Seconds; written `30s`, `5m`, `4h`, `7d` in TOML and in a request file.
Duration = Annotated[float, BeforeValidator(parse_duration), PlainSerializer(format_duration)]


_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def parse_size(value: object) -> int:
    """`512KiB 64MiB 2GiB`, or a number of bytes → bytes.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    found = re.fullmatch(r"([0-9]{1,6})([KMGT]iB)", value) if isinstance(value, str) else None
    if not found:
        raise ValueError('a size is a number of bytes, or written like "64MiB" (KiB MiB GiB TiB)')
    return int(found[1]) * _SIZES[found[2]]


#: Bytes.
Size = Annotated[int, BeforeValidator(parse_size)]


class SecretRef(BaseModel):
    """Where a secret is: exactly one of a systemd credential, a variable, a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    credential: str | None = None
    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(x is not None for x in (self.credential, self.env, self.file)) != 1:
            raise ValueError("a secret is exactly one of {credential=…}, {env=…}, {file=…}")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, str]:
        given = {"credential": self.credential, "env": self.env, "file": self.file}
        return {where: name for where, name in given.items() if name is not None}


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME)]


#: This machine only: a loopback address, or a socket.
_LISTEN = r"^(127(\.[0-9]{1,3}){3}:[0-9]{1,5}|\[::1\]:[0-9]{1,5}|unix:/.{1,100})$"


class SourceTable(BaseModel):
    """`[sources.<name>]`: an inbox. Keys beyond these are the format's options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    format: str
    max_bytes: int = Field(default=1 << 20, ge=1, le=64 << 20)
    max_depth: int = Field(default=64, ge=1, le=200)
    settle: Duration = 2.0


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
        inbox: the source that is asked for a restart; None to ask nobody.
        failures: so many looks in a row must have failed.
        breaker: when to stop asking.
    """

    inbox: Name | None = None
    failures: int = Field(default=3, ge=1)
    breaker: Breaker = Breaker()


class MetricsTable(_Table):
    """`[metrics]`: numbers for Prometheus.

    Attributes:
        textfile: where they are written; None for `metrics/spoold.prom` below `runtime`.
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
    lane: str | None = None
    preflight: list[PreflightTable] = []
    params: dict[str, Any] = {}


@dataclass(frozen=True, slots=True)
class RouteFile:
    """A route and the file it is in."""

    document: Document
    table: RouteTable


@dataclass(frozen=True, slots=True)
class Configuration:
    """All that the files say, typed, but with no expression compiled and no executor loaded."""

    document: Document
    settings: Settings
    routes: tuple[RouteFile, ...]

    @property
    def root(self) -> Path:
        """The spool root; relative to the configuration file."""
        return self._resolved(self.settings.root)

    @property
    def runtime(self) -> str:
        """Where stages show how they do; relative to the configuration file."""
        if self.settings.runtime is None:
            return f"{self.root}/status"
        return str(self._resolved(self.settings.runtime))

    def _resolved(self, path: str) -> Path:
        return (self.document.file.parent / Path(path).expanduser()).resolve()


def load(
    file: Path,
    *,
    with_routes: bool = True,
    drafts: Mapping[Path, bytes] = MappingProxyType({}),
) -> Configuration:
    """Read `spoold.toml`, and the routes beside it unless they are of no interest.

    Args:
        file: `spoold.toml`.
        with_routes: whether routes are read.
        drafts: routes that are not there yet, by the path that they would have.

    Raises:
        ConfigError: with one line for every mistake, each beginning with `file:line:`.
    """
    document = read_toml(file)
    problems: list[str] = []
    settings = _validate(Settings, document, problems)
    for name in settings.executors if settings and settings.separate_users else ():
        try:
            user_of(name)
        except ValueError as error:
            problems.append(str(document.error(str(error), "executors", name)))
    routes: list[RouteFile] = []
    names: dict[str, Path] = {}
    here = (file.parent / "routes.d").glob("[!.]*.toml")
    for path in sorted({*here, *drafts}) if with_routes else ():
        try:
            found = parse_toml(path, drafts[path]) if path in drafts else read_toml(path)
        except ConfigError as error:
            problems.append(str(error))
            continue
        table = _validate(RouteTable, found, problems)
        if table is None:
            continue
        if table.name in names:
            problems.append(
                str(found.error(f"the name {table.name!r} is taken by {names[table.name]}", "name"))
            )
        names[table.name] = path
        routes.append(RouteFile(found, table))
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    return Configuration(document, settings, tuple(routes))


_M = TypeVar("_M", bound=BaseModel)


def _validate(model: type[_M], document: Document, problems: list[str]) -> _M | None:
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems += complaints(error, document)
        return None
