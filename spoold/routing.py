"""Record → Action: which route matches, and what exactly it would do.

Security: records are hostile, routes are not. Values from a record reach an action only through a
typed expression, as one JSON value in one place; nothing is pasted into a command or a URL.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import orjson

from spoold.cel.expression import Expression, RuleError, Scope
from spoold.cel.result import EvalError
from spoold.cel.template import Template
from spoold.cel.tokens import Needs, all_needs
from spoold.config.configuration import Configuration, RouteFile
from spoold.config.settings import RouteTable
from spoold.errors import BadInput, ConfigError
from spoold.executors import instance as _instance
from spoold.executors.instance import Instance
from spoold.identity import LONGEST_KEY
from spoold.record import Record
from spoold.sources import inbox
from spoold.sources.inbox import Inbox

_FIELDS = tuple(field.name for field in fields(Record))
_TARGETS = ("target_kind", "target_ref", "target_env", "execution_plane", "rationale")


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
    lane: str | None


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
            event_key=keys.get("event_key") or default_event_key(record),
            intent_key=keys.get("intent_key") or None,
            on_repeat=self.table.on_repeat,
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


@dataclass(frozen=True)
class Routing:
    """A configuration, ready for use: inboxes, executors, routes in their order."""

    config: Configuration
    inboxes: dict[str, Inbox]
    executors: dict[str, Instance]
    preflight: Instance
    routes: tuple[Route, ...]

    def named(self, name: str) -> Route | None:
        """The route of that name."""
        return next((route for route in self.routes if route.table.name == name), None)

    def params_of(self, executor: str) -> list[Mapping[str, Any]]:
        """The `[params]` of an executor's routes, as they were written."""
        return [r.table.params for r in self.routes if r.table.executor == executor]

    def scope(self, record: Record) -> Scope:
        """A record as the routes of its source look at it."""
        return Scope(record.as_dict(), self._needs.get(record.source))

    @cached_property
    def _needs(self) -> dict[str, Needs | None]:
        return {
            source: all_needs(
                expression.needs
                for route in self.routes
                if route.table.source == source
                for expression in route.expressions()
            )
            for source in self.inboxes
        }

    def match(self, record: Record, scope: Scope) -> Route:
        """The first route, in file-name order, whose expression is exactly true.

        Raises:
            BadInput: `no-route`, or `route-error` if none matched and one could not be evaluated.
        """
        failures: list[str] = []
        for route in self.routes:
            if route.table.source != record.source:
                continue
            try:
                if route.match.test(scope):
                    return route
            except EvalError as error:
                failures.append(f"route {route.table.name}: {error}")
        if failures:
            raise BadInput("route-error", f"No route matches, and {'; '.join(failures)}.")
        kind = f"a record of type {record.type[:60]!r} from source {record.source}"
        raise BadInput("no-route", f"No route matches {kind}.")


def load(config: Configuration) -> Routing:
    """Compile everything.

    Raises:
        ConfigError: with one line for every mistake, each beginning with `file:line:`.
    """
    problems: list[str] = []
    inboxes = inbox.configure(config, problems)
    instances = _instance.configure(config, problems)
    runner = _instance.preflight(config, problems)
    asked = config.settings.health.inbox
    if asked is not None and asked not in config.settings.sources:
        message = f"health.inbox: no source {asked!r} is configured"
        problems.append(str(config.document.error(message, "health", "inbox")))
    routes: list[Route] = []
    for file in config.routes:
        if not _complained_about(file.table, config, inboxes, instances) and runner:
            try:
                routes.append(_compile(file, config, inboxes, instances, runner))
            except ConfigError as error:
                problems.append(str(error))
    if problems or runner is None:
        raise ConfigError("\n".join(problems))
    return Routing(config, inboxes, instances, runner, tuple(routes))


def _complained_about(
    table: RouteTable,
    config: Configuration,
    inboxes: dict[str, Inbox],
    instances: dict[str, Instance],
) -> bool:
    """Whether a route only fails because of a mistake elsewhere that is told already."""
    settings = config.settings
    no_source = table.source in settings.sources and table.source not in inboxes
    return no_source or (table.executor in settings.executors and table.executor not in instances)


