"""Agents for tests: small programs that behave like real ones, or very badly."""

import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from spoold.errors import ExecutionError
from spoold.executors import Context, Result, agent
from spoold.executors.agent.attempt_files import supervisor_of
from spoold.linux.processes import boot_id, descendants, send

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
    durations = {k: f"{v * 1000:.0f}ms" if k.endswith("timeout") else v for k, v in table.items()}
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


def run(stage: Any, cwd: Path, code: str, *, settings: Any = None, **given: Any) -> Any:
    """Let an agent run to its end."""
    made = config(code, **(settings or {}))
    return outcome(lambda: agent.run(params(made, cwd, **given), stage.context(made)))


def begin(stage: Any, cwd: Path, code: str, **settings: Any) -> tuple[Context, Callable[[], Any]]:
    """Let an agent run in a thread; its context, and a function that waits for its end."""
    made = config(code, **settings)
    # Processes are found by this id, so that no two runs of a test may share it.
    context = replace(stage.context(made), dispatch_id=f"d-{uuid.uuid4().hex}")
    pool = ThreadPoolExecutor(1)
    ended = pool.submit(lambda: outcome(lambda: agent.run(params(made, cwd), context)))
    pool.shutdown(wait=False)
    return context, lambda: ended.result(60)


def probed(context: Context, cwd: Path, **given: Any) -> Any:
    """What the probe says of an attempt."""
    return outcome(lambda: agent.probe(params(context.config, cwd, **given), context))


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What the condition gives as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)
    return found


def claim(**changes: Any) -> dict[str, Any]:
    """A claim of a process that is gone."""
    who = {"pid": 1, "start": 1, "boot": boot_id()} | changes
    return {"supervisor": who, "agent": who, "started_at": "2026-01-01T00:00:00+00:00"}


def left(context: Context, *, begun: bool = True, **files: Any) -> None:
    """Write what a supervisor would have left; text as it is, all else as JSON."""
    for what, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        Path(f"{context.files}.{what}.json").write_text(text)
    if begun:
        Path(f"{context.files}.begun").touch()


def end_supervisors(folder: Path) -> None:
    """Kill what supervisors below a folder have claimed and not ended, so no test leaves any."""
    for claim in folder.rglob("attempt-*.process.json"):
        supervisor = supervisor_of(str(claim).removesuffix(".process.json"))
        if supervisor and supervisor.pid != os.getpid() and supervisor.alive:
            for pid in (supervisor.pid, *descendants(supervisor.pid)):
                send(pid, signal.SIGKILL)
