"""A job → a supervisor that outlives us, and that is found again by what it leaves in logs/."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import orjson

from spoold.errors import LeftRunning
from spoold.executors import Context
from spoold.processes import Identity, boot_id, send, with_variable

#: For a supervisor to begin, on a machine that has a lot to do (seconds).
_BEGINS = 30.0
_TICK = 0.5
#: By which a supervisor is known that has not left anything yet.
_VARIABLE = "SPOOLD_ATTEMPT_FILES"
_PASSED_ON = ("PATH", "PYTHONPATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")

Scope = Literal["auto", "system", "user", "none"]
Facts = dict[str, Any]


def read(files: str, what: Literal["process", "exit", "beat"]) -> Facts | None:
    """What a supervisor has left; None if it has not, or not completely."""
    try:
        found = orjson.loads(Path(f"{files}.{what}.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def supervisor_of(files: str) -> Identity | None:
    """The process that has claimed the attempt, whether or not it still runs."""
    match read(files, "process"):
        case {"supervisor": {"pid": int(pid), "start": int(start), "boot": str(boot)}}:
            return Identity(pid, start, boot)
    return None


def may_have_begun(files: str, supervisor: Identity) -> bool:
    """Whether the agent of a supervisor that is gone may have done anything."""
    return supervisor.boot != boot_id() or Path(f"{files}.begun").exists()


def is_about_to_begin(files: str) -> bool:
    """Whether a supervisor of that attempt runs that has not claimed it yet."""
    until = time.monotonic() + _BEGINS
    while time.monotonic() < until:
        if supervisor_of(files):
            return True
        if not with_variable(f"{_VARIABLE}={files}"):
            return supervisor_of(files) is not None
        time.sleep(0.05)
    return True


def launch(job: Mapping[str, Any], files: str, scope: list[str]) -> bool:
    """Start a supervisor; False if it has ended without claiming the attempt.

    It ends with us as long as it has not; then the attempt is its own.
    """
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*scope, sys.executable, "-P", "-m", "spoold.supervisor", files],
        env={**environment, _VARIABLE: files},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if process.stdin:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(orjson.dumps({**job, "parent": os.getpid()}))
    return _claimed(files, process)


def _claimed(files: str, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + _BEGINS
    while time.monotonic() < until:
        if supervisor_of(files):
            # `follow` takes its status.
            process.returncode = 0
            return True
        if process.poll() is not None:
            return supervisor_of(files) is not None
        time.sleep(0.005)
    process.kill()
    process.wait()
    return supervisor_of(files) is not None


def follow(files: str, supervisor: Identity, context: Context) -> Facts | None:
    """Stay with an agent until it ends.

    Returns:
        How it ended; None if its supervisor is gone and has not said.

    Raises:
        LeftRunning: the service stops, and the agent goes on.
    """
    descriptor = supervisor.open()
    if descriptor is not None:
        try:
            _wait(descriptor, files, context)
        finally:
            os.close(descriptor)
        # Ours only if it was not found after a restart.
        with suppress(ChildProcessError):
            os.waitpid(supervisor.pid, 0)
    return read(files, "exit")


def _wait(descriptor: int, files: str, context: Context) -> None:
    told = False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(_TICK * 1000):
        if context.cancelled.is_set():
            if not told:
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
            told = True
        elif context.stopping.is_set():
            raise LeftRunning("The agent goes on; the next start watches it again.")
        if beat := read(files, "beat"):
            context.report(beat)


def kill_what_is_left(context: Context) -> list[int]:
    """End the processes of an attempt whose supervisor is gone."""
    found = with_variable(f"SPOOLD_DISPATCH_ID={context.dispatch_id}")
    return [pid for pid in found if send(pid, signal.SIGKILL)]


def scope_for(wanted: Scope, context: Context, memory: str | None, cpus: float | None) -> list[str]:
    """What puts a supervisor into a transient scope of its own, with limits; empty without systemd.

    In a scope it does not end with its executor's service.
    """
    if wanted == "auto":
        wanted = _manager()
    if wanted == "none":
        return []
    limits = [f"MemoryMax={memory}"] if memory else []
    limits += [f"CPUQuota={round(cpus * 100)}%"] if cpus else []
    return [
        "systemd-run",
        f"--{wanted}",
        "--scope",
        "--quiet",
        "--collect",
        f"--unit=spoold-{context.dispatch_id}-{context.number}",
        *(f"--property={limit}" for limit in limits),
    ]


def _manager() -> Scope:
    if not Path("/run/systemd/system").is_dir():
        return "none"
    if os.geteuid() == 0:
        return "system"
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return "user" if Path(runtime, "systemd/private").exists() else "none"
