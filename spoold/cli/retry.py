"""`spoold retry`: failed → awaiting-approval, deferred → queued now, quarantine → inbox."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.deciding import (
    for_each,
    ids_argument,
    read_and_agreed,
    reason_option,
    said,
    show,
    yes_option,
)
from spoold.deciding.again import retry, set_aside


@click.command(params=[
    ids_argument(), reason_option(), yes_option(),
    click.Option(["--as-new", "as_new"], is_flag=True,
                 help="Take a quarantined file for an event of its own, whatever its key."),
])  # fmt: skip
@pass_app
def command(app: App, ids: tuple[str, ...], why: str | None, *, yes: bool, as_new: bool) -> None:
    """Try again: failed → awaiting-approval, deferred → queued now, quarantine → inbox.

    A request that failed needs a yes again, if its route asks for one. A quarantined file is named
    by its path.
    """

    def again(part: str) -> None:
        executors = app.config.settings.executors
        sure = yes or set_aside(app.spool, part)
        agreed = part if sure else read_and_agreed(app, "retry", part)
        for done in retry(app.spool, executors, said("retry", why), agreed, as_new=as_new):
            show(app, done)

    for_each(ids, again)
