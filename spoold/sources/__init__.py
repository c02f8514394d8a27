"""inbox bytes → Record: one module a format, all of them in the table `FORMATS`.

A format turns JSON into a `Record` and says what senders call things (`fields.py`). It never
touches the spool, and decides nothing: routes do.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from spoold.record import JsonObject, Record
from spoold.strict_json import parse


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record came from: the source's name, the file's name, the source's options."""

    source: str
    file: str
    options: Any


class Format(Protocol):
    """What a module in this package provides."""

    Options: type[BaseModel]

    def read(self, document: JsonObject, origin: Origin) -> Record:
        """Turn one strict JSON object into a record, or raise `BadInput`."""
        ...


#: Every `format` a source may name in the configuration, and the module that reads it.
FORMATS = {name: f"{__name__}.{name}" for name in ("decision", "report", "task", "webhook")}


def load(name: str) -> Format:
    """The module of a format; `name` must be one of `FORMATS`."""
    module: Any = importlib.import_module(FORMATS[name])
    return module  # type: ignore[no-any-return]


def read(name: str, raw: bytes, origin: Origin, *, max_depth: int = 64) -> Record:
    """What the bytes of a drop say, in the format `name`.

    Raises:
        BadInput: they are no strict JSON object, or lack what the format needs.
    """
    return load(name).read(parse(raw, max_depth=max_depth), origin)
