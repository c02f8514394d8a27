"""deferred/EXECUTOR → queued/EXECUTOR when due; awaiting-approval → expired when nobody decided.

Security: trusts file times in deferred/, which executors set and people may change, and, for
expiry, the content of a waiting request, which at worst expires too soon or is refused by the gate
as late. It approves and runs nothing.
"""

import logging
import time

from spoold import fs, request
from spoold.errors import ADVICE, BadInput
from spoold.spool import Place
from spoold.stages import Step, Surroundings, batches, earliest
from spoold.states import Role

log = logging.getLogger("spoold.sweep")

_AWAITING, _EXPIRED, _TMP = Place("awaiting-approval"), Place("expired"), Place("tmp")
#: A draft this old (seconds) belongs to a run that died.
_STALE = 3600.0
#: A folder that changed this recently (seconds) may have changed again within its time stamp.
_COARSE = 2.0


class Sweep:
    """Moves what only time moves."""

    name = "sweep"

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.spool = around.spool(Role.SWEEP)
        self.spool.lay_out()
        self.lock = self.spool.lock(_EXPIRED)
        self._expiry: dict[str, float] = {}
        self._seen = 0.0

    def inputs(self) -> list[Place]:
        """Where something may become due."""
        return [*self.spool.places("deferred"), _AWAITING]

    def hands(self) -> list[Place]:
        """Nothing: what only time moves keeps no drain waiting."""
        return []

    def recover(self) -> None:
        """Remove drafts of runs that died, which are nobody's state; look at everything anew."""
        self._seen = 0.0
        self.spool.remove_drafts()
        for entry in fs.entries(self.spool.path(_TMP)):
            if entry.is_file(follow_symlinks=False) and self._age(entry.path) > _STALE:
                fs.remove(entry.path)

    def step(self) -> Step:
        """Requeue what is due, expire what is late."""
        moved, next_try = self._requeue()
        expired, next_expiry = self._expire()
        return Step(moved + expired, look_again=earliest(next_try, next_expiry))

    def close(self) -> None:
        """Nothing runs between two steps."""

    def _requeue(self) -> tuple[int, float | None]:
        moved, coming = 0, None
        now = self.around.clock().timestamp()
        for place in self.spool.places("deferred"):
            for name in self.spool.names(place):
                try:
                    not_before = fs.status(self.spool.path(place, name)).st_mtime
                except FileNotFoundError:
                    continue
                if not_before > now:
                    coming = earliest(coming, not_before)
                    continue
                queued = Place("queued", place.key)
                moved += 1
                if self.spool.move_or_hold(place, queued, name, self.around.clock()):
                    log.info("queued again", extra={"dispatch_id": name.removesuffix(".json")})
        self.spool.sync()
        return moved, coming

    def _expire(self) -> tuple[int, float | None]:
        self._refresh()
        now = self.around.clock().timestamp()
        late = [name for name, at in self._expiry.items() if at <= now]
        moved = sum(self._expire_all(names) for names in batches(late))
        return moved, min(self._expiry.values(), default=None)

    def _refresh(self) -> None:
        """Read the expiry of new requests; 100,000 old ones cost one look at the folder."""
        changed = fs.status(self.spool.path(_AWAITING)).st_mtime
        if changed == self._seen and abs(time.time() - changed) > _COARSE:
            return
        self._seen = changed
        names = set(self.spool.scan(_AWAITING))
        self._expiry = {name: at for name, at in self._expiry.items() if name in names}
        for name in names - self._expiry.keys():
            self._expiry[name] = self._expires_at(name)

    def _expires_at(self, name: str) -> float:
        """Seconds since the epoch; never for a file that is no request: the gate deals with it."""
        try:
            found = self.spool.request(_AWAITING, name)
        except (FileNotFoundError, BadInput):
            return float("inf")
        return request.moment(found.approval.expires_at).timestamp()

    def _expire_all(self, names: list[str]) -> int:
        what = "Nobody decided before `expires_at`."
        text = request.reason("expired", what, ADVICE["expired"], self.around.clock())
        drafts = [self.spool.draft(text) for _ in names]
        self.spool.sync()
        moved = 0
        for name, draft in zip(names, drafts, strict=True):
            del self._expiry[name]
            # A person may decide at this very moment: the one rename that wins decides.
            if self.spool.move_or_hold(_AWAITING, _EXPIRED, name, self.around.clock()):
                self.spool.add_reason(draft, _EXPIRED, name)
                log.info("expired", extra={"dispatch_id": name.removesuffix(".json")})
                moved += 1
            else:
                self.spool.discard(draft)
        self.spool.sync()
        return moved

    def _age(self, path: str) -> float:
        try:
            return self.around.age(fs.status(path).st_ctime)
        except FileNotFoundError:
            return 0.0
