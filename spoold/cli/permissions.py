"""`spoold check --permissions`: users, folders and units as the table and the configuration say."""

import os
from collections.abc import Iterator
from pathlib import Path

from spoold import rights
from spoold.cli.app import App
from spoold.errors import ConfigError
from spoold.host import accounts, one_user, permissions, units
from spoold.host import root_only as guarded
from spoold.host.permissions import Differs, Finding


def check(app: App, *, fix: bool) -> None:
    """Compare, and mend if that is wanted.

    Raises:
        Differs: something is not as it should be; stdout says what.
        ConfigError: it cannot be mended here.
    """
    if fix:
        _mend(app)
    found = 0
    for finding in _compare(app):
        found += 1
        row = {"path": finding.path, "found": finding.found, "wanted": finding.wanted}
        text = f"differs  {finding.path}: {finding.found}; it should be {finding.wanted}"
        app.row(row, app.styled(text, fg="red"))
    if found:
        who = "As root" if app.config.settings.separate_users else "As their owner, or as root"
        raise Differs(f"{found} differ. {who}, `spoold check --permissions --fix` mends them")
    app.row({"ok": True, "root": str(app.config.root)}, f"ok       permissions {app.config.root}")


def _compare(app: App) -> Iterator[Finding]:
    settings, root = app.config.settings, str(app.config.root)
    sources, executors = sorted(settings.sources), sorted(settings.executors)
    if not settings.separate_users:
        yield from one_user.compare(root, str(app.config.document.file))
        return
    yield from permissions.compare(root, rights.of_spool(sources, executors))
    yield from accounts.compare(_kinds(app))
    if is_of_the_system(app):
        yield from units.compare(units.wanted(app.routing))
        yield from guarded.compare(units.guarded())


def _mend(app: App) -> None:
    settings, root = app.config.settings, str(app.config.root)
    sources, executors = sorted(settings.sources), sorted(settings.executors)
    if not settings.separate_users:
        one_user.mend(root, str(app.config.document.file))
        return
    if os.geteuid() != 0:
        raise ConfigError("with users of their own (`separate_users`) only root can mend this")
    accounts.make(_kinds(app))
    Path(root).mkdir(parents=True, exist_ok=True)
    permissions.mend(root, rights.of_spool(sources, executors))
    if is_of_the_system(app):
        units.mend(units.wanted(app.routing))
        guarded.mend(units.guarded())


def _kinds(app: App) -> dict[str, str]:
    return {name: table.kind for name, table in app.config.settings.executors.items()}


def is_of_the_system(app: App) -> bool:
    """Whether this is the configuration that the packaged services run with."""
    return app.config.document.file.resolve() == units.CONFIG
