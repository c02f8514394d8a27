"""queued/NAME → the names that may be claimed now: oldest first, one of a lane."""

from collections import deque

from spoold import request
from spoold.disk.reading import json_object
from spoold.spool.spool import Place, Spool


class Lanes:
    """The order in which a queue is worked off.

    Args:
        spool: the executor's.
        queued: the queue.
        in_use: whether requests can have lanes; if not, no file is read before its claim.
    """

    def __init__(self, spool: Spool, queued: Place, *, in_use: bool) -> None:
        self._spool = spool
        self._queued = queued
        self._in_use = in_use
        self._backlog: deque[str] = deque()
        self._known: dict[str, str | None] = {}

    def next(self, most: int, busy: set[str | None]) -> list[str]:
        """At most `most` names, none of a lane that is busy, and no two of one lane."""
        lanes = set(busy)
        chosen: list[str] = []
        if most > 0:
            self._choose(chosen, most, lanes)
        if len(chosen) < most:
            known = {*self._backlog, *chosen}
            new = [name for name in self._spool.names(self._queued) if name not in known]
            self._backlog.extend(new)
            self._choose(chosen, most, lanes)
        return chosen

    def learn(self, name: str, lane: str) -> None:
        """Remember the lane of a request that was claimed and had to go back."""
        self._known[name] = lane

    def forget(self, name: str) -> None:
        """Forget a request that has left the queue."""
        self._known.pop(name, None)

    def _choose(self, chosen: list[str], most: int, lanes: set[str | None]) -> None:
        waiting = []
        while self._backlog and len(chosen) < most:
            name = self._backlog.popleft()
            lane = self._lane(name)
            if lane is not None and lane in lanes:
                waiting.append(name)
                continue
            lanes.add(lane)
            chosen.append(name)
        self._backlog.extendleft(reversed(waiting))

    def _lane(self, name: str) -> str | None:
        if self._in_use and name not in self._known:
            fields = json_object(self._spool.path(self._queued, name), request.MAX_BYTES) or {}
            lane = fields.get("lane")
            self._known[name] = lane if isinstance(lane, str) else None
        return self._known.get(name)
