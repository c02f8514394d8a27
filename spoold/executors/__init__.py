"""The kinds of executors: by name, those of this package and those behind entry points.

`contract` says what a kind is. Kinds import what they need of it from here.
"""

import importlib
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from spoold.executors.contract import (
    Context,
    Finding,
    Kind,
    Model,
    Output,
    Result,
    Running,
    as_kind,
    ends_of,
)

__all__ = [
    "KINDS",
    "Context",
    "Finding",
    "Kind",
    "Model",
    "Output",
    "Result",
    "Running",
    "ends_of",
    "kinds",
    "load",
    "register",
]

#: Every kind of this package, and the package that does it.
KINDS = {name: f"{__name__}.{name}" for name in ("agent", "command", "container", "hook")}

_registered: dict[str, Any] = {}


def register(name: str, kind: Any) -> None:
    """Add a kind for this process only; a package declares an entry point instead."""
    _registered[name] = kind


@cache
def _entry_points() -> dict[str, EntryPoint]:
    """Looked up once: it reads the metadata of every installed package."""
    return {point.name: point for point in entry_points(group="spoold.executors")}


def kinds() -> list[str]:
    """The names of all kinds: those of `KINDS` and of the entry points `spoold.executors`."""
    return sorted(KINDS.keys() | _entry_points().keys() | _registered.keys())


def load(name: str) -> Kind:
    """A kind by its name, which must be one of `kinds()`."""
    if name in _registered:
        return as_kind(_registered[name])
    if name in _entry_points():
        return as_kind(_entry_points()[name].load())
    return as_kind(importlib.import_module(KINDS[name]))
