"""A control group that was delegated to us → one of its own for each agent, with limits.

Only version 2 of control groups, and only what `Delegate=yes` gives a service that runs as an
ordinary user: a folder of its own below /sys/fs/cgroup. A group that passes controllers on to its
children may hold no process itself, so the service moves into a child, `service`, first.

Security: an agent runs as the same user, and may write to these files as well. The limits keep a
mistake small; they do not hold what is hostile.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from spoold.linux.processes import descendants

_OWN, _MOUNTS = Path("/proc/self/cgroup"), Path("/proc/self/mountinfo")
_SERVICE, _TREE, _PREFIX = "service", "tree", "agent-"
#: Where the service itself may be in its group; systemd puts what a unit starts beside it there.
_INNER = frozenset({_SERVICE, ".control"})
_CONTROLLERS = ("memory", "cpu", "pids")
_PERIOD_US = 100_000
#: For a group whose processes were killed to be empty (seconds), and for ours to have moved.
_EMPTIES, _MOVES = 5.0, 2.0

_preparing = threading.Lock()
_swept: set[Path] = set()


def own() -> Path | None:
    """The folder of the group that this process is in; None without version 2."""
    try:
        lines = _OWN.read_text().splitlines()
        mounts = [line.split() for line in _MOUNTS.read_text().splitlines()]
    except OSError:
        return None
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    for fields in mounts:
        if path is None or fields[fields.index("-") + 1] != "cgroup2":
            continue
        root, top = fields[3].rstrip("/"), Path(fields[4])
        if path == root or path.startswith(f"{root}/"):
            folder = top / path[len(root) :].lstrip("/")
            return folder if folder.is_dir() else None
    return None


def delegated() -> Path | None:
    """The group that may be divided among agents; None if there is none.

    It is ours, or the one above if we are in a child of it that is no agent's.
    """
    here = own()
    if here is None:
        return None
    if here.name in _INNER and _may_be_divided(here.parent):
        return here.parent
    return here if _may_be_divided(here) else None


def is_only_ours(base: Path) -> bool:
    """Whether only this process and its descendants are in that group, and no shell."""
    return set(_pids(base)) <= {os.getpid(), *descendants(os.getpid())}


def name_of(dispatch_id: str, number: int) -> str:
    """The name of the group of an attempt."""
    return f"{_PREFIX}{dispatch_id}-{number}"


def make(name: str, memory: str | None, cpus: float | None) -> Path:
    """A group for one agent, with its limits, also if it is there already.

    A limit whose controller was not delegated is left out.

    Args:
        name: from `name_of`.
        memory: such as `2G`; no swap beside it.
        cpus: how many.

    Raises:
        OSError: it cannot be made.
    """
    with _preparing:
        base = delegated()
        if base is None:
            raise FileNotFoundError("no control group was delegated to this process")
        _prepare(base)
        if base not in _swept:
            _swept.add(base)
            for left in base.glob(f"{_PREFIX}*"):
                remove(left)
    group = base / name
    group.mkdir(exist_ok=True)
    limits = {}
    if memory:
        limits = {"memory.max": memory, "memory.swap.max": "0"}
    if cpus:
        limits["cpu.max"] = f"{max(round(cpus * _PERIOD_US), 1000)} {_PERIOD_US}"
    for file, limit in limits.items():
        if (group / file).exists():
            (group / file).write_text(limit)
    return group


def find(name: str) -> Path | None:
    """The group of an attempt, if it is still there."""
    base = delegated()
    return base / name if base and (base / name).is_dir() else None


def of_scope(unit: str) -> Path | None:
    """The group of a transient scope, where systemd puts the system's and a user's."""
    own_slice = f"user.slice/user-{os.geteuid()}.slice/user@{os.geteuid()}.service/app.slice"
    here = own()
    # The folder that all groups are in, whatever of it this process is shown.
    tops = [top for top in here.parents if (top / "system.slice").is_dir()] if here else []
    for top in tops[-1:]:
        for above in ("system.slice", own_slice):
            if (group := top / above / unit).is_dir():
                return group
    return None


def enforced(base: Path) -> set[str]:
    """The controllers that were delegated; what they do not cover is not limited."""
    return set((base / "cgroup.controllers").read_text().split())


def join(group: Path, pid: int) -> None:
    """Move a process there.

    Raises:
        OSError: it may not be moved, or is gone.
    """
    (group / "cgroup.procs").write_text(str(pid))


def tree_of(name: str) -> Path | None:
    """A group below ours for what an agent starts; None if ours is not called that.

    The limits of ours hold for it too, and it can be killed without us.
    """
    here = own()
    if here is None or here.name != name:
        return None
    tree = here / _TREE
    try:
        tree.mkdir(exist_ok=True)
    except OSError:
        return None
    return tree


def processes_of(group: Path) -> list[int]:
    """All in it and below."""
    return sorted({pid for folder, _, _ in os.walk(group) for pid in _pids(Path(folder))})


def kill(group: Path) -> None:
    """Kill all in it and below, also what is being forked; before Linux 5.14 nothing."""
    file = group / "cgroup.kill"
    with suppress(OSError):
        if file.exists():
            file.write_text("1")


def remove(group: Path) -> None:
    """Remove it if nothing runs there any more."""
    # An agent may have made more below it.
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)


def end(group: Path) -> list[int]:
    """Kill all in it, wait for that, and remove it; those that were there."""
    found = processes_of(group)
    kill(group)
    until = time.monotonic() + _EMPTIES
    remove(group)
    while group.is_dir() and time.monotonic() < until:
        time.sleep(0.02)
        remove(group)
    return found


def _may_be_divided(folder: Path) -> bool:
    # The root of all groups, which has no events, belongs to the machine.
    files = ("", "cgroup.procs", "cgroup.subtree_control")
    return (folder / "cgroup.events").exists() and all(
        os.access(folder / file, os.W_OK, effective_ids=True) for file in files
    )


def _prepare(base: Path) -> None:
    """Leave the group, with all that is in it, and pass its controllers on."""
    until = time.monotonic() + _MOVES
    while (pids := _pids(base)) and time.monotonic() < until:
        (base / _SERVICE).mkdir(exist_ok=True)
        for pid in pids:
            with suppress(ProcessLookupError):
                join(base / _SERVICE, pid)
    for controller in _CONTROLLERS:
        if controller in enforced(base):
            (base / "cgroup.subtree_control").write_text(f"+{controller}")


def _pids(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []
