"""Agents for tests: small programs that behave like real ones, or very badly."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spoold.errors import ExecutionError
from spoold.executors import Result, agent
from spoold.executors.agent.attempt_files import supervisor_of
from spoold.linux.processes import descendants, send

#: A route whose records are prompts for the agent `it`; say `cwd` and `evidence`.
ROUTE = """
name     = "agent"
source   = "decisions"
match    = "true"
executor = "agents"
requires_approval = false
[params]
agent    = "it"
prompt   = "=record.id"
cwd      = "{cwd}"
evidence = {evidence}
"""
REPORT = '{ file = "REPORT.md" }'

#: Leaves its session twice over, ignores what it is asked, and says who it is.
ESCAPES = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.setsid()
        print(os.getpid(), flush=True)
        time.sleep(600)
    time.sleep(600)
time.sleep(600)
"""


def config(code: str, **settings: Any) -> Any:
    """An executor whose one agent, `it`, runs Python code."""
    command = {"argv": [sys.executable, "-c", code], **settings.pop("command", {})}
    return agent.Config.model_validate({"commands": {"it": command}, **settings})


def params(settings: Any, cwd: Path, **given: Any) -> Any:
    """What a request to `it` says."""
    fields = {"agent": "it", "prompt": "do it", "cwd": str(cwd), **given}
    known = {"timeout", "idle_timeout", "env", "max_cost", "max_turns"}
    table = {key: getattr(settings, key) for key in known if key in settings.model_fields_set}
    durations = {k: f"{v:g}s" if k.endswith("timeout") else v for k, v in table.items()}
    durations = {k: v.replace("0.5s", "500ms") if v == "0.5s" else v for k, v in durations.items()}
    complete = agent.complete({**durations, **fields}, settings, {})
    made = agent.Params.model_validate(complete)
    agent.check(made, settings)
    return made


def outcome(call: Callable[[], Result]) -> Result | ExecutionError:
    """How a run ended."""
    try:
        return call()
    except ExecutionError as error:
        return error


def gone(pid: int, seconds: float = 30.0) -> bool:
    """Whether a process has ended, or does within that time; kills it if not."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    os.kill(pid, 9)
    return False


def end_supervisors(folder: Path) -> None:
    """Kill what supervisors below a folder have claimed and not ended, so no test leaves any."""
    for claim in folder.rglob("attempt-*.process.json"):
        supervisor = supervisor_of(str(claim).removesuffix(".process.json"))
        if supervisor and supervisor.pid != os.getpid() and supervisor.alive:
            for pid in (supervisor.pid, *descendants(supervisor.pid)):
                send(pid, signal.SIGKILL)
