"""approved, pre-approved → checking → queued/EXECUTOR, or held.

Security: trusts no user that can write to approved/. It claims a file, reads it once, and passes
on a copy of what it checked, never the file it found: a process that still has that one open
changes nothing. It trusts intake's seal, its own configuration, and the clock. It never renders
anything.
"""

import logging
from dataclasses import dataclass

from spoold import request
from spoold.disk import reading
from spoold.errors import BadInput
from spoold.identity import named
from spoold.request import Approval, Request
from spoold.spool.copies import must_be_alone, must_be_unfinished
from spoold.spool.decisions import decision_for
from spoold.spool.set_aside import Holding
from spoold.spool.spool import Place
from spoold.stages.stage import StageContext, Step, batches
from spoold.states import Role
from spoold.text import shown

log = logging.getLogger("spoold.gate")

_APPROVED = Place("approved")
#: Each door has a folder of its own behind it, so that a crash does not forget who said yes.
_DOORS = {_APPROVED: Place("checking"), Place("pre-approved"): Place("checking-pre-approved")}


@dataclass(frozen=True, slots=True)
class _Claim:
    """A file that the gate has claimed.

    Attributes:
        name: its name.
        door: the folder through which it came.
        moved_at: when the person moved it there (seconds since the epoch); 0 if a crash lost that.
    """

    name: str
    door: Place
    moved_at: float = 0.0

    @property
    def place(self) -> Place:
        """Where it lies now."""
        return _DOORS[self.door]


@dataclass(frozen=True, slots=True)
class _Passed:
    """A claim that may go on, and the draft of what goes on."""

    claim: _Claim
    request: Request
    draft: str


