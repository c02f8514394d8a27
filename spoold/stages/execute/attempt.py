"""One attempt in its thread: the kind's code, what it may use, every way it can end."""

import logging
import os
import stat
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from spoold import request
from spoold.config.configuration import Configuration
from spoold.config.secrets import SecretMissing, SecretRef, read_secret
from spoold.disk import fs, reading
from spoold.disk.capped_file import Capture
from spoold.disk.free_space import ran_out
from spoold.errors import (
    ExecutionError,
    LeftRunning,
    NeedsPerson,
    OutcomeUnknown,
    Permanent,
    Transient,
)
from spoold.executors import Context, Result, Running
from spoold.executors.instance import Instance
from spoold.identity import named
from spoold.request import Request
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.history import in_doubt
from spoold.stages.execute.jobs import Ended, Job
from spoold.stages.stage import StageContext

log = logging.getLogger("spoold.execute")

_OUTPUT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Runner:
    """Calls one executor's kind in a worker's thread; whatever happens there is an outcome."""

    instance: Instance
    context: StageContext
    spool: Spool

    def make_log_folder(self, found: Request) -> None:
        """Create the log folder durably before the attempt starts, so that `probe` can find it."""
        if not self.instance.outlives:
            return
        logs = Place("logs", found.executor)
        try:
            fs.make_folder(self.spool.path(logs, found.dispatch_id), 0o750)
        except OSError as error:
            # The attempt says what is wrong there, and costs itself only.
            if ran_out(error):
                raise

    def run(self, job: Job) -> Ended:
        """Make the last attempt of a request that is durable as running."""
        return _watched(self._call(self.instance.kind.run, job, "attempt"))

    def find_out(self, job: Job) -> Ended:
        """Ask the kind how the last attempt ended whose executor died; watch one that goes on."""
        kind = self.instance.kind
        answer = self._call(kind.probe, job, "probe", begun=True)
        if isinstance(answer, Running) and kind.resume:
            log.info("it goes on: %s", answer.summary, extra=named(job.request.name))
            answer = self._call(kind.resume, job, "attempt", begun=True)
        return _watched(answer)

    def take_back(self, job: Job) -> Ended:
        """Let the kind remove what is left of a request that was tried and then cancelled."""
        kind: Any = self.instance.kind
        return _watched(self._call(kind.take_back, job, "cancel", begun=True))

    def preflight(self, job: Job) -> ExecutionError | None:
        """Run the preflight commands; None if the action may start, or is not to start now."""
        found = job.request
        number = len(found.attempts) + 1
        runner = replace(self, instance=self.context.routing.preflight)
        for place, command in enumerate(found.preflight, 1):
            prefix = f"preflight-{number}.{place}"
            asked = replace(job, request=found.with_(params=command), params=None)
            outcome = runner._call(runner.instance.kind.run, asked, prefix)  # noqa: SLF001
            if job.cancelled.is_set():
                return Permanent("cancelled", "A person cancelled it before it had started.")
            if job.stopping.is_set():
                return None
            if isinstance(outcome, Transient):
                return outcome
            if isinstance(outcome, ExecutionError):
                argv = command.get("argv")
                what = f"Preflight {argv} ended with {outcome.code}: {outcome.summary}"
                logs = f"logs/{found.executor}/{found.dispatch_id}/{prefix}.*"
                details = {**outcome.details, "argv": argv, "logs": logs}
                return NeedsPerson("preflight-failed", what, details, output=outcome.output)
        return None

    def _call(
        self,
        function: Callable[[Any, Context], Result | Running],
        job: Job,
        prefix: str,
        *,
        begun: bool = False,
    ) -> Ended | Running:
        """Call a kind's function.

        Args:
            function: of parameters and context.
            job: whose request it is about.
            prefix: of the names of its output files.
            begun: whether an attempt may have acted already.
        """
        with ExitStack() as outputs:
            try:
                folder = self._log_folder(job.request, begun=begun)
                context = self._context(job, folder, prefix, outputs)
                params = job.params or self.instance.kind.Params.model_validate(job.request.params)
                outcome = function(params, context)
                if not isinstance(outcome, Result | Running):
                    raise TypeError(f"it returned {type(outcome).__name__}")  # noqa: TRY301
            except ExecutionError as error:
                return error
            except LeftRunning as error:
                return error if job.stopping.is_set() else self._bug(job.request, error)
            except BaseException as error:  # noqa: BLE001 - also SystemExit: the thread must go on
                return self._bug(job.request, error)
            return outcome

    def _log_folder(self, found: Request, *, begun: bool) -> str:
        """Where an attempt leaves what it knows; refused if another user may have written there."""
        folder = self.spool.path(Place("logs", found.executor), found.dispatch_id)
        code = "logs-unreadable"
        try:
            status = reading.status(folder)
        except FileNotFoundError:
            # What has begun without it is for the kind to judge.
            if begun or not self.instance.outlives:
                return folder
            what = f"{folder} could not be made. See who may write there."
        except OSError as error:
            what = f"{folder} cannot be looked at ({error.strerror})."
        else:
            if not stat.S_ISDIR(status.st_mode):
                what = f"{folder} is no folder. Remove it."
            elif status.st_uid == os.geteuid():
                return folder
            else:
                code = "foreign-logs"
                what = f"{folder} is another user's, who can change what is there. Remove it."
        if begun:
            raise OutcomeUnknown(code, f"Nobody can say how the last attempt ended: {what}")
        raise Transient(code, f"Nothing was done: {what}")

    def _context(self, job: Job, folder: str, prefix: str, outputs: ExitStack) -> Context:
        found, config = job.request, self.instance.config
        number = len(found.attempts) or 1
        if prefix in ("attempt", "probe"):
            prefix = f"{prefix}-{number}"
        limit = getattr(config, "max_output", _OUTPUT_BYTES)

        def open_output(stream: str) -> Capture:
            capture = _capture(folder, prefix, stream, limit)
            outputs.callback(capture.close)
            return capture

        now = request.timestamp(self.context.clock())
        started = [tried.started_at for tried in found.attempts] or [now]
        return Context(
            dispatch_id=found.dispatch_id,
            number=number,
            first_started=request.parse_time(started[0]),
            started=request.parse_time(started[-1]),
            config=config,
            open_output=open_output,
            secret=secrets_of(self.context.routing.config),
            files=os.path.join(folder, f"attempt-{number}"),
            stopping=job.stopping,
            cancelled=job.cancelled,
            report=job.report,
            in_doubt=in_doubt(found),
            heard_of=bool(found.attempts and found.attempts[-1].progress),
        )

    def _bug(self, found: Request, error: BaseException) -> OutcomeUnknown:
        name = self.instance.kind_name
        log.error("executor kind %s failed", name, exc_info=error, extra=named(found.name))
        return OutcomeUnknown(
            "executor-bug",
            f"The executor itself failed ({type(error).__name__}), so nobody can say what was "
            "done. The service's log has the trace; find out, then `spoold resolve` it.",
        )


