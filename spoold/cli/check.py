"""`spoold check`: the configuration compiles, and the spool can do what it must."""

import os
from collections.abc import Iterator

import click

from spoold import fs
from spoold.cli._app import App, pass_app
from spoold.config import SecretMissing, SecretRef, read_secret
from spoold.errors import ConfigError
from spoold.spool import Place, Spool
from spoold.states import Role


@click.command
@pass_app
def command(app: App) -> None:
    """Check the configuration, the routes and the spool; exit 78 with file and line if not."""
    routing = app.routing
    for inbox in routing.inboxes.values():
        app.row({"ok": True, "source": inbox.name}, f"ok       source {inbox.name}")
    for instance in routing.executors.values():
        text = f"ok       executor {instance.name} ({instance.kind})"
        app.row({"ok": True, "executor": instance.name, "kind": instance.kind}, text)
    for route in routing.routes:
        name, to = route.table.name, route.table.executor
        app.row({"ok": True, "route": name}, f"ok       route {name}: {route.table.source} → {to}")
    for warning in _secrets(app):
        app.row({"warning": warning}, app.styled(f"warning  {warning}", fg="yellow"))
    if not (app.config.root / "tmp").is_dir():
        text = f"{app.config.root} is not laid out yet; `spoold run` does that"
        app.row({"warning": text}, app.styled(f"warning  {text}", fg="yellow"))
        return
    _try_renames(app)
    app.row({"ok": True, "root": str(app.config.root)}, f"ok       spool {app.config.root}")


def _secrets(app: App) -> Iterator[str]:
    """Secrets that this process cannot see; a service may be given them, so it is no error."""
    folder = app.config.document.file.parent
    for name, instance in app.routing.executors.items():
        for key, ref in instance.config:
            if isinstance(ref, SecretRef):
                try:
                    read_secret(ref, folder)
                except SecretMissing as error:
                    yield f"executor {name}: {key}: {error}"


def _try_renames(app: App) -> None:
    """Only the rename itself tells whether two folders are on one mount and may be renamed between.

    Device numbers are equal on two bind mounts of one file system, and rename fails there.
    """
    routing = app.routing
    spool = Spool(str(app.config.root), Role.INTAKE, routing.inboxes, routing.executors)
    home = spool.path(Place("tmp"))
    probe = fs.Unsynced(spool.root).write(home, ".check", b"")
    there = ""
    try:
        for place in spool.places():
            there = os.path.join(spool.path(place), f".check.{os.getpid()}")
            fs.rename_new(probe, there)
            fs.rename_new(there, probe)
    except OSError as error:
        fs.remove(there)
        raise ConfigError(
            f"cannot rename between {home} and {os.path.dirname(there)}: {error.strerror}. All "
            "folders of a spool must be on one mount of a file system with RENAME_NOREPLACE "
            "(ext4, xfs, btrfs, tmpfs), and yours to write to"
        ) from error
    finally:
        fs.remove(probe)
