"""A job → one process that waits until it may begin, and the end of all that it starts."""

import errno
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from spoold.linux import cgroups
from spoold.linux.processes import children, descendants, die_with_parent, send
from spoold.supervisor.job import Job

#: Between SIGTERM and SIGKILL (seconds), and for killed processes to be gone.
_GRACE, _GONE = 2.0, 5.0
#: When the group runs out of memory the kernel kills the agent, not its supervisor.
_FIRST = "500"


class Agent:
    """The child: forked, and waiting for `release` before it executes anything.

    Attributes:
        status: how it ended, as `waitpid` says it; None before `reap` has seen that.
        tree: the control group of all that it starts, if it has one.
    """

    def __init__(self, job: Job, prompt_file: str | None) -> None:
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        gate, self._gate = os.pipe()
        self._error, error = os.pipe()
        argv = [prompt_file if a == "{prompt_file}" and prompt_file else a for a in job.argv]
        self.pid = os.fork()
        if self.pid == 0:
            _become(job, argv, (stdin, stdout, stderr), (gate, self._gate), error)
        for descriptor in (stdin, stdout, stderr, gate, error):
            os.close(descriptor)
        self.pidfd = os.pidfd_open(self.pid)
        self.status: int | None = None
        self.tree = cgroups.tree_of(job.group) if job.group else None
        if self.tree:
            with suppress(OSError):
                cgroups.join(self.tree, self.pid)

    def release(self) -> int:
        """Let it execute its program; 0, or the error number if it cannot."""
        with suppress(BrokenPipeError):
            os.write(self._gate, b"g")
        os.close(self._gate)
        said = os.read(self._error, 16)
        os.close(self._error)
        return int(said or b"0")

    def reap(self) -> bool:
        """Take the status of every child that has ended; whether one is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status

    def drop(self) -> None:
        """End it before it has begun."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _become(
    job: Job,
    argv: list[str],
    streams: tuple[int, int, int],
    gate: tuple[int, int],
    error: int,
) -> None:
    """In the child: wait for the byte that says go, then execute the program."""
    code = 127
    try:
        os.setsid()
        die_with_parent()
        os.close(gate[1])
        if os.read(gate[0], 1) != b"g":
            os._exit(0)
        for number in (
            signal.SIGPIPE,
            signal.SIGHUP,
            signal.SIGXFSZ,
            signal.SIGTERM,
            signal.SIGINT,
        ):
            signal.signal(number, signal.SIG_DFL)
        if job.group:
            with suppress(OSError):
                Path("/proc/self/oom_score_adj").write_text(_FIRST)
        for target, stream in enumerate(streams):
            os.dup2(stream, target)
        os.chdir(job.cwd)
        os.execve(job.program, argv, job.env)  # noqa: S606 - a shell is what we do not want
    except OSError as problem:
        os.write(error, str(problem.errno or errno.EINVAL).encode())
    finally:
        os._exit(code)


def kill_all(
    agent: Agent, exited: Callable[[], bool], turn: Callable[[float], None], *, gently: bool
) -> tuple[list[int], list[int]]:
    """End the agent and all that it has started, wherever they have gone.

    What forks and ends at once is in no list that is read a moment later. But its child becomes
    ours then: nothing is left only when there is no child left.

    Args:
        agent: it.
        exited: whether it has ended.
        turn: moves the agent's output on, for at most so many seconds.
        gently: ask first.

    Returns:
        The pids of what outlived the agent itself, and of what could not be killed.
    """
    if gently:
        _ask_to_end(agent, exited, turn)
    me = os.getpid()
    others = [pid for pid in descendants(me) if pid != agent.pid]
    until = time.monotonic() + _GONE
    before: list[int] = []
    while agent.reap():
        if agent.tree:
            cgroups.kill(agent.tree)
        _send_all(children(me), signal.SIGKILL)
        left = descendants(me)
        # Stopped first, so that none can fork while the others are killed.
        _send_all(left, signal.SIGSTOP)
        _send_all(left, signal.SIGKILL)
        if time.monotonic() > until:
            return others, left or before or children(me)
        # Nothing new: what was killed takes its time.
        turn(0.02 if left == before else 0.0)
        before = left
    if agent.tree:
        cgroups.remove(agent.tree)
    return others, []


def _ask_to_end(agent: Agent, exited: Callable[[], bool], turn: Callable[[float], None]) -> None:
    if exited():
        return
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(agent.pid, signal.SIGTERM)
    until = time.monotonic() + _GRACE
    while not exited() and time.monotonic() < until:
        turn(0.05)


def _send_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        send(pid, number)