def _compile(
    file: RouteFile,
    config: Configuration,
    inboxes: dict[str, Inbox],
    instances: dict[str, Instance],
    runner: Instance,
) -> Route:
    table, document = file.table, file.document
    if table.source not in inboxes:
        raise document.error(f"source: no source {table.source!r} is configured", "source")
    if table.executor not in instances:
        known = ", ".join(instances) or "none"
        message = f"executor: no executor {table.executor!r} is configured; there are: {known}"
        raise document.error(message, "executor")
    instance = instances[table.executor]
    keys = {
        name: _expression(file, name, text)
        for name in ("event_key", "intent_key", "lane")
        if (text := getattr(table, name)) is not None
    }
    targets = _template(file, {name: getattr(table, name) for name in _TARGETS})
    preflight = tuple(
        _parameters(file, runner, command, targets, "preflight", number)
        for number, command in enumerate(
            one.model_dump(exclude_none=True) for one in table.preflight
        )
    )
    return Route(
        file=file,
        executor=instance,
        preflight_runner=runner,
        match=_expression(file, "match", table.match, boolean=True),
        keys=keys,
        targets=targets,
        params=_parameters(file, instance, table.params, targets, "params"),
        preflight=preflight,
        expires_after=(
            config.settings.expires_after if table.expires_after is None else table.expires_after
        ),
    )


def _expression(file: RouteFile, key: str, text: str, *, boolean: bool = False) -> Expression:
    try:
        expression = Expression(text, boolean=boolean)
    except RuleError as error:
        raise file.document.error(f"{key}: {error}", key) from None
    _must_name_fields(file, expression, key)
    return expression


def _template(
    file: RouteFile, value: Any, *prefix: str | int, optional: frozenset[str] = frozenset()
) -> Template:
    try:
        template = Template(value, ".".join(str(part) for part in prefix), optional)
    except RuleError as error:
        path = (*prefix, *error.path)
        key = ".".join(str(part) for part in path)
        raise file.document.error(f"{key}: {error}", *path) from None
    for place, expression in template.compiled():
        _must_name_fields(file, expression, *prefix, *place)
    return template


def _must_name_fields(file: RouteFile, expression: Expression, *path: str | int) -> None:
    """A field that no record has is a mistake now; what is in `body` and `facts` varies."""
    for named in expression.paths:
        field, text = named.steps[0]
        if field not in _FIELDS:
            where = ".".join(str(part) for part in path)
            message = f"{where}: a record has no {text!r}; it has {', '.join(_FIELDS)}"
            raise file.document.error(message, *path)


def _parameters(
    file: RouteFile, instance: Instance, given: Any, targets: Template, *key: str | int
) -> Template:
    """Compiled parameters; what is wrong with them is found as far as it needs no record."""
    template = _template(file, given, *key, optional=frozenset(instance.kind.OPTIONAL))
    _must_be_literal(file, instance, template, given, *key)
    _check_early(file, instance, template, targets, *key)
    return template


def _must_be_literal(
    file: RouteFile, instance: Instance, template: Template, given: Any, *key: str | int
) -> None:
    """Refuse an expression where only the route's author may choose, such as a program's name."""
    for literal, allowed in instance.kind.LITERAL.items():
        for path in template.expressions():
            both = min(len(path), len(literal))
            if path[:both] == literal[:both]:
                where = ".".join(str(part) for part in (*key, *path))
                message = f"{where}: must be literal in the route, not an expression"
                raise file.document.error(message, *key, *path)
        value = given
        try:
            for part in literal:
                value = value[part]
            allowed(value, instance.config)
        except (KeyError, IndexError, TypeError):
            continue
        except ValueError as error:
            where = ".".join(str(part) for part in (*key, *literal))
            raise file.document.error(f"{where}: {error}", *key, *literal) from None


def _check_early(
    file: RouteFile, instance: Instance, template: Template, targets: Template, *key: str | int
) -> None:
    """What can be known without a record is an error now, not in the first outage."""
    known = instance.kind.Params.model_fields
    is_literal = not [*template.expressions(), *targets.expressions()]
    for name in file.table.params if key == ("params",) else ():
        if name not in known:
            message = f"params.{name}: executor kind {instance.kind_name!r} has no such parameter"
            raise file.document.error(message, "params", name)
    if is_literal:
        try:
            instance.complete(template.render(Scope({})), targets.render(Scope({})))
        except BadInput as error:
            raise file.document.error(error.what, *key) from None