class Gate:
    """Checks that what was approved is what was sealed, and that it may run now."""

    name = "gate"

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.spool = context.spool(Role.GATE)
        self.spool.lay_out()
        self.lock = self.spool.lock(Place("checking"))
        self._key = self.spool.seal_key()

    def adopt(self) -> None:
        """Nothing of the configuration is kept."""

    def inputs(self) -> list[Place]:
        """Both doors."""
        return list(_DOORS)

    def unfinished(self) -> list[Place]:
        """Both doors, and what it has claimed."""
        return [*_DOORS, *_DOORS.values()]

    def recover(self) -> None:
        """Check again what was being checked; that changes nothing twice."""
        self.spool.remove_drafts()
        for door, place in _DOORS.items():
            left = [_Claim(name, door) for name in self.spool.names(place)]
            if left:
                log.warning("%d files were being checked when the gate died", len(left))
                self._check(left)

    def step(self) -> Step:
        """Claim and check everything that came through a door."""
        moved = 0
        for door in _DOORS:
            for names in batches(self.spool.names(door)):
                if self.spool.on_hold or self.context.stop.is_set():
                    return Step(moved)
                claims = [claim for name in names if (claim := self._claim(door, name))]
                self._check(claims)
                moved += len(claims)
        return Step(moved)

    def close(self) -> None:
        """Nothing runs between two steps."""

    def _claim(self, door: Place, name: str) -> _Claim | None:
        try:
            # A rename changes the ctime and no other time, so this is when the person moved it.
            claim = _Claim(name, door, reading.status(self.spool.path(door, name)).st_ctime)
            return claim if self.spool.move(door, claim.place, name) else None
        except FileNotFoundError:
            return None
        except FileExistsError:
            # A file of that name lies in the gate's folder, as after a crash: check that one first.
            self._check([_Claim(name, door)])
            return self._claim(door, name)
        except PermissionError as error:
            why = error.strerror
            log.error("cannot take %s/%s: %s", door, shown(name), why, extra=named(name))  # noqa: TRY400
            return None

    def _check(self, claims: list[_Claim]) -> None:
        """Move each claim on: to its queue, as it was checked, or to held/. They share syncs."""
        checked = [found for claim in claims if (found := self._checked(claim))]
        passed = [found for found in checked if isinstance(found, _Passed)]
        held = [found for found in checked if isinstance(found, Holding)]
        self.spool.sync()
        for one in passed:
            self.spool.overwrite(one.draft, one.claim.place, one.claim.name)
        for holding in held:
            holding.explain()
        self.spool.sync()
        for one in passed:
            self._queue(one)
        for holding in held:
            holding.move()
        self.spool.sync()

    def _checked(self, claim: _Claim) -> _Passed | Holding | None:
        """What becomes of a claim; None if it was taken away."""
        try:
            checked = self._verified(claim)
        except FileNotFoundError:
            about = named(claim.name)
            log.error("%s/%s was taken away", claim.place, shown(claim.name), extra=about)  # noqa: TRY400
            return None
        except BadInput as problem:
            now = self.context.clock()
            return Holding(self.spool, claim.place, claim.name, problem, now, claim.door)
        return _Passed(claim, checked, self.spool.draft(checked.to_bytes()))

    def _queue(self, passed: _Passed) -> None:
        claim, checked = passed.claim, passed.request
        queued = Place("queued", checked.executor)
        if self.spool.move_or_hold(claim.place, queued, claim.name, self.context.clock()):
            fields = {"dispatch_id": checked.dispatch_id, "route": checked.route}
            log.info("passed to %s", checked.executor, extra=fields)

    def _verified(self, claim: _Claim) -> Request:
        """The request as it may go on, with this yes recorded in it.

        Raises:
            BadInput: why it may not.
            FileNotFoundError: it is gone.
        """
        found = self.spool.request(claim.place, claim.name)
        self._must_be_as_sealed(claim, found)
        self._may_run(claim, found)
        must_be_unfinished(Role.GATE, found)
        must_be_alone(self.spool, Role.GATE, found, claim.door.folder)
        died_after_the_yes = claim.moved_at == 0 and found.status == "queued"
        return found if died_after_the_yes else self._with_approval(claim, found)

    def _must_be_as_sealed(self, claim: _Claim, found: Request) -> None:
        if found.name != claim.name:
            what = f"The file is named {shown(claim.name)}, but is {shown(found.dispatch_id)}."
            raise BadInput("renamed", what)
        if not found.seal_holds(self._key):
            raise BadInput("altered", "The seal does not fit the content.")
        if not found.approvals_hold(self._key):
            raise BadInput("altered", "It holds an approval that the gate did not write.")
        if not found.history_holds:
            raise BadInput("altered", "Its status and attempts do not fit together.")

    def _may_run(self, claim: _Claim, found: Request) -> None:
        if found.executor not in self.context.routing.executors:
            raise BadInput("unknown-executor", f"No executor {found.executor!r} is configured.")
        if found.has_expired(self.context.clock()):
            raise BadInput("expired-approval", f"It expired at {found.approval.expires_at}.")
        if found.approval.policy != ("move" if found.requires_approval else "none"):
            raise BadInput("unknown-policy", f"Its policy is {found.approval.policy!r}.")
        if not found.requires_approval:
            route = self.context.routing.named(found.route)
            if route is None or route.table.requires_approval:
                raise BadInput("not-pre-approved", f"Route {found.route!r} asks for a yes now.")
            made_by = (route.table.executor, route.table.source)
            if (found.executor, found.source.inbox) != made_by:
                what = f"Route {found.route!r} is not about that source and executor."
                raise BadInput("not-pre-approved", what)
        elif claim.door != _APPROVED:
            raise BadInput("not-pre-approved", "It needs a yes, and nobody gave one.")

    def _with_approval(self, claim: _Claim, found: Request) -> Request:
        now = self.context.clock()
        by_hand = found.requires_approval
        said = decision_for(self.spool, found.dispatch_id, claim.moved_at) if by_hand else None
        if said and said.pin not in (None, found.pin):
            what = f"{said.by} said yes to @{said.pin}, and it is @{found.pin}."
            raise BadInput("other-pin", what)
        yes = Approval(
            policy=found.approval.policy,
            at=request.timestamp(reading.utc(claim.moved_at) if claim.moved_at else now),
            by=said.by if said else None,
            note=said.note if said else None,
            checked_at=request.timestamp(now),
            seal="",
            pin=said.pin if said else None,
        )
        return found.approved(self._key, yes).with_(status="queued")
