"""`spoold stats`: how many files are where, and for how long."""

import time
from typing import Any

import click

from spoold.cli.app import App, pass_app
from spoold.spool.spool import Place
from spoold.text import age
from spoold.view.counts import AGE_CLASSES, arrivals, by_age

_FOLDERS = (
    "inbox", "quarantine", "awaiting-approval", "approved", "pre-approved", "checking", "held",
    "held-by-executor", "queued", "deferred", "running", "unknown", "rejected", "expired", "failed",
    "done",
)  # fmt: skip
_COLUMNS = "{:<24} {:>7} {:>7}" + " {:>6}" * len(AGE_CLASSES)


@click.command
@pass_app
def command(app: App) -> None:
    """Count the files in each folder by age: what is stuck, where, and since when."""
    if not app.as_json:
        heading = _COLUMNS.format("FOLDER", "FILES", "OLDEST", *AGE_CLASSES)
        click.echo(app.styled(heading, bold=True))
    for place in app.spool.places(*_FOLDERS):
        _show(app, place)
    if app.spool.on_hold:
        click.echo(app.styled("HOLD is set: nothing new starts", fg="yellow"), err=True)


def _show(app: App, place: Place) -> None:
    now = time.time()
    try:
        ages = [now - came for came in arrivals(app.spool, place)]
    except FileNotFoundError:
        ages = []
    except PermissionError:
        # Only intake may list an inbox; the metrics have its number.
        unknown: dict[str, Any] = {"files": None, "oldest_s": None, "ages": None}
        cells = ["?"] * (2 + len(AGE_CLASSES))
        app.row({"folder": str(place), **unknown}, _COLUMNS.format(str(place), *cells))
        return
    oldest, counts = max(ages, default=None), by_age(ages)
    row = {
        "folder": str(place),
        "files": len(ages),
        "oldest_s": None if oldest is None else round(oldest, 3),
        "ages": counts,
    }
    since = "-" if oldest is None else age(oldest)
    numbers = [count or "-" for count in (len(ages), *counts.values())]
    app.row(row, _COLUMNS.format(str(place), numbers[0], since, *numbers[1:]))
