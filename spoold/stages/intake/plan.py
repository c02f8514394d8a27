"""A group of claims → what becomes of each, and the requests to write. Writes nothing itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from spoold import request
from spoold.errors import BadInput
from spoold.identity import digits, dispatch_id
from spoold.record import moment
from spoold.request import Repeat, Request
from spoold.routing import Routing
from spoold.spool.index import Known
from spoold.stages.intake import differences
from spoold.stages.intake.claim import Claim
from spoold.stages.intake.lookup import Lookup
from spoold.stages.intake.outcome import Fold, NewRequest, Outcome, Quarantine
from spoold.stages.intake.render import Routed, build, route
from spoold.stages.intake.same import Judge


class Written(NamedTuple):
    """A request, and its file's content."""

    request: Request
    data: bytes


@dataclass(slots=True)
class Plan:
    """What to do.

    Attributes:
        outcomes: one for each claim.
        new: requests to publish.
        folded: requests that wait already, as they are to be from now on.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    new: dict[str, Written] = field(default_factory=dict)
    folded: dict[str, Written] = field(default_factory=dict)


def _asks(waiting: Request) -> dict[str, Any]:
    """What a request would do, as `Action.asks` says it."""
    names = ("executor", "params", "preflight", "requires_approval")
    return {**waiting.targets, **{name: getattr(waiting, name) for name in names}}


def _is_older(routed: Routed, waiting: Request) -> bool:
    """Whether it happened before what a waiting request asks for, as far as both say when."""
    here, there = moment(routed.record.occurred_at), waiting.source.occurred_at
    return here is not None and there is not None and here < request.parse_time(there)


class Planner:
    """Plans one group.

    Args:
        routing: inboxes and routes.
        lookups: who is asked about earlier drops; the first that knows one decides.
        judge: compares a drop with an earlier one.
        latest: the id of the latest request with an intent, as far as the index knows.
        waiting: the request of that id, if it still waits for a decision.
        key: of the seals.
    """

    def __init__(
        self,
        routing: Routing,
        lookups: Sequence[Lookup],
        judge: Judge,
        latest: Callable[[bytes], str | None],
        waiting: Callable[[str], Request | None],
        key: bytes,
    ) -> None:
        self._routing, self._lookups, self._judge, self._key = routing, lookups, judge, key
        self._latest, self._load_waiting = latest, waiting
        self._plan = Plan()
        self._events: dict[bytes, tuple[Known, Routed]] = {}
        self._intents: dict[bytes, str] = {}
        self._counted: dict[str, Request] = {}

    def plan(self, claims: Sequence[Claim]) -> Plan:
        """Decide what becomes of drops, the oldest first."""
        outcomes = self._plan.outcomes
        group: list[Routed] = []
        for claim in claims:
            try:
                group.append(route(claim, self._routing))
            except BadInput as problem:
                outcomes.append(Quarantine(claim, problem.to_keep()))
        known = self._look_up(group)
        self._intents.update((intent, o.dispatch_id) for o in outcomes for intent in o.intents)
        for routed in group:
            found = known.get(routed)
            if isinstance(found, Outcome):
                continue
            try:
                outcomes.append(self._ask(routed, found))
            except BadInput as problem:
                outcomes.append(Quarantine(routed.claim, problem.to_keep()))
        for counted in self._counted.values():
            self._write(counted.sealed(self._key))
        return self._plan

    def _look_up(self, group: Sequence[Routed]) -> dict[Routed, Outcome | Known]:
        """What the lookups say of drops; an outcome is planned."""
        known: dict[Routed, Outcome | Known] = {}
        for lookup in self._lookups:
            known.update(lookup.find([routed for routed in group if routed not in known]))
        for routed, found in known.items():
            if isinstance(found, Outcome):
                self._plan.outcomes.append(found)
                self._events[routed.event] = found.known, routed
        return known

    def _ask(self, routed: Routed, known: Known | None) -> Outcome:
        """What becomes of a drop of which a lookup knows the event at most."""
        known, first = self._events.get(routed.event, (known, None))
        if known and (same := self._judge.answer(routed, known, first)):
            return same
        on_repeat = routed.action.on_repeat
        waiting = self._waiting(routed.intent) if on_repeat != "separate" else None
        if waiting and (on_repeat == "fold" or _is_older(routed, waiting)):
            return self._fold(routed, waiting)
        chosen = self._free_id(routed, known.id if known else "")
        return self._new(routed, chosen, [waiting.dispatch_id] if waiting else [])

    def _new(self, routed: Routed, chosen: str, supersedes: list[str]) -> NewRequest:
        made = build(routed, chosen).with_(supersedes=supersedes).sealed(self._key)
        same = made.dispatch_id
        self._plan.new[same] = Written(made, made.to_bytes())
        if len(self._plan.new[same].data) > request.MAX_BYTES // 2:
            del self._plan.new[same]
            what = "The request that it makes would be too large to be read back."
            raise BadInput("too-large", what)
        self._intents |= dict.fromkeys(routed.intents, same)
        new = NewRequest(
            routed.claim, made, dispatch_id=same, event=routed.event, intents=routed.intents
        )
        self._events[routed.event] = new.known, routed
        return new

    def _fold(self, routed: Routed, waiting: Request) -> Fold:
        claim, key, same = routed.claim, routed.action.event_key, waiting.dispatch_id
        differs = differences.between(_asks(waiting), routed.action.asks) or None
        # A run that crashed may have counted this one already.
        if not any((one.event_key, one.sha256) == (key, claim.sha256) for one in waiting.repeats):
            one = Repeat(at=request.timestamp(claim.at), id=routed.record.id, event_key=key,
                         archived=claim.archived, sha256=claim.sha256, differs=differs,
                         dropped_by=claim.dropped_by)  # fmt: skip
            repeats = request.latest(waiting.repeats, one)
            waiting = waiting.with_(asked=waiting.asked + 1, repeats=repeats)
        self._counted[same] = waiting
        fold = Fold(claim, key, waiting.asked, differs, dispatch_id=same, event=routed.event)
        self._events[routed.event] = fold.known, routed
        return fold

    def _write(self, made: Request) -> None:
        group = self._plan.new if made.dispatch_id in self._plan.new else self._plan.folded
        group[made.dispatch_id] = Written(made, made.to_bytes())

    def _waiting(self, intent: bytes) -> Request | None:
        """The request with this intent that still waits for a decision, if there is one."""
        known = intent and (self._intents.get(intent) or self._latest(intent))
        if not known:
            return None
        if known in self._counted:
            return self._counted[known]
        if known in self._plan.new:
            return self._plan.new[known].request
        return self._load_waiting(known)

    def _free_id(self, routed: Routed, before: str) -> str:
        """The event's id; a second later where another event has it, which eight digits allow."""
        when, own = routed.claim.at, digits(self._key, routed.event, before)
        while True:
            chosen = dispatch_id(when, routed.action.route, own)
            taken = (lookup.has_request(chosen) for lookup in self._lookups)
            if chosen not in self._plan.new and not any(taken):
                return chosen
            when += timedelta(seconds=1)
