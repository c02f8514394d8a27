"""An argument list → a running process, or the reason why there is none."""

import errno
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from spoold.errors import Permanent, Transient
from spoold.executors.child import begin

#: The system is short of something, or the program is just being replaced.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


def start(
    argv: list[str], path: str, cwd: str, environment: Mapping[str, str], *, has_stdin: bool
) -> subprocess.Popen[bytes]:
    """Start a program for `supervise`.

    Raises:
        Permanent: there is no such program, it is none for this machine, or there is no such cwd.
        Transient: the system cannot start it now.
    """
    program = shutil.which(argv[0], path=path)
    if program is None:
        raise Permanent(
            "program-missing",
            f"There is no executable {argv[0]} (path: {path}). Install it, or "
            "correct `programs` or `path`.",
        )
    try:
        # No PR_SET_PDEATHSIG, so if this process is killed, the child lives on. That signal comes
        # when the *thread* that forked ends, it needs code between fork and exec, which is unsafe
        # with threads, and it reaches the leader only. In a service, systemd ends the whole
        # control group; anywhere else `probe` finds the child by its environment.
        return begin(
            argv,
            environment,
            program=program,
            cwd=cwd,
            stdin=subprocess.PIPE if has_stdin else subprocess.DEVNULL,
        )
    except OSError as error:
        raise _failed(error, program, cwd) from None


def _failed(error: OSError, program: str, cwd: str) -> Permanent | Transient:
    why = os.strerror(error.errno or 0)
    if error.errno in _PASSING:
        return Transient("cannot-start", f"{program} could not be started: {why}.")
    if not os.access(cwd, os.X_OK) or not Path(cwd).is_dir():
        return Permanent(
            "cwd-missing", f"{cwd} cannot be entered: {why}. Create it, or correct `cwd`."
        )
    return Permanent(
        "program-missing",
        f"{program} could not be started: {why}. Check that it is a program for this machine, "
        "and that the interpreter in its first line exists.",
    )
