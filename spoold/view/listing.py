"""A folder → one row for each file in it: what it is, since when, and what is known of it."""

import time
from collections.abc import Iterator
from typing import Any

from spoold import request
from spoold.disk.reading import json_object
from spoold.errors import UsageError
from spoold.spool.reader import Place, SpoolReader
from spoold.states import FINAL, FOLDERS, STATES
from spoold.text import shown
from spoold.view.counts import came_at


def places(spool: SpoolReader, folder: str | None = None) -> list[Place]:
    """The places that `folder` names (`done`, `queued/openclaw`); of what is not finished if None.

    Raises:
        UsageError: there is no such folder; the message lists those that there are.
    """
    if folder is None:
        unfinished = (name for name in (*STATES, "quarantine") if name not in FINAL)
        return spool.places(*unfinished)
    wanted = folder.strip("/")
    # What is being taken is nobody's to see, and a folder's name in the table works as well.
    named = [name for name in FOLDERS if name != "taking"]
    found = [
        place for place in spool.places(*named)
        if place.folder == wanted or f"{place}/".startswith(f"{wanted}/")
    ]  # fmt: skip
    if not found:
        known = ", ".join(name for name, folder in FOLDERS.items() if not folder.under)
        raise UsageError(f"there is no folder {shown(folder)!r}; there are: {known}")
    return found


def rows(spool: SpoolReader, place: Place) -> Iterator[dict[str, Any]]:
    """What is known of each file in a place, oldest id first; nothing if there is no such folder.

    Keys: `id`, `folder`, `age_s`, of a request also those of `_about`, and `code`, what the reason
    beside it says.
    """
    try:
        names = spool.names(place)
    except FileNotFoundError:
        return
    for name in names:
        try:
            since = came_at(spool, place, name)
        except FileNotFoundError:
            continue
        row: dict[str, Any] = {
            "id": shown(name.removesuffix(".json")),
            "folder": str(place),
            "age_s": round(time.time() - since, 3),
        }
        if not spool.is_genuine(place, name):
            yield {**row, "code": "foreign"}
            continue
        if FOLDERS[place.folder].holds_requests:
            row |= _about(spool, place, name)
        if code := (spool.reason(place, name) or {}).get("code"):
            row["code"] = shown(str(code))
        yield row


def _about(spool: SpoolReader, place: Place, name: str) -> dict[str, Any]:
    # Only the fields shown are checked, not the whole request: there may be 100,000 of them.
    found = json_object(spool.path(place, name), request.MAX_BYTES) or {}
    if found and not spool.fits(place, name, found):
        return {"code": "misplaced"}
    try:
        last = found["attempts"][-1] if found["attempts"] else {}
        goes_on = bool(last) and last["outcome"] is None
        return {
            "begun_at": _time(last["started_at"]) if goes_on else None,
            "heard_at": _time((last.get("progress") or {}).get("last_output_at")),
            "pin": request.pin_of(found),
            "route": str(found["route"]),
            "executor": str(found["executor"]),
            "target": "/".join(str(found[t]) for t in ("target_kind", "target_ref") if found[t]),
            "status": str(found["status"]),
            "asked": int(found["asked"]),
            "differ": sum(1 for repeat in found["repeats"] if repeat.get("differs")),
            "expires_at": request.timestamp(request.parse_time(found["approval"]["expires_at"])),
            "attempts": len(found["attempts"]),
            "result": found["result"] and str(found["result"]["code"]),
        }
    except (AttributeError, KeyError, TypeError, ValueError):
        return {"code": "not-a-request"}


def _time(text: str | None) -> str | None:
    return text and request.timestamp(request.parse_time(text))
