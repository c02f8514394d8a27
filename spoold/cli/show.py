"""`spoold show ID`: one file, where it is and why."""

import sys

import click
import orjson

from spoold import request
from spoold.cli.app import App, pass_app
from spoold.disk import reading
from spoold.errors import NotPossible
from spoold.states import STATES
from spoold.text import printable, shown
from spoold.view.find import find


@click.command(params=[click.Argument(["ids"], nargs=-1, required=True, metavar="ID…")])
@pass_app
def command(app: App, ids: tuple[str, ...]) -> None:
    """Print a request as it is on disk; where it lies, and why, goes to stderr."""
    for part in ids:
        found = find(app.spool, part, (*STATES, "quarantine"))
        path = app.spool.path(found.place, found.name)
        try:
            data = reading.read_regular(path, request.MAX_BYTES).data
        except FileNotFoundError:
            raise NotPossible(f"{found.id} has just been moved; look again") from None
        why = app.spool.reason(found.place, found.name)
        if app.as_json:
            row = {"folder": str(found.place), "file": shown(found.name), "reason": why}
            try:
                row["request"] = orjson.loads(data)
            except orjson.JSONDecodeError:
                row["content"] = data.decode("utf-8", "replace")
            app.row(row, "")
            continue
        click.echo(app.styled(f"{found.place}/{shown(found.name)}", bold=True), err=True)
        if why:
            text = shown(f"{why.get('code')}: {why.get('what')} {why.get('advice')}")
            click.echo(app.styled(text, fg="yellow"), err=True)
        # A stranger's bytes may steer a terminal; a pipe gets them as they are.
        shown_data = printable(data) if sys.stdout.isatty() else data
        click.echo(shown_data, nl=not data.endswith(b"\n"))
