"""`spoold reindex`: the index of seen deliveries, rebuilt from the files."""

import os

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import stopped_intake
from spoold.linux.users import as_owner_of
from spoold.spool.index import Index, remove
from spoold.stages.intake import index_path
from spoold.stages.intake.reindex import reindex


@click.command
@pass_app
def command(app: App) -> None:
    """Rebuild the index of seen deliveries from the files; stop intake first."""
    root = str(app.config.root)
    with as_owner_of(os.path.join(root, "archive")), stopped_intake(app) as spool:
        remove(index_path(root))
        index = Index(index_path(root))
        known = reindex(spool, index)
        index.close()
    app.row({"events": known}, f"{known} deliveries known")
