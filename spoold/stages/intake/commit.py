"""A plan → files, in the order that makes it safe to die anywhere."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spoold import request
from spoold.disk import fs
from spoold.errors import ADVICE, BadInput
from spoold.request import Request
from spoold.spool.index import Index
from spoold.spool.set_aside import move_beside_reason
from spoold.spool.spool import Place, Spool
from spoold.stages.intake.claim import Claim
from spoold.stages.intake.lookup import archive_place
from spoold.stages.intake.outcome import MadeBefore, NewRequest, Outcome, Quarantine
from spoold.stages.intake.plan import Plan, Written
from spoold.stages.stage import StageContext
from spoold.states import REASON_SUFFIX

_AWAITING, _PRE_APPROVED = Place("awaiting-approval"), Place("pre-approved")
_EXPIRED = Place("expired")


class _Original(NamedTuple):
    """An original that leaves `taking`: where it goes, and the reason beside it."""

    outcome: Outcome
    place: Place
    name: str
    why: bytes | None
    draft: str | None


class Committer:
    """Carries plans out.

    Until its original has left `taking`, a drop is not answered for: a restart plans it again, and
    then the files themselves say what the run before had finished.
    """

    def __init__(self, context: StageContext, spool: Spool, index: Index) -> None:
        self._clock, self._spool, self._index = context.clock, spool, index
        self._days: set[str] = set()

    def commit(self, plan: Plan) -> list[Claim]:
        """Do what was planned; that the originals have left `taking` is not durable yet.

        Returns:
            Claims to plan again: a person moved the request that they were to be folded into.
        """
        new = self._drafts(plan.new.values())
        folded = self._drafts(plan.folded.values())
        originals = [self._explained(outcome) for outcome in plan.outcomes]
        self._spool.sync()  # a draft is durable before it gets a name
        gone = self._swap(folded)
        for made, draft in new:
            self._publish(made, draft)
        for original in originals:
            self._add_reason(original, void=original.outcome.dispatch_id in gone)
        if any(made.supersedes for made, _ in new):
            self._spool.sync()  # or a restart could not say why the superseded one left
        done = [one for one in originals if one.outcome.dispatch_id not in gone]
        for one in done:
            self._retire_superseded(one.outcome)
        self._spool.sync()  # the index never knows of a request that may get lost
        self._note([one.outcome for one in done])
        for one in done:
            self._move(one)
        return [o.claim for o in plan.outcomes if o.dispatch_id in gone]

    def _drafts(self, group: Iterable[Written]) -> list[tuple[Request, str]]:
        return [(made, self._spool.draft(data)) for made, data in group]

    def _explained(self, outcome: Outcome) -> _Original:
        """Where an original goes, with a draft of the reason beside it."""
        if isinstance(outcome, Quarantine):
            place = Place("quarantine", outcome.claim.inbox.name)
            name = self._spool.free_name(outcome.claim.file, place)
        else:
            place, name = archive_place(outcome.claim, outcome.archived)
            self._make_day(self._spool.path(place, name.partition("/")[0]))
        why = outcome.reason(self._clock())
        return _Original(outcome, place, name, why, self._spool.draft(why) if why else None)

    def _make_day(self, folder: str) -> None:
        if folder not in self._days:
            fs.make_folder(folder, 0o750)
            self._days.add(folder)

    def _swap(self, folded: list[tuple[Request, str]]) -> set[str]:
        """Count repeats in requests that wait; the ids of those that a person has moved."""
        swap = self._spool.swap
        return {made.dispatch_id for made, draft in folded if not swap(draft, _AWAITING, made.name)}

    def _publish(self, made: Request, draft: str) -> None:
        target = _AWAITING if made.requires_approval else _PRE_APPROVED
        try:
            self._spool.publish(draft, target, made.name)
        except FileExistsError:
            problem = BadInput("not-a-request", "It has the name of a request, but is another's.")
            self._spool.hold(target, made.name, problem, self._clock())
            self._spool.publish(draft, target, made.name)

    def _add_reason(self, original: _Original, *, void: bool) -> None:
        """A reason is durable before the original that it is about gets there."""
        if original.draft and void:
            self._spool.discard(original.draft)
        elif original.draft:
            self._spool.add_reason(original.draft, original.place, original.name)

    def _retire_superseded(self, outcome: Outcome) -> None:
        """Take what a request supersedes out of the way, unless a person has decided about it."""
        if not isinstance(outcome, NewRequest | MadeBefore):
            return
        spool, newer = self._spool, outcome.dispatch_id
        for old in outcome.request.supersedes:
            name = f"{old}.json"
            moved = spool.move_or_hold(_AWAITING, _EXPIRED, name, self._clock())
            explained = spool.exists(_EXPIRED, name + REASON_SUFFIX)
            if moved or (spool.exists(_EXPIRED, name) and not explained):
                what, advice = f"{newer} replaced it.", ADVICE["superseded"]
                why = request.reason("superseded", what, advice, self._clock(), by=newer)
                draft = spool.draft(why)
                spool.sync()
                spool.add_reason(draft, _EXPIRED, name)

    def _note(self, outcomes: Sequence[Outcome]) -> None:
        self._index.add(
            [(o.event, o.known) for o in outcomes if o.event],
            [(intent, o.dispatch_id) for o in outcomes for intent in o.intents],
        )

    def _move(self, original: _Original) -> None:
        outcome, place, name = original.outcome, original.place, original.name
        claim = outcome.claim
        taking = Place("taking", claim.inbox.name)
        if isinstance(outcome, Quarantine):
            move_beside_reason(self._spool, taking, place, claim.file, name, original.why or b"")
            self._spool.counts.add("errors", outcome.problem.code)
        else:
            self._spool.move(taking, place, claim.file, name)
        outcome.log()
