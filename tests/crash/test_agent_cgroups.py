"""Agents of an ordinary user's service in a real control group that was delegated to it."""

import json
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conformance.agents import ROUTE
from tests.e2e.conftest import DECISIONS, Site, decision, until
from tests.ended import gone

NOBODY = 65534

AGENTS = """
[executors.agents]
kind   = "agent"
memory = "256M"
cpus   = 1.5
[executors.agents.commands.it]
argv = {argv}
"""

#: Leaves a child without a trace of where it comes from, then waits to be told to go on.
WAITS = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open('orphan', 'w').write(str(os.getpid()))
        os.execve('/bin/sleep', ['sleep', '600'], {})
    os._exit(0)
while not os.path.exists('orphan') or not open('orphan').read(): time.sleep(0.02)
open('begun', 'w').write(str(os.getpid()))
while not os.path.exists('go'): time.sleep(0.02)
"""


class Delegated(Site):
    """A site whose processes begin in the group, as an ordinary user."""

    group: Path

    def words(self, *arguments):
        """The same words, there."""
        # As `DelegateSubgroup=service` does it. Python may lie where only root looks; that it may
        # be read is all that is given back.
        enter = (
            f"cd {self.group}; test -d service && cd service; echo $$ > cgroup.procs; "
            f"cd {self.folder}; exec setpriv --reuid={NOBODY} "
            f"--regid={NOBODY} --clear-groups --inh-caps=-all,+dac_read_search "
            '--ambient-caps=-all,+dac_read_search "$@"'
        )
        return ["sh", "-c", enter, "sh", *super().words(*arguments)]


@pytest.fixture
def group(require):
    """A group that belongs to an ordinary user; all in it is killed at the end."""
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    tops = [Path(fields[1]) for fields in lines if fields[2] == "cgroup2"]
    require(os.geteuid() == 0, "root")
    require(shutil.which("setpriv") is not None, "setpriv")
    require(bool(tops) and os.access(tops[0], os.W_OK), "control groups, version 2")
    path = tops[0] / f"spoold-test-{os.getpid()}"
    path.mkdir()
    for file in (path, path / "cgroup.procs", path / "cgroup.subtree_control"):
        os.chown(file, NOBODY, NOBODY)
    yield path
    (path / "cgroup.kill").write_text("1")
    until(lambda: "populated 0" in (path / "cgroup.events").read_text(), "the end of all", 10)
    for folder, _, _ in os.walk(path, topdown=False):
        with suppress(FileNotFoundError):
            os.rmdir(folder)


@pytest.fixture
def site(group):
    """A site in a folder that an ordinary user may enter."""
    with tempfile.TemporaryDirectory() as top:
        made = Delegated(Path(top))
        made.group = group
        (made.folder / "work").mkdir()
        argv = json.dumps([shutil.which("python3", path="/usr/bin"), "-c", WAITS])
        made.configure(
            f"{DECISIONS}{AGENTS.format(argv=argv)}",
            ROUTE.format(cwd=made.folder / "work", evidence="{ none = true }"),
        )
        made.root.mkdir()
        for path in [made.folder, *made.folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        yield made
        made.close()


def drop(site, number):
    """A record from the user who also runs the service."""
    file = site.drop("decisions", f"{number}.json", decision(number))
    with suppress(FileNotFoundError):
        os.chown(file, NOBODY, NOBODY)


def begin(site):
    """Start the service and an agent; the service and the agent's group."""
    work = site.folder / "work"
    service = site.start("run")
    drop(site, 1)
    until(lambda: (work / "begun").exists() and (work / "begun").read_text(), "an agent")
    (made,) = site.group.glob("agent-*")
    return service, made


def pids(folder):
    """The processes of a group."""
    return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]


def number(site, name):
    """A process that has written down its own number."""
    return int((site.folder / "work" / name).read_text())


def test_each_agent_has_a_group_with_limits_and_leaves_nothing(site):
    """Service, supervisor and agent are apart; at the end the group is empty, and gone."""
    service, made = begin(site)
    (file,) = site.files("running/agents")
    assert made.name == f"agent-{file.stem}-1"
    assert pids(site.group) == []
    assert pids(site.group / "service") == [service.pid]
    claim = json.loads(
        (site.root / f"logs/{file.parent.name}/{file.stem}/attempt-1.process.json").read_bytes()
    )
    assert pids(made) == [claim["supervisor"]["pid"]]
    agent, orphan = number(site, "begun"), number(site, "orphan")
    assert sorted(pids(made / "tree")) == sorted([agent, orphan])
    assert Path(f"/proc/{agent}/oom_score_adj").read_text() == "500\n"
    there = (site.group / "cgroup.controllers").read_text().split()
    for controller, limit, value in (
        ("memory", "memory.max", str(256 << 20)), ("cpu", "cpu.max", "150000 100000"),
    ):  # fmt: skip
        assert controller not in there or (made / limit).read_text().strip() == value
    (site.folder / "work/go").touch()
    site.wait_for("done")
    assert site.request("done")["result"]["details"]["left_behind"] == [orphan]
    assert gone(orphan, 0.1)
    until(lambda: not made.exists(), "the group to be removed")


def test_a_group_is_ended_when_nobody_is_left_to_do_it(site):
    """Executor and supervisor killed: the next start ends what only the group still tells of."""
    service, made = begin(site)
    orphan = number(site, "orphan")
    for pid in (service.pid, *pids(made)):
        os.kill(pid, 9)
    service.wait(5)
    assert gone(number(site, "begun"))
    os.kill(orphan, 0)
    (site.group / "agent-of-yesterday").mkdir()
    os.chown(site.group / "agent-of-yesterday", NOBODY, NOBODY)
    site.start("run")
    site.wait_for("unknown")
    assert site.request("unknown")["result"]["details"]["killed"] == [orphan]
    assert gone(orphan, 0.1)
    until(lambda: not made.exists(), "the group to be removed")
    (site.folder / "work/go").touch()
    drop(site, 2)
    site.wait_for("done")
    assert not (site.group / "agent-of-yesterday").exists()


def test_an_agent_of_a_killed_executor_is_watched_on_in_its_group(site):
    """After a restart the group is found again, and removed at the end."""
    service, made = begin(site)
    os.kill(service.pid, 9)
    service.wait(5)
    site.start("run")
    time.sleep(0.5)
    (site.folder / "work/go").touch()
    site.wait_for("done")
    until(lambda: not made.exists(), "the group to be removed")


def test_in_such_a_group_the_doctor_sees_what_is_enforced(site):
    """It warns of exactly the limits whose controllers were not delegated."""
    there = (site.group / "cgroup.controllers").read_text().split()
    warned = "not enforced" in site.spoold("doctor").stdout
    assert warned != ({"memory", "cpu"} <= set(there))
