"""How an agent ended → a `Result`, or the error that says what became of it."""

import errno
import os
from datetime import datetime

from spoold.errors import ExecutionError, NeedsPerson, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.executors.agent.attempt_files import Facts, was_cancelled
from spoold.executors.agent.evidence import look
from spoold.executors.agent.params import Params
from spoold.executors.agent.worktree import works_in

#: What an operating system is short of, and may have again.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


def never_started() -> Transient:
    """The attempt has done nothing, and may be repeated."""
    return Transient("never-started", "Its executor ended before the agent could begin.")


def lost(
    params: Params, context: Context, killed: list[int], survivors: list[int], *, grouped: bool
) -> OutcomeUnknown:
    """The error for an agent whose end was not seen.

    Args:
        params: of the run.
        context: of the attempt.
        killed: processes of it that still ran, and do not any more.
        survivors: those that could not be killed.
        grouped: whether it had a control group, from which no process can hide.
    """
    more = f" Of what it had started, {_named(killed)} still ran, and was killed." if killed else ""
    if not grouped:
        more += (
            " It had no control group: a process of it that has left its session and its variables "
            "behind is not found; look for one yourself."
        )
    return OutcomeUnknown(
        "lost",
        f"{params.argv[0]} and its supervisor are gone, and nobody saw how it ended.{more}"
        f"{_not_killed(survivors)} What it had printed by then is in "
        f"{os.path.dirname(context.files)}/.",
        {"killed": killed, "survivors": survivors},
    )


def judge(params: Params, context: Context, ended: Facts) -> Result:
    """Decide what became of a run.

    Raises:
        ExecutionError: it is not done, or it is not known whether it is.
    """
    out, err = ended.get("stdout") or {}, ended.get("stderr") or {}
    output = {
        "stdout_tail": out.get("tail", ""),
        "stderr_tail": err.get("tail", ""),
        "stdout_bytes": out.get("bytes", 0),
        "stderr_bytes": err.get("bytes", 0),
        "truncated": bool(out.get("truncated") or err.get("truncated")),
    }
    details = {
        "agent": params.agent,
        "model": params.model,
        "cwd": works_in(params.cwd, context) if params.worktree else params.cwd,
        **{key: ended.get(key) for key in ("pid", "exit_code", "signal")},
        "duration_s": ended.get("seconds"),
        "cost_usd": ended.get("cost_usd"),
        "turns": ended.get("turns"),
        "left_behind": ended.get("left_behind") or [],
        "survivors": ended.get("survivors") or [],
    }
    more = _beyond_its_caps(params, ended) + _not_killed(ended.get("survivors") or [])
    try:
        _must_be_true(params, context, ended, details)
        _must_have_worked(params, context, ended, details)
        evidence = _evidence(params, context, ended, details)
    except ExecutionError as error:
        error.output = output
        error.summary += more
        raise
    summary = (
        f"{params.argv[0]} exited with 0 after {ended.get('seconds')} s, with its evidence.{more}"
    )
    return Result("exit-0", summary, details, evidence, output)


def _must_be_true(params: Params, context: Context, ended: Facts, details: Facts) -> None:
    """Refuse a lie: an agent can write in its supervisor's place that it had never begun."""
    denied = ended.get("why") in ("never-started", "not-started") or ended.get("begun") is False
    if denied and context.heard_of:
        what = f"{params.argv[0]} is said never to have begun, and was heard of: nobody knows."
        raise OutcomeUnknown("lost", what, details)


def _must_have_worked(params: Params, context: Context, ended: Facts, details: Facts) -> None:
    program, seconds, why = params.argv[0], ended.get("seconds"), ended.get("why")
    stays = f"after {seconds} s; what it had done by then stays done"
    match why:
        case "never-started":
            raise never_started()
        case "not-started":
            raise _not_started(params, details["cwd"], int(ended.get("errno") or 0))
        case "timeout":
            what = f"{program} was still running after {params.timeout:g} s; its whole tree was"
            raise Permanent("timeout", f"{what} killed.{_ended_from_outside(ended)}", details)
        case "idle":
            what = f"{program} printed nothing for {params.idle_timeout:g} s; killed {stays}."
            raise Permanent("idle", what, details)
        case "over-cost" | "over-turns":
            what = f"{program} was stopped at its cap {stays}."
            raise Permanent(why, what, details)
        case "terminated":
            raise _terminated(context, ended, f"killed {stays}.", details)
    if ended.get("signal") is not None:
        number = ended["signal"]
        raise Permanent(f"signal-{number}", f"{program} was killed by signal {number}.", details)
    code = ended.get("exit_code")
    if why != "exited" or code is None:
        raise OutcomeUnknown("lost", f"How {program} ended is not known.", details)
    if code != 0:
        raise Permanent(f"exit-{code}", f"{program} exited with {code} {stays}.", details)


def _terminated(context: Context, ended: Facts, how: str, details: Facts) -> ExecutionError:
    """Its supervisor was told to end."""
    if was_cancelled(context):
        what = f"A person cancelled it: {how}{_ended_from_outside(ended)}"
        return Permanent("cancelled", what, details)
    if ended.get("begun") is False:
        what = "Its supervisor was told to end before the agent had begun."
        return Transient("interrupted", what, details)
    what = (
        "Its supervisor was told to end, and by no person's decision that spoold knows of "
        f"(a shutdown, or a kill): {how}"
    )
    return OutcomeUnknown("interrupted", what, details)


def _not_started(params: Params, cwd: str, number: int) -> ExecutionError:
    why = os.strerror(number)
    if number in _PASSING:
        return Transient("cannot-start", f"{params.argv[0]} could not be started: {why}.")
    return Permanent(
        "cannot-start",
        f"{params.argv[0]} could not be started in {cwd}: {why}. Check that the folder "
        "exists and may be entered, and that the program is one for this machine.",
    )


def _evidence(params: Params, context: Context, ended: Facts, details: Facts) -> Facts:
    missing, found = look(
        params.evidence,
        details["cwd"],
        (datetime.fromisoformat(ended["started_at"]), ended.get("before")),
        ended.get("value"),
        f"{context.files}.out",
    )
    if missing is not None:
        raise NeedsPerson(
            "no-evidence",
            f"{params.argv[0]} exited with 0 after {ended.get('seconds')} s, but {missing}.",
            details,
            evidence=found,
        )
    return found


def _beyond_its_caps(params: Params, ended: Facts) -> str:
    """A tool may say only at its end what it has cost: too late to stop it."""
    said = ""
    cost, turns = ended.get("cost_usd"), ended.get("turns")
    if cost is not None and params.max_cost is not None and cost > params.max_cost:
        over = cost - params.max_cost
        said += f" It cost {cost:g} USD, {over:g} more than its cap of {params.max_cost:g}."
    if turns is not None and params.max_turns is not None and turns > params.max_turns:
        said += f" It took {turns} turns, {turns - params.max_turns} more than its cap."
    return said


def _ended_from_outside(ended: Facts) -> str:
    """What to add if the watchdog had to end it, because its supervisor did not."""
    if not ended.get("from_outside"):
        return ""
    return " Its supervisor did not do that in time, as if it had been stopped; it was killed too."


def _not_killed(survivors: list[int]) -> str:
    if not survivors:
        return ""
    return f" {_named(survivors)} could not be killed: see what holds it, and end it."


def _named(pids: list[int]) -> str:
    return f"process {', '.join(map(str, pids[:20]))}"
