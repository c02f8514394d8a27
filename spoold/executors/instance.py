"""`[executors.<name>]` → a configured instance of a kind."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from spoold import executors
from spoold.config.configuration import Configuration
from spoold.config.settings import Retry
from spoold.config.toml import complaints
from spoold.errors import BadInput

#: What a request says about its target, beside its parameters.
Targets = Mapping[str, str | None]

#: Keys of an executor's table that mean the same for every kind.
_COMMON = frozenset({"kind", "concurrency", "retry"})


@dataclass(frozen=True, slots=True)
class Instance:
    """A named executor: a kind, its settings, its limits.

    Attributes:
        defaults: keys of the executor's table that are parameters too.
    """

    name: str
    kind_name: str
    kind: executors.Kind
    config: BaseModel
    defaults: dict[str, Any]
    concurrency: int
    retry: Retry

    def complete(self, given: dict[str, Any], targets: Targets) -> BaseModel:
        """The whole parameters of an action: the route's, else this table's, else the kind's.

        Raises:
            BadInput: `params-refused`, with the parameter and what is wrong with it.
        """
        return self._completed(given, targets)[1]

    def approved(self, sealed: dict[str, Any], targets: Targets) -> BaseModel:
        """The parameters of an approved request, if the same would be asked for today.

        Raises:
            BadInput: `params-refused`; the configuration has changed since.
        """
        fields, params = self._completed(sealed, targets)
        if fields != sealed:
            # A later version may know more parameters, so the models count, and not the fields.
            now = params.model_dump(mode="json")
            then = self.kind.Params.model_validate(sealed).model_dump(mode="json")
            for name in [name for name in now if now[name] != then.get(name)]:
                raise BadInput(
                    "params-refused",
                    f"Executor {self.name} has another {name} now than when this was approved: its "
                    "configuration has changed.",
                )
        return params

    def _completed(
        self, given: dict[str, Any], targets: Targets
    ) -> tuple[dict[str, Any], BaseModel]:
        try:
            fields = self.kind.complete({**self.defaults, **given}, self.config, targets)
            params = self.kind.Params.model_validate(fields)
            self.kind.check(params, self.config)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["params", *(str(part) for part in problem["loc"])])
            what = f"{where}: {problem['msg'].removeprefix('Value error, ')}"
            raise BadInput("params-refused", f"Executor {self.name} refuses {what}.") from None
        except ValueError as error:
            raise BadInput("params-refused", f"Executor {self.name} refuses: {error}.") from None
        return fields, params

    def lane(self, params: BaseModel) -> str | None:
        """The lane that the kind gives a request with these complete parameters."""
        return self.kind.lane(params) if self.kind.lane else None

    def warnings(self, routes: list[Mapping[str, Any]]) -> list[str]:
        """What has no effect here, or is likely a mistake, in the table and routes' parameters."""
        return list(self.kind.warnings(self.config, routes))

    def settings(self, routes: list[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Each setting of this table and of these routes' parameters: where it is, and its value.

        A parameter has the type that the kind gives it; None where only a record determines it.
        """
        yield from self.config
        for params in routes:
            for key, value in params.items():
                yield f"params.{key}", self._typed(key, value)

    def _typed(self, parameter: str, value: Any) -> Any:
        field = self.kind.Params.model_fields.get(parameter)
        if field is None or field.annotation is None:
            return None
        with suppress(ValidationError):
            return TypeAdapter[Any](field.annotation).validate_python(value)
        return None

    @property
    def outlives(self) -> bool:
        """Whether what it starts goes on when the service stops, and is found again."""
        return self.kind.resume is not None

    @property
    def has_lanes(self) -> bool:
        """Whether the kind gives requests lanes."""
        return self.kind.lane is not None


def configure(config: Configuration, problems: list[str]) -> dict[str, Instance]:
    """All executors of a configuration. A line for every mistake is added to `problems`."""
    found: dict[str, Instance] = {}
    for name, table in config.settings.executors.items():
        if table.kind not in executors.kinds():
            known = ", ".join(executors.kinds())
            message = f"executors.{name}.kind: no executor kind {table.kind!r}; there are: {known}"
            problems.append(str(config.document.error(message, "executors", name, "kind")))
            continue
        raw = {k: v for k, v in config.document.data["executors"][name].items() if k not in _COMMON}
        try:
            found[name] = _instance(name, table.kind, raw, table.concurrency, table.retry)
        except ValidationError as error:
            problems += complaints(error, config.document, "executors", name)
    return found


def preflight(config: Configuration, problems: list[str]) -> Instance | None:
    """`[preflight]`: an instance of `command` that runs what routes name in `preflight`."""
    raw = {"programs": [], **config.settings.preflight}
    try:
        return _instance("preflight", "command", raw, 1, Retry())
    except ValidationError as error:
        problems += complaints(error, config.document, "preflight")
        return None


def _instance(
    name: str, kind_name: str, table: dict[str, Any], concurrency: int, retry: Retry
) -> Instance:
    kind = executors.load(kind_name)
    config = kind.Config.model_validate(table)
    defaults = {key: value for key, value in table.items() if key in kind.Params.model_fields}
    return Instance(name, kind_name, kind, config, defaults, concurrency, retry)
