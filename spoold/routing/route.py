"""One route, compiled, and the action that it renders from a record."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from spoold.cel.expression import Expression, Scope
from spoold.cel.result import EvalError
from spoold.cel.template import Template
from spoold.config.configuration import RouteFile
from spoold.config.quantities import FOREVER, WHILE_OPEN
from spoold.config.settings import RouteTable
from spoold.errors import BadInput
from spoold.executors.instance import Instance
from spoold.identity import LONGEST_KEY
from spoold.record import Record


@dataclass(frozen=True, slots=True)
class Action:
    """What a route renders from a record; the parameters are complete and accepted."""

    route: str
    executor: str
    targets: dict[str, str | None]
    params: dict[str, Any]
    preflight: list[dict[str, Any]]
    requires_approval: bool
    expires_after: float
    event_key: str
    intent_key: str | None
    on_repeat: str
    supersede_others: bool
    repeats: str
    lane: str | None

    @property
    def asks(self) -> dict[str, Any]:
        """What it would do, without why: two actions that ask for the same have the same."""
        return {
            "executor": self.executor,
            **{name: text for name, text in self.targets.items() if name != "rationale"},
            "params": self.params,
            "preflight": self.preflight,
            "requires_approval": self.requires_approval,
        }


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled route."""

    file: RouteFile
    executor: Instance
    preflight_runner: Instance
    match: Expression
    keys: dict[str, Expression]
    targets: Template
    params: Template
    preflight: tuple[Template, ...]
    expires_after: float
    repeats: str | None

    def expressions(self) -> Iterator[Expression]:
        """Everything that is evaluated for a record."""
        yield self.match
        yield from self.keys.values()
        for template in (self.targets, self.params, *self.preflight):
            for _, expression in template.compiled():
                yield expression

    @property
    def table(self) -> RouteTable:
        """The route as it was written."""
        return self.file.table

    def render(self, record: Record, scope: Scope) -> Action:
        """The action that this route would ask a person to approve.

        Raises:
            BadInput: `route-error` or `params-refused`.
        """
        try:
            targets = {k: _text(k, v) for k, v in self.targets.render(scope).items()}
            given = self.params.render(scope)
            preflight = [command.render(scope) for command in self.preflight]
            keys = {name: _key(name, e.value(scope)) for name, e in self.keys.items()}
        except EvalError as error:
            what = f"Route {self.table.name} matches, but {error}."
            raise BadInput("route-error", what) from None
        params = self.executor.complete(given, targets)
        own_key = keys.get("event_key") or record.id
        return Action(
            route=self.table.name,
            executor=self.executor.name,
            targets=targets,
            params=params.model_dump(mode="json"),
            preflight=[
                self.preflight_runner.complete(one, targets).model_dump(mode="json")
                for one in preflight
            ],
            requires_approval=self.table.requires_approval,
            expires_after=self.expires_after,
            event_key=own_key or default_event_key(record),
            intent_key=keys.get("intent_key") or None,
            on_repeat=self.table.on_repeat,
            supersede_others=self.table.supersede_others,
            repeats=self.repeats or (FOREVER if own_key else WHILE_OPEN),
            lane=keys.get("lane") or self.executor.lane(params),
        )


def default_event_key(record: Record) -> str:
    """The record's own id, else the digest of its content."""
    if record.id:
        return record.id
    content = orjson.dumps(record.body, option=orjson.OPT_SORT_KEYS)
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise EvalError(f"{name} is a {type(value).__name__}, where a string is needed")


def _key(name: str, value: object) -> str | None:
    key = _text(name, value)
    if key and len(key) > LONGEST_KEY:
        raise EvalError(f"{name} has {len(key)} characters, more than {LONGEST_KEY}")
    return key
