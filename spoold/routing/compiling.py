"""A route's file → a compiled route; what can be known to be wrong without a record is an error."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from spoold.cel.expression import Expression, RuleError, Scope
from spoold.cel.template import Template
from spoold.config.configuration import Configuration, RouteFile
from spoold.errors import BadInput, ConfigError
from spoold.executors.instance import Instance
from spoold.record import FIELDS
from spoold.routing.route import Route
from spoold.sources.inbox import Inbox

_TARGETS = ("target_kind", "target_ref", "target_env", "execution_plane", "rationale")
_KEYS = ("event_key", "intent_key", "lane")


def compile_route(
    file: RouteFile,
    config: Configuration,
    inboxes: dict[str, Inbox],
    instances: dict[str, Instance],
    runner: Instance,
) -> Route:
    """Compile all expressions of a route.

    Args:
        file: the route as it was written.
        config: all that is configured.
        inboxes: the sources, by name.
        instances: the executors, by name.
        runner: what runs the commands of `preflight`.

    Raises:
        ConfigError: the first mistake, with its file and line.
    """
    table, compiler = file.table, _Compiler(file)
    compiler.must_be_configured(inboxes, instances)
    instance = instances[table.executor]
    targets = compiler.template({name: getattr(table, name) for name in _TARGETS})
    keys = {name: getattr(table, name) for name in _KEYS}
    default = config.settings.expires_after
    return Route(
        file=file,
        executor=instance,
        preflight_runner=runner,
        preflight=tuple(compiler.commands(runner, targets)),
        match=compiler.expression("match", table.match, boolean=True),
        keys={
            key: compiler.expression(key, text) for key, text in keys.items() if text is not None
        },
        targets=targets,
        params=compiler.parameters(instance, table.params, targets, "params"),
        expires_after=default if table.expires_after is None else table.expires_after,
        repeats=table.repeats or config.settings.sources[table.source].repeats,
    )


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles parts of one route; each error names the key and its line."""

    file: RouteFile

    def error(self, what: str, *path: str | int) -> ConfigError:
        """An error at the line of a key."""
        key = ".".join(str(part) for part in path)
        return self.file.document.error(f"{key}: {what}", *path)

    def must_be_configured(self, inboxes: dict[str, Inbox], instances: dict[str, Instance]) -> None:
        """Refuse a source or an executor that does not exist."""
        table = self.file.table
        if table.source not in inboxes:
            raise self.error(f"no source {table.source!r} is configured", "source")
        if table.executor not in instances:
            known = ", ".join(instances) or "none"
            what = f"no executor {table.executor!r} is configured; there are: {known}"
            raise self.error(what, "executor")

    def expression(self, key: str, text: str, *, boolean: bool = False) -> Expression:
        """One expression."""
        try:
            expression = Expression(text, boolean=boolean)
        except RuleError as error:
            raise self.error(str(error), key) from None
        self._must_name_fields(expression, key)
        return expression

    def template(
        self, value: Any, *prefix: str | int, optional: frozenset[str] = frozenset()
    ) -> Template:
        """A table in which texts that begin with `=` are expressions."""
        try:
            template = Template(value, ".".join(str(part) for part in prefix), optional)
        except RuleError as error:
            raise self.error(str(error), *prefix, *error.path) from None
        for place, expression in template.compiled():
            self._must_name_fields(expression, *prefix, *place)
        return template

    def commands(self, runner: Instance, targets: Template) -> Iterator[Template]:
        """The parameters of each command of `preflight`."""
        for number, command in enumerate(self.file.table.preflight):
            given = command.model_dump(exclude_none=True)
            yield self.parameters(runner, given, targets, "preflight", number)

    def parameters(
        self, instance: Instance, given: Any, targets: Template, *key: str | int
    ) -> Template:
        """Parameters of an executor, checked as far as that needs no record."""
        template = self.template(given, *key, optional=frozenset(instance.kind.OPTIONAL))
        self._must_be_literal(instance, template, given, *key)
        known = instance.kind.Params.model_fields
        for name in self.file.table.params if key == ("params",) else ():
            if name not in known:
                what = f"executor kind {instance.kind_name!r} has no such parameter"
                raise self.error(what, "params", name)
        if not [*template.expressions(), *targets.expressions()]:
            try:
                instance.complete(template.render(Scope({})), targets.render(Scope({})))
            except BadInput as error:
                raise self.file.document.error(error.what, *key) from None
        return template

    def _must_name_fields(self, expression: Expression, *path: str | int) -> None:
        """Refuse a field that no record has; what is in `body` and `facts` varies."""
        for named in expression.paths:
            field, text = named.steps[0]
            if field not in FIELDS:
                what = f"a record has no {text!r}; it has {', '.join(FIELDS)}"
                raise self.error(what, *path)

    def _must_be_literal(
        self, instance: Instance, template: Template, given: Any, *key: str | int
    ) -> None:
        """Refuse an expression where only the route's author may choose, as for a program."""
        for literal, allowed in instance.kind.LITERAL.items():
            for path in template.expressions():
                both = min(len(path), len(literal))
                if path[:both] == literal[:both]:
                    what = "must be literal in the route, not an expression"
                    raise self.error(what, *key, *path)
            value = given
            try:
                for part in literal:
                    value = value[part]
                allowed(value, instance.config)
            except (KeyError, IndexError, TypeError):
                continue
            except ValueError as error:
                raise self.error(str(error), *key, *literal) from None
