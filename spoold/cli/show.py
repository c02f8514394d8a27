"""`spoold show ID`: one file, where it is and why."""

import sys

import click

from spoold.cli.app import App, pass_app
from spoold.text import printable, shown
from spoold.view.describe import describe


@click.command(params=[click.Argument(["ids"], nargs=-1, required=True, metavar="ID…")])
@pass_app
def command(app: App, ids: tuple[str, ...]) -> None:
    """Print a request as it is on disk; where it lies, and why, goes to stderr."""
    for part in ids:
        one = describe(app.spool, part)
        if app.as_json:
            app.row(one.as_json(), "")
            continue
        pin = f" @{one.pin}" if one.pin else ""
        click.echo(app.styled(f"{one.found}{pin}", bold=True), err=True)
        if why := one.reason:
            text = shown(f"{why.get('code')}: {why.get('what')} {why.get('advice')}")
            click.echo(app.styled(text, fg="yellow"), err=True)
        # A stranger's bytes may steer a terminal; a pipe gets them as they are.
        content = printable(one.data) if sys.stdout.isatty() else one.data
        click.echo(content, nl=not one.data.endswith(b"\n"))
