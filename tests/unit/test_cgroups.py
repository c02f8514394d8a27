"""Control groups: which one is ours, and what is written there. A plain folder plays the kernel."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from spoold.executors.agent import confinement
from spoold.linux import cgroups

FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.events", "cgroup.kill")


def imitate(folder, controllers="memory cpu pids"):
    """A folder that looks like a group."""
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_text("")
    (folder / "cgroup.controllers").write_text(controllers)
    return folder


@pytest.fixture
def top(tmp_path, monkeypatch):
    """The mount point of an imitated hierarchy, in which we are in /unit."""
    path = tmp_path / "mounted"
    monkeypatch.setattr(cgroups, "_OWN", tmp_path / "own")
    monkeypatch.setattr(cgroups, "_MOUNTS", tmp_path / "mountinfo")
    mount(path)
    be_in("/unit")
    imitate(path / "unit")
    return path


def be_in(path):
    """This process is there now."""
    cgroups._OWN.write_text(f"4:memory:/other\n0::{path}\n")


def mount(path, root="/", kind="cgroup2"):
    """What is mounted where."""
    line = f"25 20 0:22 {root} {path} rw,nosuid shared:4 - {kind} cgroup2 rw\n"
    cgroups._MOUNTS.write_text(f"24 20 0:21 / /proc rw - proc proc rw\n{line}")


@pytest.mark.parametrize(
    ("root", "path"), [("/", "/unit"), ("/pod", "/pod/unit"), ("/pod/unit", "/pod/unit")]
)
def test_our_group_is_found(top, root, path):
    """By the line of version 2, below where that is mounted, or in a container a part of it."""
    mount(top / "unit" if root == "/pod/unit" else top, root=root)
    be_in(path)
    assert cgroups.own() == top / "unit"


@pytest.mark.parametrize(
    "own", ["0::/gone\n", "0::/../elsewhere\n", "4:memory:/other\n", None, "v1"]
)
def test_without_version_2_there_is_no_group(top, own):
    """No folder, no line, no file, or no mount of version 2: then there is none."""
    if own == "v1":
        mount(top, kind="cgroup")
    elif own:
        cgroups._OWN.write_text(own)
    else:
        cgroups._OWN.unlink()
    assert cgroups.own() is None


def test_a_group_that_we_may_write_is_delegated(top):
    """It, or the one above if we have moved into its child already."""
    assert cgroups.delegated() == top / "unit"
    for inner in ("service", ".control"):
        imitate(top / "unit" / inner)
        be_in(f"/unit/{inner}")
        assert cgroups.delegated() == top / "unit"


@pytest.mark.parametrize("lacks", ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.events"])
def test_a_group_is_delegated_only_if_all_of_it_is_there_for_us(top, monkeypatch, lacks):
    """We may write it and its files; one without events is the machine itself."""
    closed, can = top / "unit" / lacks, os.access
    if lacks == "cgroup.events":
        closed.unlink()
    monkeypatch.setattr(os, "access", lambda path, *a, **k: path != closed and can(path, *a, **k))
    assert cgroups.delegated() is None


def test_limits_that_a_start_has_taken_away_are_set_again(top):
    """An agent that runs on through a restart is limited as before; where it has no group, none."""
    context = SimpleNamespace(dispatch_id="d", number=1)
    confinement.confine_again(context, "512M", 1.0)
    assert not (top / "unit/agent-d-1").exists()
    group = imitate(top / "unit/agent-d-1")
    for limit in ("memory.max", "cpu.max"):
        (group / limit).write_text("max")
    confinement.confine_again(context, "512M", 1.0)
    assert (group / "memory.max").read_text() == "512M"
    assert (group / "cpu.max").read_text() == "100000 100000"
    assert (top / "unit/cgroup.subtree_control").read_text().startswith("+")


def test_an_agent_gets_a_group_with_its_limits(top, monkeypatch):
    """Memory without swap beside it, and the share of processors in a period."""

    def mkdir(self, mode=0o777, parents=False, exist_ok=False):  # noqa: FBT002
        made(self, mode, parents, exist_ok)
        for limit in ("memory.max", "memory.swap.max", "cpu.max"):
            (self / limit).write_text("max")

    made = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", mkdir)
    group = cgroups.make(cgroups.name_of("dispatch-1", 2), "512M", 1.5)
    assert group == top / "unit/agent-dispatch-1-2"
    assert (group / "memory.max").read_text() == "512M"
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "cpu.max").read_text() == "150000 100000"
    without = cgroups.make("agent-x", None, None)
    assert {(without / limit).read_text() for limit in ("memory.max", "cpu.max")} == {"max"}


def test_what_was_not_delegated_is_left_out(top):
    """Only controllers that are there are passed on, and only limits that are there are set."""
    (top / "unit/cgroup.controllers").write_text("pids io")
    group = cgroups.make("agent-x", "512M", 1.0)
    assert (top / "unit/cgroup.subtree_control").read_text() == "+pids"
    assert list(group.iterdir()) == []


def test_what_an_earlier_service_has_left_is_removed_once(top):
    """Empty groups of agents go at the first start; nothing else does."""
    (top / "unit/agent-old/tree").mkdir(parents=True)
    (top / "unit/other").mkdir()
    cgroups.make("agent-x", None, None)
    assert not (top / "unit/agent-old").exists()
    assert (top / "unit/other").exists()
    (top / "unit/agent-busy").mkdir()
    cgroups.make("agent-y", None, None)
    assert (top / "unit/agent-busy").exists()


def test_a_tree_is_only_made_in_the_group_that_is_ours(top):
    """A supervisor that was not put into a group of its own has none to kill."""
    assert cgroups.tree_of("agent-x") is None
    imitate(top / "unit/agent-x")
    be_in("/unit/agent-x")
    assert cgroups.tree_of("agent-x") == top / "unit/agent-x/tree"


@pytest.mark.parametrize(
    ("uid", "systemd", "alone", "manager"),
    [(0, True, True, "system"), (0, False, True, "none"), (1, True, True, "cgroup"),
     (1, True, False, "user"), (1, False, False, "none")],
)  # fmt: skip
def test_a_delegated_group_is_used_before_a_scope_of_the_user(
    top, tmp_path, monkeypatch, uid, systemd, alone, manager
):
    """Root asks systemd; others divide what is theirs, unless a shell or the like is in it too."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd/private").touch()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    is_dir = Path.is_dir
    monkeypatch.setattr(
        Path, "is_dir",
        lambda self: systemd if str(self) == "/run/systemd/system" else is_dir(self),
    )  # fmt: skip
    pids = [os.getpid()] if alone else [os.getpid(), os.getppid()]
    (top / "unit/cgroup.procs").write_text("\n".join(map(str, pids)))
    assert confinement._manager() == manager


@pytest.mark.parametrize(
    ("scope", "controllers", "said"),
    [
        ("cgroup", "memory cpu", None),
        ("cgroup", "memory", "`cpus` set, but not enforced"),
        ("cgroup", "", "`cpus` and `memory` set, but not enforced"),
        ("none", "memory cpu", "`cpus` and `memory` set, but not enforced"),
        ("system", "", None),
    ],
)
def test_limits_without_effect_are_named(top, scope, controllers, said):
    """Only what is asked for and cannot be enforced is a warning."""
    (top / "unit/cgroup.controllers").write_text(controllers)
    found = confinement.unenforced(scope, {"memory", "cpus"})
    assert found is None if said is None else found.startswith(said)
    assert confinement.unenforced(scope, set()) is None


def test_a_scope_that_cannot_be_had_is_a_warning_and_starts_nothing(top):
    """Whoever asks for a delegated group, and has none, reads what the unit needs."""
    be_in("/gone")
    assert "Delegate=yes" in confinement.unenforced("cgroup", set())
    with pytest.raises(FileNotFoundError):
        cgroups.make("agent-x", None, None)
