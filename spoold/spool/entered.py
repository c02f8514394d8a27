"""Since when a file lies in its folder, also where its content is replaced meanwhile."""

from contextlib import suppress

from spoold import request
from spoold.disk import reading
from spoold.identity import made_at
from spoold.spool.spool import Place, Spool


def came_at(spool: Spool, place: Place, name: str) -> float:
    """When it came there, in seconds since the epoch.

    A repeat is folded into a request that waits, and what is heard of an attempt is written into
    one that runs: both change the file's own times.

    Raises:
        FileNotFoundError: it is gone.
    """
    path = spool.path(place, name)
    changed = reading.status(path).st_ctime
    if place.folder == "awaiting-approval" and (made := made_at(name)):
        return made.timestamp()
    if place.folder == "running":
        found = reading.json_object(path, request.MAX_BYTES) or {}
        with suppress(AttributeError, IndexError, KeyError, TypeError, ValueError):
            return request.parse_time(found["attempts"][-1]["started_at"]).timestamp()
    return changed
