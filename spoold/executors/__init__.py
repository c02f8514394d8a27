"""The contract of an executor kind: one module with `Config`, `Params`, `check`, `run`, `probe`.

A kind never touches the spool. It gets its parameters, already approved, and a `Context`; it
returns a `Result` or raises `Permanent`, `Transient` or `OutcomeUnknown`. Any other exception
counts as `OutcomeUnknown`, because nobody can say what had happened by then.

Security: an executor trusts that what it is given was approved byte for byte, and nothing else.
"""

import importlib
import pkgutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from spoold.config import SecretRef


class Model(BaseModel):
    """Base of every kind's `Config` and `Params`: strict, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class Result:
    """An attempt that worked.

    Attributes:
        code: short and stable, such as `http-200` or `exit-0`.
        detail: one sentence for the person who reads the request file.
        data: what is worth keeping, plain JSON, without secrets.
    """

    code: str
    detail: str
    data: dict[str, Any] = field(default_factory=dict)


class Output(Protocol):
    """A capped stream into `logs/<dispatch_id>/`; what is over the cap is counted, not kept."""

    name: str
    total: int

    def write(self, data: bytes) -> None:
        """Append; never blocks on the cap and never raises for it."""
        ...

    def tail(self, limit: int = 4000) -> str:
        """The last bytes seen, as text, at most `limit` of them."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """All that an attempt may use.

    Attributes:
        dispatch_id: the request's id, also its idempotency key.
        number: this attempt's number, from 1.
        first_started: when attempt 1 started (UTC): the age of the idempotency key.
        config: the instance's `Config`, as the kind's model.
        open_output: opens `logs/<dispatch_id>/<prefix>.<stream>`; the caller closes nothing.
        secret: reads a secret by reference; raises `Transient` that says what is missing.
        stopping: set when the service is being stopped and will not wait any longer.
        in_doubt: an earlier attempt may have had its effect: one that ended in a `Transient` whose
            data say `"in_doubt": true`, which a kind raises when only the far side's memory of the
            idempotency key makes a repeat safe.
    """

    dispatch_id: str
    number: int
    first_started: datetime
    config: Any
    open_output: Callable[[str], Output]
    secret: Callable[[SecretRef], str]
    stopping: threading.Event
    in_doubt: bool = False


class Kind(Protocol):
    """What a module in this package, or behind an entry point, provides.

    It may also have `LITERAL`: paths of parameters, such as `("argv", 0)`, that a route must write
    literally, because choosing the program is the author's business and not the record's, each with
    a function of the value and the config that raises `ValueError` if it is not allowed.
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

    def probe(self, params: Any, context: Context) -> Result:
        """Say how an attempt ended whose executor died: as `run`, without acting.

        `Transient` means: it may safely be repeated, with the same idempotency key.
        """
        ...


_registered: dict[str, Kind] = {}


def register(name: str, kind: Kind) -> None:
    """Add a kind for this process only; a package declares an entry point instead."""
    _registered[name] = kind


@cache
def _points() -> dict[str, EntryPoint]:
    """Looked up once: it reads the metadata of every package there is."""
    return {point.name: point for point in entry_points(group="spoold.executors")}


def kinds() -> list[str]:
    """The names of all kinds: this package's modules and the entry points `spoold.executors`."""
    own = {m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}
    return sorted(own | _points().keys() | _registered.keys())


def load(kind: str) -> Kind:
    """The module of a kind; `kind` must be one of `kinds()`."""
    if kind in _registered:
        return _registered[kind]
    if kind in _points():
        return _points()[kind].load()  # type: ignore[no-any-return]
    module: Any = importlib.import_module(f"{__name__}.{kind}")
    return module  # type: ignore[no-any-return]
