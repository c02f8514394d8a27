"""`spoold ls`: what is where, one line a file, printed as it is found."""

import time
from typing import Any

import click

from spoold import request
from spoold.cli.app import App, pass_app
from spoold.text import age, shown
from spoold.view import listing

_COLUMNS = "{:<8}  {:<20} {:>5}  {:<14} {:<44} {}"


@click.command(params=[click.Argument(["folder"], required=False)])
@pass_app
def command(app: App, folder: str | None) -> None:
    """List requests that are not finished, or what is in FOLDER (`done`, `queued/openclaw`, …)."""
    places = listing.places(app.spool, folder)
    if not app.as_json:
        heading = _COLUMNS.format("ID", "FOLDER", "AGE", "ROUTE", "TARGET", "NOTE").rstrip()
        click.echo(app.styled(heading, bold=True))
    for place in places:
        for row in listing.rows(app.spool, place):
            app.row(row, _line(row))


def _line(row: dict[str, Any]) -> str:
    notes = []
    if row.get("asked", 1) > 1:
        differ = row.get("differ")
        but = f", {differ} differ{'s' * (differ == 1)}" if differ else ""
        notes.append(f"asked {row['asked']} times{but}")
    if row.get("attempts"):
        notes.append(f"attempt {row['attempts']}")
    if row.get("heard_at"):
        silent = time.time() - request.parse_time(row["heard_at"]).timestamp()
        notes.append(f"heard of {age(silent)} ago")
    if row.get("result") or row.get("code"):
        notes.append(str(row.get("code") or row["result"]))
    if row["folder"] == "awaiting-approval" and "expires_at" in row:
        left = request.parse_time(row["expires_at"]).timestamp() - time.time()
        notes.append(f"expires in {age(left)}")
    is_request = row["id"].startswith("dispatch-")
    line = _COLUMNS.format(
        row["id"][-8:] if is_request else "-",
        row["folder"],
        age(row["age_s"]),
        shown(row.get("route") or "-"),
        shown(row.get("target") or ("-" if is_request else row["id"])),
        ", ".join(notes),
    )
    return shown(line.rstrip())
