"""A running attempt → how it ended, also if its supervisor does not do its work, or is gone.

Security: an agent runs as the same user as its supervisor, and can stop it or kill it.
"""

import os
import select
import signal
import time
from contextlib import suppress
from typing import Any

from spoold.errors import LeftRunning
from spoold.executors import Context
from spoold.executors.agent.attempt_files import (
    VARIABLE,
    Facts,
    agent_of,
    note_cancellation,
    read,
)
from spoold.executors.agent.confinement import found_group, group_of
from spoold.linux import cgroups
from spoold.linux.processes import Identity, descendants, send, with_variable
from spoold.linux.safe_open import read_ends
from spoold.text import printable

#: How soon it is noticed that the attempt shall end (seconds).
_TICK = 0.5
#: After the deadline, and without a beat, by when a supervisor has ended its agent (seconds): it
#: takes eight to kill what does not want to end.
_GRACE, _SILENT = 20.0, 15.0
#: For killed processes to be gone (seconds).
_GONE = 5.0
_TAIL = 4000
#: What a beat tells; the longest of it is a time.
_BEAT = ("pid", "last_output_at", "stdout_bytes", "stderr_bytes", "cost_usd", "turns")
_LONGEST_IN_A_BEAT = 40


def follow(supervisor: Identity, context: Context, timeout: float) -> Facts | None:
    """Stay with an agent until it ends.

    Args:
        supervisor: of the agent.
        context: of the attempt.
        timeout: seconds after which its supervisor should have ended the agent.

    Returns:
        How it ended; None if its supervisor is gone and has not said.

    Raises:
        LeftRunning: the service stops, and the agent goes on.
    """
    descriptor = supervisor.open()
    ended = None
    if descriptor is not None:
        try:
            ended = Watchdog(supervisor, descriptor, context, timeout).wait()
        finally:
            os.close(descriptor)
        # It is this process's child only if it was not found after a restart.
        with suppress(ChildProcessError):
            os.waitpid(supervisor.pid, 0)
    found = read(context.files, "exit") or ended
    if found is not None and (group := cgroups.find(group_of(context))):
        cgroups.remove(group)
    return found


class Watchdog:
    """Waits for a supervisor's end, and ends both if the supervisor does not do it.

    Args:
        supervisor: of the agent.
        descriptor: a pidfd of it.
        context: of the attempt.
        timeout: seconds after which it should have ended its agent.
    """

    def __init__(
        self, supervisor: Identity, descriptor: int, context: Context, timeout: float
    ) -> None:
        self._supervisor, self._descriptor = supervisor, descriptor
        self._context, self._files, self._timeout = context, context.files, timeout
        self._beat: tuple[int, int] | None = None
        self._beat_at = time.monotonic()
        self._told_at: float | None = None

    def wait(self) -> Facts | None:
        """Return None when the supervisor has ended; or how it was ended from outside."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        while not poll.poll(_TICK * 1000):
            if self._context.cancelled.is_set():
                if self._told_at is None:
                    note_cancellation(self._context)
                    self._signal(signal.SIGTERM)
                    self._told_at = time.monotonic()
            elif self._context.stopping.is_set():
                raise LeftRunning("The agent goes on; the next start watches it again.")
            if beat := read(self._files, "beat"):
                self._context.report(_shown(beat))
            if why := self.overdue():
                return self._end(why)
        return None

    def overdue(self) -> str | None:
        """Why it must be ended from outside: `timeout` or `terminated`; None if it need not."""
        now = time.monotonic()
        with suppress(OSError):
            status = os.stat(f"{self._files}.beat.json")
            if (beat := (status.st_ino, status.st_mtime_ns)) != self._beat:
                self._beat, self._beat_at = beat, now
        if now - self._beat_at < _SILENT:
            return None
        agent = agent_of(self._files)
        # One that runs without an agent waits for room on a full disk, to say how it ended.
        if not self._supervisor.stopped and not (agent and agent.alive):
            return None
        if self._told_at is not None and now - self._told_at >= _SILENT:
            return "terminated"
        return "timeout" if self._seconds() > self._timeout + _GRACE else None

    def _end(self, why: str) -> Facts:
        """Kill it and all that its agent has started; what a supervisor would have said of that."""
        self._signal(signal.SIGSTOP)
        killed: set[int] = set()
        until = time.monotonic() + _GONE
        # As long as it is there, it is the parent of all that has lost its own.
        while (left := descendants(self._supervisor.pid)) and time.monotonic() < until:
            killed |= {child for child in left if send(child, signal.SIGKILL)}
            time.sleep(0.01)
        self._signal(signal.SIGKILL)
        more, survivors = kill_what_is_left(self._context)
        agent = agent_of(self._files)
        return {
            "why": why,
            "from_outside": True,
            "pid": agent.pid if agent else None,
            "started_at": (read(self._files, "process") or {}).get("started_at"),
            "seconds": round(self._seconds(), 3),
            "left_behind": sorted(killed | set(more)),
            "survivors": sorted({*left, *survivors}),
            "stdout": _kept(f"{self._files}.out"),
            "stderr": _kept(f"{self._files}.err"),
        }

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def _seconds(self) -> float:
        """How long the supervisor has been there, by a clock that nobody can set."""
        began = self._supervisor.start / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def what_is_left(context: Context) -> list[int]:
    """The processes of an attempt whose supervisor is gone, or has not claimed it."""
    named = with_variable(
        f"SPOOLD_DISPATCH_ID={context.dispatch_id}", f"{VARIABLE}={context.files}"
    )
    group = found_group(context)
    return sorted({*named, *(cgroups.processes_of(group) if group else [])})


def kill_what_is_left(context: Context) -> tuple[list[int], list[int]]:
    """End them: those that were killed, and those that are still there."""
    killed: set[int] = set()
    if group := found_group(context):
        killed |= set(cgroups.end(group))
    until = time.monotonic() + _GONE
    while (left := what_is_left(context)) and time.monotonic() < until:
        killed |= {pid for pid in left if send(pid, signal.SIGKILL)}
        time.sleep(0.02)
    return sorted(killed), left


def _shown(beat: Facts) -> Facts:
    """What a beat says that the supervisor wrote, and not an agent in its place."""
    found = {name: beat.get(name) for name in _BEAT}
    return {
        name: value
        for name, value in found.items()
        if value is None or isinstance(value, int | float) or len(str(value)) <= _LONGEST_IN_A_BEAT
    }


def _kept(path: str) -> dict[str, Any]:
    """What a result says of a stream whose bytes were not counted."""
    try:
        data, size = read_ends(path, 8 * _TAIL)
    except OSError:
        return {}
    return {"bytes": size, "tail": printable(data[-4 * _TAIL :])[-_TAIL:], "truncated": True}
