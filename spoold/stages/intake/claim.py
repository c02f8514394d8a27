"""A file from an inbox: what is in it, and what is noted about it once intake has claimed it."""

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from spoold import request
from spoold.disk import reading
from spoold.errors import ADVICE, BadInput
from spoold.record import JsonObject, Record
from spoold.request import Dropper
from spoold.sources.inbox import Inbox
from spoold.spool.decisions import user_name
from spoold.spool.filenames import AS_NEW, is_odd
from spoold.strict_json import parse
from spoold.text import age, shown


@dataclass(frozen=True, slots=True)
class Drop:
    """What was read of a file: its bytes and their JSON, or what is wrong with it."""

    read: reading.Read | None
    document: JsonObject | None
    problem: BadInput | None

    @property
    def looks_unfinished(self) -> bool:
        """Whether its writer may still be at work: it is empty, or ends too early."""
        return self.problem is not None and self.problem.code in ("empty", "truncated")

    def is_still(self, now: os.stat_result) -> bool:
        """Whether a file of this status is the one that was read, unchanged."""
        if self.read is None:
            return False
        then = self.read.status
        return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) == (
            then.st_dev, then.st_ino, then.st_size, then.st_mtime_ns,
        )  # fmt: skip


def read_drop(inbox: Inbox, path: str, *, seen_regular: bool = False) -> Drop:
    """Read and parse a file within the limits of its inbox; see `reading.read_regular`.

    Raises:
        OSError: it is gone, or could not be read.
    """
    try:
        read = reading.read_regular(path, inbox.table.max_bytes, seen_regular=seen_regular)
    except reading.NotRegular as error:
        return Drop(None, None, BadInput(error.kind, f"It is a {error.kind}, not a file."))
    except reading.TooLarge as error:
        what = f"It has {error.size} bytes; {inbox.name} takes {inbox.table.max_bytes}."
        return Drop(None, None, BadInput("too-large", what))
    try:
        return Drop(read, parse(read.data, max_depth=inbox.table.max_depth), None)
    except BadInput as problem:
        return Drop(read, None, problem.to_keep())


@dataclass(frozen=True, slots=True)
class Claim:
    """A drop that was moved to `taking`, which intake alone may enter.

    Attributes:
        inbox: where it was dropped.
        file: the name it came with.
        archived: where its original goes, from the spool root.
        at: when it was claimed.
        moved_at: the same by the clock of the file system (seconds since the epoch), which a crash
            in between does not change.
        size: how many bytes could be read.
        sha256: their digest, in hex.
        document: what they say, if they are good JSON.
        problem: what is wrong with it, if anything.
        dropped_by: who owned the file.
    """

    inbox: Inbox
    file: str
    archived: str
    at: datetime
    moved_at: float
    size: int
    sha256: str
    document: JsonObject | None
    problem: BadInput | None
    dropped_by: Dropper

    @property
    def shown(self) -> str:
        """The name it came with, fit for a terminal and for JSON."""
        return shown(self.file)

    def record(self) -> Record:
        """What it says.

        Raises:
            BadInput: what is wrong with it.
        """
        if self.problem:
            raise self.problem.to_keep()
        if self.document is None:
            raise BadInput("unreadable", "It could not be read.")
        moved = datetime.fromtimestamp(self.moved_at, UTC)
        name = self.file.replace(f".{self.as_new}", "") if self.as_new else self.file
        return self.inbox.read(self.document, name, request.timestamp(moved), vars(self.dropped_by))

    @property
    def as_new(self) -> str:
        """What tells it from an earlier event with its key, if a person took it for another."""
        found = AS_NEW.search(self.file) if ".as-new-" in self.file else None
        return found[0].strip(".") if found else ""

    def reason(self, code: str, what: str, when: datetime, **more: Any) -> bytes:
        """The content of the reason file beside the original."""
        return request.reason(
            code, what, ADVICE[code], when, source=self.inbox.name, file=self.shown,
            sha256=self.sha256 if self.size else None, dropped_by=vars(self.dropped_by), **more,
        )  # fmt: skip

    def log_fields(self, **more: str) -> dict[str, str]:
        """What a log line says about it."""
        return {"source": self.inbox.name, "file": self.shown, **more}


def archive_path(inbox: Inbox, at: datetime, name: str) -> str:
    """Where an original goes, from the spool root."""
    return f"archive/{inbox.name}/{at.date().isoformat()}/{name}"


def claim_of(
    drop: Drop, inbox: Inbox, file: str, at: datetime, archived: str, status: os.stat_result
) -> Claim:
    """What is noted about a drop of that status; see the attributes of `Claim`."""
    data = drop.read.data if drop.read else b""
    return Claim(
        inbox=inbox,
        file=file,
        archived=archived,
        at=at,
        moved_at=status.st_ctime,
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        document=drop.document,
        problem=(
            _abandoned(inbox, file)
            or _wrong_producer(inbox, status.st_uid)
            or drop.problem
            or _odd_name(file)
        ),
        dropped_by=_dropper(status.st_uid),
    )


@lru_cache(maxsize=64)
def _dropper(uid: int) -> Dropper:
    return Dropper(uid, user_name(uid))


def _abandoned(inbox: Inbox, name: str) -> BadInput | None:
    """Only such a dot-file is ever claimed."""
    if not name.startswith("."):
        return None
    what = f"Nobody has written to it for {age(inbox.table.abandoned_after)} or longer."
    return BadInput("abandoned", what)


def _wrong_producer(inbox: Inbox, uid: int) -> BadInput | None:
    if inbox.producers.include(uid):
        return None
    what = f"{user_name(uid)} dropped it, and {inbox.name} takes drops of {inbox.producers} only."
    return BadInput("wrong-producer", what)


def _odd_name(name: str) -> BadInput | None:
    if not is_odd(name):
        return None
    return BadInput("odd-name", f"The name {shown(name)[:60]!r} is too long, or could mislead.")
