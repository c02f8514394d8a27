"""A job → a supervisor that outlives this process, as soon as it has claimed the attempt."""

import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict

import orjson

from spoold.errors import Transient
from spoold.executors import Context
from spoold.executors.agent import attempt_files
from spoold.executors.agent.attempt_files import VARIABLE, Start, how_far
from spoold.executors.agent.confinement import Confined
from spoold.linux import cgroups
from spoold.supervisor.job import Job
from spoold.text import printable

#: Of what a supervisor says that does not start (bytes).
_SHOWN = 400
_PASSED_ON = ("PATH", "PYTHONPATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")


def start_supervisor(job: Job, context: Context, scope: Confined) -> None:
    """Start a supervisor, and wait until it has claimed the attempt.

    It ends with this process as long as it has not claimed; then the attempt is its own.

    Raises:
        Transient: it could not be started, or has ended without claiming; nothing was done.
    """
    stderr = os.memfd_create("stderr")
    try:
        process = _start(job, context.files, scope, stderr)
        claimed = _claims(process, context.files)
        said = "" if claimed else _end_of(stderr)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise _nothing_done(f"could not be started: {what}") from None
    finally:
        os.close(stderr)
    if not claimed and how_far(context) is Start.NOT_BEGUN:
        raise _nothing_done(f"did not start: {said}" if said else "did not start")


def _nothing_done(what: str) -> Transient:
    return Transient("cannot-start", f"The agent's supervisor {what}; nothing was done.")


def _start(job: Job, files: str, scope: Confined, stderr: int) -> subprocess.Popen[bytes]:
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
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
            process.stdin.write(orjson.dumps(asdict(job)))
    return process


def _claims(process: subprocess.Popen[bytes], files: str) -> bool:
    """Whether it claims the attempt in its time; else it is gone when this returns."""
    until = time.monotonic() + attempt_files.CLAIMS_WITHIN
    while time.monotonic() < until:
        if attempt_files.supervisor_of(files):
            # `follow` takes its status.
            process.returncode = 0
            return True
        if process.poll() is not None:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    return attempt_files.supervisor_of(files) is not None


def _end_of(stderr: int) -> str:
    """The last line that was printed there, safe to show."""
    size = os.fstat(stderr).st_size
    lines = printable(os.pread(stderr, _SHOWN, max(size - _SHOWN, 0))).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else ""