def _watched(answer: Ended | Running) -> Ended:
    if isinstance(answer, Running):
        return OutcomeUnknown("still-runs", f"It goes on unwatched: {answer.summary}")
    return answer


def _capture(folder: str, prefix: str, stream: str, limit: int) -> Capture:
    """A file for output that no earlier call has written to."""
    # A disk that fails costs output, not the attempt: the capture says what is missing.
    with suppress(OSError):
        fs.make_folder(folder, 0o750, durable=False)
    path, again = os.path.join(folder, f"{prefix}.{stream}"), 1
    while os.path.lexists(path):
        again += 1
        path = os.path.join(folder, f"{prefix}-again-{again}.{stream}")
    return Capture(Path(path), limit)


def look_once(instance: Instance, context: StageContext, params: BaseModel) -> Result:
    """Run a kind without a request, for an action that changes nothing.

    Raises:
        ExecutionError: as the kind raises it.
    """
    now, nowhere = context.clock(), Path(os.devnull)
    attempt = Context(
        dispatch_id="",
        number=1,
        first_started=now,
        started=now,
        config=instance.config,
        open_output=lambda _stream: Capture(nowhere, 0),
        secret=secrets_of(context.routing.config),
        files=os.devnull,
        stopping=threading.Event(),
    )
    return instance.kind.run(params, attempt)


def secrets_of(config: Configuration) -> Callable[[SecretRef], str]:
    """Reads secrets by reference; raises `Transient` that says what is missing."""

    def secret(ref: SecretRef) -> str:
        try:
            return read_secret(ref, config.document.file.parent)
        except SecretMissing as error:
            summary = f"A secret is missing: {error}. Provide it; the next try uses it."
            raise Transient("credential-missing", summary) from None

    return secret
