"""A delivery of an event that is known → a repeat of it, a conflict, or nothing: it asks anew.

Only who sent the same is told that there is nothing to do. A key alone proves nothing: a stranger
can use the key of a coming alarm, and a producer one key for two orders.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from spoold.config.quantities import FOREVER, WHILE_OPEN, parse_duration
from spoold.disk import reading
from spoold.errors import BadInput
from spoold.identity import made_at
from spoold.record import JsonObject, Record
from spoold.routing import Routing
from spoold.spool.decisions import user_name
from spoold.spool.index import Known
from spoold.spool.spool import Place, Spool
from spoold.stages.intake import differences
from spoold.stages.intake.claim import claim_of, read_drop
from spoold.stages.intake.lookup import repeat, sealed_in, sealed_request, waiting_request
from spoold.stages.intake.outcome import Conflict, Outcome
from spoold.stages.intake.render import Routed, route
from spoold.states import FINAL


class Judge:
    """Compares deliveries with what was delivered before.

    Args:
        spool: where requests and originals are.
        key: of the seals.
        routing: inboxes and routes.
        now: the time.
    """

    def __init__(self, spool: Spool, key: bytes, routing: Routing, now: datetime) -> None:
        self._spool, self._key, self._routing, self._now = spool, key, routing, now

    def answer(self, routed: Routed, known: Known, first: Routed | None = None) -> Outcome | None:
        """What becomes of a delivery of an event that is known; None if it asks anew.

        Args:
            routed: what was delivered.
            known: what the index, or a request, says of the event.
            first: the delivery that is known, if it is in the same group.
        """
        if first is None and not self._still_counts(routed.action.repeats, known.id):
            return None
        is_others = known.dropper not in (None, routed.claim.dropped_by.uid)
        if routed.claim.sha256 == known.sha256 and not is_others:
            return repeat(routed, known)
        first = first or self._first(routed, known)
        if first and not is_others and _are_alike(first, routed):
            return repeat(routed, known)
        return _conflict(routed, known, first)

    def _still_counts(self, repeats: str, dispatch_id: str) -> bool:
        """Whether the same key is a repeat still of that request."""
        if repeats == FOREVER:
            return True
        if repeats == WHILE_OPEN:
            return self._is_open(dispatch_id)
        made = made_at(dispatch_id)
        return made is None or self._now < made + timedelta(seconds=parse_duration(repeats))

    def _is_open(self, dispatch_id: str) -> bool:
        """Whether it may still run, or a person has to say how it ended."""
        if found := sealed_in(self._spool, self._key, dispatch_id):
            if found[0] == Place("awaiting-approval"):
                return bool(waiting_request(self._spool, self._key, self._now, dispatch_id))
            return found[0].folder not in FINAL
        return False

    def _first(self, routed: Routed, known: Known) -> Routed | None:
        """The delivery that is known, from its original in archive/; None if that is gone."""
        found, key = sealed_request(self._spool, self._key, known.id), routed.action.event_key
        if found is None:
            return None
        counted = (one.archived for one in found.repeats if one.event_key == key)
        archived = found.source.archived if found.event_key == key else next(counted, None)
        if archived is None:
            return None
        claim = routed.claim
        try:
            path = f"{self._spool.root}/{archived}"
            drop, status = read_drop(claim.inbox, path), reading.status(path)
            # As if it had come at the same time under the same name: only what is in it counts.
            there = claim_of(drop, claim.inbox, claim.file, claim.at, archived, status)
            return route(replace(there, moved_at=claim.moved_at), self._routing)
        except (OSError, BadInput):
            return None


def _are_alike(there: Routed, here: Routed) -> bool:
    """Whether two deliveries that are not alike to the byte say the same all the same."""
    content = _content(here.record)
    return (
        content is not None
        and not differences.between(_content(there.record) or {}, content)
        and there.action.asks == here.action.asks
    )


def _content(record: Record) -> JsonObject | None:
    """What of a delivery counts, where not every byte does."""
    return record.body if record.content is None and record.id is None else record.content


def _conflict(here: Routed, known: Known, there: Routed | None) -> Conflict:
    claim = here.claim
    differs: dict[str, Any] = {"sha256": [known.sha256, claim.sha256]}
    if known.dropper not in (None, claim.dropped_by.uid):
        differs["dropped_by"] = [user_name(known.dropper), claim.dropped_by.user]
    if there:
        differs["bytes"] = [there.claim.size, claim.size]
        if there.claim.document is not None and claim.document is not None:
            differs["fields"] = differences.fields(there.claim.document, claim.document)
    key = here.action.event_key
    what = f"{known.id} was asked for under the same key {key[:80]!r} by another drop"
    problem = BadInput("conflict", f"{what}: {_in_words(differs)}.")
    return Conflict(claim, problem, key, differs, dispatch_id=known.id)


def _in_words(differs: dict[str, Any]) -> str:
    """How they differ, for a person: there, here."""
    there, here = (one[:12] for one in differs["sha256"])
    words = [f"sha256 {there}… there, {here}… here"]
    if users := differs.get("dropped_by"):
        words.append(f"dropped by {users[0]} there, by {users[1]} here")
    if sizes := differs.get("bytes"):
        words.append(f"{sizes[0]} bytes there, {sizes[1]} here")
    if names := differs.get("fields"):
        words.append(f"not alike: {', '.join(names)}"[:300])
    return "; ".join(words)
