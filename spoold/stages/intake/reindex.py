"""The index, from the files: requests in every state, reasons beside repeats, and imports."""

import os
from collections.abc import Iterator
from contextlib import suppress

from spoold import request
from spoold.disk import reading
from spoold.identity import event_digest, intent_digest
from spoold.spool import imports
from spoold.spool.filenames import is_odd
from spoold.spool.index import Entry, Index
from spoold.spool.spool import Place, Spool
from spoold.states import REASON_SUFFIX, STATES


def reindex(spool: Spool, index: Index) -> int:
    """Rebuild the index; returns the number of events known."""
    intents: list[Entry] = []
    events = _events(spool, intents)
    known = (
        known
        for place in spool.places("archive")
        for known in imports.known(spool.path(place), place.key)
    )
    return index.rebuild(list(events), intents, list(known))


def _events(spool: Spool, intents: list[Entry]) -> Iterator[Entry]:
    for place in spool.places(*STATES):
        for name in spool.names(place):
            fields = reading.json_object(spool.path(place, name), request.MAX_BYTES) or {}
            with suppress(KeyError, TypeError, AttributeError):
                known = str(fields["dispatch_id"])
                if is_odd(known) or "/" in known:
                    continue  # intake makes no such id: as a path it would lead elsewhere
                yield event_digest(fields["source"]["inbox"], fields["event_key"]), known
                if place == Place("awaiting-approval") and fields["intent_key"]:
                    intents.append((intent_digest(fields["route"], fields["intent_key"]), known))
    for place in spool.places("archive"):
        for day in sorted(
            filter(_is_day, reading.entries(spool.path(place))), key=lambda day: day.name
        ):
            yield from _repeats(day.path)


def _is_day(entry: os.DirEntry[str]) -> bool:
    """Not what is being taken: that has reasons only where a stranger wrote them."""
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")


def _repeats(day: str) -> Iterator[Entry]:
    for entry in reading.entries(day):
        if entry.name.endswith(REASON_SUFFIX):
            fields = reading.json_object(entry.path, request.MAX_BYTES) or {}
            with suppress(KeyError, TypeError):
                digest = event_digest(fields["source"], fields["event_key"])
                yield digest, str(fields["dispatch_id"])
