"""`spoold retry`: failed → awaiting-approval, deferred → queued now, quarantine → inbox."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.deciding import caller, for_each, ids_argument, reason_option, show
from spoold.deciding.again import retry


@click.command(params=[
    ids_argument(), reason_option(),
    click.Option(["--as-new", "as_new"], is_flag=True,
                 help="Take a quarantined file for an event of its own, whatever its key."),
])  # fmt: skip
@pass_app
def command(app: App, ids: tuple[str, ...], why: str | None, as_new: bool) -> None:  # noqa: FBT001
    """Try again: failed → awaiting-approval, deferred → queued now, quarantine → inbox.

    A request that failed needs a yes again, if its route asks for one. A quarantined file is named
    by its name.
    """

    def again(part: str) -> None:
        executors = app.config.settings.executors
        for done in retry(app.spool, executors, caller(), why, part, as_new=as_new):
            show(app, done)

    for_each(ids, again)
