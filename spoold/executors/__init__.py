"""The contract of an executor kind: one module with `Config`, `Params`, `check`, `run`, `probe`.

A kind never touches the spool. It gets its parameters, already approved, and a `Context`; it
returns a `Result` or raises `Permanent`, `Transient`, `OutcomeUnknown` or `NeedsPerson`. Any other
exception counts as `OutcomeUnknown`, because nobody can say what had happened by then.

Security: an executor trusts that what it is given was approved byte for byte, and nothing else.
"""

import importlib
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from spoold.config.secrets import SecretRef


class Model(BaseModel):
    """Base of every kind's `Config` and `Params`: strict, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class Result:
    """An attempt that worked.

    Attributes:
        code: short and stable, such as `http-200` or `exit-0`.
        summary: one sentence for the person who reads the request file.
        details: what is worth keeping, plain JSON, without secrets.
        evidence: by what it was judged to be done.
        output: the ends of its streams, see `ends_of`.
    """

    code: str
    summary: str
    details: dict[str, Any] = field(default_factory=dict)
    evidence: dict[str, Any] | None = None
    output: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """What `probe` says of an attempt that goes on without the executor that began it."""

    summary: str


class Output(Protocol):
    """A capped stream into `logs/<dispatch_id>/`; what is over the cap is counted, not kept."""

    name: str
    total: int

    @property
    def truncated(self) -> bool:
        """Whether bytes were seen that were not kept."""
        ...

    def write(self, data: bytes) -> None:
        """Append; never blocks on the cap and never raises for it."""
        ...

    def tail(self, limit: int = 4000) -> str:
        """The last bytes seen, as text, at most `limit` of them."""
        ...


def ends_of(out: Output, err: Output) -> dict[str, Any]:
    """What a result says of two streams."""
    return {
        "stdout_tail": out.tail(),
        "stderr_tail": err.tail(),
        "stdout_bytes": out.total,
        "stderr_bytes": err.total,
        "truncated": out.truncated or err.truncated,
    }


@dataclass(frozen=True, slots=True)
class Context:
    """All that an attempt may use.

    Attributes:
        dispatch_id: the request's id, also its idempotency key.
        number: this attempt's number, from 1.
        first_started: when attempt 1 started (UTC): the age of the idempotency key.
        started: when this attempt started (UTC).
        config: the instance's `Config`, as the kind's model.
        open_output: opens `logs/<dispatch_id>/<prefix>.<stream>`; the caller closes nothing.
        secret: reads a secret by reference; raises `Transient` that says what is missing.
        files: path (without an ending) of files of this attempt's own, in that folder of logs/;
            the same for `run`, `probe` and `resume`. For a kind with `resume` the folder is there,
            durably, before the attempt begins.
        report: tells what is known of an attempt that takes long, as plain JSON; it is shown in
            the request file as `progress`, every few seconds at most.
        stopping: set when this attempt must end now: the service is being stopped and will not wait
            any longer, or a person has cancelled the request.
        cancelled: set in the second case.
        in_doubt: an earlier attempt may have had its effect: one that ended in a `Transient` whose
            details say `"in_doubt": true`, which a kind raises when only the far side's memory of
            the idempotency key makes a repeat safe.
        heard_of: this attempt has reported something.
    """

    dispatch_id: str
    number: int
    first_started: datetime
    started: datetime
    config: Any
    open_output: Callable[[str], Output]
    secret: Callable[[SecretRef], str]
    files: str
    stopping: threading.Event
    cancelled: threading.Event = field(default_factory=threading.Event)
    report: Callable[[dict[str, Any]], None] = lambda _: None
    in_doubt: bool = False
    heard_of: bool = False


class Kind(Protocol):
    """What a module in this package, or behind an entry point, provides.

    It may also have

    * `LITERAL`: paths of parameters, such as `("argv", 0)`, that a route must write literally,
      because choosing the program is the author's business and not the record's, each with a
      function of the value and the config that raises `ValueError` if it is not allowed;
    * `OPTIONAL`: names of parameters that are left out where a route names a field of the record
      (`"=record.body.plan"`) and the record does not have it;
    * `complete(given, config, targets)`: the parameters with all that follows from the
      configuration, so that the request shows the whole action. `targets` has the route's
      `target_kind`, `target_ref`, `target_env` and `execution_plane`. It is called again for what
      was approved, and must change nothing then;
    * `lane(params)`: the lane of a request whose route names none;
    * `resume(params, context)`: go on watching what `probe` says is `Running`; ends as `run` does.
      `run` and `resume` raise `LeftRunning` when the service stops and the work goes on;
    * `take_back(params, context)`: what a person cancels between two tries is not tried again, and
      this removes what the tries have left and says what is known: as `run`, where `Transient`
      means that nothing was done, or nothing is left of it. A kind without it promises that a
      `Transient` leaves nothing behind;
    * `doctor(config, secret)`: yields a `Finding` for each thing that it needs on this machine;
    * `warnings(config, routes)`: yields a sentence for each setting, of the executor's table or of
      the `[params]` of its routes, that has no effect on this machine, or is likely a mistake.
    """

    @property
    def Config(self) -> type[BaseModel]:  # noqa: N802
        """The settings of an instance: the keys of `[executors.<name>]`."""
        ...

    @property
    def Params(self) -> type[BaseModel]:  # noqa: N802
        """What a request of this kind says: the keys of a route's `[params]`."""
        ...

    def check(self, params: Any, config: Any) -> None:
        """Refuse, before a person sees them, parameters that could never run.

        Raises:
            ValueError: with one sentence that says what is refused.
        """
        ...

    def run(self, params: Any, context: Context) -> Result:
        """Do it once. Raises `Permanent`, `Transient` or `OutcomeUnknown`."""
        ...

    def probe(self, params: Any, context: Context) -> Result | Running:
        """Say how an attempt ended whose executor died: as `run`, without acting.

        *Finished*: a `Result`, `Permanent` or `NeedsPerson`. *Running*: `Running`. *Never started*:
        `Transient`, which means that it may safely be repeated, with the same idempotency key.
        *Unknown*: `OutcomeUnknown`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `spoold doctor`.

    Attributes:
        what: what was looked for, such as `codex`.
        ok: whether it is there and works.
        detail: its version, or what is wrong and what to do.
        warning: it may be wrong all the same, or nobody has looked.
    """

    what: str
    ok: bool
    detail: str
    warning: bool = False


#: Every kind of this package, and the package that does it.
KINDS = {name: f"{__name__}.{name}" for name in ("agent", "command", "container", "hook")}

_registered: dict[str, Kind] = {}


def register(name: str, kind: Kind) -> None:
    """Add a kind for this process only; a package declares an entry point instead."""
    _registered[name] = kind


@cache
def _points() -> dict[str, EntryPoint]:
    """Looked up once: it reads the metadata of every package there is."""
    return {point.name: point for point in entry_points(group="spoold.executors")}


def kinds() -> list[str]:
    """The names of all kinds: those of `KINDS` and of the entry points `spoold.executors`."""
    return sorted(KINDS.keys() | _points().keys() | _registered.keys())


def load(kind: str) -> Kind:
    """The module of a kind; `kind` must be one of `kinds()`."""
    if kind in _registered:
        return _registered[kind]
    if kind in _points():
        return _points()[kind].load()  # type: ignore[no-any-return]
    module: Any = importlib.import_module(KINDS[kind])
    return module  # type: ignore[no-any-return]
