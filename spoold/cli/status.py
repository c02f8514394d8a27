"""`spoold status`: which stages run, are ready, wait, hang or are gone."""

import os
from dataclasses import asdict

import click

from spoold.cli.app import App, pass_app
from spoold.disk.free_space import Floor
from spoold.errors import NoRoom, SpooldError
from spoold.service.stage_status import read_stages
from spoold.text import age, printable

#: Which states are well, and how a monitor is told of the others.
_COLOURS = {"ready": None, "starting": "yellow", "standing-by": "yellow", "waits": "yellow",
            "stopping": "yellow"}  # fmt: skip


class Down(SpooldError):
    """A stage is gone, or hangs."""

    exit_code = os.EX_UNAVAILABLE


class NotReady(SpooldError):
    """Every stage runs, and one of them does nothing now."""

    exit_code = os.EX_TEMPFAIL


@click.command
@pass_app
def command(app: App) -> None:
    """Show how every stage does, from its own heartbeat.

    Exit 0 if all are ready, 75 if one is not (it starts, waits, or another process does its work),
    69 if one is gone or hangs.
    """
    form = "{:<24} {:<12} {:>7}  {}"
    if not app.as_json:
        click.echo(app.styled(form.format("STAGE", "STATE", "HEARD", "ABOUT"), bold=True))
    found = list(read_stages(app.config))
    for seen in found:
        heard = "-" if seen.silent_s is None else age(seen.silent_s)
        text = form.format(seen.stage, seen.state, heard, printable(seen.detail)).rstrip()
        row = {key: value for key, value in asdict(seen).items() if key != "counts"}
        app.row(row, app.styled(text, fg=_COLOURS.get(seen.state, "red")))
    if app.spool.on_hold:
        click.echo("HOLD is set: nothing passes the gate, and nothing starts", err=True)
    _say_room(app)
    if down := [seen.stage for seen in found if not seen.healthy]:
        raise Down(f"not running as it should: {', '.join(down)}")
    if idle := [seen.stage for seen in found if not seen.ready]:
        raise NotReady(f"not ready: {', '.join(idle)}")


def _say_room(app: App) -> None:
    try:
        Floor(str(app.config.root), app.config.settings.min_free).check()
    except (NoRoom, FileNotFoundError) as problem:
        click.echo(str(problem), err=True)
