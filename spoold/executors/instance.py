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
    """A named executor: a kind, its settings, its limits."""

    name: str
    kind: str
    module: executors.Kind
    config: BaseModel
    defaults: dict[str, Any]
    concurrency: int
    retry: Retry

    def complete(self, given: dict[str, Any], targets: Targets) -> dict[str, Any]:
        """The whole parameters of an action: the route's, else this table's, else the kind's.

        Raises:
            BadInput: `params-refused`, with the parameter and what is wrong with it.
        """
        try:
            params = self._parameters(given, targets)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(["params", *(str(part) for part in problem["loc"])])
            what = f"{where}: {problem['msg'].removeprefix('Value error, ')}"
            raise BadInput("params-refused", f"Executor {self.name} refuses {what}.") from None
        except ValueError as error:
            raise BadInput("params-refused", f"Executor {self.name} refuses: {error}.") from None
        return params.model_dump(mode="json")

    def must_still_fit(self, sealed: dict[str, Any], targets: Targets) -> None:
        """What was approved is what would be asked for today; a later version may know more.

        Raises:
            BadInput: `params-refused`; the configuration has changed since.
        """
        now = self.complete(sealed, targets)
        as_approved = self.module.Params.model_validate(sealed).model_dump(mode="json")
        for name in [name for name in now if now[name] != as_approved.get(name)]:
            raise BadInput(
                "params-refused",
                f"Executor {self.name} has another {name} now than when this was approved: its "
                "configuration has changed.",
            )

    def lane(self, params: dict[str, Any]) -> str | None:
        """The lane that the kind gives a request with these complete parameters."""
        lane = getattr(self.module, "lane", None)
        found: str | None = lane(self.module.Params.model_validate(params)) if lane else None
        return found

    def warnings(self, routes: list[Mapping[str, Any]]) -> list[str]:
        """What has no effect here, or is likely a mistake, in the table and routes' parameters."""
        warnings = getattr(self.module, "warnings", None)
        return list(warnings(self.config, routes)) if warnings else []

    def values(self, routes: list[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
        """What this table and these routes' parameters say, typed, each with where."""
        yield from self.config
        for params in routes:
            for key, value in params.items():
                yield f"params.{key}", self._typed(key, value)

    def _typed(self, parameter: str, value: Any) -> Any:
        """A parameter as it was written; None where only a record makes it what it is to be."""
        field = self.module.Params.model_fields.get(parameter)
        if field is None or field.annotation is None:
            return None
        with suppress(ValidationError):
            return TypeAdapter[Any](field.annotation).validate_python(value)
        return None

    @property
    def outlives(self) -> bool:
        """Whether what it starts goes on when the service stops, and is found again."""
        return hasattr(self.module, "resume")

    @property
    def has_lanes(self) -> bool:
        """Whether the kind gives requests lanes."""
        return hasattr(self.module, "lane")

    @property
    def optional(self) -> frozenset[str]:
        """Parameters that are left out when the record lacks what they name."""
        return frozenset(getattr(self.module, "OPTIONAL", ()))

    def _parameters(self, given: dict[str, Any], targets: Targets) -> BaseModel:
        fields = {**self.defaults, **given}
        if complete := getattr(self.module, "complete", None):
            fields = complete(fields, self.config, targets)
        params = self.module.Params.model_validate(fields)
        self.module.check(params, self.config)
        return params


def configure(config: Configuration, problems: list[str]) -> dict[str, Instance]:
    """All executors of a configuration. A line for every mistake is added to `problems`."""
    found: dict[str, Instance] = {}
    for name, table in config.settings.executors.items():
        if table.kind not in executors.kinds():
            known = ", ".join(executors.kinds())
            message = f"executors.{name}.kind: no executor kind {table.kind!r}; there are: {known}"
            problems.append(str(config.document.error(message, "executors", name, "kind")))
            continue
        module = executors.load(table.kind)
        raw = {k: v for k, v in config.document.data["executors"][name].items() if k not in _COMMON}
        try:
            settings = module.Config.model_validate(raw)
        except ValidationError as error:
            problems += complaints(error, config.document, "executors", name)
            continue
        defaults = {k: v for k, v in raw.items() if k in module.Params.model_fields}
        found[name] = Instance(
            name, table.kind, module, settings, defaults, table.concurrency, table.retry
        )
    return found


def preflight(config: Configuration, problems: list[str]) -> Instance | None:
    """`[preflight]`: an instance of `command` that runs what routes name in `preflight`."""
    module = executors.load("command")
    raw = {"programs": [], **config.settings.preflight}
    try:
        settings = module.Config.model_validate(raw)
    except ValidationError as error:
        problems += complaints(error, config.document, "preflight")
        return None
    defaults = {k: v for k, v in raw.items() if k in module.Params.model_fields}
    return Instance("preflight", "command", module, settings, defaults, 1, Retry())
