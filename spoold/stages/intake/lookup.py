"""What was dealt with before a group of drops: said by the index, by imports, or by the files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from spoold.errors import BadInput
from spoold.identity import event_digest
from spoold.request import Repeat as Repeated
from spoold.request import Request, Source
from spoold.spool import imports
from spoold.spool.index import Index, Known
from spoold.spool.spool import Place, Spool
from spoold.stages.intake.claim import Claim
from spoold.stages.intake.outcome import Imported, MadeBefore, Outcome, Repeat
from spoold.stages.intake.render import Routed, intents
from spoold.states import STATES

_AWAITING = Place("awaiting-approval")
#: Other stages go on while intake looks; a file that moved meanwhile is looked for again.
LOOKS = 20


class Lookup(Protocol):
    """Something that remembers earlier drops."""

    def find(self, group: Sequence[Routed]) -> Mapping[Routed, Outcome | Known]:
        """What becomes of those that it remembers, or what is known; the others are left out."""
        ...

    def has_request(self, dispatch_id: str) -> bool:
        """Whether it knows a request of that id."""
        ...


def repeat(routed: Routed, known: Known) -> Repeat:
    """The outcome of a second delivery."""
    key = routed.action.event_key
    return Repeat(routed.claim, key, known, dispatch_id=known.id, event=routed.event)


class IndexLookup:
    """Asks the index, which knows everything that was finished before."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def find(self, group: Sequence[Routed]) -> dict[Routed, Known]:
        """Deliveries of events that are known."""
        known = self._index.events([routed.event for routed in group])
        return {r: known[r.event] for r in group if r.event in known}

    def has_request(self, dispatch_id: str) -> bool:
        """Whether the index has it for some event."""
        return self._index.has_request(dispatch_id)


