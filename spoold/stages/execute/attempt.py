"""One attempt in its thread: the kind's code, what it may use, every way it can end."""

import logging
import os
import stat
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
from spoold.request import Request
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.running import Control, Ended
from spoold.stages.execute.verdict import in_doubt
from spoold.stages.stage import StageContext

log = logging.getLogger("spoold.execute")

_OUTPUT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Attempts:
    """What an executor's attempts have in common."""

    instance: Instance
    context: StageContext
    spool: Spool

    def prepare(self, found: Request) -> None:
        """Make durable, before its attempt is, where a kind leaves what it will find it by."""
        if not self.instance.outlives:
            return
        try:
            fs.make_folder(self.spool.path(Place("logs"), found.dispatch_id), 0o750)
        except OSError as error:
            # The attempt says what is wrong there, and costs itself only.
            if ran_out(error):
                raise

    def run(self, found: Request, control: Control) -> Ended:
        """Make the last attempt of a request that is durable as running."""
        return self._whole(self._guarded(self.instance.kind.run, found, control, "attempt"))

    def find_out(self, found: Request, control: Control) -> Ended:
        """How the last attempt ended whose executor died; one that goes on is watched to its end.

        It is for the kind to say: it looks at what it left in the world.
        """
        kind = self.instance.kind
        answer = self._guarded(kind.probe, found, control, "probe", begun=True)
        if isinstance(answer, Running) and (resume := kind.resume):
            log.info("it goes on: %s", answer.summary, extra={"dispatch_id": found.dispatch_id})
            answer = self._guarded(resume, found, control, "attempt", begun=True)
        return self._whole(answer)

    @property
    def can_take_back(self) -> bool:
        """Whether the kind looks itself for what is left of a request that was tried."""
        return self.instance.kind.take_back is not None

    def take_back(self, found: Request, control: Control) -> Ended:
        """What is left of a request that was tried, and that a person does not want any more."""
        kind: Any = self.instance.kind
        answer = self._guarded(kind.take_back, found, control, "cancel", begun=True)
        return self._whole(answer)

    def preflight(self, found: Request, control: Control) -> ExecutionError | None:
        """Run the preflight commands; None if the action may start, or is not to start now."""
        number = len(found.attempts) + 1
        runner = replace(self, instance=self.context.routing.preflight)
        for place, command in enumerate(found.preflight, 1):
            prefix = f"preflight-{number}.{place}"
            asked = found.with_(params=command)
            outcome = runner._guarded(runner.instance.kind.run, asked, control, prefix)  # noqa: SLF001
            if control.cancelled.is_set():
                return Permanent("cancelled", "A person cancelled it before it had started.")
            if control.stopping.is_set():
                return None
            if isinstance(outcome, Transient):
                return outcome
            if isinstance(outcome, ExecutionError):
                argv = command.get("argv")
                what = f"Preflight {argv} ended with {outcome.code}: {outcome.summary}"
                logs = f"logs/{found.dispatch_id}/{prefix}.*"
                details = {**outcome.details, "argv": argv, "logs": logs}
                return NeedsPerson("preflight-failed", what, details, output=outcome.output)
        return None

    def _guarded(
        self,
        act: Callable[[Any, Context], Result | Running],
        found: Request,
        control: Control,
        prefix: str,
        *,
        begun: bool = False,
    ) -> Ended | Running:
        with ExitStack() as outputs:
            try:
                folder = self._folder(found, begun=begun)
                context = self._context(found, control, folder, prefix, outputs)
                outcome = act(self.instance.kind.Params.model_validate(found.params), context)
                if not isinstance(outcome, Result | Running):
                    raise TypeError(f"it returned {type(outcome).__name__}")  # noqa: TRY301
            except ExecutionError as error:
                return error
            except LeftRunning as error:
                if control.stopping.is_set():
                    return error
                return _bug(self.instance, found, error)
            except BaseException as error:  # noqa: BLE001 - also SystemExit: the thread must go on
                return _bug(self.instance, found, error)
            return outcome

    def _whole(self, answer: Ended | Running) -> Ended:
        if isinstance(answer, Running):
            return OutcomeUnknown("still-runs", f"It goes on unwatched: {answer.summary}")
        return answer

    def _folder(self, found: Request, *, begun: bool) -> str:
        """Where an attempt leaves what it knows; not used if it may be somebody else's."""
        folder = self.spool.path(Place("logs"), found.dispatch_id)
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

    def _context(
        self, found: Request, control: Control, folder: str, prefix: str, outputs: ExitStack
    ) -> Context:
        context, config = self.context, self.instance.config
        cap = getattr(config, "max_output", _OUTPUT_BYTES)
        number = len(found.attempts) or 1
        if prefix in ("attempt", "probe"):
            prefix = f"{prefix}-{number}"

        def open_output(stream: str) -> Capture:
            # A disk that fails costs output, not the attempt: the capture says what is missing.
            with suppress(OSError):
                fs.make_folder(folder, 0o750, durable=False)
            path, again = os.path.join(folder, f"{prefix}.{stream}"), 1
            while os.path.lexists(path):
                again += 1
                path = os.path.join(folder, f"{prefix}-again-{again}.{stream}")
            capture = Capture(Path(path), cap)
            outputs.callback(capture.close)
            return capture

        now = request.timestamp(context.clock())
        first, last = (
            (found.attempts[0].started_at, found.attempts[-1].started_at)
            if found.attempts
            else (now, now)
        )
        return Context(
            dispatch_id=found.dispatch_id,
            number=number,
            first_started=request.parse_time(first),
            started=request.parse_time(last),
            config=config,
            open_output=open_output,
            secret=secrets_of(context.routing.config),
            files=os.path.join(folder, f"attempt-{number}"),
            stopping=control.stopping,
            cancelled=control.cancelled,
            report=control.report,
            in_doubt=in_doubt(found),
            heard_of=bool(found.attempts and found.attempts[-1].progress),
        )


def look_once(instance: Instance, context: StageContext, params: BaseModel) -> Result:
    """What a kind says when it is run without a request, for an action that changes nothing.

    Raises:
        ExecutionError: as the kind raises it.
    """
    now, control = context.clock(), Control(lambda: None)
    nowhere = Path(os.devnull)
    attempt = Context(
        dispatch_id="",
        number=1,
        first_started=now,
        started=now,
        config=instance.config,
        open_output=lambda _stream: Capture(nowhere, 0),
        secret=secrets_of(context.routing.config),
        files=os.devnull,
        stopping=control.stopping,
        cancelled=control.cancelled,
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


def _bug(instance: Instance, found: Request, error: BaseException) -> OutcomeUnknown:
    log.error("executor kind %s failed", instance.kind_name, exc_info=error, extra={
        "dispatch_id": found.dispatch_id})  # fmt: skip
    return OutcomeUnknown(
        "executor-bug",
        f"The executor itself failed ({type(error).__name__}), so nobody can say what was done. "
        "The service's log has the trace; find out, then `spoold resolve` it.",
    )
