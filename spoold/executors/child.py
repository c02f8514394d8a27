"""A started process → how it ended, with its process group gone and its output kept.

A process that gives itself a session of its own leaves the group; the service's control group
still has it.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Literal

from spoold.executors import Output

#: Seconds between SIGTERM and SIGKILL.
GRACE = 2.0
#: Seconds for a killed process to be gone; after them the kernel does not let go of it.
GONE = 5.0
#: Seconds to read what is left in the pipes, which an escaped process may hold open for ever.
DRAIN = 1.0
#: Seconds between two looks at `stopping`; everything else wakes the selector.
_TICK = 0.1
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended.

    Attributes:
        why: `exited` by itself, or why we ended it.
        exit_code: if it exited.
        signal: if a signal killed it.
        lost: neither is known: it would not die, or its status was taken by another wait.
        seconds: how long it ran.
    """

    why: Literal["exited", "timeout", "stopping"]
    exit_code: int | None
    signal: int | None
    lost: bool
    seconds: float


def begin(
    argv: list[str],
    environment: Mapping[str, str],
    *,
    program: str | None = None,
    cwd: str | None = None,
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start a program as `supervise` wants it: in a session of its own, with bare pipes.

    Raises:
        OSError: it could not be started.
    """
    return subprocess.Popen(  # noqa: S603 - an argument list
        argv,
        executable=program,
        cwd=cwd,
        env=environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        start_new_session=True,
    )


class _Pump:
    """Moves bytes between the pipes and us, and notices the exit, in one thread."""

    def __init__(
        self, process: subprocess.Popen[bytes], stdin: bytes, outputs: list[Output]
    ) -> None:
        self.exited = False
        self._selector = selectors.DefaultSelector()
        self.pidfd = os.pidfd_open(process.pid)
        self._selector.register(self.pidfd, selectors.EVENT_READ, self._note_exit)
        self._open: list[IO[bytes]] = []
        if process.stdin:
            self._unsent = memoryview(stdin)
            self._add(process.stdin, selectors.EVENT_WRITE, self._feed)
        for stream, output in zip((process.stdout, process.stderr), outputs, strict=True):
            if stream:
                self._add(stream, selectors.EVENT_READ, self._reader(output))

    def until(
        self, done: Callable[[], bool], seconds: float, stopping: threading.Event | None = None
    ) -> Literal["done", "timeout", "stopping"]:
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            if stopping and stopping.is_set():
                return "stopping"
            for key, _ in self._selector.select(min(left, _TICK)):
                key.data(key.fileobj)
        return "done"

    def drained(self) -> bool:
        return not self._open

    def close(self) -> None:
        for stream in tuple(self._open):
            self._drop(stream)
        self._selector.close()
        os.close(self.pidfd)

    def _add(self, stream: IO[bytes], event: int, callback: Callable[[IO[bytes]], None]) -> None:
        os.set_blocking(stream.fileno(), False)
        self._selector.register(stream, event, callback)
        self._open.append(stream)

    def _drop(self, stream: IO[bytes]) -> None:
        self._selector.unregister(stream)
        self._open.remove(stream)
        stream.close()

    def _note_exit(self, pidfd: int) -> None:
        self.exited = True
        self._selector.unregister(pidfd)

    def _feed(self, stream: IO[bytes]) -> None:
        try:
            self._unsent = self._unsent[os.write(stream.fileno(), self._unsent[:_CHUNK]) :]
            if self._unsent:
                return
        except BlockingIOError:  # it writes into its own input
            return
        except BrokenPipeError:  # a program need not read what it is given
            pass
        self._drop(stream)

    def _reader(self, output: Output) -> Callable[[IO[bytes]], None]:
        def read(stream: IO[bytes]) -> None:
            try:
                data = os.read(stream.fileno(), _CHUNK)
            except BlockingIOError:  # it reads its own output
                return
            if data:
                output.write(data)
            else:
                self._drop(stream)

        return read


def supervise(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    outputs: list[Output],
    timeout: float,
    stopping: threading.Event,
) -> Ending:
    """Feed and read a process that leads its own group until it ends or must end.

    On every way out the group is killed first. Returns a few seconds after the timeout at the
    latest.

    Args:
        process: from `begin`; nothing else may wait for it.
        stdin: what to write to it, if it has a pipe there.
        outputs: for its stdout and stderr, as far as these are pipes.
        timeout: in seconds.
        stopping: ends it at once.
    """
    started = time.monotonic()
    try:
        pump = _Pump(process, stdin, outputs)
    except OSError:  # no descriptor is left, or it is gone already where SIGCHLD is ignored
        _give_up(process)
        return Ending("exited", None, None, lost=True, seconds=time.monotonic() - started)
    try:
        end = pump.until(lambda: pump.exited, timeout, stopping)
        if end == "timeout":
            _kill(process.pid, signal.SIGTERM)
            pump.until(lambda: pump.exited, GRACE, stopping)
    finally:
        exit_code, killed_by = _end(process, pump)
    return Ending(
        why="exited" if end == "done" else end,
        exit_code=exit_code,
        signal=killed_by,
        lost=exit_code is None and killed_by is None,
        seconds=time.monotonic() - started,
    )


def _give_up(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that cannot be watched."""
    _kill(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GONE)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()


def _end(process: subprocess.Popen[bytes], pump: _Pump) -> tuple[int | None, int | None]:
    """Kill what is left of the group, read the rest, and return (exit code, signal)."""
    # The leader has not been waited for, so its number cannot belong to another group yet.
    _kill(process.pid, signal.SIGKILL)
    try:
        pump.until(lambda: pump.exited, GONE)
        pump.until(pump.drained, DRAIN)
    finally:
        status = _reap(process, pump)
        pump.close()
    return status


def _kill(group: int, number: signal.Signals) -> None:
    # Not permitted: all that is left of the group runs as another user (sudo).
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _reap(process: subprocess.Popen[bytes], pump: _Pump) -> tuple[int | None, int | None]:
    """(exit code, signal). Not `Popen.wait`: where SIGCHLD is ignored, that reports success."""
    if not pump.exited:
        return None, None
    try:
        info = os.waitid(os.P_PIDFD, pump.pidfd, os.WEXITED)
    except ChildProcessError:
        info = None
    if info is None:
        process.returncode = 0  # else Popen would wait for a pid that another process may have
        return None, None
    if info.si_code == os.CLD_EXITED:
        process.returncode = info.si_status
        return info.si_status, None
    process.returncode = -info.si_status
    return None, info.si_status
