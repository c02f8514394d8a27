"""`spoold.toml` and `routes.d/` → one `Configuration`; a mistake is named with file and line."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from spoold.config.settings import RouteTable, Settings
from spoold.config.toml import Document, complaints, parse_toml, read_toml
from spoold.errors import ConfigError
from spoold.rights import user_of


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
    routes = _load_routes(file.parent / "routes.d", drafts, problems) if with_routes else []
    if problems or settings is None:
        raise ConfigError("\n".join(problems))
    return Configuration(document, settings, tuple(routes))


def _load_routes(
    folder: Path, drafts: Mapping[Path, bytes], problems: list[str]
) -> list[RouteFile]:
    """The routes in the order of their file names, and what is wrong with them in `problems`."""
    routes: list[RouteFile] = []
    names: dict[str, Path] = {}
    for path in sorted({*folder.glob("[!.]*.toml"), *drafts}):
        try:
            found = parse_toml(path, drafts[path]) if path in drafts else read_toml(path)
        except ConfigError as error:
            problems.append(str(error))
            continue
        table = _validate(RouteTable, found, problems)
        if table is None:
            continue
        if first := names.get(table.name):
            what = f"the name {table.name!r} is taken by {first}"
            problems.append(str(found.error(what, "name")))
        names[table.name] = path
        routes.append(RouteFile(found, table))
    return routes


_M = TypeVar("_M", bound=BaseModel)


def _validate(model: type[_M], document: Document, problems: list[str]) -> _M | None:
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems += complaints(error, document)
        return None
