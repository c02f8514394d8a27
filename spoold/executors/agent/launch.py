"""A job → a supervisor that outlives us, and that is found again by what it leaves in logs/."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import orjson

from spoold.errors import LeftRunning, OutcomeUnknown, Transient
from spoold.executors import Context
from spoold.executors.agent.confinement import Confined, group_of
from spoold.executors.agent.watchdog import LARGEST, VARIABLE, Backstop
from spoold.linux import cgroups
from spoold.linux.processes import Identity, boot_id, with_variable
from spoold.linux.safe_open import read_whole
from spoold.text import printable

#: For a supervisor to begin, on a machine that has a lot to do (seconds).
_BEGINS = 30.0
_TICK = 0.5
#: Of what a supervisor says that does not start (bytes).
_SHOWN = 400
#: What a beat tells; the longest of it is a time.
_BEAT = ("pid", "last_output_at", "stdout_bytes", "stderr_bytes", "cost_usd", "turns")
_LONGEST_BEAT = 40
_PASSED_ON = ("PATH", "PYTHONPATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")

Facts = dict[str, Any]


def read(files: str, what: Literal["process", "exit", "beat"]) -> Facts | None:
    """What a supervisor has left; None if it has not, or not completely.

    Raises:
        OutcomeUnknown: how it ended was written down, and cannot be read.
    """
    path = f"{files}.{what}.json"
    try:
        # Half a surrogate pair is JSON, and could not be written into a request.
        text = json.dumps(json.loads(read_whole(path, LARGEST)), ensure_ascii=False)
        found = json.loads(text.encode("utf-8", "replace"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if what != "exit":
            return None
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise OutcomeUnknown(
            "unreadable",
            f"How it ended was written to {path}, but that cannot be read: {why}. "
            "Look there, and `spoold resolve` it.",
        ) from None
    return found if isinstance(found, dict) else None


def supervisor_of(files: str) -> Identity | None:
    """The process that has claimed the attempt, whether or not it still runs."""
    match read(files, "process"):
        case {"supervisor": {"pid": int(pid), "start": int(start), "boot": str(boot)}}:
            return Identity(pid, start, boot)
    return None


def may_have_begun(files: str, supervisor: Identity) -> bool:
    """Whether the agent of a supervisor that is gone may have done anything."""
    return supervisor.boot != boot_id() or _is_there(f"{files}.begun")


def is_about_to_begin(files: str) -> bool:
    """Whether a supervisor of that attempt runs that has not claimed it yet."""
    until = time.monotonic() + _BEGINS
    while time.monotonic() < until:
        if supervisor_of(files):
            return True
        if not with_variable(f"{VARIABLE}={files}"):
            return supervisor_of(files) is not None
        time.sleep(0.05)
    return True


def has_begun(files: str) -> bool:
    """Whether an agent whose supervisor nobody knows may have done something.

    A claim that cannot be read says as little as the mark, and both say that there was one. The
    folder was there before the attempt; if it is not now, so may anything have been that was in it.
    """
    left = (f"{files}.begun", f"{files}.process.json")
    return not _is_there(os.path.dirname(files)) or any(map(_is_there, left))


def _is_there(path: str) -> bool:
    """Whatever it is; what cannot be looked at raises, and is not taken for missing."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def start_supervisor(job: Mapping[str, Any], files: str, scope: Confined) -> None:
    """Start a supervisor.

    It ends with us as long as it has not claimed the attempt; then the attempt is its own.

    Raises:
        Transient: it could not be started, or has ended without claiming it; nothing was done.
    """
    stderr = os.memfd_create("stderr")
    try:
        process = _start(job, files, scope, stderr)
        claimed = _claimed(files, process)
        said = "" if claimed else _end_of(stderr)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise _nothing_done(f"could not be started: {what}") from None
    finally:
        os.close(stderr)
    if not claimed and not has_begun(files):
        raise _nothing_done(f"did not start: {said}" if said else "did not start")


def _nothing_done(what: str) -> Transient:
    return Transient("cannot-start", f"The agent's supervisor {what}; nothing was done.")


def _start(
    job: Mapping[str, Any], files: str, scope: Confined, stderr: int
) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    whole = orjson.dumps({**job, "parent": os.getpid(), "group": scope.name})
    process = subprocess.Popen(  # noqa: S603 - our own program
        [*scope.argv, sys.executable, "-P", "-m", "spoold.supervisor", files],
        env={**environment, VARIABLE: files},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        if scope.group:
            # It waits for its job, and has not done anything yet.
            cgroups.join(scope.group, process.pid)
    except OSError:
        process.kill()
        process.communicate()
        raise
    if process.stdin:
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(whole)
    return process


def _end_of(stderr: int) -> str:
    """The last line that was printed there, safe to show."""
    size = os.fstat(stderr).st_size
    lines = printable(os.pread(stderr, _SHOWN, max(size - _SHOWN, 0))).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else ""


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


def follow(files: str, supervisor: Identity, context: Context, timeout: float) -> Facts | None:
    """Stay with an agent until it ends.

    Args:
        files: of the attempt.
        supervisor: of the agent.
        context: of the attempt.
        timeout: seconds after which the agent should have been ended.

    Returns:
        How it ended; None if its supervisor is gone and has not said.

    Raises:
        LeftRunning: the service stops, and the agent goes on.
    """
    descriptor = supervisor.open()
    ended = None
    if descriptor is not None:
        try:
            ended = _wait(descriptor, Backstop(files, supervisor, timeout), context)
        finally:
            os.close(descriptor)
        # Ours only if it was not found after a restart.
        with suppress(ChildProcessError):
            os.waitpid(supervisor.pid, 0)
    found = read(files, "exit") or ended
    if found is not None and (group := cgroups.find(group_of(context))):
        cgroups.remove(group)
    return found


def _shown(beat: Facts) -> Facts:
    """What a beat says that the supervisor wrote, and not an agent in its place."""
    found = {name: beat.get(name) for name in _BEAT}
    return {
        name: value
        for name, value in found.items()
        if value is None or isinstance(value, int | float) or len(str(value)) <= _LONGEST_BEAT
    }


def is_wished_for(context: Context) -> bool:
    """Whether a person has cancelled it, as far as this executor or one before it has heard."""
    return context.cancelled.is_set() or _is_there(f"{context.files}.cancelled")


def _wait(descriptor: int, backstop: Backstop, context: Context) -> Facts | None:
    """How it ended, if its supervisor could not be waited for any longer."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(_TICK * 1000):
        if context.cancelled.is_set():
            if not backstop.told:
                # Found by the next executor, if this one ends before it can say so.
                with suppress(OSError):
                    Path(f"{context.files}.cancelled").touch()
                backstop.tell(descriptor)
        elif context.stopping.is_set():
            raise LeftRunning("The agent goes on; the next start watches it again.")
        if beat := read(context.files, "beat"):
            context.report(_shown(beat))
        if why := backstop.due():
            return backstop.end(why, descriptor, context)
    return None
