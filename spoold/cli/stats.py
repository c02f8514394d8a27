"""`spoold stats`: how many files are where, and for how long."""

import time
from typing import Any

import click

from spoold.cli.app import App, age, pass_app
from spoold.spool.entered import came_at
from spoold.spool.spool import Place

_BUCKETS = (("<5m", 300.0), ("<1h", 3600.0), ("<1d", 86400.0), ("<7d", 604800.0), ("older", 0.0))


@click.command
@pass_app
def command(app: App) -> None:
    """Count the files in each folder by age: what is stuck, where, and since when."""
    form = "{:<24} {:>7} {:>7}" + " {:>6}" * len(_BUCKETS)
    if not app.as_json:
        heading = form.format("FOLDER", "FILES", "OLDEST", *(name for name, _ in _BUCKETS))
        click.echo(app.styled(heading, bold=True))
    shown = ("inbox", "quarantine", "awaiting-approval", "approved", "pre-approved", "checking",
             "held", "queued", "deferred", "running", "unknown", "rejected", "expired", "failed",
             "done")  # fmt: skip
    for place in app.spool.places(*shown):
        try:
            ages = _ages(app, place)
        except PermissionError:
            # An inbox shows nothing but to intake; its metrics have the number.
            row: dict[str, Any] = {
                "folder": str(place),
                "files": None,
                "oldest_s": None,
                "ages": None,
            }
            app.row(row, form.format(str(place), "?", "?", *("?" for _ in _BUCKETS)))
            continue
        counts = _counts(ages)
        oldest = max(ages, default=None)
        row = {
            "folder": str(place),
            "files": len(ages),
            "oldest_s": None if oldest is None else round(oldest, 3),
            "ages": counts,
        }
        cells = [count or "-" for count in counts.values()]
        since = "-" if oldest is None else age(oldest)
        app.row(row, form.format(str(place), len(ages) or "-", since, *cells))
    if app.spool.on_hold:
        click.echo(app.styled("HOLD is set: nothing new starts", fg="yellow"), err=True)


def _ages(app: App, place: Place) -> list[float]:
    now = time.time()
    ages = []
    try:
        for name in app.spool.scan(place):
            ages.append(now - came_at(app.spool, place, name))  # noqa: PERF401
    except FileNotFoundError:
        pass
    return ages


def _counts(ages: list[float]) -> dict[str, int]:
    counts = dict.fromkeys((name for name, _ in _BUCKETS), 0)
    for seconds in ages:
        name = next((name for name, limit in _BUCKETS if seconds < limit), _BUCKETS[-1][0])
        counts[name] += 1
    return counts
