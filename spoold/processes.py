"""Which process is meant, also after a restart, when its number may be somebody else's."""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
#: Fields of /proc/PID/stat after the name in brackets, counted from its state; see proc(5).
_STATE, _PARENT, _START = 0, 1, 19
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Identity(NamedTuple):
    """A process, for good: its number, when it began (clock ticks after boot), and which boot."""

    pid: int
    start: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        fields = _stat(self.pid)
        return bool(fields) and self.boot == boot_id() and self._is(fields)

    def _is(self, fields: list[str]) -> bool:
        return int(fields[_START]) == self.start and fields[_STATE] not in "ZX"

    def open(self) -> int | None:
        """A pidfd of this very process; None if it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        # It cannot be another one by now: what is open here keeps its number.
        if self.alive:
            return descriptor
        os.close(descriptor)
        return None


def boot_id() -> str:
    """Which boot this is."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity:
    """The identity of a process that cannot end meanwhile, such as our own or a child's.

    Raises:
        ProcessLookupError: there is none.
    """
    fields = _stat(pid)
    if not fields:
        raise ProcessLookupError(f"no process {pid}")
    return Identity(pid, int(fields[_START]), boot_id())


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as far as they live; the nearest first."""
    children: dict[int, list[int]] = {}
    for folder in _PROC.glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields and fields[_STATE] not in "ZX":
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    found, waiting = [], [pid]
    while waiting:
        near = children.get(waiting.pop(0), [])
        found += near
        waiting += near
    return found


def with_variable(variable: str) -> list[int]:
    """The processes of this user that were started with `NAME=value` in their environment."""
    pids = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # another user's, or gone by now
            continue
        if variable.encode() in environment.split(b"\0"):
            pids.append(int(folder.name))
    return sorted(pids)


def die_with_parent(*, really: bool = True) -> None:
    """Be killed when the thread that started this process ends; or not any more."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL if really else 0)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def send(pid: int, number: signal.Signals) -> bool:
    """Signal a process; False if it is gone, or another user's."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
        return True
    return False


def _stat(pid: int) -> list[str]:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return []
    # The name may hold spaces and brackets of its own.
    return text.rpartition(")")[2].split()
