"""The index, from the files: requests in every state, reasons beside repeats, and imports."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from spoold import request
from spoold.disk import reading
from spoold.identity import event_digest
from spoold.record import JsonObject
from spoold.request import Dropper
from spoold.spool import imports
from spoold.spool.filenames import is_odd
from spoold.spool.index import Index, Intent, Known
from spoold.spool.spool import Place, Spool
from spoold.stages.intake.render import intents as intents_of
from spoold.states import REASON_SUFFIX, STATES


def reindex(spool: Spool, index: Index) -> int:
    """Rebuild the index; returns the number of events known."""
    intents: list[Intent] = []
    asked = [*_requests(spool, intents), *_reasons(spool)]
    known = (
        known
        for place in spool.places("archive")
        for known in imports.known(spool.path(place), place.key)
    )
    # Of what asked for the same event anew the last counts; a repeat, where nothing else is left.
    asked.sort(key=lambda one: one.at)
    return index.rebuild([(one.event, one.known) for one in asked], intents, list(known))


class _Asked(NamedTuple):
    """A delivery, as a file remembers it: when (a repeat: never), its event, what is known."""

    at: str
    event: bytes
    known: Known


def _requests(spool: Spool, intents: list[Intent]) -> Iterator[_Asked]:
    for place in spool.places(*STATES):
        for name in spool.names(place):
            fields = reading.json_object(spool.path(place, name), request.MAX_BYTES) or {}
            with suppress(KeyError, TypeError, AttributeError):
                known = str(fields["dispatch_id"])
                if is_odd(known) or "/" in known:
                    continue  # intake makes no such id: as a path it would lead elsewhere
                source = fields["source"]
                event = event_digest(source["inbox"], fields["event_key"])
                dropper = _dropper(source)
                noted = Known(known, str(source["sha256"]), dropper.uid if dropper else None)
                yield _Asked(str(source["received_at"]), event, noted)
                if place == Place("awaiting-approval"):
                    digests = intents_of(fields["route"], fields["intent_key"], dropper)
                    intents += [(digest, known) for digest in digests]


def _reasons(spool: Spool) -> Iterator[_Asked]:
    for place in spool.places("archive"):
        for day in filter(_is_day, reading.entries(spool.path(place))):
            for entry in reading.entries(day.path):
                if entry.name.endswith(REASON_SUFFIX):
                    fields = reading.json_object(entry.path, request.MAX_BYTES) or {}
                    with suppress(KeyError, TypeError, AttributeError):
                        event = event_digest(fields["source"], fields["event_key"])
                        dropper, sha256 = _dropper(fields), str(fields.get("sha256", ""))
                        known = Known(
                            str(fields["dispatch_id"]), sha256, dropper.uid if dropper else None
                        )
                        at = "" if fields["code"] == "repeat" else str(fields["at"])
                        yield _Asked(at, event, known)


def _dropper(fields: JsonObject) -> Dropper | None:
    found = fields.get("dropped_by")
    return Dropper(int(found["uid"]), str(found["user"])) if found else None


def _is_day(entry: os.DirEntry[str]) -> bool:
    """Not what is being taken: that has reasons only where a stranger wrote them."""
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
