"""An approved prompt → one run of a command-line agent, and the evidence that it did its work.

A supervisor of its own stays with the agent (`spoold/supervisor/`), so that neither its deadlines
nor what is known of its end depend on this process.
"""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import Field, field_validator

from spoold.config import Duration, SecretRef
from spoold.errors import ExecutionError, NeedsPerson, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Finding, Model, Result, Running
from spoold.executors._agents import Command, choose, with_defaults
from spoold.executors._evidence import Evidence, look
from spoold.executors._launch import (
    Facts,
    Scope,
    follow,
    is_about_to_begin,
    kill_what_is_left,
    launch,
    may_have_begun,
    read,
    scope_for,
    supervisor_of,
)
from spoold.executors._runtime import findings
from spoold.executors._worktree import fresh_worktree, worktree_of

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_PROMPT = 1 << 20
#: What an operating system is short of, and may have again.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


def _says_something() -> dict[Any, Any]:
    return {"pattern": r"\S"}


class _Limits(Model):
    """What a configuration sets, a route may set otherwise, and a request shows.

    Attributes:
        timeout: for all of it.
        idle_timeout: without any output.
        env: variables; a secret by reference.
        max_cost: US dollars, as far as the tool's JSON output says; beyond it the run is ended.
        max_turns: the same.
        memory: such as `2G`; with systemd.
        cpus: such as `1.5`; with systemd.
    """

    timeout: Duration = Field(default=1800.0, gt=0)
    idle_timeout: Duration = Field(default=600.0, gt=0)
    env: dict[str, str | SecretRef] = Field(default_factory=dict)
    max_cost: float | None = Field(default=None, gt=0)
    max_turns: int | None = Field(default=None, gt=0)
    memory: str | None = Field(default=None, pattern=r"^[0-9]+[KMGT]?$")
    cpus: float | None = Field(default=None, gt=0)


