"""`spoold gate`: one stage, as a systemd unit starts it."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import drain_option, run
from spoold.stages.gate import Gate


@click.command(params=[drain_option()])
@pass_app
def command(app: App, drain: bool) -> None:  # noqa: FBT001
    """Check what was approved: approved → queued, or held."""
    run(app, lambda context: [Gate(context)], drain=drain)
