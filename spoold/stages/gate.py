"""approved, pre-approved → checking → queued/EXECUTOR, or held.

Security: trusts nobody who can write to approved/. It claims a file, reads it once, and passes on a
copy of the bytes it checked, never the file it found: whoever still has that one open changes
nothing. It trusts intake's seal, its own configuration, and the clock. It never renders anything.
"""

import logging
from dataclasses import dataclass

from spoold import fs, request
from spoold.errors import BadInput
from spoold.request import Approval, Request
from spoold.spool import Place
from spoold.stages import Step, Surroundings, batches
from spoold.stages._slips import slip_for
from spoold.states import STATES, Role

log = logging.getLogger("spoold.gate")

_CHECKING, _HELD = Place("checking"), Place("held")
_DOORS = (Place("approved"), Place("pre-approved"))
#: Where a request that is alive, or was ended, can be; its name must not come to the gate again.
_ELSEWHERE = tuple(name for name in STATES if name not in ("approved", "checking", "held"))


@dataclass(frozen=True, slots=True)
class _Claim:
    """A file in the gate's hands; `door` is None when a crash left it there."""

    name: str
    door: Place | None
    moved_at: float


class Gate:
    """Checks that what was approved is what was sealed, and that it may run now."""

    name = "gate"

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.spool = around.spool(Role.GATE)
        self.spool.lay_out()
        self.lock = self.spool.lock(_CHECKING)
        self._key = self.spool.seal_key()

    def inputs(self) -> list[Place]:
        """Both doors."""
        return list(_DOORS)

    def recover(self) -> None:
        """Check again what was being checked; that changes nothing twice."""
        left = [_Claim(name, None, 0.0) for name in self.spool.names(_CHECKING)]
        if left:
            log.warning("%d files were being checked when the gate died; checking again", len(left))
            self._check(left)

    def step(self) -> Step:
        """Claim and check everything that came through a door."""
        moved = 0
        for door in _DOORS:
            for names in batches(self.spool.names(door)):
                if self.spool.on_hold or self.around.stop.is_set():
                    return Step(moved)
                claims = [claim for name in names if (claim := self._claim(door, name))]
                self._check(claims)
                moved += len(claims)
        return Step(moved)

    def close(self) -> None:
        """Nothing runs between two steps."""

    def _claim(self, door: Place, name: str) -> _Claim | None:
        try:
            # A rename changes ctime and nothing else, so this is when the person moved it.
            moved_at = fs.status(self.spool.path(door, name)).st_ctime
            taken = self.spool.move(door, _CHECKING, name)
        except FileNotFoundError:
            return None
        return _Claim(name, door, moved_at) if taken else None

    def _check(self, claims: list[_Claim]) -> None:
        passed: list[tuple[_Claim, Request, str]] = []
        held: list[tuple[_Claim, BadInput, str]] = []
        for claim in claims:
            try:
                checked = self._verify(claim)
                passed.append((claim, checked, self.spool.draft(checked.to_bytes())))
            except BadInput as problem:
                why = request.reason(
                    problem.code, problem.what, problem.advice, self.around.clock(),
                    came_from=claim.door and str(claim.door),
                )  # fmt: skip
                held.append((claim, problem, self.spool.draft(why)))
        self.spool.sync()
        for claim, _, draft in passed:
            self.spool.overwrite(draft, _CHECKING, claim.name)
        self.spool.sync()
        for claim, checked, _ in passed:
            self.spool.move(_CHECKING, Place("queued", checked.executor), claim.name)
            log.info("passed to %s", checked.executor, extra={"dispatch_id": checked.dispatch_id})
        for claim, found, said in held:
            name = self.spool.free_name(claim.name, _HELD)
            self.spool.add_reason(said, _HELD, name)
            self.spool.move(_CHECKING, _HELD, claim.name, name)
            log.error("held %s: %s", claim.name, found, extra={"code": found.code})
        self.spool.sync()

    def _verify(self, claim: _Claim) -> Request:
        """The request, with this yes recorded in it, as it may go on.

        Raises:
            BadInput: why it may not.
        """
        found = self._read(claim.name)
        if f"{found.dispatch_id}.json" != claim.name:
            raise BadInput(
                "renamed", f"The file is named {claim.name}, but is {found.dispatch_id}."
            )
        if not found.seal_holds(self._key):
            raise BadInput("altered", "The seal does not fit the content.")
        if not found.approvals_hold(self._key):
            raise BadInput("altered", "It holds an approval that the gate did not write.")
        already = found.status == "queued" and bool(found.approvals)
        resumed = claim.door is None and already
        if not found.approvals and not found.attempts and (found.result or already):
            raise BadInput("altered", "It says that it was handled, but holds no trace of that.")
        if found.status == "done":
            raise BadInput("replayed", "It says that it was done.")
        elsewhere = self.spool.find(claim.name, [f for f in _ELSEWHERE if f != _door(claim)])
        if elsewhere:
            raise BadInput("replayed", f"There is one of that name in {elsewhere} already.")
        if found.executor not in self.around.routing.executors:
            raise BadInput("unknown-executor", f"No executor {found.executor!r} is configured.")
        self._may_run(claim, found)
        return found if resumed else self._with_approval(claim, found)

    def _read(self, name: str) -> Request:
        try:
            data = fs.read_regular(self.spool.path(_CHECKING, name), request.MAX_BYTES).data
        except fs.NotRegular as error:
            raise BadInput("not-a-request", f"It is a {error.kind}.") from None
        except OSError as error:
            raise BadInput("not-a-request", f"Cannot read it: {error.strerror}.") from None
        return request.parse(data)

    def _may_run(self, claim: _Claim, found: Request) -> None:
        now = self.around.clock()
        if request.moment(found.approval.expires_at) <= now:
            raise BadInput("expired-approval", f"It expired at {found.approval.expires_at}.")
        if found.approval.policy != ("move" if found.requires_approval else "none"):
            raise BadInput("unknown-policy", f"Its policy is {found.approval.policy!r}.")
        if not found.requires_approval:
            route = self.around.routing.named(found.route)
            if route is None or route.table.requires_approval:
                raise BadInput("not-pre-approved", f"Route {found.route!r} asks for a yes now.")
        elif claim.door == Place("pre-approved"):
            raise BadInput("not-pre-approved", "It needs a yes, and nobody gave one.")

    def _with_approval(self, claim: _Claim, found: Request) -> Request:
        now = self.around.clock()
        said = (
            slip_for(self.spool, found.dispatch_id, claim.moved_at)
            if found.requires_approval
            else None
        )
        yes = Approval(
            policy=found.approval.policy,
            at=request.timestamp(fs.moment(claim.moved_at) if claim.moved_at else now),
            by=said.by if said else None,
            note=said.note if said else None,
            checked_at=request.timestamp(now),
            seal="",
        )
        return found.approved(self._key, yes).with_(status="queued")


def _door(claim: _Claim) -> str:
    return claim.door.folder if claim.door else ""
