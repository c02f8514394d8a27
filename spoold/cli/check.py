"""`spoold check`: the configuration compiles, and the spool can do what it must."""

import logging
import os
from collections.abc import Iterator

import click

from spoold.cli import permissions as _permissions
from spoold.cli.app import App, pass_app
from spoold.config.secrets import SecretMissing, read_secret, references
from spoold.disk.free_space import Floor
from spoold.errors import NoRoom
from spoold.executors.instance import Instance
from spoold.host.filesystem import try_out
from spoold.rights import user_of
from spoold.routing import Routing
from spoold.spool.decisions import user_name


@click.command
@click.option("--permissions", is_flag=True, help="Compare users, folders and units instead.")
@click.option("--fix", is_flag=True, help="With --permissions: make them as they should be.")
@click.option("-q", "--quiet", is_flag=True, help="Only say what is wrong.")
@pass_app
def command(app: App, permissions: bool, fix: bool, quiet: bool) -> None:  # noqa: FBT001
    """Check the configuration, the routes and the spool; exit 78 with file and line if not.

    With --permissions, whether everybody may do what the table of folders says, and no more: exit
    77 if not. After a source or an executor was added, `--permissions --fix` (as root) lays out
    what it needs.
    """
    if fix and not permissions:
        raise click.UsageError("--fix goes with --permissions")
    routing = app.routing
    if permissions:
        _permissions.check(app, fix=fix)
        return
    if not quiet:
        _list(app, routing)
    for warning in [*_secrets(app), *_settings(app)]:
        _warn(app, warning)
    root = app.config.root
    if root.is_dir():
        own = not app.config.settings.separate_users
        for warning in [*try_out(app.spool, everywhere=own), *_floor(app)]:
            _warn(app, warning)
    if (root / "tmp").is_dir():
        if not quiet:
            app.row({"ok": True, "root": str(root)}, f"ok       spool {root}")
    else:
        text = f"{root} is not laid out yet; `spoold run` does that"
        _warn(app, text)


def _warn(app: App, text: str) -> None:
    app.row({"warning": text}, app.styled(f"warning  {text}", fg="yellow"), logging.WARNING)


def _list(app: App, routing: Routing) -> None:
    for inbox in routing.inboxes.values():
        app.row({"ok": True, "source": inbox.name}, f"ok       source {inbox.name}")
    for instance in routing.executors.values():
        text = f"ok       executor {instance.name} ({instance.kind_name})"
        app.row({"ok": True, "executor": instance.name, "kind": instance.kind_name}, text)
    for route in routing.routes:
        name, to = route.table.name, route.table.executor
        app.row({"ok": True, "route": name}, f"ok       route {name}: {route.table.source} → {to}")


def _floor(app: App) -> Iterator[str]:
    """What intake would say to a drop now, where there is less room than it leaves to others."""
    try:
        Floor(str(app.config.root), app.config.settings.min_free).check()
    except NoRoom as error:
        yield str(error)


def _settings(app: App) -> Iterator[str]:
    """Settings that would have no effect in a process like this one."""
    for name, instance in _own(app):
        for warning in instance.warnings(app.routing.params_of(name)):
            yield f"executor {name}: {warning}"


def _own(app: App) -> Iterator[tuple[str, Instance]]:
    """The executors that run as this user: only they are given their secrets and limits."""
    for name, instance in app.routing.executors.items():
        if not app.config.settings.separate_users or user_name(os.geteuid()) == user_of(name):
            yield name, instance


def _secrets(app: App) -> Iterator[str]:
    """Secrets that this process cannot see; a service may be given them, so it is no error."""
    folder = app.config.document.file.parent
    for name, instance in _own(app):
        for key, value in instance.settings(app.routing.params_of(name)):
            for ref in references(value):
                try:
                    read_secret(ref, folder)
                except SecretMissing as error:
                    yield f"executor {name}: {key}: {error}"
