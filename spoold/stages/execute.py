"""queued/NAME → running/NAME → done, failed, deferred/NAME, unknown or held.

Security: trusts what the gate put into queued/NAME, and its own configuration. It can neither
approve nor forge a request. An attempt is on disk before it may act; an attempt whose end nobody
saw is not repeated unless the executor's own probe says that this is safe.
"""

import logging
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass

from spoold import fs, request
from spoold.errors import ADVICE, BadInput, ExecutionError, OutcomeUnknown
from spoold.executors import Result
from spoold.names import shown
from spoold.request import Attempt, Request
from spoold.room import ran_out
from spoold.spool import Place
from spoold.stages import Step, Surroundings
from spoold.stages._attempt import attempt, preflight, probe
from spoold.stages._lanes import Lanes
from spoold.stages._verdict import Verdict, judge, target_of
from spoold.stages._workers import Workers
from spoold.states import Role

log = logging.getLogger("spoold.execute")

_HELD = Place("held")
#: Where a request of that name must not be when it starts.
_ENDED = ("unknown", "done", "failed")


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
        self.spool = around.spool(Role.EXECUTE, drafts=f"execute-{executor}")
        self.spool.lay_out()
        self._instance = around.routing.executors[executor]
        self._queued = Place("queued", executor)
        self._running = Place("running", executor)
        self.lock = self.spool.lock(self._running)
        self._busy: dict[str, Request] = {}
        self._key: bytes | None = None
        in_use = any(
            "lane" in route.keys and route.executor.name == executor
            for route in around.routing.routes
        )
        self._queue = Lanes(self.spool, self._queued, in_use=in_use)
        self._workers = Workers(self.name)
        self._reports: queue.SimpleQueue[_Ended] = queue.SimpleQueue()
        self._ended: dict[str, _Ended] = {}

    def inputs(self) -> list[Place]:
        """Its queue."""
        return [self._queued]

    def hands(self) -> list[Place]:
        """Its queue, and what runs."""
        return [self._queued, self._running]

    def recover(self) -> None:
        """Finish what a dead run had in its hands, hand it back, or ask the executor's probe."""
        self.spool.remove_drafts()
        verdicts = []
        for name in self.spool.names(self._running):
            if name in self._busy:
                continue
            try:
                found = self._read(name)
                self._must_not_have_ended(found)
            except FileNotFoundError:
                self._say_gone(name)
                continue
            except BadInput as problem:
                self._hold(name, problem)
                continue
            verdict = self._recovered(found)
            if verdict is None:
                self._hand_back(name)
            else:
                verdicts.append(verdict)
        self._advance(verdicts, [])
        self.spool.sync()

    def _recovered(self, found: Request) -> Verdict | None:
        """None if it had not started, so that it can simply be queued again."""
        last = found.attempts[-1] if found.attempts else None
        # An attempt without an end may have had its effect, whatever the status says.
        if last is None or (found.status == "queued" and last.outcome is not None):
            return None
        if last.outcome is None:
            log.warning("its executor died; asking the probe", extra=_about(found))
            return self._judge(found, probe(self._instance, self.around, self.spool, found))
        target, not_before, problem = target_of(found), None, None
        if target.folder == "deferred":
            not_before = fs.status(self.spool.path(self._running, found.name)).st_mtime
        if target == _HELD and last.code and last.code in ADVICE:
            problem = BadInput(last.code, last.detail or "")
        return Verdict(found, target, not_before, problem)

    def step(self) -> Step:
        """Record what has ended and start what there is room for, with the same syncs."""
        self._collect()
        # Each is kept until it is on disk: one that is full now has room again some day.
        ended = list(self._ended.values())
        verdicts = [self._judge(e.request, e.outcome) for e in ended if e.outcome is not None]
        ready = [end.request for end in ended if end.outcome is None]
        ending = {verdict.request.name for verdict in verdicts}
        lanes = {found.lane for name, found in self._busy.items() if name not in ending}
        names: list[str] = []
        if self._may_start:
            names = self._queue.next(
                self._instance.concurrency - len(self._busy) + len(ending), lanes
            )
        else:
            for found in ready:
                self._hand_back(found.name)
            ready = []
        moved = len(verdicts) + len(ready) + len(names)
        claimed = self._claim_all(names, lanes)
        self._advance(verdicts, ready + [found for found in claimed if not found.preflight])
        for found in claimed:
            if found.preflight:
                self._busy[found.name] = found
                self._spawn(found, lambda f: preflight(self.around, self.spool, f))
        return Step(moved, busy=len(self._busy))

    def _advance(self, verdicts: list[Verdict], ready: list[Request]) -> None:
        """Write how attempts ended and that others begin; then let these act, and move those on.

        Intent before effect: an attempt is durable before it may act. That a file has moved is made
        durable with what comes next; until then a restart finds it in running/ with its end.
        """
        begun = [(started, self._draft(started)) for started in map(self._begin, ready)]
        ended = [(verdict, self._draft_end(verdict), self._draft_why(verdict))
                 for verdict in verdicts]  # fmt: skip
        self.spool.sync()
        for started, draft in begun:
            self.spool.overwrite(draft, self._running, started.name)
        for verdict, draft, why in ended:
            self.spool.overwrite(draft, self._running, verdict.request.name)
            if why:
                self.spool.add_reason(why, verdict.target, verdict.request.name)
        if begun or ended:
            self.spool.sync()
        for started, _ in begun:
            self._forget(started.name)
            self._busy[started.name] = started
            log.info("attempt %d", started.attempts[-1].number, extra=_about(started))
            self._spawn(started, lambda f: attempt(self._instance, self.around, self.spool, f))
        for verdict in verdicts:
            self._move_on(verdict)

    @property
    def _may_start(self) -> bool:
        return not self.spool.on_hold and not self.around.stop.is_set()

    def close(self) -> None:
        """Let what runs finish; after the grace period tell it to stop; record what came of it."""
        # What cannot be recorded need not be waited for.
        if not self.spool.broken:
            self._wait(self.around.routing.config.settings.stop_grace)
            if self._busy:
                self.around.stop_now.set()
                self._wait(5.0)
            self.spool.sync()
        for name in self._busy:
            log.warning("left running; the next start decides", extra={"dispatch_id": name})

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._busy and time.monotonic() < until:
            if self.around.stop_now.is_set():
                time.sleep(0.05)
            else:
                self.around.wake.wait(0.1)
                self.around.wake.clear()
            try:
                self.step()
            except Exception as error:
                if not ran_out(error):
                    raise
                self.spool.abandon()

    # Starting

    def _claim_all(self, names: list[str], lanes: set[str | None]) -> list[Request]:
        """Those that are claimed and may run beside these lanes; what never may is held."""
        claimed: list[Request] = []
        for name in names:
            if not self._claim(name):
                continue
            try:
                found = self._read(name)
                self._must_be_alone(found)
                self._instance.complete(found.params)
            except FileNotFoundError:
                self._say_gone(name)
                continue
            except BadInput as problem:
                self._hold(name, problem)
                continue
            if found.lane is not None and found.lane in lanes:
                self._hand_back(name)
                self._queue.learn(name, found.lane)
                continue
            lanes.add(found.lane)
            claimed.append(found)
        return claimed

    def _claim(self, name: str) -> bool:
        try:
            return self.spool.move_or_hold(self._queued, self._running, name, self.around.clock())
        except PermissionError as error:
            log.error("cannot take %s: %s", shown(name), error.strerror)  # noqa: TRY400
            return False

    def _read(self, name: str) -> Request:
        found = self.spool.request(self._running, name)
        if (found.name, found.executor) != (name, self._instance.name) or not found.approvals:
            what = f"It is not what the gate passes to executor {self._instance.name}."
            raise BadInput("not-a-request", what)
        # The folder guards the queue. Where one user runs all, the seal can be checked as well.
        key = self._key = self._key or self.spool.readable_seal_key()
        if key and not (found.seal_holds(key) and found.approvals_hold(key)):
            raise BadInput("altered", "The seal does not fit the content.")
        return found

    def _say_gone(self, name: str) -> None:
        log.error("%s/%s was taken away", self._running, shown(name))
        self._forget(name)

    def _must_be_alone(self, found: Request) -> None:
        self._must_not_have_ended(found)
        if found.status not in ("queued", "deferred"):
            raise BadInput("replayed", f"By its status it is {found.status}.")

    def _must_not_have_ended(self, found: Request) -> None:
        if elsewhere := self.spool.find(found.name, _ENDED):
            raise BadInput("replayed", f"There is one of that name in {elsewhere} already.")

    def _begin(self, found: Request) -> Request:
        now = request.timestamp(self.around.clock())
        tried = Attempt(number=len(found.attempts) + 1, started_at=now)
        return found.with_(status="running", attempts=[*found.attempts, tried], result=None)

    def _spawn(
        self, found: Request, act: Callable[[Request], Result | ExecutionError | BadInput | None]
    ) -> None:
        def work() -> None:
            try:
                outcome = act(found)
            except Exception as error:
                log.exception("a worker failed", extra=_about(found))
                outcome = OutcomeUnknown(
                    "executor-bug", f"A bug in spoold: {type(error).__name__}."
                )
            self._reports.put(_Ended(found, outcome))
            self.around.wake.set()

        self._workers.start(work)

    # Ending

    def _collect(self) -> None:
        while True:
            try:
                ended = self._reports.get_nowait()
            except queue.Empty:
                return
            self._ended[ended.request.name] = ended

    def _forget(self, name: str) -> None:
        self._ended.pop(name, None)
        self._busy.pop(name, None)
        self._queue.forget(name)

    def _hand_back(self, name: str) -> None:
        """What has not started goes back to the queue as it is."""
        self.spool.move_or_hold(self._running, self._queued, name, self.around.clock())
        self._forget(name)
        self.spool.sync()

    def _judge(self, found: Request, outcome: Result | ExecutionError | BadInput) -> Verdict:
        return judge(found, outcome, self._instance.retry, self.around.clock())

    def _draft(self, found: Request, mtime: float | None = None) -> str:
        return self.spool.draft(found.to_bytes(), mtime)

    def _draft_end(self, verdict: Verdict) -> str:
        return self._draft(verdict.request, verdict.not_before)

    def _draft_why(self, verdict: Verdict) -> str | None:
        if not (problem := verdict.held_for):
            return None
        now = self.around.clock()
        return self.spool.draft(request.reason(problem.code, problem.what, problem.advice, now))

    def _move_on(self, verdict: Verdict) -> None:
        name, last = verdict.request.name, verdict.request.attempts[-1]
        self.spool.move_or_hold(self._running, verdict.target, name, self.around.clock())
        self._forget(name)
        level = logging.INFO if verdict.target.folder == "done" else logging.WARNING
        log.log(
            level, "%s (%s): %s", verdict.target, last.code, last.detail,
            extra=_about(verdict.request),
        )  # fmt: skip

    def _hold(self, name: str, problem: BadInput) -> None:
        """A file that is not as the gate passes them on is set aside as it is."""
        self.spool.hold(self._running, name, problem, self.around.clock())
        log.error("held %s: %s", shown(name), problem, extra={"code": problem.code})


def _about(found: Request) -> dict[str, str]:
    return {"dispatch_id": found.dispatch_id, "executor": found.executor, "route": found.route}
