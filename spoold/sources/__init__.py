"""inbox bytes → Record, one module a format; its name is the `format` in the configuration."""

import importlib
import pkgutil
from typing import Any, Protocol

from pydantic import BaseModel

from spoold.record import JsonObject, Record, parse
from spoold.values import value


@value
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


def formats() -> list[str]:
    """The names of all formats: this package's public modules."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> Format:
    """The module of a format; `name` must be one of `formats()`."""
    module: Any = importlib.import_module(f"{__name__}.{name}")
    return module  # type: ignore[no-any-return]


def read(name: str, raw: bytes, origin: Origin, *, max_depth: int = 64) -> Record:
    """What the bytes of a drop say, in the format `name`.

    Raises:
        BadInput: they are no strict JSON object, or lack what the format needs.
    """
    return load(name).read(parse(raw, max_depth=max_depth), origin)
