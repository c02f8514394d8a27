"""`spoold execute NAME`: one executor, as a systemd unit starts it."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import drain_option, run
from spoold.errors import ConfigError
from spoold.stages.execute import Execute


@click.command(params=[click.Argument(["name"]), drain_option()])
@pass_app
def command(app: App, name: str, drain: bool) -> None:  # noqa: FBT001
    """Carry out what the gate queued for the executor NAME."""
    if name not in app.routing.executors:
        known = ", ".join(app.routing.executors) or "none"
        # Not an error of the command line: a service of that name shall not be started again.
        raise ConfigError(f"no executor {name!r} is configured; there are: {known}")
    run(app, lambda context: [Execute(context, name)], drain=drain)
