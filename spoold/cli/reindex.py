"""`spoold reindex`: the index of seen deliveries, rebuilt from the files."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import stopped_intake
from spoold.disk import fs
from spoold.spool.index import Index
from spoold.spool.reader import Place
from spoold.stages.intake import index_path
from spoold.stages.intake.reindex import reindex


@click.command
@pass_app
def command(app: App) -> None:
    """Rebuild the index of seen deliveries from the files; stop intake first."""
    with stopped_intake(app) as spool:
        path = index_path(spool.root)
        index = Index(path)
        known = reindex(spool, index)
        index.close()
        fs.give_to_owner(spool.path(Place("archive")), path)
    app.row({"events": known}, f"{known} deliveries known")
