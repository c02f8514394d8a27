"""An approved prompt → one run of a command-line agent, and the evidence that it did its work.

Each agent has a supervisor of its own (`spoold/supervisor/`): its deadlines hold, and its end is
written down, also when this process is gone.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from spoold.config.secrets import SecretRef
from spoold.errors import Permanent, Transient
from spoold.executors import Context, Finding, Result, Running
from spoold.executors.agent.attempt_files import (
    Start,
    how_far,
    read,
    supervisor_of,
    wait_for_claim,
)
from spoold.executors.agent.confinement import confine_again, found_group, scope_for, unenforced
from spoold.executors.agent.launch import start_supervisor
from spoold.executors.agent.params import LITERAL, OPTIONAL, Config, Params, check, complete, lane
from spoold.executors.agent.runtimes import findings
from spoold.executors.agent.verdict import judge, lost, never_started
from spoold.executors.agent.watchdog import follow, kill_what_is_left, what_is_left
from spoold.executors.agent.worktree import fresh_worktree
from spoold.supervisor.job import Job

__all__ = [
    "LITERAL", "OPTIONAL", "Config", "Params", "check", "complete", "doctor", "lane", "probe",
    "resume", "run", "warnings",
]  # fmt: skip


def run(params: Params, context: Context) -> Result:
    """Give the agent a supervisor, and stay with it to its end."""
    if context.stopping.is_set():
        raise Transient("interrupted", "The service was stopped before the agent was started.")
    config: Config = context.config
    program = _program(params.argv[0], config.path)
    variables = {
        name: value if isinstance(value, str) else context.secret(value)
        for name, value in params.env.items()
    }
    cwd = fresh_worktree(params.cwd, context, params.timeout) if params.worktree else params.cwd
    scope = scope_for(config.scope, context, params.memory, params.cpus)
    job = Job(
        parent=os.getpid(),
        program=program,
        argv=params.argv,
        cwd=cwd,
        env={
            **_inherited(config),
            "PATH": config.path,
            **variables,
            "SPOOLD_DISPATCH_ID": context.dispatch_id,
            "SPOOLD_ATTEMPT": str(context.number),
        },
        prompt=params.prompt,
        timeout=params.timeout,
        idle_timeout=params.idle_timeout,
        max_output=config.max_output,
        secrets=[variables[n] for n, value in params.env.items() if not isinstance(value, str)],
        key=_text(params.evidence.get("json")),
        max_cost=params.max_cost,
        max_turns=params.max_turns,
        evidence=_text(params.evidence.get("file")),
        group=scope.name,
    )
    start_supervisor(job, context, scope)
    return _follow_to_end(params, context)


def probe(params: Params, context: Context) -> Result | Running:
    """Look at what its supervisor has left, and whether that still runs."""
    wait_for_claim(context)
    supervisor = supervisor_of(context.files)
    if supervisor and supervisor.alive:
        return Running(f"{params.argv[0]} runs under supervisor {supervisor.pid}.")
    if supervisor and (ended := read(context.files, "exit")) is not None:
        return judge(params, context, ended)
    if how_far(context) is Start.NOT_BEGUN:
        raise never_started()
    if pids := what_is_left(context):
        listed = ", ".join(map(str, pids))
        return Running(f"{params.argv[0]} has no supervisor any more, but these run: {listed}.")
    raise lost(params, context, [], [], grouped=True)


def resume(params: Params, context: Context) -> Result:
    """Stay with an agent that runs, to its end; what has lost its supervisor is ended."""
    confine_again(context, params.memory, params.cpus)
    return _follow_to_end(params, context)


def _follow_to_end(params: Params, context: Context) -> Result:
    supervisor = supervisor_of(context.files)
    ended = follow(supervisor, context, params.timeout) if supervisor else None
    if ended is None:
        grouped = found_group(context) is not None
        raise lost(params, context, *kill_what_is_left(context), grouped=grouped)
    return judge(params, context, ended)


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Which agents are installed, in which version, and whether they are logged in."""
    environment = _inherited(config)
    for name, value in config.env.items():
        try:
            environment[name] = value if isinstance(value, str) else secret(value)
        except Transient as error:
            yield Finding(f"variable {name}", ok=False, detail=error.summary)
    yield from findings(config.commands, config.path, environment)


def warnings(config: Config, routes: list[Mapping[str, Any]]) -> Iterator[str]:
    """Which of `memory`, `cpus` and `scope` have no effect on this machine."""
    tables = [config.model_dump(include={"memory", "cpus"}), *routes]
    wanted = {key for table in tables for key in ("memory", "cpus") if table.get(key)}
    if problem := unenforced(config.scope, wanted):
        yield problem


def _program(name: str, path: str) -> str:
    program = shutil.which(name, path=path)
    if program is None:
        raise Permanent(
            "runtime-missing",
            f"There is no executable {name} on this host (path: {path}). "
            "`spoold doctor` says what is missing.",
        )
    return program


def _inherited(config: Config) -> dict[str, str]:
    return {name: os.environ[name] for name in config.inherit_env if name in os.environ}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
