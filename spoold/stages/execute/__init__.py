"""queued/NAME → running/NAME → done, failed, deferred/NAME, unknown or held.

Security: trusts what the gate put into queued/NAME, and its own configuration. It can neither
approve nor forge a request. An attempt is on disk before it may act; an attempt whose end nobody
saw is not repeated unless the executor's own probe says that this is safe.
"""

import logging
import os
import time

from spoold import request
from spoold.disk import reading
from spoold.disk.free_space import ran_out
from spoold.errors import ADVICE, BadInput, ExecutionError, Transient
from spoold.executors import Result
from spoold.identity import named
from spoold.request import Request
from spoold.spool.decisions import user_name
from spoold.spool.spool import Place
from spoold.stages.execute.attempt import Attempts
from spoold.stages.execute.cancellations import Wishes
from spoold.stages.execute.lanes import Lanes
from spoold.stages.execute.running import Crew
from spoold.stages.execute.verdict import Verdict, begun, judge, target_of
from spoold.stages.stage import StageContext, Step
from spoold.states import Role
from spoold.text import shown

log = logging.getLogger("spoold.execute")

_HELD, _CHECKING = Place("held"), Place("checking")
#: Where a request of that name must not be when it starts.
_ENDED = ("unknown", "done", "failed")


class Execute:
    """Carries out what one executor's queue holds, several at a time, one at a time per lane."""

    def __init__(self, context: StageContext, executor: str) -> None:
        self.context = context
        self.name = f"execute {executor}"
        self.spool = context.spool(Role.EXECUTE, executor)
        self.spool.lay_out()
        self._queued = Place("queued", executor)
        self._running = Place("running", executor)
        self._wishes = Wishes(self.spool, executor, context.clock)
        self._handed_back: dict[str, str | None] = {}
        self._cancel = Place("cancel", executor)
        self.lock = self.spool.lock(self._running)
        self._key: bytes | None = None
        self._crew = Crew(self.name, context.wake.set)
        self.adopt()

    def adopt(self) -> None:
        """Take on the executor's settings; what runs goes on with those it was started with."""
        routing, executor = self.context.routing, self._queued.key
        self._instance = routing.executors[executor]
        self._attempts = Attempts(self._instance, self.context, self.spool)
        in_use = self._instance.has_lanes or any(
            "lane" in route.keys and route.executor.name == executor for route in routing.routes
        )
        self._queue = Lanes(self.spool, self._queued, in_use=in_use)

    def inputs(self) -> list[Place]:
        """Its queue, and where people say that something is to be stopped."""
        return [self._queued, self._cancel]

    def unfinished(self) -> list[Place]:
        """Its queue, and what runs."""
        return [self._queued, self._running]

    def recover(self) -> None:
        """Finish what a dead run had in its hands, hand it back, or ask the executor's probe."""
        self.spool.remove_drafts()
        verdicts = []
        for name in self.spool.names(self._running):
            if name in self._crew.jobs:
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
            last = found.attempts[-1] if found.attempts else None
            if last and last.outcome is None:
                log.warning("its executor died; asking the probe", extra=_about(found))
                self._crew.start(found, self._attempts.find_out)
            elif last is None or found.status == "queued":
                self._hand_back(name)
            else:
                verdicts.append(self._recorded(found))
        self._advance(verdicts, [])
        self.spool.sync()

    def _recorded(self, found: Request) -> Verdict:
        """What was decided about it before it could be moved."""
        last = found.attempts[-1]
        target, not_before, problem = target_of(found), None, None
        if target.folder == "deferred":
            not_before = reading.status(self.spool.path(self._running, found.name)).st_mtime
        if target == _HELD and last.code and last.code in ADVICE:
            problem = BadInput(last.code, last.summary or "")
        return Verdict(found, target, not_before, problem)

    def step(self) -> Step:
        """Record what has ended and start what there is room for, with the same syncs."""
        self._crew.collect()
        unwanted = self._wishes.heed(self._crew.jobs)
        # Each is kept until it is on disk: one that is full now has room again some day.
        jobs, ended = self._crew.jobs, self._crew.ended
        verdicts = [self._judge(name, outcome) for name, outcome in ended.items() if outcome]
        ready = [jobs[name].request for name, outcome in ended.items() if outcome is None]
        ending = {verdict.request.name for verdict in verdicts}
        lanes = {job.request.lane for name, job in jobs.items() if name not in ending}
        names: list[str] = []
        if self._may_start:
            names = self._queue.next(self._instance.concurrency - len(jobs) + len(ending), lanes)
        else:
            for found in ready:
                self._hand_back(found.name)
            ready = []
        moved = len(verdicts) + len(ready)
        claimed = self._claim_all(names, lanes)
        here = {found.name for found in claimed}
        moved += sum(n in here or not self.spool.exists(self._queued, n) for n in names)
        tried = []
        for found in [one for one in claimed if one.name in unwanted or self._wishes.forbid(one)]:
            claimed.remove(found)
            if found.attempts and self._attempts.can_take_back:
                tried.append(found)
                continue
            never = "It was not tried again." if found.attempts else "It had not been started."
            outcome = Transient("cancelled", never)
            verdicts.append(self._judged(found, outcome, cancelled=True))
        self._advance(verdicts, ready + [found for found in claimed if not found.preflight])
        for found in claimed:
            if found.preflight:
                self._crew.start(found, self._attempts.preflight)
        for found in tried:
            self._crew.start(found, self._attempts.take_back)
        return Step(moved, busy=len(jobs))

    def _advance(self, verdicts: list[Verdict], ready: list[Request]) -> None:
        """Write how attempts ended and that others begin; then let these act, and move those on.

        Intent before effect: an attempt is durable before it may act. That a file has moved is made
        durable with what comes next; until then a restart finds it in running/ with its end.
        """
        begins = [(started, self._draft(started)) for started in map(self._begin, ready)]
        ended = [(verdict, self._draft_end(verdict), self._draft_why(verdict))
                 for verdict in verdicts]  # fmt: skip
        for started, _ in begins:
            self._attempts.prepare(started)
        shown_now = [(found, self._draft(found)) for found in self._crew.news()]
        self.spool.sync()
        for started, draft in begins + shown_now:
            self.spool.overwrite(draft, self._running, started.name)
        for verdict, draft, why in ended:
            self.spool.overwrite(draft, self._running, verdict.request.name)
            if why:
                self.spool.add_reason(why, verdict.target, verdict.request.name)
        if begins or ended or shown_now:
            self.spool.sync()
        for started, _ in begins:
            number = started.attempts[-1].number
            if number > 1:
                self.spool.counts.add("retries", started.executor)
            log.info("attempt %d", number, extra=_about(started))
            self._crew.start(started, self._attempts.run)
        for found, _ in shown_now:
            self._crew.jobs[found.name].request = found
        for verdict in verdicts:
            self._move_on(verdict)

    @property
    def _may_start(self) -> bool:
        return not self.spool.on_hold and not self.context.stop.is_set()

    def close(self) -> None:
        """Let what runs finish; after the grace period tell it to stop; record what came of it."""
        # What cannot be recorded need not be waited for, nor what goes on without this process.
        if not self.spool.broken:
            if self._instance.outlives:
                self._crew.stop()
            self._wait(self.context.routing.config.settings.stop_grace)
            if self._crew.jobs:
                self.context.stop_now.set()
                self._wait(5.0)
            self.spool.sync()
        for name in self._crew.jobs:
            log.warning("left running; the next start decides", extra=named(name))

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self._crew.jobs and time.monotonic() < until:
            if self.context.stop_now.is_set():
                self._crew.stop()
                time.sleep(0.05)
            else:
                self.context.wake.wait(0.1)
                self.context.wake.clear()
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
                self._instance.approved(found.params, found.targets)
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
            return self.spool.move_or_hold(self._queued, self._running, name, self.context.clock())
        except PermissionError as error:
            log.error("cannot take %s: %s", shown(name), error.strerror, extra=named(name))  # noqa: TRY400
            return False

    def _read(self, name: str) -> Request:
        found = self.spool.request(self._running, name)
        if (found.name, found.executor) != (name, self._instance.name) or not found.approvals:
            what = f"It is not what the gate passes to executor {self._instance.name}."
            raise BadInput("not-a-request", what)
        writer = reading.owner(self.spool.path(self._running, name))
        gate = reading.owner(self.spool.path(_CHECKING))
        # What this executor has itself written it had begun; anything else is the gate's.
        if writer not in (None, gate) and (writer != os.geteuid() or not found.attempts):
            what = f"Neither the gate nor this executor wrote it, but user {user_name(writer)}."
            raise BadInput("not-a-request", what)
        # The folder guards the queue. Where one user runs all, the seal can be checked as well.
        key = self._key = self._key or self.spool.readable_seal_key()
        if key and not (found.seal_holds(key) and found.approvals_hold(key)):
            raise BadInput("altered", "The seal does not fit the content.")
        return found

    def _say_gone(self, name: str) -> None:
        log.error("%s/%s was taken away", self._running, shown(name), extra=named(name))
        self._forget(name)

    def _must_be_alone(self, found: Request) -> None:
        self._must_not_have_ended(found)
        if found.status not in ("queued", "deferred"):
            raise BadInput("replayed", f"By its status it is {found.status}.")

    def _must_not_have_ended(self, found: Request) -> None:
        if elsewhere := self.spool.find(found.name, _ENDED):
            raise BadInput("replayed", f"There is one of that name in {elsewhere} already.")

    def _begin(self, found: Request) -> Request:
        if found.attempts and found.attempts[-1].outcome == "handed-back":
            self._handed_back[found.name] = found.attempts[-1].code
        attempts = begun(found, self.context.clock())
        return found.with_(status="running", attempts=attempts, result=None)

    # Ending

    def _forget(self, name: str) -> None:
        job = self._crew.forget(name)
        if job and job.control.cancelled.is_set():
            self._wishes.put_away(name)
        self._queue.forget(name)
        self._handed_back.pop(name, None)

    def _hand_back(self, name: str) -> None:
        """What has not started goes back to the queue as it is."""
        self.spool.move_or_hold(self._running, self._queued, name, self.context.clock())
        self._forget(name)
        self.spool.sync()

    def _judge(self, name: str, outcome: Result | ExecutionError) -> Verdict:
        job = self._crew.jobs[name]
        cancelled = job.control.cancelled.is_set()
        return self._judged(job.request, outcome, cancelled=cancelled)

    def _judged(
        self, found: Request, outcome: Result | ExecutionError, *, cancelled: bool
    ) -> Verdict:
        retry, now = self._instance.retry, self.context.clock()
        return judge(found, outcome, retry, now, cancelled=cancelled)

    def _draft(self, found: Request, mtime: float | None = None) -> str:
        return self.spool.draft(found.to_bytes(), mtime)

    def _draft_end(self, verdict: Verdict) -> str:
        return self._draft(verdict.request, verdict.not_before)

    def _draft_why(self, verdict: Verdict) -> str | None:
        if not (problem := verdict.held_for):
            return None
        now = self.context.clock()
        return self.spool.draft(request.reason(problem.code, problem.what, problem.advice, now))

    def _move_on(self, verdict: Verdict) -> None:
        name, last = verdict.request.name, verdict.request.attempts[-1]
        self.spool.move_or_hold(self._running, verdict.target, name, self.context.clock())
        # That something is still away was said when it was so for the first time.
        still = last.outcome == "handed-back" and self._handed_back.get(name) == last.code
        self._forget(name)
        verdict.count(self.spool.counts)
        level = logging.INFO if still or verdict.target.folder == "done" else logging.WARNING
        log.log(
            level, "%s (%s): %s", verdict.target, last.code, last.summary,
            extra=_about(verdict.request),
        )  # fmt: skip

    def _hold(self, name: str, problem: BadInput) -> None:
        """A file that is not as the gate passes them on is set aside as it is."""
        self.spool.hold(self._running, name, problem, self.context.clock())


def _about(found: Request) -> dict[str, str]:
    return {"dispatch_id": found.dispatch_id, "executor": found.executor, "route": found.route}
