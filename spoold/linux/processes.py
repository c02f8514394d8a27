"""Processes: which one is meant when numbers are reused, which it has started, how it ends."""

import ctypes
import os
import signal
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
#: Fields of /proc/PID/stat after the name in brackets, counted from its state; see proc(5).
_STATE, _PARENT, _START = 0, 1, 19
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_prctl = ctypes.CDLL(None, use_errno=True).prctl


class Identity(NamedTuple):
    """One process and no later one with its number: its pid, start (clock ticks), and boot."""

    pid: int
    start: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether this very process runs."""
        fields = _stat(self.pid)
        return bool(fields) and self.boot == boot_id() and self._is(fields)

    @property
    def stopped(self) -> bool:
        """Whether it exists, and a signal has stopped it."""
        fields = _stat(self.pid)
        return bool(fields) and fields[_STATE] in "tT" and int(fields[_START]) == self.start

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


def children(pid: int) -> list[int]:
    """The children of all its threads, zombies among them; some may be missing while it forks."""
    found: list[int] = []
    tasks = f"{_PROC}/{pid}/task"
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/children", encoding="ascii") as file:
                found += [int(child) for child in file.read().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as far as they live; the nearest first."""
    below = children if _has_lists() else _all_children().__getitem__
    found, waiting = [], [pid]
    while waiting:
        near = [child for child in below(waiting.pop(0)) if _lives(child)]
        found += near
        waiting += near
    return found


def _has_lists() -> bool:
    return (_PROC / "thread-self/children").exists()


def _all_children() -> defaultdict[int, list[int]]:
    """The same for every process, where the kernel keeps no lists of children."""
    found: defaultdict[int, list[int]] = defaultdict(list)
    for folder in _PROC.glob("[0-9]*"):
        if fields := _stat(int(folder.name)):
            found[int(fields[_PARENT])].append(int(folder.name))
    return found


def _lives(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[_STATE] not in "ZX"


def with_variable(*variables: str) -> list[int]:
    """The processes of this user that were started with one of these (`NAME=value`)."""
    wanted = {variable.encode() for variable in variables}
    pids = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # another user's, or gone by now
            continue
        if wanted & set(environment.split(b"\0")):
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
