"""What an older dispatcher had dealt with before spoold took over, as files beside the archive.

`archive/SOURCE/imported.<12 hex>.jsonl`: a header, then one line for each decision or ticket. The
hex is of the file's own SHA-256: what was changed or cut since is noticed, and never half believed.
The index is built from these files like from all others.
"""

import hashlib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from spoold.disk import reading
from spoold.errors import StorageError
from spoold.identity import digest
from spoold.record import JsonObject, Record

SCHEMA = "spoold.imported/1"

_NAME = re.compile(r"imported\.[0-9a-f]{12}\.jsonl")
_MOST = 1 << 30  # bytes; a hundred thousand decisions have some 25 MB


class Known(NamedTuple):
    """One thing that was dealt with: up to `until` (seconds since 1970), as `file` says."""

    digest: bytes
    file: str
    until: float


def decision(decision_id: str) -> str:
    """The key of a decision, which is dealt with once and for all."""
    return f"decision:{decision_id}"


def ticket(issue_id: str) -> str:
    """The key of a Plane ticket, which is dealt with up to one of its changes."""
    return f"plane.issue:{issue_id}"


def seconds_of(text: str | None) -> float | None:
    """Seconds since 1970 of an ISO time, which is in UTC unless it says otherwise."""
    try:
        time = datetime.fromisoformat(text or "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def find(record: Record, look: Callable[[bytes, float], str | None]) -> str | None:
    """The import's file that knows a record; `look` asks an index."""
    return next((file for one in _looks(record) if (file := look(*one))), None)


def _looks(record: Record) -> list[tuple[bytes, float]]:
    """Under which digests an older dispatcher could know a record, and of when it is.

    It is the record's own identity that counts, whatever `event_key` its route makes of it. A
    change of a ticket that does not say when it was counts as an old one: nothing may be dispatched
    twice.
    """
    if record.type == "decision":
        # The old dispatcher made text of an id that is a number; here the file's name counts then.
        given = record.body.get("decision_id")
        ids = {str(record.id), str(given).strip() if isinstance(given, int | float) else ""}
        return [(digest(record.source, decision(one)), 0.0) for one in sorted(ids) if one]
    if record.type == "plane.issue":
        key = ticket(record.facts["issue_id"])
        return [(digest(record.source, key), seconds_of(record.occurred_at) or 0.0)]
    return []


def written(header: Mapping[str, Any], lines: Iterable[JsonObject]) -> tuple[str, bytes]:
    """The name and the content of an import's file."""
    rows = (orjson.dumps(row) for row in ({"schema": SCHEMA, **header}, *lines))
    data = b"\n".join([*rows, b""])
    return f"imported.{hashlib.sha256(data).hexdigest()[:12]}.jsonl", data


def files(folder: str) -> list[str]:
    """The names of the imports' files in `archive/SOURCE/`."""
    return sorted(entry.name for entry in reading.entries(folder) if _NAME.fullmatch(entry.name))


def read(path: str) -> Iterator[JsonObject]:
    """The header, then the lines of an import's file.

    Raises:
        StorageError: it cannot be read, or is not as it was written.
    """
    advice = "Restore it from a backup, or take it away and run `spoold import` again."
    try:
        data = reading.read_regular(path, _MOST).data
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}. {advice}") from error
    if hashlib.sha256(data).hexdigest()[:12] != os.path.basename(path).split(".")[1]:
        raise StorageError(f"{path} is not as `spoold import` wrote it. {advice}")
    return map(orjson.loads, data.splitlines())


def known(folder: str, source: str) -> Iterator[Known]:
    """All that the imports' files in `archive/SOURCE/` say."""
    for name in files(folder):
        rows = read(f"{folder}/{name}")
        next(rows)
        for row in rows:
            until = math.inf if row["until"] is None else row["until"]
            yield Known(digest(source, row["key"]), f"archive/{source}/{name}", until)
