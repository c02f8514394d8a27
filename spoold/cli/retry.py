"""`spoold retry`: failed → awaiting-approval, deferred → queued now, quarantine → inbox."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.deciding import caller, for_each, ids_argument, reason_option, show
from spoold.deciding.again import retry


@click.command(params=[ids_argument(), reason_option()])
@pass_app
def command(app: App, ids: tuple[str, ...], why: str | None) -> None:
    """Try again: failed → awaiting-approval, deferred → queued now, quarantine → inbox.

    A request that failed needs a yes again, if its route asks for one. A quarantined file is named
    by its name.
    """

    def again(part: str) -> None:
        for done in retry(app.spool, app.config.settings.executors, caller(), why, part):
            show(app, done)

    for_each(ids, again)
