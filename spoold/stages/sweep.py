"""deferred/EXECUTOR → queued/EXECUTOR when due; awaiting-approval → expired when nobody decided.

Security: trusts file times in deferred/, which executors set and people may change, and, for
expiry, the content of a waiting request, which at worst expires too soon or is refused by the gate
as late. It approves and runs nothing.
"""

import logging
import re
import time

from spoold import request
from spoold.disk import fs, reading
from spoold.errors import ADVICE
from spoold.spool.spool import Place
from spoold.stages.stage import StageContext, Step, batches, earliest
from spoold.states import REASON_SUFFIX, Role
from spoold.text import shown

log = logging.getLogger("spoold.sweep")

_AWAITING, _EXPIRED, _TMP = Place("awaiting-approval"), Place("expired"), Place("tmp")
#: How drafts are named; anything else in tmp/ is a person's.
_DRAFT = re.compile(r"[a-z0-9_-]+\.\d+\.[0-9a-f]+")
#: A draft this old (seconds) belongs to a run that died.
_STALE = 3600.0
#: New requests that are read in one step.
_AT_ONCE = 256
_NEVER = float("inf")
#: After it has listed all that waits, it pauses for this many times what that took: one drop a
#: second must not make it list 100,000 waiting requests each second.
_REST = 50.0
#: A folder that changed this recently (seconds) may have changed again without a new time stamp.
_COARSE = 2.0


class Sweep:
    """Moves what is due or late."""

    name = "sweep"

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.spool = context.spool(Role.SWEEP)
        self.spool.lay_out()
        self.lock = self.spool.lock(_EXPIRED)
        self._expiry: dict[str, float] = {}
        self._first = _NEVER
        self._seen = 0.0
        self._rests_until = 0.0
        self._unread: list[str] = []

    def adopt(self) -> None:
        """Nothing of the configuration is kept."""

    def inputs(self) -> list[Place]:
        """Where something may become due."""
        return [*self.spool.places("deferred"), _AWAITING]

    def unfinished(self) -> list[Place]:
        """Nothing: a drain does not wait for time to pass."""
        return []

    def recover(self) -> None:
        """Remove the drafts of dead runs, add reasons that are missing, and list all anew."""
        self._seen = 0.0
        self.spool.remove_drafts()
        for entry in reading.entries(self.spool.path(_TMP)):
            ours = _DRAFT.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            if ours and self._age(entry.path) > _STALE:
                fs.remove(entry.path)
        self._explain()

    def _explain(self) -> None:
        """Add the reason to what a dead run had expired without one."""
        here = {entry.name for entry in reading.entries(self.spool.path(_EXPIRED))}
        now = self.context.clock().timestamp()
        for name in here:
            explained = name.endswith(REASON_SUFFIX) or name + REASON_SUFFIX in here
            if not explained and self._expires_at(_EXPIRED, name) <= now:
                draft = self.spool.draft(self._why())
                self.spool.sync()
                self.spool.add_reason(draft, _EXPIRED, name)
        self.spool.sync()

    def step(self) -> Step:
        """Requeue what is due, expire what is late."""
        moved, next_try = self._requeue()
        expired = self._expire()
        more = time.time() if self._unread else None
        look_again = earliest(next_try, self._next_look())
        return Step(moved + expired, due=more, look_again=look_again)

    def close(self) -> None:
        """Nothing runs between two steps."""

    def _requeue(self) -> tuple[int, float | None]:
        moved, coming = 0, None
        now = self.context.clock().timestamp()
        for place in self.spool.places("deferred"):
            for name in self.spool.names(place):
                try:
                    not_before = reading.status(self.spool.path(place, name)).st_mtime
                except FileNotFoundError:
                    continue
                if not_before > now:
                    coming = earliest(coming, not_before)
                    continue
                queued = Place("queued", place.key)
                is_queued = self.spool.move_or_hold(place, queued, name, self.context.clock())
                moved += not self.spool.exists(place, name)
                if is_queued:
                    log.info("queued again", extra={"dispatch_id": shown(name[:-5])})
        self.spool.sync()
        return moved, coming

    def _expire(self) -> int:
        self._look()
        self._read()
        self.spool.counts.set("swept", value=time.time())
        now = self.context.clock().timestamp()
        if self._first > now:
            return 0
        late = [name for name, at in self._expiry.items() if at <= now]
        moved = sum(self._expire_all(names) for names in batches(late))
        self._first = min(self._expiry.values(), default=_NEVER)
        return moved

    def _look(self) -> None:
        """List what waits, unless the folder did not change, or was listed a moment ago."""
        begun = time.monotonic()
        if begun < self._rests_until:
            return
        self._rests_until = 0.0
        changed = reading.status(self.spool.path(_AWAITING)).st_mtime
        if changed == self._seen and abs(time.time() - changed) > _COARSE:
            return
        self._seen = changed
        names = set(self.spool.scan(_AWAITING))
        self._expiry = {name: at for name, at in self._expiry.items() if name in names}
        self._unread = list(names - self._expiry.keys())
        self._rests_until = begun + _REST * (time.monotonic() - begun)

    def _read(self) -> None:
        """Read when new ones expire, some in each step: 100,000 would take too long."""
        for name in self._unread[-_AT_ONCE:]:
            self._expiry[name] = at = self._expires_at(_AWAITING, name)
            self._first = min(self._first, at)
        del self._unread[-_AT_ONCE:]

    def _expires_at(self, place: Place, name: str) -> float:
        """Seconds since the epoch; never for a file that is no request: the gate deals with it."""
        found = reading.json_object(self.spool.path(place, name), request.MAX_BYTES) or {}
        try:
            return request.parse_time(found["approval"]["expires_at"]).timestamp()
        except (KeyError, TypeError, ValueError):
            return _NEVER

    def _next_look(self) -> float | None:
        """When the next one expires or the pause ends (since the epoch), if that is known."""
        rests = self._rests_until - time.monotonic()
        soon = time.time() + rests if rests > 0 else None
        return earliest(soon, None if self._first == _NEVER else self._first)

    def _expire_all(self, names: list[str]) -> int:
        drafts = [self.spool.draft(self._why()) for _ in names]
        self.spool.sync()
        moved = 0
        for name, draft in zip(names, drafts, strict=True):
            del self._expiry[name]
            # A person may decide at this very moment; the first rename wins.
            if self.spool.move_or_hold(_AWAITING, _EXPIRED, name, self.context.clock()):
                self.spool.add_reason(draft, _EXPIRED, name)
                log.info("expired", extra={"dispatch_id": shown(name[:-5])})
                moved += 1
            else:
                self.spool.discard(draft)
        self.spool.sync()
        return moved

    def _why(self) -> bytes:
        what = "Nobody decided before `expires_at`."
        return request.reason("expired", what, ADVICE["expired"], self.context.clock())

    def _age(self, path: str) -> float:
        try:
            return self.context.age(reading.status(path).st_ctime)
        except FileNotFoundError:
            return 0.0
