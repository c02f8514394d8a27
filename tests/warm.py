"""A process that has imported spoold, and forks for every command line that a test runs.

To start Python and to import everything takes half a second, to fork some milliseconds. What is
forked is a process like any other: it has its own id, environment, folder and files, takes signals
and ends with an exit code. `python -m tests.warm FD` is the process, `Warm` is how a test uses it.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
#: How a command line begins that can be forked.
SPOOLD = [sys.executable, "-m", "spoold"]
_MOST = 200_000  # bytes of one job: its words and its environment


class Process:
    """A command line that was forked; the part of `subprocess.Popen` that tests use."""

    def __init__(self, reply: socket.socket) -> None:
        self.returncode: int | None = None
        self._reply = reply
        self.pid = int(reply.recv(32))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it; waits at most `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._reply], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("spoold", timeout or 0)
            self.returncode = int(self._reply.recv(32))
            self._reply.close()
        return self.returncode

    def poll(self) -> int | None:
        """The same without waiting; None while it runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


class Warm:
    """The warm process, started when it is first needed."""

    def __init__(self) -> None:
        self._jobs: socket.socket | None = None
        self._server: subprocess.Popen[bytes] | None = None

    def popen(
        self, words: Sequence[str], *, env: Mapping[str, str], cwd: object,
        stdin: int, stdout: Any, stderr: Any,
    ) -> Any:  # fmt: skip
        """Start a command line with these files, like `subprocess.Popen`; forked if it can be."""
        if [*words[:3]] != SPOOLD:
            return subprocess.Popen(
                words, env=env, cwd=str(cwd), stdin=stdin, stdout=stdout, stderr=stderr
            )
        jobs = self._jobs or self._start()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mask = os.umask(0)
        os.umask(mask)
        job = {"words": list(words[3:]), "env": dict(env), "cwd": str(cwd), "umask": mask}
        with theirs, open(os.devnull, "rb") as nothing:
            given = nothing if stdin == subprocess.DEVNULL else stdin
            files = [f if isinstance(f, int) else f.fileno() for f in (given, stdout, stderr)]
            socket.send_fds(jobs, [json.dumps(job).encode()], [*files, theirs.fileno()])
        return Process(ours)

    def _start(self) -> socket.socket:
        self._jobs, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._jobs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _MOST)
        with theirs:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                cwd=CHECKOUT, env={**os.environ, "PYTHONUTF8": "1"}, stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )  # fmt: skip
        return self._jobs

    def close(self) -> None:
        """End the warm process; what it has forked goes on."""
        if self._jobs and self._server:
            self._jobs.close()
            self._server.wait(60)


def _import_everything() -> None:
    import spoold

    for module in pkgutil.walk_packages(spoold.__path__, "spoold."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    # What a service says of itself twice a second would be most of what a test waits for.
    from spoold.service import loop

    loop._TICK = 0.05


def _serve(jobs: socket.socket) -> None:
    """Fork for each job, and tell how each fork ends; returns only in a fork."""
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        for ready in select.select([jobs, *running], [], [])[0]:
            if ready is not jobs:
                pid, reply = running.pop(ready)
                _, status = os.waitpid(pid, 0)
                with reply, contextlib.suppress(OSError):
                    reply.send(b"%d" % os.waitstatus_to_exitcode(status))
                os.close(ready)
                continue
            data, files, _, _ = socket.recv_fds(jobs, _MOST, 4)
            if not data:
                os._exit(0)
            reply = socket.socket(fileno=files.pop())
            pid = os.fork()
            if not pid:
                for watched, (_, other) in running.items():
                    os.close(watched)
                    other.close()
                jobs.close()
                reply.close()
                _become(json.loads(data), files)
                return
            for file in files:
                os.close(file)
            running[os.pidfd_open(pid)] = pid, reply
            reply.send(b"%d" % pid)


def _become(job: Mapping[str, Any], files: Sequence[int]) -> None:
    """Take on a job's files, folder, environment and words, as a new interpreter would."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(job["cwd"])
    os.umask(job["umask"])
    os.environ.clear()
    os.environ.update(job["env"])
    time.tzset()
    # It is ignored in what a shell runs in the background, and Python then leaves it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["spoold", *job["words"]]
    sys.stdin = _text(0, "r", "surrogateescape")
    sys.stdout = _text(1, "w", "surrogateescape")
    sys.stderr = _text(2, "w", "backslashreplace")


def _text(file: int, mode: str, errors: str) -> io.TextIOWrapper:
    lines = mode == "w" and (file == 2 or os.isatty(file))
    return open(
        file, mode, buffering=1 if lines else -1, encoding="utf-8", errors=errors, closefd=False
    )


if __name__ == "__main__":
    _import_everything()
    _serve(socket.socket(fileno=int(sys.argv[1])))
    from spoold.cli import main

    main()
