"""A supervisor that does not do its work, or is gone → its agent ended all the same.

Security: an agent runs as the same user as its supervisor, and can stop it or kill it.
"""

import os
import signal
import time
from contextlib import suppress
from typing import Any

import orjson

from spoold.executors import Context
from spoold.executors.agent.confinement import found_group
from spoold.linux import cgroups
from spoold.linux.processes import Identity, descendants, send, with_variable
from spoold.linux.safe_open import read_ends, read_whole
from spoold.text import printable

#: By which a supervisor is known that has not left anything yet.
VARIABLE = "SPOOLD_ATTEMPT_FILES"
#: After the deadline, and without a beat, by when a supervisor has ended its agent (seconds): it
#: takes eight to kill what does not want to end.
_GRACE, _SILENT = 20.0, 15.0
#: For killed processes to be gone.
_GONE = 5.0
_TAIL = 4000
#: What a supervisor leaves is much smaller; an agent may have put something else in its place.
LARGEST = 1 << 20


class Backstop:
    """Watches a supervisor from outside.

    Args:
        files: of the attempt.
        supervisor: it.
        timeout: seconds after which it should have ended its agent.

    Attributes:
        told: whether it was told to end.
    """

    def __init__(self, files: str, supervisor: Identity, timeout: float) -> None:
        self.told = False
        self._files, self._supervisor, self._timeout = files, supervisor, timeout
        self._heard: tuple[int, int] | None = None
        self._heard_at = self._told_at = time.monotonic()

    def tell(self, descriptor: int) -> None:
        """Ask it to end its agent, and itself."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        self.told, self._told_at = True, time.monotonic()

    def due(self) -> str | None:
        """Why it must be ended from outside: `timeout` or `terminated`; None if it need not."""
        now = time.monotonic()
        with suppress(OSError):
            beat = os.stat(f"{self._files}.beat.json")
            if (heard := (beat.st_ino, beat.st_mtime_ns)) != self._heard:
                self._heard, self._heard_at = heard, now
        # One that is alive, and has only waited long for a full disk, has ended its agent.
        if now - self._heard_at < _SILENT or not (self._supervisor.stopped or self._agent_lives()):
            return None
        if self.told and now - self._told_at >= _SILENT:
            return "terminated"
        return "timeout" if self._seconds() > self._timeout + _GRACE else None

    def end(self, why: str, descriptor: int, context: Context) -> dict[str, Any]:
        """Kill it and all that its agent has started; what a supervisor would have said of that."""
        pid = self._supervisor.pid
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
        killed: set[int] = set()
        until = time.monotonic() + _GONE
        # As long as it is there, it is the parent of all that has lost its own.
        while (left := descendants(pid)) and time.monotonic() < until:
            killed |= {child for child in left if send(child, signal.SIGKILL)}
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        more, survivors = kill_what_is_left(context)
        began = self._claim()
        return {
            "why": why,
            "backstop": True,
            "pid": began.get("agent", {}).get("pid"),
            "started_at": began.get("started_at"),
            "seconds": round(self._seconds(), 3),
            "left_behind": sorted(killed | set(more)),
            "survivors": sorted({*left, *survivors}),
            "stdout": _kept(f"{self._files}.out"),
            "stderr": _kept(f"{self._files}.err"),
        }

    def _seconds(self) -> float:
        """How long the supervisor has been there; no clock that somebody sets tells that."""
        began = self._supervisor.start / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began

    def _agent_lives(self) -> bool:
        match self._claim().get("agent"):
            case {"pid": int(pid), "start": int(start), "boot": str(boot)}:
                return Identity(pid, start, boot).alive
        return False

    def _claim(self) -> dict[str, Any]:
        with suppress(OSError, orjson.JSONDecodeError):
            found = orjson.loads(read_whole(f"{self._files}.process.json", LARGEST))
            return found if isinstance(found, dict) else {}
        return {}


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


def _kept(path: str) -> dict[str, Any]:
    """What is to be said of a stream whose end nobody has counted."""
    try:
        data, size = read_ends(path, 8 * _TAIL)
    except OSError:
        return {}
    return {"bytes": size, "tail": printable(data[-4 * _TAIL :])[-_TAIL:], "truncated": True}
