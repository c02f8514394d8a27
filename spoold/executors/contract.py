"""The contract of an executor kind: what the stage calls (`Kind`), and gives it (`Context`).

A kind never touches the spool. It gets approved parameters and a `Context`. It returns a `Result`
or raises `Permanent`, `Transient`, `OutcomeUnknown` or `NeedsPerson`. Any other exception counts as
`OutcomeUnknown`: the action may have had its effect by then.

Security: a kind trusts that its parameters were approved byte for byte, and nothing else.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
    """A capped stream into the attempt's folder in logs/; what is over the cap is only counted."""

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
        open_output: opens `logs/<executor>/<dispatch_id>/<prefix>.<stream>`; who calls it
            closes nothing.
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


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `spoold doctor`.

    Attributes:
        what: what was looked for, such as `codex`.
        ok: whether it is there and works.
        detail: its version, or what is wrong and what to do.
        warning: it may be wrong all the same, or was not looked at.
    """

    what: str
    ok: bool
    detail: str
    warning: bool = False


class Kind:
    """What the stage calls of a kind, with a default for each part that is optional.

    A kind is a plain module. It has `Config`, `Params`, `check`, `run` and `probe`, and whichever
    of the other names it needs. An object of a subclass of this class is a kind too.
    """

    #: The settings of an instance: the keys of `[executors.<name>]`.
    Config: type[BaseModel]

    #: What a request of this kind says: the keys of a route's `[params]`.
    Params: type[BaseModel]

    #: Paths of parameters, such as `("argv", 0)`, that a route must write literally, because its
    #: author chooses the program and the record does not. Each has a function of the value and the
    #: config that raises `ValueError` if the value is not allowed.
    LITERAL: Mapping[tuple[str | int, ...], Callable[[Any, Any], None]] = {}

    #: Parameters that are left out where a route names a field (`"=record.body.plan"`) that the
    #: record does not have.
    OPTIONAL: Collection[str] = frozenset()

    #: `lane(params)`: the lane of a request whose route names none.
    lane: Callable[[Any], str | None] | None = None

    #: `resume(params, context)`: go on watching what `probe` says is `Running`; ends as `run` does.
    #: `run` and `resume` raise `LeftRunning` when the service stops and the work goes on.
    resume: Callable[[Any, Context], Result] | None = None

    #: `take_back(params, context)`: a person has cancelled the request between two tries. Remove
    #: what the tries have left, and end as `run` does; `Transient` means that nothing was done, or
    #: nothing is left of it. A kind without it promises that a `Transient` leaves nothing behind.
    take_back: Callable[[Any, Context], Result] | None = None

    def check(self, params: Any, config: Any) -> None:
        """Refuse, before a person sees them, parameters that could never run.

        Raises:
            ValueError: with one sentence that says what is refused.
        """
        raise NotImplementedError

    def run(self, params: Any, context: Context) -> Result:
        """Do it once. Raises `Permanent`, `Transient`, `OutcomeUnknown` or `NeedsPerson`."""
        raise NotImplementedError

    def probe(self, params: Any, context: Context) -> Result | Running:
        """Say, without acting, how an attempt ended whose executor died.

        *Finished*: a `Result`, `Permanent` or `NeedsPerson`. *Running*: `Running`. *Never started*:
        `Transient`, which means that it may safely be repeated, with the same idempotency key.
        *Unknown*: `OutcomeUnknown`.
        """
        raise NotImplementedError

    def complete(
        self, given: dict[str, Any], config: Any, targets: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Add what follows from the configuration, so that the request shows the whole action.

        It is called again for what was approved, and must change nothing then.

        Args:
            given: the route's parameters, and the executor's own for those that it leaves out.
            config: the instance's `Config`.
            targets: the route's `target_kind`, `target_ref`, `target_env` and `execution_plane`.
        """
        del config, targets
        return given

    def doctor(self, config: Any, secret: Callable[[SecretRef], str]) -> Iterable[Finding]:
        """One `Finding` for each thing that the kind needs on this machine."""
        del config, secret
        return ()

    def warnings(self, config: Any, routes: list[Mapping[str, Any]]) -> Iterable[str]:
        """One sentence for each setting without effect on this machine, or likely a mistake.

        Args:
            config: the instance's `Config`.
            routes: the `[params]` of each route that names the instance.
        """
        del config, routes
        return ()


def as_kind(module: Any) -> Kind:
    """A kind's module, with the defaults of what it leaves out."""
    if isinstance(module, Kind):
        return module
    kind = Kind()
    kind.__doc__ = module.__doc__
    for part in {*Kind.__annotations__, *vars(Kind)}:
        if not part.startswith("_") and hasattr(module, part):
            setattr(kind, part, getattr(module, part))
    return kind
