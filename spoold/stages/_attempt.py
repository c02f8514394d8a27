"""One attempt in its thread: the kind's code, what it may use, every way it can end."""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import orjson

from spoold import fs, request
from spoold.capture import Capture
from spoold.config import SecretMissing, SecretRef, read_secret
from spoold.errors import BadInput, ExecutionError, OutcomeUnknown, Transient
from spoold.executors import Context, Result
from spoold.executors._instance import Instance
from spoold.request import Request
from spoold.spool import Place, Spool
from spoold.stages import Surroundings

log = logging.getLogger("spoold.execute")

_OUTPUT_BYTES = 1 << 20


class PreflightFailed(BadInput):
    """A preflight command did not succeed; `data` is what it said."""

    def __init__(self, what: str, data: dict[str, Any]) -> None:
        super().__init__("preflight-failed", what)
        self.data = data


def attempt(
    instance: Instance, around: Surroundings, spool: Spool, found: Request
) -> Result | ExecutionError:
    """Run the last attempt of a request that is durable as running."""
    number = found.attempts[-1].number
    return _guarded(instance.module.run, instance, around, spool, found, f"attempt-{number}")


def probe(
    instance: Instance, around: Surroundings, spool: Spool, found: Request
) -> Result | ExecutionError:
    """Ask the kind how the last attempt of a request ended whose executor died."""
    number = found.attempts[-1].number
    return _guarded(instance.module.probe, instance, around, spool, found, f"probe-{number}")


def preflight(
    around: Surroundings, spool: Spool, found: Request
) -> ExecutionError | PreflightFailed | None:
    """Run the preflight commands; None if the action may start."""
    runner = around.routing.preflight
    number = len(found.attempts) + 1
    for place, command in enumerate(found.preflight, 1):
        prefix = f"preflight-{number}.{place}"
        asked = found.with_(params=command)
        outcome = _guarded(runner.module.run, runner, around, spool, asked, prefix)
        if around.stop_now.is_set():
            return None
        if isinstance(outcome, Transient):
            return outcome
        if isinstance(outcome, ExecutionError):
            argv = command.get("argv")
            what = f"Preflight {argv} ended with {outcome.code}: {outcome.detail}"
            data = {**outcome.data, "argv": argv, "logs": f"logs/{found.dispatch_id}/{prefix}.*"}
            return PreflightFailed(what, data)
    return None


def _guarded(
    act: Callable[[Any, Context], Result],
    instance: Instance,
    around: Surroundings,
    spool: Spool,
    found: Request,
    prefix: str,
) -> Result | ExecutionError:
    with ExitStack() as outputs:
        try:
            context = _context(instance, around, spool, found, prefix, outputs)
            outcome = act(instance.module.Params.model_validate(found.params), context)
            # What cannot be written would stop the stage; the effect has happened all the same.
            orjson.dumps(outcome.data)
        except ExecutionError as error:
            return error
        except Exception as error:
            log.exception("executor kind %s failed", instance.kind, extra={
                "dispatch_id": found.dispatch_id})  # fmt: skip
            detail = (
                f"The executor itself failed ({type(error).__name__}), so nobody can say what was "
                "done. The service's log has the trace; find out, then `spoold resolve` it."
            )
            return OutcomeUnknown("executor-bug", detail)
        return outcome


def _context(
    instance: Instance,
    around: Surroundings,
    spool: Spool,
    found: Request,
    prefix: str,
    outputs: ExitStack,
) -> Context:
    folder = spool.path(Place("logs"), found.dispatch_id)
    cap = getattr(instance.config, "max_output", _OUTPUT_BYTES)

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

    def secret(ref: SecretRef) -> str:
        try:
            return read_secret(ref, around.routing.config.document.file.parent)
        except SecretMissing as error:
            detail = f"Nothing was done: {error}. Provide it; the next try uses it."
            raise Transient("credential-missing", detail) from None

    first = found.attempts[0].started_at if found.attempts else request.timestamp(around.clock())
    return Context(
        dispatch_id=found.dispatch_id,
        number=len(found.attempts) or 1,
        first_started=request.moment(first),
        config=instance.config,
        open_output=open_output,
        secret=secret,
        stopping=around.stop_now,
        in_doubt=any((tried.data or {}).get("in_doubt") is True for tried in found.attempts),
    )
