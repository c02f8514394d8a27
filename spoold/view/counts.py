"""How many files lie in a folder, and since when."""

from collections.abc import Iterator
from contextlib import suppress

from spoold import request
from spoold.disk import reading
from spoold.identity import made_at
from spoold.spool.reader import Place, SpoolReader

#: Upper ends of the age classes, in seconds; what is older than all is `older`.
AGE_CLASSES = {"<5m": 300.0, "<1h": 3600.0, "<1d": 86400.0, "<7d": 604800.0, "older": float("inf")}


def came_at(spool: SpoolReader, place: Place, name: str) -> float:
    """When a file came to its folder, in seconds since the epoch.

    Its own times do not say it where its content is replaced: a repeat is folded into a request
    that waits, and progress is written into one that runs.

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


def arrivals(spool: SpoolReader, place: Place) -> Iterator[float]:
    """When each file of a folder came there, in seconds since the epoch.

    Raises:
        FileNotFoundError: there is no such folder.
        PermissionError: this user may not list it.
    """
    for name in spool.scan(place):
        with suppress(FileNotFoundError):
            yield came_at(spool, place, name)


def by_age(ages: list[float]) -> dict[str, int]:
    """How many of these ages (seconds) fall into each class."""
    counts = dict.fromkeys(AGE_CLASSES, 0)
    for seconds in ages:
        counts[next(name for name, limit in AGE_CLASSES.items() if seconds < limit)] += 1
    return counts
