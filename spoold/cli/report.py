"""`spoold report`: one stage, as a systemd unit starts it."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import drain_option, run
from spoold.stages.report import Report


@click.command(params=[drain_option()])
@pass_app
def command(app: App, drain: bool) -> None:  # noqa: FBT001
    """Tell the inboxes of format `report` of every request that has changed its state."""
    run(app, lambda context: [Report(context)], drain=drain)
