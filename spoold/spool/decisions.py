"""approvals/: what people said when they decided. The owner of the file is who said it.

A decision never approves: under the policy `move` the move does. It adds a name and a note to the
trail, and the kernel vouches for the name, since no user can give a file away.
"""

import pwd
from dataclasses import dataclass
from itertools import count

import orjson

from spoold.disk import reading
from spoold.record import JsonObject
from spoold.spool.spool import Place, Spool

_APPROVALS = Place("approvals")
_LIMIT = 1 << 16
#: A decision is written just before its move; an older one is about an earlier move.
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Said:
    """Who wrote the decision that goes with a move, the note in it, and the pin they had read."""

    by: str
    note: str | None
    pin: str | None


def user_name(uid: int) -> str:
    """A login name, or `uid-<number>` for a user without one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def publish(spool: Spool, draft: str, dispatch_id: str) -> str:
    """Give a decision the first of the names `<dispatch_id>.1.json`, `.2.json`, … that is free."""
    for number in count(1):
        name = f"{dispatch_id}.{number}.json"
        try:
            spool.publish(draft, _APPROVALS, name)
        except FileExistsError:
            continue
        return name
    raise AssertionError("there is always another number")


def correct(spool: Spool, draft: str, name: str) -> None:
    """Put something else into a decision; its name stays taken: a gap would hide later ones."""
    spool.overwrite(draft, _APPROVALS, name)


def decision_for(spool: Spool, dispatch_id: str, moved_at: float) -> Said | None:
    """The yes to a request that was written when it was moved, unless a later decision voids it.

    Args:
        spool: the spool.
        dispatch_id: the request.
        moved_at: seconds since the epoch; 0 if that is no longer known.
    """
    said: Said | None = None
    for number in range(1, 100):
        try:
            path = spool.path(_APPROVALS, f"{dispatch_id}.{number}.json")
            read = reading.read_regular(path, _LIMIT)
            fields = orjson.loads(read.data)
        except FileNotFoundError:
            break
        except (OSError, orjson.JSONDecodeError):
            continue
        if not isinstance(fields, dict) or fields.get("dispatch_id") != dispatch_id:
            continue
        if fields.get("decision") == "too-late":
            continue  # it changed nothing
        in_time = not moved_at or abs(read.status.st_mtime - moved_at) < _SECONDS
        is_yes = fields.get("decision") == "approve" and in_time
        said = _said(fields, read.status.st_uid) if is_yes else None
    return said


def _said(fields: JsonObject, uid: int) -> Said:
    note, pin = fields.get("reason"), fields.get("pin")
    return Said(
        by=user_name(uid),
        note=note if isinstance(note, str) else None,
        pin=pin if isinstance(pin, str) else None,
    )
