"""How a program ended → the result, or what is known of its failure."""

from typing import Any

from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.executors.child import Ending


def judge(program: str, timeout: float, context: Context, ending: Ending, pid: int) -> Result:
    """The result of a program that exited with 0.

    Args:
        program: as the request names it.
        timeout: how many seconds it had.
        context: of the attempt.
        ending: how it ended.
        pid: its process id.

    Raises:
        ExecutionError: it ended in any other way.
    """
    details = {
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        "duration_s": round(ending.seconds, 3),
        "pid": pid,
    }
    if ending.exit_code is None or ending.why != "exited":
        raise _killed_or_lost(program, timeout, context, ending, details)
    code, said = f"exit-{ending.exit_code}", f"{program} exited with {ending.exit_code}"
    if ending.exit_code in context.config.exit_codes.transient:
        raise Transient(code, f"{said}, which means try later.", details)
    if ending.exit_code in context.config.exit_codes.unknown:
        raise OutcomeUnknown(code, f"{said}, which may leave work half done.", details)
    if ending.exit_code != 0:
        raise Permanent(code, f"{said}.", details)
    return Result(code, f"{said}.", details, evidence={"exit_code": 0})


def _killed_or_lost(
    program: str, timeout: float, context: Context, ending: Ending, details: dict[str, Any]
) -> ExecutionError:
    if ending.why == "stopping" and context.cancelled.is_set():
        what = f"{program} and its process group were killed after {ending.seconds:.1f} s."
        done = "What it had done by then stays done."
        return Permanent("cancelled", f"A person cancelled it: {what} {done}", details)
    if ending.why == "stopping":
        what = f"The service was stopped, and {program} with it; it was not done."
        return OutcomeUnknown("interrupted", what, details)
    if ending.lost:
        return OutcomeUnknown(
            "lost",
            f"How {program} ended is not known: process {details['pid']} could not be watched or "
            "killed, or its status was taken away.",
            details,
        )
    if ending.why == "timeout":
        what = f"{program} was still running after {timeout:g} s"
        return Permanent("timeout", f"{what}; its process group was killed.", details)
    killed = f"{program} was killed by signal {ending.signal}."
    return Permanent(f"signal-{ending.signal}", killed, details)
