"""A spool in which very many requests wait and as many are done, made without waiting for it.

Each is a real request: one goes through a real spoold, and the others differ from it in what makes
a request another one, sealed with the spool's own key. `spoold reindex` then reads them all.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path

import orjson

from benchmarks import bare, records, site
from spoold import request
from spoold.request import Request

_FOR_PEOPLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def fill(made: site.Site, waiting: int, done: int) -> None:
    """Put so many requests into a fresh spool."""
    patterns = _patterns(made)
    counts = {"awaiting-approval": waiting, site.DONE: done}
    with ProcessPoolExecutor(len(counts), get_context("spawn")) as both:
        at_work = [both.submit(_write, made.root, folder, patterns[folder], count)
                   for folder, count in counts.items()]  # fmt: skip
        for work in at_work:
            work.result()
    bare.settle(made.root)
    made.spoold("reindex")


def _patterns(made: site.Site) -> dict[str, bytes]:
    """One request that waits and one that is done, by a real spoold; they stay there."""
    made.drop_all(records.names(2, "pattern"), records.decisions(2, "pattern"))
    made.spoold("run", "--drain")
    first = made.names("awaiting-approval")[0]
    (made.root / "awaiting-approval" / first).rename(made.root / "approved" / first)
    made.spoold("run", "--drain")
    return {folder: _only(made.root / folder) for folder in ("awaiting-approval", site.DONE)}


def _only(folder: Path) -> bytes:
    (found,) = (name for name in os.listdir(folder) if name.endswith(".json"))
    return (folder / found).read_bytes()


def _write(root: Path, folder: str, pattern: bytes, count: int) -> None:
    key = (root / ".seal.key").read_bytes()
    for copy in _copies(pattern, count, folder.partition("/")[0], key):
        with open(root / folder / copy.name, "wb", buffering=0) as file:
            file.write(copy.to_bytes())


def _copies(pattern: bytes, count: int, run: str, key: bytes) -> Iterator[Request]:
    begun = f"{datetime.now(UTC) - timedelta(hours=1):%Y%m%dT%H%M%SZ}"
    fields = orjson.loads(pattern)
    approvals = request.parse(pattern).approvals
    for number in range(count):
        named = f"crowd-{run}-{number:06}"
        event = sha256(f"{fields['source']['inbox']}\0{named}".encode()).hexdigest()
        fields["dispatch_id"] = f"dispatch-{begun}-{fields['route']}-{event[:8]}"
        fields["source"] |= {"id": named, "file": f"{named}.json"}
        fields |= {"event_key": named, "intent_key": named, "approvals": []}
        copy = request.parse(orjson.dumps(fields, option=_FOR_PEOPLE)).sealed(key)
        for yes in approvals:
            copy = copy.approved(key, yes)
        yield copy
