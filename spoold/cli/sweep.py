"""`spoold sweep`: one stage, as a systemd unit starts it."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import drain_option, run
from spoold.stages.sweep import Sweep


@click.command(params=[drain_option()])
@pass_app
def command(app: App, drain: bool) -> None:  # noqa: FBT001
    """Move what only time moves: deferred → queued, awaiting-approval → expired."""
    run(app, lambda context: [Sweep(context)], drain=drain)
