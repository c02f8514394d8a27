"""queued/NAME → running/NAME → done, failed, deferred/NAME, unknown or held.

Security: trusts what the gate put into queued/NAME, and its own configuration. It can neither
approve nor forge a request. An attempt is on disk before it may act; an attempt whose end nobody
saw is not repeated unless the executor's own probe says that this is safe.
"""

import logging
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass

import orjson

from spoold import fs, request
from spoold.errors import (
    BadInput,
    ExecutionError,
)
from spoold.executors import Result
from spoold.request import Attempt, Request
from spoold.spool import Place
from spoold.stages import Step, Surroundings
from spoold.stages._attempt import attempt, preflight, probe
from spoold.stages._verdict import Verdict, judge, target_of
from spoold.states import Role

log = logging.getLogger("spoold.execute")

_HELD = Place("held")


@dataclass(frozen=True, slots=True)
class _Ended:
    """A worker's report: the preflight passed (`outcome` None), or how the attempt ended."""

    request: Request
    outcome: Result | ExecutionError | BadInput | None


class Execute:
    """Carries out what one executor's queue holds, several at a time, one at a time per lane."""

    def __init__(self, around: Surroundings, executor: str) -> None:
        self.around = around
        self.name = f"execute {executor}"
        self.spool = around.spool(Role.EXECUTE)
        self.spool.lay_out()
        self._instance = around.routing.executors[executor]
        self._queued = Place("queued", executor)
        self._running = Place("running", executor)
        self.lock = self.spool.lock(self._running)
        self._busy: dict[str, Request] = {}
        self._backlog: deque[str] = deque()
        self._lanes: dict[str, str | None] = {}
        self._reports: queue.SimpleQueue[_Ended] = queue.SimpleQueue()

    def inputs(self) -> list[Place]:
        """Its queue."""
        return [self._queued]

    def recover(self) -> None:
        """Finish what a dead run had in its hands, hand it back, or ask the executor's probe."""
        verdicts = []
        for name in self.spool.names(self._running):
            try:
                found = self._read(name)
            except BadInput as problem:
                self._hold_foreign(name, problem)
                continue
            verdict = self._recovered(found)
            if verdict is None:
                self.spool.move(self._running, self._queued, name)
            else:
                verdicts.append(verdict)
        self._settle(verdicts)

    def _recovered(self, found: Request) -> Verdict | None:
        """None if it had not started, so that it can simply be queued again."""
        last = found.attempts[-1] if found.attempts else None
        if found.status == "queued" or last is None:
            return None
        if last.outcome is None:
            log.warning("its executor died; asking the probe", extra=_about(found))
            return self._judge(found, probe(self._instance, self.around, self.spool, found))
        target, not_before = target_of(found), None
        if target.folder == "deferred":
            not_before = fs.status(self.spool.path(self._running, found.name)).st_mtime
        return Verdict(found, target, not_before)

    def step(self) -> Step:
        """Record what has ended, then start what there is room for."""
        moved = self._record()
        if not self.spool.on_hold and not self.around.stop.is_set():
            moved += self._start()
        return Step(moved, busy=len(self._busy))

    def close(self) -> None:
        """Let what runs finish; after the grace period tell it to stop; record what came of it."""
        grace = self.around.routing.config.settings.stop_grace
        self._wait(grace)
        if self._busy:
            self.around.stop_now.set()
            self._wait(5.0)
        for name in self._busy:
            log.warning("left running; the next start decides", extra={"dispatch_id": name})

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._busy and time.monotonic() < until and not self.around.stop_now.is_set():
            self.around.wake.wait(0.1)
            self.around.wake.clear()
            self._record()
        while self._busy and time.monotonic() < until:
            time.sleep(0.05)
            self._record()

    # Starting

    def _start(self) -> int:
        room = self._instance.concurrency - len(self._busy)
        claimed: list[Request] = []
        for name in self._next(room):
            if not self.spool.move(self._queued, self._running, name):
                continue
            try:
                found = self._read(name)
                self._instance.params(found.params)
            except BadInput as problem:
                self._hold_foreign(name, problem)
                continue
            self._busy[name] = found
            claimed.append(found)
        self.spool.sync()
        for found in claimed:
            if found.preflight:
                self._spawn(found, preflighting=True)
        self._begin([found for found in claimed if not found.preflight])
        return len(claimed)

    def _next(self, room: int) -> list[str]:
        """Names to claim now: oldest first, but no second one of a lane that is busy."""
        if not self._backlog and room > 0:
            self._backlog.extend(self.spool.names(self._queued))
        lanes = {found.lane for found in self._busy.values()} - {None}
        chosen: list[str] = []
        waiting: list[str] = []
        while self._backlog and len(chosen) < room:
            name = self._backlog.popleft()
            lane = self._lane(name)
            if lane is not None and lane in lanes:
                waiting.append(name)
                continue
            lanes.add(lane)
            chosen.append(name)
        self._backlog.extendleft(reversed(waiting))
        return chosen

    def _lane(self, name: str) -> str | None:
        """A look without a claim: it only decides about the order."""
        if name not in self._lanes:
            try:
                data = fs.read_regular(self.spool.path(self._queued, name), request.MAX_BYTES).data
                fields = orjson.loads(data)
                lane = fields.get("lane") if isinstance(fields, dict) else None
                self._lanes[name] = lane if isinstance(lane, str) else None
            except (OSError, orjson.JSONDecodeError):
                return None
        return self._lanes[name]

    def _read(self, name: str) -> Request:
        try:
            data = fs.read_regular(self.spool.path(self._running, name), request.MAX_BYTES).data
        except OSError as error:
            raise BadInput("not-a-request", f"Cannot read it: {error.strerror}.") from None
        found = request.parse(data)
        if (found.name, found.executor) != (name, self._instance.name) or not found.approvals:
            what = f"It is not what the gate passes to executor {self._instance.name}."
            raise BadInput("not-a-request", what)
        return found

    def _begin(self, ready: list[Request]) -> None:
        """Intent before effect: the attempts are durable before any of them may act."""
        now = request.timestamp(self.around.clock())
        begun = []
        for found in ready:
            tried = Attempt(number=len(found.attempts) + 1, started_at=now)
            started = found.with_(status="running", attempts=[*found.attempts, tried], result=None)
            begun.append((started, self.spool.draft(started.to_bytes())))
        self.spool.sync()
        for started, draft in begun:
            self.spool.overwrite(draft, self._running, started.name)
            self._busy[started.name] = started
        self.spool.sync()
        for started, _ in begun:
            log.info("attempt %d", started.attempts[-1].number, extra=_about(started))
            self._spawn(started, preflighting=False)

    def _spawn(self, found: Request, *, preflighting: bool) -> None:
        def work() -> None:
            act = preflight if preflighting else attempt
            self._reports.put(_Ended(found, act(self._instance, self.around, self.spool, found)))
            self.around.wake.set()

        threading.Thread(target=work, name=found.dispatch_id, daemon=True).start()

    # Ending

    def _record(self) -> int:
        ended: list[_Ended] = []
        while True:
            try:
                ended.append(self._reports.get_nowait())
            except queue.Empty:
                break
        self._begin([end.request for end in ended if end.outcome is None])
        verdicts = [self._judge(e.request, e.outcome) for e in ended if e.outcome is not None]
        self._settle(verdicts)
        for verdict in verdicts:
            del self._busy[verdict.request.name]
            self._lanes.pop(verdict.request.name, None)
        return len(verdicts)

    def _judge(self, found: Request, outcome: Result | ExecutionError | BadInput) -> Verdict:
        return judge(found, outcome, self._instance.retry, self.around.clock())

    def _settle(self, verdicts: list[Verdict]) -> None:
        drafts = []
        for verdict in verdicts:
            why = None
            if problem := verdict.held_for:
                now = self.around.clock()
                text = request.reason(problem.code, problem.what, problem.advice, now)
                why = self.spool.draft(text)
            draft = self.spool.draft(verdict.request.to_bytes(), verdict.not_before)
            drafts.append((verdict, draft, why))
        self.spool.sync()
        for verdict, draft, _ in drafts:
            self.spool.overwrite(draft, self._running, verdict.request.name)
        self.spool.sync()
        for verdict, _, why in drafts:
            name = verdict.request.name
            if why:
                self.spool.add_reason(why, verdict.target, name)
            self.spool.move(self._running, verdict.target, name)
            last = verdict.request.attempts[-1]
            level = logging.INFO if verdict.target.folder == "done" else logging.WARNING
            log.log(
                level, "%s (%s): %s", verdict.target, last.code, last.detail,
                extra=_about(verdict.request),
            )  # fmt: skip
        self.spool.sync()

    def _hold_foreign(self, name: str, problem: BadInput) -> None:
        """A file that is not as the gate writes them is set aside as it is."""
        text = request.reason(problem.code, problem.what, problem.advice, self.around.clock())
        draft = self.spool.draft(text)
        self.spool.sync()
        kept = self.spool.free_name(name, _HELD)
        self.spool.add_reason(draft, _HELD, kept)
        self.spool.move(self._running, _HELD, name, kept)
        self.spool.sync()
        log.error("held %s: %s", name, problem, extra={"code": problem.code})


def _about(found: Request) -> dict[str, str]:
    return {"dispatch_id": found.dispatch_id, "executor": found.executor, "route": found.route}
