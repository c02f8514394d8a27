"""Limits of a run → a control group for its supervisor, if this machine can give one.

| `scope` | |
|---|---|
| `system`, `user` | a transient scope of that systemd manager; it does not end with the service |
| `cgroup` | a child of the group that systemd has delegated to the service (`Delegate=yes`) |
| `none` | nothing; memory and CPU are not limited |
| `auto` | for root `system`; for others the first of `cgroup`, `user` that is there; else `none` |
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spoold.errors import Transient
from spoold.executors import Context
from spoold.linux import cgroups

Scope = Literal["auto", "system", "user", "cgroup", "none"]
_CONTROLLERS = {"memory": "memory", "cpus": "cpu"}


@dataclass(frozen=True, slots=True)
class Confined:
    """How a supervisor gets its group.

    Attributes:
        argv: the command that starts it in its group, put before its own arguments.
        name: the last part of the group's name; empty without a group.
        group: the folder of the group, if it must be moved there after its start.
    """

    argv: tuple[str, ...] = ()
    name: str = ""
    group: Path | None = None


def scope_for(wanted: Scope, context: Context, memory: str | None, cpus: float | None) -> Confined:
    """The group of one attempt, with its limits.

    Raises:
        Transient: it cannot be made.
    """
    found = _manager() if wanted == "auto" else wanted
    if found == "none":
        return Confined()
    if found == "cgroup":
        try:
            group = cgroups.make(group_of(context), memory, cpus)
        except OSError as error:
            what = f"{error.filename}: {error.strerror}" if error.strerror else str(error)
            summary = f"There is no control group for the agent; nothing was done: {what}."
            raise Transient("cannot-start", summary) from None
        return Confined(name=group.name, group=group)
    limits = [f"MemoryMax={memory}"] if memory else []
    limits += [f"CPUQuota={round(cpus * 100)}%"] if cpus else []
    unit = _unit(context)
    return Confined(
        argv=(
            "systemd-run",
            f"--{found}",
            "--scope",
            "--quiet",
            "--collect",
            f"--unit={unit.removesuffix('.scope')}",
            # The supervisor puts the agent into a group below its own, to kill it as one.
            *(f"--property={limit}" for limit in ("Delegate=yes", *limits)),
        ),
        name=unit,
    )


def confine_again(context: Context, memory: str | None, cpus: float | None) -> None:
    """Set the limits of a running attempt again.

    A restart of the service may have removed them: systemd can put the main process into its group
    only while that group passes no controllers on.
    """
    if group := cgroups.find(group_of(context)):
        with suppress(OSError):
            cgroups.make(group.name, memory, cpus)


def group_of(context: Context) -> str:
    """The name of the group that `cgroup` gives an attempt."""
    return cgroups.name_of(context.dispatch_id, context.number)


def found_group(context: Context) -> Path | None:
    """The group that an attempt was given, in whichever way, if it is still there."""
    return cgroups.find(group_of(context)) or cgroups.of_scope(_unit(context))


def _unit(context: Context) -> str:
    return f"spoold-{context.dispatch_id}-{context.number}.scope"


def unenforced(scope: Scope, wanted: set[str]) -> str | None:
    """Why the limits that are set would have no effect here; None if they have.

    Args:
        scope: of the configuration.
        wanted: which of `memory` and `cpus` are set.
    """
    found = _manager() if scope == "auto" else scope
    if found in ("system", "user"):
        return None
    base = cgroups.delegated() if found == "cgroup" else None
    if found == "cgroup" and base is None:
        return (
            '`scope = "cgroup"`, but no control group is delegated to this process: no agent can '
            "start from here. The service's unit needs `Delegate=yes`."
        )
    there = cgroups.enforced(base) if base else set()
    missing = sorted(limit for limit in wanted if _CONTROLLERS[limit] not in there)
    if not missing:
        return None
    names = " and ".join(f"`{limit}`" for limit in missing)
    return (
        f"{names} set, but not enforced for a process like this one: there is neither a systemd "
        "scope nor a delegated control group for it. See docs/agents.md."
    )


def _manager() -> Scope:
    is_root = os.geteuid() == 0
    if not is_root and (base := cgroups.delegated()) and cgroups.is_only_ours(base):
        return "cgroup"
    if not Path("/run/systemd/system").is_dir():
        return "none"
    if is_root:
        return "system"
    runtime = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")
    return "user" if Path(runtime, "systemd/private").exists() else "none"
