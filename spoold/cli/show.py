"""`spoold show ID`: one file, where it is and why."""

import sys

import click

from spoold.cli.app import App, pass_app
from spoold.text import shown
from spoold.view import lines
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
        for sentence in one.warnings:
            click.echo(app.styled(shown(sentence), fg="yellow"), err=True)
        if sys.stdout.isatty():
            # A stranger's bytes may steer a terminal, or look like lines where it wraps them.
            text = one.data.decode("utf-8", "replace").removesuffix("\n").expandtabs()
            click.echo("\n".join(lines.fold(lines.spelled_out(text), lines.columns())))
        else:
            # A pipe gets them as they are.
            click.echo(one.data, nl=not one.data.endswith(b"\n"))
