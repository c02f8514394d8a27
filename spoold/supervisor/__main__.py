"""A job on stdin → one agent, watched to its end, and `FILES.exit.json` that says how it ended.

`python -m spoold.supervisor FILES` is started by the executor kind `agent` and outlives it: the
deadlines, the caps and the end of an agent do not depend on whether its executor runs. It leaves

* `FILES.process.json`: which processes these are, on disk before the agent may do anything;
* `FILES.begun`: the agent may have done something;
* `FILES.out`, `FILES.err`: both ends of what it printed, without secrets;
* `FILES.beat.json`: when it printed last, and how much; not synced;
* `FILES.exit.json`: how it ended; on disk before this process ends.

Security: the agent is hostile. It may ignore signals, leave its session, fork on and on, flood its
output. All that it starts is killed when it ends, because this process is told of every orphan. It
runs as the same user, though: what must not be reached by it must not be reached by that user.
"""

import errno
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spoold.disk import fs
from spoold.linux.processes import Identity, adopt_orphans, die_with_parent, identify
from spoold.linux.safe_open import mark
from spoold.supervisor.agent import Agent, kill_all
from spoold.supervisor.job import Job
from spoold.supervisor.watch import Watch, as_text

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


def end_signals() -> list[int]:
    """The signals that ask for the end, as they come; who sent them only the executor may know."""
    came: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: came.append(number))
    return came


def supervise(job: Job, files: str) -> None:
    """Start the agent, stay with it, and write down how it ended."""
    told = end_signals()
    prompt_file = f"{files}.prompt" if "{prompt_file}" in job.argv else None
    if prompt_file:
        _write_private(prompt_file, job.prompt)
    agent = Agent(job, prompt_file)
    before = mark(job.cwd, job.evidence) if job.evidence else None
    facts = {"started_at": as_text(datetime.now(UTC)), "before": before}
    said: dict[str, Any] = {"pid": agent.pid, **facts}
    try:
        _claim(files, agent, facts)
    except FileExistsError:
        agent.drop()
        return
    # The attempt is ours from here on; until now this process ended with the executor.
    die_with_parent(really=False)
    if os.getppid() != job.parent:
        agent.drop()
        said |= {"why": "never-started"}
    elif told:
        agent.drop()
        said |= {"why": "terminated", "seconds": 0.0, "begun": False}
    elif problem := _begin(agent, files):
        said |= {"why": "not-started", "errno": problem}
    else:
        said |= _watched(job, agent, files, told)
    if prompt_file:
        fs.remove(prompt_file)
    fs.remove(f"{files}.beat.json")
    _record(files, said | {"ended_at": as_text(datetime.now(UTC))})


def _begin(agent: Agent, files: str) -> int:
    """Let it begin; 0, or the error number if it cannot."""
    # Not synced: after a crash of the machine its absence proves nothing.
    Path(f"{files}.begun").touch()
    return agent.release()


def _watched(job: Job, agent: Agent, files: str, told: list[int]) -> dict[str, Any]:
    started = time.monotonic()
    watch = Watch(job, agent, files, told)
    why = watch.until_it_ends(started)
    left_behind, survivors = kill_all(agent, watch.exited, watch.turn, gently=why != "exited")
    watch.drain()
    exit_code = killed_by = None
    if agent.status is not None:
        status = os.waitstatus_to_exitcode(agent.status)
        exit_code, killed_by = (status, None) if status >= 0 else (None, -status)
    return {
        "why": why,
        "exit_code": exit_code,
        "signal": killed_by,
        "seconds": round(time.monotonic() - started, 3),
        "last_output_at": watch.last_output and as_text(watch.last_output),
        "stdout": watch.out.facts(),
        "stderr": watch.err.facts(),
        "cost_usd": watch.usage.cost,
        "turns": watch.usage.turns,
        "value": watch.usage.value,
        "left_behind": left_behind,
        "survivors": survivors,
    }


def _claim(files: str, agent: Agent, facts: dict[str, Any]) -> None:
    """Claim the attempt, durably; raises `FileExistsError` if another supervisor has it."""
    processes: dict[str, Identity] = {
        "supervisor": identify(os.getpid()),
        "agent": identify(agent.pid),
    }
    fields: dict[str, Any] = {name: process._asdict() for name, process in processes.items()}
    _create(f"{files}.process.json", fields | facts)


def _record(files: str, said: dict[str, Any]) -> None:
    """Write down the end; on a full disk, wait until there is room."""
    while True:
        try:
            _create(f"{files}.exit.json", said)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            time.sleep(1)
        else:
            return


def _create(path: str, fields: dict[str, Any]) -> None:
    fs.create(path, json.dumps(fields, indent=2).encode() + b"\n", mode=0o640)


def _write_private(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> None:
    """Take the job, and end with the executor until the agent is ours."""
    job = Job(**json.load(sys.stdin))
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    adopt_orphans()
    if os.getppid() != job.parent:
        return
    files = sys.argv[1]
    fs.make_folder(os.path.dirname(files), 0o750)
    supervise(job, files)


if __name__ == "__main__":
    main()
