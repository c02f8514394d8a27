"""`spoold intake`: one stage, as a systemd unit starts it."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import drain_option, run
from spoold.stages.intake import Intake


@click.command(params=[drain_option()])
@pass_app
def command(app: App, drain: bool) -> None:  # noqa: FBT001
    """Take drops: inbox → awaiting-approval, pre-approved or quarantine."""
    run(app, lambda context: [Intake(context)], drain=drain)
