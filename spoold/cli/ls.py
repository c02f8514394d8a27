"""`spoold ls`: what is where, one line a file, printed as it is found."""

import time
from collections.abc import Iterator
from typing import Any

import click

from spoold import request
from spoold.cli.app import App, age, pass_app
from spoold.disk.reading import json_object
from spoold.errors import UsageError
from spoold.spool.entered import came_at
from spoold.spool.spool import Place
from spoold.states import FINAL, FOLDERS, STATES
from spoold.text import shown

_COLUMNS = "{:<8}  {:<20} {:>5}  {:<14} {:<44} {}"


@click.command(params=[click.Argument(["folder"], required=False)])
@pass_app
def command(app: App, folder: str | None) -> None:
    """List requests that are not finished, or what is in FOLDER (`done`, `queued/openclaw`, …)."""
    places = _places(app, folder)
    if not app.as_json:
        heading = _COLUMNS.format("ID", "FOLDER", "AGE", "ROUTE", "TARGET", "NOTE").rstrip()
        click.echo(app.styled(heading, bold=True))
    for place in places:
        for name in _names(app, place):
            row = _row(app, place, name)
            if row is not None:
                app.row(row, _line(row))


def _places(app: App, folder: str | None) -> list[Place]:
    if folder is None:
        return [
            place for place in app.spool.places(*STATES, "quarantine") if place.folder not in FINAL
        ]
    name, _, key = folder.strip("/").partition("/")
    places = [p for p in app.spool.places(name) if key in ("", p.key)] if name in FOLDERS else []
    if not places:
        known = ", ".join(name for name, folder in FOLDERS.items() if not folder.under)
        raise UsageError(f"there is no folder {shown(folder)!r}; there are: {known}")
    return places


def _names(app: App, place: Place) -> Iterator[str]:
    try:
        yield from app.spool.names(place)
    except FileNotFoundError:
        return


def _row(app: App, place: Place, name: str) -> dict[str, Any] | None:
    try:
        since = came_at(app.spool, place, name)
    except FileNotFoundError:
        return None
    row: dict[str, Any] = {
        "id": shown(name.removesuffix(".json")),
        "folder": str(place),
        "age_s": round(time.time() - since, 3),
    }
    if FOLDERS[place.folder].holds_requests:
        row |= _about(app, place, name)
    if code := (app.spool.reason(place, name) or {}).get("code"):
        row["code"] = shown(str(code))
    return row


def _about(app: App, place: Place, name: str) -> dict[str, Any]:
    # A look at the fields, not at whether all of it is as spoold wrote it: there may be 100,000.
    found = json_object(app.spool.path(place, name), request.MAX_BYTES) or {}
    try:
        last = found["attempts"][-1] if found["attempts"] else {}
        goes_on = bool(last) and last["outcome"] is None
        return {
            "begun_at": _moment(last["started_at"]) if goes_on else None,
            "heard_at": _moment((last.get("progress") or {}).get("last_output_at")),
            "route": str(found["route"]),
            "executor": str(found["executor"]),
            "target": "/".join(str(found[t]) for t in ("target_kind", "target_ref") if found[t]),
            "status": str(found["status"]),
            "asked": int(found["asked"]),
            "expires_at": request.timestamp(request.parse_time(found["approval"]["expires_at"])),
            "attempts": len(found["attempts"]),
            "result": found["result"] and str(found["result"]["code"]),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {"code": "not-a-request"}


def _moment(text: str | None) -> str | None:
    return text and request.timestamp(request.parse_time(text))


def _line(row: dict[str, Any]) -> str:
    notes = []
    if row.get("asked", 1) > 1:
        notes.append(f"asked {row['asked']} times")
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
