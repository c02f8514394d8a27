"""Record → Action: which route matches, and what exactly it would do.

Security: records are hostile, routes are not. Values from a record reach an action only through a
typed expression, as one JSON value in one place; nothing is pasted into a command or a URL.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spoold.cel.expression import Scope
from spoold.cel.result import EvalError
from spoold.cel.tokens import Needs, all_needs
from spoold.config.configuration import Configuration
from spoold.config.settings import RouteTable
from spoold.errors import BadInput, ConfigError
from spoold.executors import instance as _instance
from spoold.executors.instance import Instance
from spoold.record import Record
from spoold.routing.compiling import compile_route
from spoold.routing.route import Action, Route, default_event_key
from spoold.sources import inbox
from spoold.sources.inbox import Inbox

__all__ = ["Action", "Route", "Routing", "default_event_key", "load"]


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
        if not _is_spoiled_by_others(file.table, config, inboxes, instances) and runner:
            try:
                routes.append(compile_route(file, config, inboxes, instances, runner))
            except ConfigError as error:
                problems.append(str(error))
    if problems or runner is None:
        raise ConfigError("\n".join(problems))
    return Routing(config, inboxes, instances, runner, tuple(routes))


def _is_spoiled_by_others(
    table: RouteTable,
    config: Configuration,
    inboxes: dict[str, Inbox],
    instances: dict[str, Instance],
) -> bool:
    """Whether a mistake in its source or its executor, reported already, spoils this route."""
    settings = config.settings
    no_source = table.source in settings.sources and table.source not in inboxes
    return no_source or (table.executor in settings.executors and table.executor not in instances)
