"""A spool in which very many requests wait and as many are done, made without waiting for it.

Each is a real request: one goes through a real spoold, and the others differ from it in what makes
a request another one, sealed with the spool's own key. `spoold reindex` then reads them all.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from benchmarks import bare, records, site
from spoold import request
from spoold.request import Request, event_digest

_FOR_PEOPLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def fill(made: site.Site, waiting: int, done: int) -> None:
    """Put so many requests into a fresh spool."""
    patterns = _patterns(made)
    key = (made.root / ".seal.key").read_bytes()
    for folder, count in (("awaiting-approval", waiting), ("done", done)):
        for copy in _copies(patterns[folder], count, folder, key):
            with open(made.root / folder / copy.name, "wb", buffering=0) as file:
                file.write(copy.to_bytes())
    bare.settle(made.root)
    made.spoold("reindex")


def _patterns(made: site.Site) -> dict[str, bytes]:
    """One request that waits and one that is done, by a real spoold; they stay there."""
    made.drop_all(records.names(2, "pattern"), records.decisions(2, "pattern"))
    made.spoold("run", "--drain")
    first = made.names("awaiting-approval")[0]
    (made.root / "awaiting-approval" / first).rename(made.root / "approved" / first)
    made.spoold("run", "--drain")
    return {folder: _only(made.root / folder) for folder in ("awaiting-approval", "done")}


def _only(folder: Path) -> bytes:
    (found,) = (name for name in os.listdir(folder) if name.endswith(".json"))
    return (folder / found).read_bytes()


def _copies(pattern: bytes, count: int, run: str, key: bytes) -> Iterator[Request]:
    begun = datetime.now(UTC) - timedelta(hours=1)
    fields = orjson.loads(pattern)
    approvals = request.parse(pattern).approvals
    for number in range(count):
        named = f"crowd-{run}-{number:06}"
        event = event_digest(fields["source"]["inbox"], named)
        fields["dispatch_id"] = request.dispatch_id(begun, fields["route"], event)
        fields["source"] |= {"id": named, "file": f"{named}.json"}
        fields |= {"event_key": named, "intent_key": named, "approvals": []}
        copy = request.parse(orjson.dumps(fields, option=_FOR_PEOPLE)).sealed(key)
        for yes in approvals:
            copy = copy.approved(key, yes)
        yield copy
