"""`spoold ls`: what is where, one line a file, printed as it is found."""

import time
from typing import Any

import click

from spoold import request
from spoold.cli.app import App, pass_app
from spoold.text import age, shown
from spoold.view import lines, listing

_COLUMNS = "{:<8}  {:<20} {:>5}  {:<14} "
_TARGET = 44
#: On a terminal a target has at least so many columns, and a route at most so many.
_LEAST, _ROUTE = 10, 16


@click.command(params=[click.Argument(["folder"], required=False)])
@pass_app
def command(app: App, folder: str | None) -> None:
    """List requests that are not finished, or what is in FOLDER (`done`, `queued/openclaw`, …)."""
    places, most = listing.places(app.spool, folder), lines.columns()
    if not app.as_json:
        heading = _fit(("ID", "FOLDER", "AGE", "ROUTE"), "TARGET", "NOTE", most)
        click.echo(app.styled(heading, bold=True))
    for place in places:
        for row in listing.rows(app.spool, place):
            app.row(row, "" if app.as_json else _line(row, most))


def _fit(first: tuple[str, str, str, str], target: str, note: str, most: int | None) -> str:
    """One line, and no more than one of a terminal of `most` columns: the target gives way."""
    *others, route = first
    begin = _COLUMNS.format(*others, lines.clip(route, most and _ROUTE))
    room = most and max(most - len(begin) - lines.width(note) - 1, _LEAST)
    target = lines.clip(target, room)
    # `ljust` counts characters, and some are two columns wide.
    pad = " " * (min(_TARGET, room or _TARGET) - lines.width(target))
    return lines.clip(f"{begin}{target}{pad} {note}".rstrip(), most)


def _line(row: dict[str, Any], most: int | None) -> str:
    is_request = row["id"].startswith("dispatch-")
    route, target = row.get("route") or "-", row.get("target") or ("-" if is_request else row["id"])
    id_ = row["id"][-8:] if is_request else "-"
    notes = _notes(row)
    if lines.mixed(route) or lines.mixed(target):
        notes.insert(0, "mixed scripts")
    begin = (shown(id_), row["folder"], age(row["age_s"]), shown(route))
    return _fit(begin, shown(target), shown(", ".join(notes)), most)


def _notes(row: dict[str, Any]) -> list[str]:
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
    return notes
