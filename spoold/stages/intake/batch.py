"""A group of claimed drops → requests, durable together.

The order is what makes it safe to die anywhere: data, then the requests' names, then the index, and
the originals last. Until its original has left `taking` a drop is not answered for, and a restart
plans it again; then the files themselves say what the dead run had finished.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from spoold import request
from spoold.disk import fs
from spoold.errors import ADVICE, BadInput
from spoold.identity import dispatch_id, intent_digest
from spoold.request import Repeat, Request
from spoold.routing import Action
from spoold.spool import imports
from spoold.spool.index import Index
from spoold.spool.set_aside import move_beside_reason
from spoold.spool.spool import Place, Spool
from spoold.stages.intake.claim import Claim, Ending, Routed, build, route
from spoold.stages.intake.lookup import Truth, load, load_anywhere
from spoold.stages.stage import StageContext
from spoold.states import REASON_SUFFIX

log = logging.getLogger("spoold.intake")

_AWAITING, _PRE_APPROVED = Place("awaiting-approval"), Place("pre-approved")
_EXPIRED = Place("expired")


class _Planned(NamedTuple):
    """A request as it will be written."""

    request: Request
    data: bytes


@dataclass(slots=True)
class Batch:
    """Plans a group with `add`, carries it out with `commit`.

    Args:
        context: the configuration and the clock.
        spool: the spool, in intake's hands.
        index: what was seen before.
        key: of the seals.
        after_crash: whether the claims were left by a dead run, which may have published already.
    """

    context: StageContext
    spool: Spool
    index: Index
    key: bytes
    after_crash: bool = False
    _new: dict[str, _Planned] = field(default_factory=dict)
    _folded: dict[str, _Planned] = field(default_factory=dict)
    _events: dict[bytes, str] = field(default_factory=dict)
    _intents: dict[bytes, str] = field(default_factory=dict)
    _endings: list[Ending] = field(default_factory=list)
    _days: set[str] = field(default_factory=set)
    _truth: Truth | None = None

    # Planning, which writes nothing

    def add(self, claims: Sequence[Claim]) -> None:
        """Decide what becomes of drops."""
        routed = [found for claim in claims if (found := self._routed(claim))]
        if self.after_crash:
            # What the dead run had published is what the others may fold into.
            routed.sort(key=lambda found: not self._published(found))
        near = self.index.events_near([found.event for found in routed])
        for found in routed:
            try:
                self._decide(found, near)
            except BadInput as problem:
                self._set_aside(found.claim, problem)

    def _routed(self, claim: Claim) -> Routed | None:
        try:
            return route(claim, self.context.routing)
        except BadInput as problem:
            self._set_aside(claim, problem)
            return None

    def _decide(self, found: Routed, near: Mapping[bytes, str]) -> None:
        known = self._events.get(found.event) or near.get(found.event)
        if earlier := self._published(found):
            self._finish(found, earlier)
        elif known := known or self._known_on_disk(found):
            self._repeat(found, known)
        elif file := imports.find(found.record, self.index.imported):
            self._dealt_with(found, file)
        else:
            self._ask(found, near.values())

    def _set_aside(self, claim: Claim, problem: BadInput) -> None:
        place, kept = Place("quarantine", claim.inbox.name), problem.to_keep()
        why = claim.reason(problem.code, problem.what, self.context.clock())

        def say() -> None:
            self.spool.counts.add("errors", kept.code)
            fields = claim.log_fields(code=kept.code)
            log.warning("quarantined %s: %s", claim.shown, kept, extra=fields)

        name = self.spool.free_name(claim.file, place)
        self._endings.append(Ending(claim, place, name, say, why))

    def _repeat(self, found: Routed, known: str) -> None:
        claim = found.claim
        self._events[found.event] = known
        what = f"The same delivery made {known} before."
        why = claim.reason("repeat", what, self.context.clock(), dispatch_id=known,
                           event_key=found.action.event_key)  # fmt: skip

        def say() -> None:
            fields = claim.log_fields(dispatch_id=known, code="repeat")
            log.info("%s repeats %s", claim.shown, known, extra=fields)

        self._archive(claim, claim.archived, say, why)

    def _dealt_with(self, found: Routed, file: str) -> None:
        claim = found.claim
        what = f"The dispatcher before spoold had dealt with it, says {file}."
        why = claim.reason("imported", what, self.context.clock(), imported=file)

        def say() -> None:
            log.info("%s is in %s", claim.shown, file, extra=claim.log_fields(code="imported"))

        self._archive(claim, claim.archived, say, why)

    def _ask(self, found: Routed, taken: Iterable[str]) -> None:
        claim, action = found.claim, found.action
        intent = intent_digest(action.route, action.intent_key) if action.intent_key else None
        waiting = self._waiting(intent) if intent and action.on_repeat != "separate" else None
        if intent and (folded := self._folded_before(intent, action)):
            self._repeat(found, folded.dispatch_id)
            return
        if waiting and action.on_repeat == "fold":
            self._fold(found, waiting)
            return
        made = build(claim, found.record, action, self._free_id(found, taken))
        if waiting:
            made = made.with_(supersedes=[waiting.dispatch_id])
        self._plan(self._new, made)
        self._events[found.event] = made.dispatch_id
        if intent:
            self._intents[intent] = made.dispatch_id

        def say() -> None:
            fields = claim.log_fields(dispatch_id=made.dispatch_id, route=made.route)
            log.info("%s made %s", claim.shown, made.dispatch_id, extra=fields)

        self._archive(claim, claim.archived, say)

    def _plan(self, group: dict[str, _Planned], made: Request) -> None:
        made = made.sealed(self.key)
        data = made.to_bytes()
        if len(data) > request.MAX_BYTES // 2:
            what = "The request that it makes would be too large to be read back."
            raise BadInput("too-large", what)
        group[made.dispatch_id] = _Planned(made, data)

    def _fold(self, found: Routed, waiting: Request) -> None:
        claim, record, action, _ = found
        same = waiting.dispatch_id
        # After a crash the dead run may have counted this one already.
        if not any(repeat.event_key == action.event_key for repeat in waiting.repeats):
            repeat = Repeat(at=request.timestamp(claim.at), id=record.id,
                            event_key=action.event_key, archived=claim.archived)  # fmt: skip
            waiting = waiting.with_(
                asked=waiting.asked + 1, repeats=request.latest(waiting.repeats, repeat)
            )
        self._plan(self._new if same in self._new else self._folded, waiting)
        self._events[found.event] = same
        what = f"{same} still waits and asks for the same; it was asked {waiting.asked} times now."
        why = claim.reason("folded", what, self.context.clock(), dispatch_id=same,
                           event_key=action.event_key)  # fmt: skip

        def say() -> None:
            fields = claim.log_fields(dispatch_id=same, code="folded")
            log.info("%s folds into %s", claim.shown, same, extra=fields)

        self._archive(claim, claim.archived, say, why, needs=same)

    def _finish(self, found: Routed, earlier: Request) -> None:
        """The dead run had published this drop's request; only what comes after is missing."""
        claim = found.claim
        self._events[found.event] = earlier.dispatch_id
        if earlier.intent_key:
            intent = intent_digest(earlier.route, earlier.intent_key)
            self._intents.setdefault(intent, earlier.dispatch_id)
        self._retire(earlier)

        def say() -> None:
            log.info("%s was made before the crash", earlier.dispatch_id, extra=claim.log_fields(
                dispatch_id=earlier.dispatch_id))  # fmt: skip

        self._archive(claim, earlier.source.archived, say)

    def _archive(
        self,
        claim: Claim,
        archived: str,
        say: Callable[[], None],
        why: bytes | None = None,
        needs: str | None = None,
    ) -> None:
        place, name = Place("archive", claim.inbox.name), _below(archived)
        day = self.spool.path(place, name.partition("/")[0])
        if day not in self._days:
            fs.make_folder(day, 0o750)
            self._days.add(day)
        self._endings.append(Ending(claim, place, name, say, why, needs))

    def _free_id(self, found: Routed, taken: Iterable[str]) -> str:
        """The event's id; a second later where another event has it, which eight digits allow."""
        when = found.claim.at
        on_disk = self._truth.named(found.event) if self._truth else set()
        while True:
            chosen = dispatch_id(when, found.action.route, found.event)
            if not (chosen in self._new or chosen in taken or f"{chosen}.json" in on_disk):
                return chosen
            when += timedelta(seconds=1)

    def _waiting(self, intent: bytes) -> Request | None:
        """The request with this intent, if nobody has decided about it yet."""
        found = self._intents.get(intent) or self.index.intent(intent)
        if found is None:
            return None
        if planned := self._new.get(found) or self._folded.get(found):
            return planned.request
        waiting = load(self.spool, _AWAITING, f"{found}.json")
        # Sealing a file that somebody had changed would make the change ours.
        if waiting is None or not waiting.seal_holds(self.key):
            return None
        return None if waiting.has_expired(self.context.clock()) else waiting

    # What a dead run had finished

    def _on_disk(self, found: Routed) -> Request | None:
        if not self.after_crash:
            return None
        if self._truth is None:
            self._truth = Truth(self.spool, self.key)
        return self._truth.made_from(found.claim.inbox.name, found.action.event_key, found.event)

    def _known_on_disk(self, found: Routed) -> str | None:
        made = self._on_disk(found)
        return made.dispatch_id if made else None

    def _published(self, found: Routed) -> Request | None:
        """The request that this very file made, rather than an earlier delivery of the same."""
        claim, made = found.claim, self._on_disk(found)
        if made is None:
            return None
        place, name = Place("archive", claim.inbox.name), _below(made.source.archived)
        same = (made.source.sha256, made.source.file) == (claim.sha256, claim.file)
        return made if same and not self.spool.exists(place, name) else None

    def _folded_before(self, intent: bytes, action: Action) -> Request | None:
        """The request that the dead run had folded this delivery into, if it has moved on since."""
        if not self.after_crash:
            return None
        known = self._intents.get(intent) or self.index.intent(intent)
        if known is None or known in self._new or self.spool.exists(_AWAITING, f"{known}.json"):
            return None
        found = load_anywhere(self.spool, f"{known}.json")
        if found is None or not found.seal_holds(self.key):
            return None
        is_counted = any(repeat.event_key == action.event_key for repeat in found.repeats)
        return found if is_counted else None

    # Carrying out

    def commit(self) -> list[Claim]:
        """Do what was planned; that the originals have left `taking` is not durable yet.

        Returns:
            Claims to plan again: a person moved the request that they were to be folded into.
        """
        new = [(made, self.spool.draft(data)) for made, data in self._new.values()]
        folded = [(asked, self.spool.draft(data)) for asked, data in self._folded.values()]
        reasons = [self.spool.draft(e.why) if e.why else None for e in self._endings]
        self.spool.sync()
        gone = {a.dispatch_id for a, d in folded if not self.spool.swap(d, _AWAITING, a.name)}
        for made, draft in new:
            self._publish(made, draft)
        for ending, why in zip(self._endings, reasons, strict=True):
            self._explain(ending, why, void=ending.needs in gone)
        if any(made.supersedes for made, _ in new):
            # What replaces a request is durable before that leaves, or a restart could not say why.
            self.spool.sync()
        for made, _ in new:
            self._retire(made)
        self.spool.sync()
        self.index.add(
            [(digest, known) for digest, known in self._events.items() if known not in gone],
            [(digest, known) for digest, known in self._intents.items() if known not in gone],
        )
        again = [e.claim for e in self._endings if e.needs in gone]
        for ending in self._endings:
            if ending.needs not in gone:
                self._end(ending)
        return again

    def _publish(self, made: Request, draft: str) -> None:
        target = _AWAITING if made.requires_approval else _PRE_APPROVED
        try:
            self.spool.publish(draft, target, made.name)
        except FileExistsError:
            problem = BadInput("not-a-request", "It has the name of a request, but is another's.")
            self.spool.hold(target, made.name, problem, self.context.clock())
            self.spool.publish(draft, target, made.name)

    def _explain(self, ending: Ending, why: str | None, *, void: bool) -> None:
        """A reason is durable before the original that it is about gets there."""
        if why and void:
            self.spool.discard(why)
        elif why:
            self.spool.add_reason(why, ending.place, ending.name)

    def _end(self, ending: Ending) -> None:
        taking = Place("taking", ending.claim.inbox.name)
        if ending.place.folder == "quarantine" and ending.why:
            name, why = ending.claim.file, ending.why
            move_beside_reason(self.spool, taking, ending.place, name, ending.name, why)
        else:
            self.spool.move(taking, ending.place, ending.claim.file, ending.name)
        ending.say()

    def _retire(self, newer: Request) -> None:
        """Take what a request supersedes out of the way, unless somebody has decided about it."""
        for old in newer.supersedes:
            name = f"{old}.json"
            moved = self.spool.move_or_hold(_AWAITING, _EXPIRED, name, self.context.clock())
            said = self.spool.exists(_EXPIRED, name + REASON_SUFFIX)
            if moved or (self.spool.exists(_EXPIRED, name) and not said):
                what = f"{newer.dispatch_id} replaced it."
                why = request.reason("superseded", what, ADVICE["superseded"],
                                     self.context.clock(), by=newer.dispatch_id)  # fmt: skip
                draft = self.spool.draft(why)
                self.spool.sync()
                self.spool.add_reason(draft, _EXPIRED, name)


def _below(archived: str) -> str:
    """`<day>/<name>` of a path `archive/<source>/<day>/<name>`."""
    return archived.split("/", 2)[2]
