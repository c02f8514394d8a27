"""queued/NAME → running/NAME → done/NAME, failed/, deferred/, unknown/ or held/NAME.

Security: trusts what the gate put into queued/NAME, and its own configuration. It can neither
approve nor forge a request. An attempt is on disk before it may act. An attempt whose end was not
seen is repeated only if the kind's own `probe` says that this is safe.
"""

import logging
import time

from spoold.disk import reading
from spoold.disk.free_space import ran_out
from spoold.errors import Transient
from spoold.identity import named
from spoold.request import Request
from spoold.spool.spool import Place
from spoold.stages.execute.admission import Admission
from spoold.stages.execute.attempt import Runner
from spoold.stages.execute.cancellations import Cancellations
from spoold.stages.execute.history import begun
from spoold.stages.execute.jobs import Job, Jobs
from spoold.stages.execute.lanes import Lanes
from spoold.stages.execute.verdict import Verdict, judge, recorded
from spoold.stages.stage import StageContext, Step
from spoold.states import Role

log = logging.getLogger("spoold.execute")


class Execute:
    """Carries out what one executor's queue holds, several at a time, one at a time per lane."""

    def __init__(self, context: StageContext, executor: str) -> None:
        self.context = context
        self.name = f"execute {executor}"
        self.spool = context.spool(Role.EXECUTE, executor)
        self.spool.lay_out()
        self._queued = Place("queued", executor)
        self._running = Place("running", executor)
        self._cancel = Place("cancel", executor)
        self._cancellations = Cancellations(self.spool, executor, context.clock)
        #: Why a request was handed back the last time, until it is heard of again.
        self._handed_back: dict[str, str | None] = {}
        self.lock = self.spool.lock(self._running)
        self.jobs = Jobs(self.name, context.wake.set)
        self.adopt()

    def adopt(self) -> None:
        """Take on the executor's settings; what runs goes on with those it was started with."""
        routing, executor = self.context.routing, self._queued.key
        self._instance = routing.executors[executor]
        self._runner = Runner(self._instance, self.context, self.spool)
        in_use = self._instance.has_lanes or any(
            "lane" in route.keys and route.executor.name == executor for route in routing.routes
        )
        lanes = Lanes(self.spool, self._queued, in_use=in_use)
        clock, wake = self.context.clock, self.context.wake.set
        self._admission = Admission(self.spool, self._instance, lanes, clock, wake)

    def inputs(self) -> list[Place]:
        """Its queue, and its cancellations."""
        return [self._queued, self._cancel]

    def unfinished(self) -> list[Place]:
        """Its queue, and what runs."""
        return [self._queued, self._running]

    def recover(self) -> None:
        """What a dead run left in running/: finish it, hand it back, or ask the kind's probe."""
        self.spool.remove_drafts()
        verdicts = []
        for name in self.spool.names(self._running):
            if name in self.jobs.running or not (found := self._admission.left_running(name)):
                continue
            last = found.attempts[-1] if found.attempts else None
            if last and last.outcome is None:
                log.warning("its executor died; asking the probe", extra=_about(found))
                self.jobs.start(Job(found, self.context.wake.set), self._runner.find_out)
            elif last is None or found.status == "queued":
                self._admission.hand_back(name)
            else:
                mtime = reading.status(self.spool.path(self._running, name)).st_mtime
                verdicts.append(recorded(found, mtime))
        self._record(verdicts, [])
        self.spool.sync()

    def step(self) -> Step:
        """Collect what has ended, admit what may start, record both, then start the admitted."""
        self.jobs.collect()
        cancelled = self._cancellations.apply(self.jobs.running)
        verdicts, ready = self._judge()
        ended = {verdict.request.name for verdict in verdicts}
        busy = [job for name, job in self.jobs.running.items() if name not in ended]
        moved, admitted = len(verdicts), list[Job]()
        if self.spool.on_hold or self.context.stop.is_set():
            for job in ready:
                self._admission.hand_back(job.request.name)
                self._forget(job.request.name)
            ready = []
        else:
            lanes = {job.request.lane for job in busy}
            admitted, taken = self._admission.admit(self._instance.concurrency - len(busy), lanes)
            moved += len(ready) + taken

        checks, clean_ups = [], []
        for job in admitted:
            found = job.request
            if found.name in cancelled or self._cancellations.forbid(found):
                if found.attempts and self._instance.kind.take_back:
                    clean_ups.append(job)
                else:
                    verdicts.append(self._never_again(found))
            elif found.preflight:
                checks.append(job)
            else:
                ready.append(job)

        self._record(verdicts, ready)
        for job in checks:
            self.jobs.start(job, self._runner.preflight)
        for job in clean_ups:
            self.jobs.start(job, self._runner.take_back)
        return Step(moved, busy=len(self.jobs.running))

    def _judge(self) -> tuple[list[Verdict], list[Job]]:
        """The verdicts on attempts that have ended, and the jobs whose preflight has passed.

        They stay in `jobs` until they are recorded, so that a full disk loses none.
        """
        verdicts, ready = [], []
        retry, now = self._instance.retry, self.context.clock()
        for name, outcome in self.jobs.ended.items():
            job = self.jobs.running[name]
            if outcome is None:
                ready.append(job)
            else:
                by_person = job.cancelled.is_set()
                verdicts.append(judge(job.request, outcome, retry, now, cancelled=by_person))
        return verdicts, ready

    def _never_again(self, found: Request) -> Verdict:
        never = "It was not tried again." if found.attempts else "It had not been started."
        outcome = Transient("cancelled", never)
        return judge(found, outcome, self._instance.retry, self.context.clock(), cancelled=True)

    def _record(self, verdicts: list[Verdict], ready: list[Job]) -> None:
        """Write how attempts ended and that others begin; then let these act, and move those on.

        Intent before effect: an attempt is durable before it may act. That a file has moved is made
        durable with what comes next; until then a restart finds it in running/ with its end.
        """
        begins = [(job, self._begun(job.request)) for job in ready]
        for _, started in begins:
            self._runner.make_log_folder(started)
        progress = [
            (job, *shown)
            for name, job in self.jobs.running.items()
            if name not in self.jobs.ended and (shown := job.with_progress())
        ]
        drafts = [(found.name, self.spool.draft(found.to_bytes())) for _, found in begins]
        drafts += [(found.name, self.spool.draft(data)) for _, found, data in progress]
        drafts += [(v.request.name, self.spool.draft(v.data, v.not_before)) for v in verdicts]
        now = self.context.clock()
        reasons = [(v, self.spool.draft(why)) for v in verdicts if (why := v.reason(now))]
        self.spool.sync()
        for name, draft in drafts:
            self.spool.overwrite(draft, self._running, name)
        for verdict, reason in reasons:
            self.spool.add_reason(reason, verdict.target, verdict.request.name)
        if drafts:
            self.spool.sync()
        for job, started in begins:
            self._start(job, started)
        for job, found, _ in progress:
            job.request = found
        for verdict in verdicts:
            self._move_on(verdict)

    def _begun(self, found: Request) -> Request:
        if found.attempts and found.attempts[-1].outcome == "handed-back":
            self._handed_back[found.name] = found.attempts[-1].code
        attempts = begun(found, self.context.clock())
        return found.with_(status="running", attempts=attempts, result=None)

    def _start(self, job: Job, started: Request) -> None:
        number = started.attempts[-1].number
        if number > 1:
            self.spool.counts.add("retries", started.executor)
        log.info("attempt %d", number, extra=_about(started))
        job.request = started
        self.jobs.start(job, self._runner.run)

    def _move_on(self, verdict: Verdict) -> None:
        name, last = verdict.request.name, verdict.request.attempts[-1]
        self.spool.move_or_hold(self._running, verdict.target, name, self.context.clock())
        # That something is still away was said when it was so for the first time.
        still = last.outcome == "handed-back" and self._handed_back.get(name) == last.code
        self._forget(name)
        verdict.count(self.spool.counts)
        level = logging.INFO if still or verdict.target.folder == "done" else logging.WARNING
        about = _about(verdict.request)
        log.log(level, "%s (%s): %s", verdict.target, last.code, last.summary, extra=about)

    def _forget(self, name: str) -> None:
        """Drop a request that has left running/, and with it the cancellation that was heard."""
        job = self.jobs.forget(name)
        if job and job.cancelled.is_set():
            self._cancellations.remove(name)
        self._admission.forget(name)
        self._handed_back.pop(name, None)

    def close(self) -> None:
        """Let what runs finish; after the grace period tell it to stop; record what came of it."""
        # What cannot be recorded need not be waited for, nor what goes on without this process.
        if not self.spool.broken:
            if self._instance.outlives:
                self.jobs.stop()
            self._wait(self.context.routing.config.settings.stop_grace)
            if self.jobs.running:
                self.context.stop_now.set()
                self._wait(5.0)
            self.spool.sync()
        for name in self.jobs.running:
            log.warning("left running; the next start decides", extra=named(name))

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.jobs.running and time.monotonic() < until:
            if self.context.stop_now.is_set():
                self.jobs.stop()
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


def _about(found: Request) -> dict[str, str]:
    return {"dispatch_id": found.dispatch_id, "executor": found.executor, "route": found.route}
