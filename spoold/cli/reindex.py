"""`spoold reindex`: the index of seen deliveries, rebuilt from the files."""

import click

from spoold.cli.app import App, pass_app
from spoold.disk import fs
from spoold.errors import TryLater
from spoold.spool.index import Index
from spoold.spool.spool import Place, Spool
from spoold.stages.intake import index_path
from spoold.stages.intake.reindex import reindex
from spoold.states import Role


@click.command
@pass_app
def command(app: App) -> None:
    """Rebuild the index of seen deliveries from the files; stop intake first."""
    settings = app.config.settings
    spool = Spool(str(app.config.root), Role.INTAKE, settings.sources, settings.executors)
    spool.lay_out()
    lock = spool.lock(Place("archive"))
    try:
        lock.acquire()
    except TryLater:
        raise TryLater("intake runs on this spool; stop it, then reindex") from None
    path = index_path(spool.root)
    index = Index(path)
    known = reindex(spool, index)
    index.close()
    fs.give_to_owner(spool.path(Place("archive")), path)
    lock.release()
    app.row({"events": known}, f"{known} deliveries known")