class ImportLookup:
    """Asks what `spoold import` brought; most spools have no import."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def find(self, group: Sequence[Routed]) -> dict[Routed, Outcome]:
        """What an older dispatcher had dealt with."""
        if not self._index.has_imports:
            return {}
        found = ((r, imports.find(r.record, self._index.imported)) for r in group)
        return {r: Imported(r.claim, file) for r, file in found if file}

    def has_request(self, dispatch_id: str) -> bool:
        """No: an older dispatcher made requests of another form."""
        del dispatch_id
        return False


class CrashLookup:
    """Asks the files themselves, for drops that a crash left in `taking`.

    A run that ended before it wrote the index may have published their requests, and folded some
    of them. What it published and did not note is what the index does not know by its name.
    """

    def __init__(self, spool: Spool, index: Index, key: bytes) -> None:
        self._spool, self._index, self._key = spool, index, key
        self._names: set[str] = set()
        self._unnoted: dict[bytes, list[Request]] | None = None

    def find(self, group: Sequence[Routed]) -> dict[Routed, Outcome | Known]:
        """Requests that these very drops made or were counted in, and what the run had noted."""
        found: dict[Routed, Outcome | Known] = {}
        latest: dict[bytes, str] = {}
        for routed in group:
            requests = self._made_by(routed)
            for made in requests:
                if self._is_of(routed.claim, made.source.sha256, made.source.archived) and (
                    made.source.file == routed.claim.file
                ):
                    noted = intents(made.route, made.intent_key, made.source.dropped_by)
                    latest |= dict.fromkeys(noted, made.dispatch_id)
                    found[routed] = MadeBefore(
                        routed.claim, made, dispatch_id=made.dispatch_id, event=routed.event,
                        intents=noted,
                    )  # fmt: skip
                    break
            else:
                if requests:
                    last = max(requests, key=lambda made: made.dispatch_id)
                    found[routed] = _known(last.dispatch_id, last.source.sha256, last.source)
        for routed in group:
            if routed.intent and not isinstance(found.get(routed), Outcome):
                into = latest.get(routed.intent) or self._index.intent(routed.intent)
                if into and (counted := self._counted(into, routed)):
                    found[routed] = counted
        return found

    def has_request(self, dispatch_id: str) -> bool:
        """Whether a file in any state has that name."""
        return f"{dispatch_id}.json" in self._names

    def _made_by(self, routed: Routed) -> list[Request]:
        """The requests that this event made, in whatever state they are."""
        if self._unnoted is None:
            self._unnoted = {}
            for event, found in self._look_for_unnoted():
                self._unnoted.setdefault(event, []).append(found)
        made = self._unnoted.get(routed.event, [])
        known = self._index.event(routed.event)
        noted = sealed_request(self._spool, self._key, known.id) if known else None
        of = (routed.claim.inbox.name, routed.action.event_key)
        if noted and (noted.source.inbox, noted.event_key) == of:
            return [*made, noted]
        return made

    def _look_for_unnoted(self) -> Iterator[tuple[bytes, Request]]:
        """Requests that the index does not know, by the event that made them."""
        # In the order of a request's life, so that what moves on meanwhile is seen at least once;
        # the second time is for what moved back.
        for place in [*self._spool.places(*STATES), *self._spool.places(*STATES)]:
            self._names.update(self._spool.scan(place))
        for dispatch_id in {n.removesuffix(".json") for n in self._names} - self._index.requests():
            if found := sealed_request(self._spool, self._key, dispatch_id):
                yield event_digest(found.source.inbox, found.event_key), found

    def _is_of(self, claim: Claim, sha256: str | None, archived: str) -> bool:
        """Whether a request speaks of this very file, not of an earlier delivery of its event."""
        return sha256 == claim.sha256 and not self._spool.exists(*archive_place(claim, archived))

    def _counted(self, dispatch_id: str, routed: Routed) -> Outcome | Known | None:
        """What a request that has moved on since says of a delivery that was folded into it."""
        if self._spool.exists(_AWAITING, f"{dispatch_id}.json"):
            return None
        found, key = sealed_request(self._spool, self._key, dispatch_id), routed.action.event_key
        for one in found.repeats if found else ():
            if one.event_key == key:
                known = _known(dispatch_id, one.sha256 or routed.claim.sha256, one)
                is_it = self._is_of(routed.claim, known.sha256, one.archived)
                return repeat(routed, known) if is_it else known
        return None


def _known(dispatch_id: str, sha256: str, drop: Source | Repeated) -> Known:
    return Known(dispatch_id, sha256, drop.dropped_by.uid if drop.dropped_by else None)


def sealed_request(spool: Spool, key: bytes, dispatch_id: str) -> Request | None:
    """A request in whatever state it is now, also while it moves on; None if it is none."""
    found = sealed_in(spool, key, dispatch_id)
    return found[1] if found else None


def sealed_in(spool: Spool, key: bytes, dispatch_id: str) -> tuple[Place, Request] | None:
    """The same, and where it lies.

    Without the seal, a user who may write to a state could say where an original goes, and an
    executor that another's request has ended.
    """
    name = f"{dispatch_id}.json"
    for _ in range(LOOKS):
        for place in spool.find_all(name):
            with suppress(FileNotFoundError, BadInput):
                found = spool.request(place, name)
                if found.dispatch_id == dispatch_id and found.seal_holds(key):
                    return place, found
    return None


def waiting_request(spool: Spool, key: bytes, now: datetime, dispatch_id: str) -> Request | None:
    """A request that waits: no person has decided about it, and it has not expired."""
    try:
        found = spool.request(_AWAITING, f"{dispatch_id}.json")
    except (FileNotFoundError, BadInput):
        return None
    # Sealing a file that was changed by hand would make the change ours.
    if not found.seal_holds(key) or found.has_expired(now):
        return None
    return found


def archive_place(claim: Claim, archived: str) -> tuple[Place, str]:
    """The place and the name there of a path `archive/<source>/<day>/<name>`."""
    return Place("archive", claim.inbox.name), archived.split("/", 2)[2]