class Config(_Limits):
    """`[executors.<name>]` with `kind = "agent"`.

    Attributes:
        commands: the agents that requests may name; without this table those that are known.
        path: where their programs are looked up; also their `PATH`.
        inherit_env: variables that are passed on from the service, if it has them.
        max_output: bytes that are kept of each stream.
        scope: the systemd manager that the run gets a transient scope from.
        cwd: as the route's parameter of that name, when the route leaves it out.
    """

    commands: dict[str, Command] = Field(default_factory=dict, validate_default=True)
    path: str = _PATH
    inherit_env: list[str] = Field(
        default_factory=lambda: ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"]
    )
    max_output: int = Field(default=1 << 20, ge=0)
    scope: Scope = "auto"
    cwd: str | None = None

    @field_validator("commands", mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        return with_defaults(given or None)


class _Task(Model):
    """What is to be done.

    Attributes:
        agent: a slug, such as `codex`.
        model: a label; by its family the configuration may choose another one.
        prompt: what it is told, on stdin or in a file.
        cwd: an absolute path.
        worktree: whether it works in a fresh git worktree of `cwd` instead.
        evidence: without which exit 0 is no success; at the least it says something.
        argv: what is executed; it follows from `agent` and `model`, and never has the prompt.
    """

    agent: str
    model: str | None = None
    prompt: str = Field(min_length=1)
    cwd: str
    worktree: bool = False
    evidence: Evidence = Field(default_factory=_says_something)
    argv: list[str]


class Params(_Limits, _Task):
    """One run: what is to be done, and within which limits."""


OPTIONAL = frozenset({"model"})


def _not_in_a_route(_value: object, _config: Config) -> None:
    raise ValueError("it follows from the executor's `commands`")


def _literal(_value: object, _config: Config) -> None:
    """Anything, if the route's author has written it."""


#: A record must neither choose what is executed nor which secret is given to it.
LITERAL: Mapping[tuple[str | int, ...], Callable[[Any, Config], None]] = {
    ("argv",): _not_in_a_route,
    ("env",): _literal,
    ("evidence",): _literal,
    ("max_cost",): _literal,
    ("max_turns",): _literal,
}


def complete(given: dict[str, Any], config: Config, _targets: Any) -> dict[str, Any]:
    """The arguments and the model that follow from the configuration."""
    slug, model = given.get("agent"), given.get("model")
    if not isinstance(slug, str) or not (model is None or isinstance(model, str)):
        return {**given, "argv": []}
    command, chosen = choose(slug, model, config.commands)
    return {**given, "model": chosen, "argv": command.render(chosen)}


def check(params: Params, config: Config) -> None:
    """Refuse what is not configured, and what no system would start."""
    command, model = choose(params.agent, params.model, config.commands)
    if params.argv != command.render(model):
        raise ValueError(f"the argv is not that of agent {params.agent}")
    if not params.cwd.startswith("/") or "\0" in params.cwd:
        raise ValueError(f"the cwd {params.cwd!r} is not absolute")
    if not params.prompt.strip():
        raise ValueError("the prompt is empty")
    try:
        size = len(params.prompt.encode())
    except UnicodeEncodeError:
        raise ValueError("the prompt is no valid text") from None
    if size > _LONGEST_PROMPT or "\0" in params.prompt:
        raise ValueError(f"the prompt has {size} bytes (at most {_LONGEST_PROMPT}) or a NUL")
    for name in params.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("SPOOLD_"):
            raise ValueError(f"{name!r} is no name of a variable that can be set")


def run(params: Params, context: Context) -> Result:
    """Give it a supervisor, and stay with it to its end."""
    if context.stopping.is_set():
        raise Transient("interrupted", "The service was stopped before the agent was started.")
    config: Config = context.config
    program = shutil.which(params.argv[0], path=config.path)
    if program is None:
        raise Permanent(
            "runtime-missing",
            f"There is no executable {params.argv[0]} on this host (path: {config.path}). "
            "`spoold doctor` says what is missing.",
        )
    values = {
        name: value if isinstance(value, str) else context.secret(value)
        for name, value in params.env.items()
    }
    job = {
        "program": program,
        "argv": params.argv,
        "cwd": fresh_worktree(params.cwd, context) if params.worktree else params.cwd,
        "env": {
            **{name: os.environ[name] for name in config.inherit_env if name in os.environ},
            "PATH": config.path,
            **values,
            "SPOOLD_DISPATCH_ID": context.dispatch_id,
            "SPOOLD_ATTEMPT": str(context.number),
        },
        "prompt": params.prompt,
        "timeout": params.timeout,
        "idle_timeout": params.idle_timeout,
        "max_output": config.max_output,
        "secrets": [values[n] for n, value in params.env.items() if not isinstance(value, str)],
        "key": params.evidence.get("json"),
        "max_cost": params.max_cost,
        "max_turns": params.max_turns,
    }
    scope = scope_for(config.scope, context, params.memory, params.cpus)
    if not launch(job, context.files, scope):
        raise Transient("cannot-start", "The agent's supervisor did not start; nothing was done.")
    return resume(params, context)


def probe(params: Params, context: Context) -> Result | Running:
    """Look at what its supervisor has left, and whether that still runs."""
    if supervisor_of(context.files) is None and not is_about_to_begin(context.files):
        raise Transient("never-started", "Its executor ended before the agent could begin.")
    supervisor = supervisor_of(context.files)
    if supervisor is None:
        raise _lost(params, context, [])
    if supervisor.alive:
        return Running(f"{params.argv[0]} runs under supervisor {supervisor.pid}.")
    ended = read(context.files, "exit")
    if ended is None and not may_have_begun(context.files, supervisor):
        raise Transient("never-started", "Its supervisor ended before the agent could begin.")
    if ended is None:
        raise _lost(params, context, [])
    return _judge(params, context, ended)


def resume(params: Params, context: Context) -> Result:
    """Stay with an agent that runs, to its end."""
    supervisor = supervisor_of(context.files)
    ended = follow(context.files, supervisor, context) if supervisor else None
    if ended is None:
        raise _lost(params, context, kill_what_is_left(context))
    return _judge(params, context, ended)


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Which runtimes are there, in which version, and whether they are logged in."""
    del secret
    for slug, command in config.commands.items():
        yield findings(slug, command, config.path)


def _lost(params: Params, context: Context, killed: list[int]) -> OutcomeUnknown:
    return OutcomeUnknown(
        "lost",
        f"{params.argv[0]} and its supervisor are gone, and nobody saw how it ended. What it had "
        f"printed by then is in logs/{context.dispatch_id}/.",
        {"killed": killed},
    )


def _judge(params: Params, context: Context, ended: Facts) -> Result:
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
        "cwd": worktree_of(params.cwd, context) if params.worktree else params.cwd,
        **{key: ended.get(key) for key in ("pid", "exit_code", "signal")},
        "duration_s": ended.get("seconds"),
        "cost_usd": ended.get("cost_usd"),
        "turns": ended.get("turns"),
        "left_behind": ended.get("left_behind") or [],
        "survivors": ended.get("survivors") or [],
    }
    try:
        _must_have_worked(params, ended, details)
        evidence = _evidence(params, context, ended, details)
    except ExecutionError as error:
        error.output = output
        raise
    summary = f"{params.argv[0]} exited with 0 after {ended.get('seconds')} s, with its evidence."
    return Result("exit-0", summary, details, evidence, output)


def _must_have_worked(params: Params, ended: Facts, details: Facts) -> None:
    program, seconds, why = params.argv[0], ended.get("seconds"), ended.get("why")
    stays = f"after {seconds} s; what it had done by then stays done"
    match why:
        case "never-started":
            raise Transient("never-started", "Its executor ended before the agent could begin.")
        case "not-started":
            raise _not_started(params, int(ended.get("errno") or 0))
        case "timeout":
            what = f"{program} was still running after {params.timeout:g} s; its whole tree was"
            raise Permanent("timeout", f"{what} killed.", details)
        case "idle":
            what = f"{program} printed nothing for {params.idle_timeout:g} s; killed {stays}."
            raise Permanent("idle", what, details)
        case "over-cost" | "over-turns":
            what = f"{program} was stopped at its cap {stays}."
            raise Permanent(why, what, details)
        case "cancelled":
            raise Permanent("cancelled", f"A person cancelled it: killed {stays}.", details)
    if ended.get("signal") is not None:
        number = ended["signal"]
        raise Permanent(f"signal-{number}", f"{program} was killed by signal {number}.", details)
    code = ended.get("exit_code")
    if why != "exited" or code is None:
        raise OutcomeUnknown("lost", f"How {program} ended is not known.", details)
    if code != 0:
        raise Permanent(f"exit-{code}", f"{program} exited with {code} {stays}.", details)


def _not_started(params: Params, number: int) -> ExecutionError:
    why = os.strerror(number)
    if number in _PASSING:
        return Transient("cannot-start", f"{params.argv[0]} could not be started: {why}.")
    return Permanent(
        "cannot-start",
        f"{params.argv[0]} could not be started in {params.cwd}: {why}. Check that the folder "
        "exists and may be entered, and that the program is one for this machine.",
    )


def _evidence(params: Params, context: Context, ended: Facts, details: Facts) -> Facts:
    missing, found = look(
        params.evidence,
        details["cwd"],
        datetime.fromisoformat(ended["started_at"]),
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
