"""What was dealt with before a group of drops: said by the index, by imports, or by the files."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from spoold.errors import BadInput
from spoold.identity import event_digest, intent_digest
from spoold.request import Request
from spoold.spool import imports
from spoold.spool.index import Index
from spoold.spool.spool import Place, Spool
from spoold.stages.intake.claim import Claim
from spoold.stages.intake.outcome import Imported, MadeBefore, Outcome, Repeat
from spoold.stages.intake.render import Routed
from spoold.states import STATES

_AWAITING = Place("awaiting-approval")
#: Other stages go on while intake looks; a file that moved meanwhile is looked for again.
_LOOKS = 20


class Lookup(Protocol):
    """Something that remembers earlier drops."""

    def find(self, group: Sequence[Routed]) -> dict[Routed, Outcome]:
        """What becomes of those that it remembers; the others are left out."""
        ...

    def has_request(self, dispatch_id: str) -> bool:
        """Whether it knows a request of that id."""
        ...


def repeat(routed: Routed, dispatch_id: str) -> Repeat:
    """The outcome of a second delivery."""
    key = routed.action.event_key
    return Repeat(routed.claim, key, dispatch_id=dispatch_id, event=routed.event)


class IndexLookup:
    """Asks the index, which knows everything that was finished before."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def find(self, group: Sequence[Routed]) -> dict[Routed, Outcome]:
        """Repeats of deliveries."""
        known = self._index.events([routed.event for routed in group])
        return {r: repeat(r, known[r.event]) for r in group if r.event in known}

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
        self._unnoted: dict[bytes, Request] | None = None

    def find(self, group: Sequence[Routed]) -> dict[Routed, Outcome]:
        """Requests that these very drops made, and repeats of what the run had dealt with."""
        requests = {r: made for r in group if (made := self._made_by(r))}
        found: dict[Routed, Outcome] = {}
        latest: dict[bytes, str] = {}
        for routed, made in requests.items():
            if self._was_made_from(routed.claim, made):
                intent = intent_digest(made.route, made.intent_key) if made.intent_key else b""
                latest[intent] = made.dispatch_id
                found[routed] = MadeBefore(
                    routed.claim, made, dispatch_id=made.dispatch_id, event=routed.event,
                    intent=intent,
                )  # fmt: skip
            else:
                found[routed] = repeat(routed, made.dispatch_id)
        for routed in group:
            if routed.intent and routed not in found:
                into = latest.get(routed.intent) or self._index.intent(routed.intent)
                if into and self._has_counted(into, routed):
                    found[routed] = repeat(routed, into)
        return found

    def has_request(self, dispatch_id: str) -> bool:
        """Whether a file in any state has that name."""
        return f"{dispatch_id}.json" in self._names

    def _made_by(self, routed: Routed) -> Request | None:
        """The request that this event made, in whatever state it is."""
        if self._unnoted is None:
            self._unnoted = dict(self._look_for_unnoted())
        if found := self._unnoted.get(routed.event):
            return found
        known = self._index.event(routed.event)
        found = self._load(f"{known}.json") if known else None
        of = (routed.claim.inbox.name, routed.action.event_key)
        return found if found and (found.source.inbox, found.event_key) == of else None

    def _look_for_unnoted(self) -> Iterator[tuple[bytes, Request]]:
        """Requests that the index does not know, by the event that made them."""
        # In the order of a request's life, so that what moves on meanwhile is seen at least once;
        # the second time is for what moved back.
        for place in [*self._spool.places(*STATES), *self._spool.places(*STATES)]:
            self._names.update(self._spool.scan(place))
        for name in self._names:
            if not self._index.has_request(name.removesuffix(".json")) and (
                found := self._load(name)
            ):
                yield event_digest(found.source.inbox, found.event_key), found

    def _was_made_from(self, claim: Claim, made: Request) -> bool:
        """Whether it was made from this very file, not from an earlier delivery of its event."""
        place, name = archive_place(claim, made.source.archived)
        same = (made.source.sha256, made.source.file) == (claim.sha256, claim.file)
        return same and not self._spool.exists(place, name)

    def _has_counted(self, dispatch_id: str, routed: Routed) -> bool:
        """Whether this delivery was folded into a request that has moved on since."""
        name = f"{dispatch_id}.json"
        if self._spool.exists(_AWAITING, name):
            return False
        found = self._load(name)
        key = routed.action.event_key
        return found is not None and any(repeat.event_key == key for repeat in found.repeats)

    def _load(self, name: str) -> Request | None:
        """A request in whatever state it is now, also while it moves on; None if it is none."""
        for _ in range(_LOOKS):
            place = self._spool.find(name)
            if place is None:
                continue
            try:
                found = self._spool.request(place, name)
            except FileNotFoundError:
                continue
            except BadInput:
                return None
            # Without the seal, a user who may write to a state could say where an original goes.
            return found if found.seal_holds(self._key) else None
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
