"""Agents on a booted host: they outlive their executor's service, and end with their deadline."""

import json

import pytest

from tests.e2e.conftest import until
from tests.host.conftest import SPOOL

pytestmark = pytest.mark.timeout(900)

AGENTS = """
[executors.agents]
kind         = "agent"
timeout      = "{timeout}"
idle_timeout = "5m"
concurrency  = 2
memory       = "256M"
[executors.agents.commands.slow]
argv   = ["/usr/local/bin/slow"]
login  = ["/bin/true"]
"""
ROUTE = """
name     = "agent"
source   = "decisions"
match    = "record.body.decision_type == 'agent'"
executor = "agents"
[params]
agent    = "slow"
prompt   = "=record.body.prompt"
cwd      = "/srv/work"
evidence = { file = "REPORT.md" }
"""
#: Says who it is, waits for what its prompt says, and leaves its evidence.
SLOW = """#!/bin/sh
seconds=$(cat)
echo $$ >> /srv/work/pids
sleep "$seconds" &
wait
echo done > REPORT.md
"""


@pytest.fixture
def agents(host):
    """A host with an executor of agents, started by a function that takes a deadline."""
    host.run("rm -rf /srv/work; mkdir -p /srv/work")
    host.write("/usr/local/bin/slow", SLOW, 0o755)
    host.write("/etc/spoold/routes.d/40-agent.toml", ROUTE)
    where = "/etc/systemd/system/spoold-execute@agents.service.d/60-work.conf"

    def start(timeout):
        toml = (host.tree / "etc/spoold/spoold.toml").read_text()
        host.write("/etc/spoold/spoold.toml", toml + AGENTS.format(timeout=timeout))
        host.run("spoold check --permissions --fix")
        host.write(where, "[Service]\nReadWritePaths=/srv/work\n")
        host.run("chown spoold-x-agents /srv/work; systemctl daemon-reload")
        host.start()
        return host

    return start


def begin(host, seconds):
    """Let an agent begin; its process."""
    host.drop("one", decision_type="agent", prompt=str(seconds))
    host.wait_for("awaiting-approval")
    host.approve()
    pids = host.tree / "srv/work/pids"
    until(lambda: pids.exists() and pids.read_text().split(), "it runs", 60)
    return pids.read_text().split()


def test_an_agent_outlives_a_restart_of_its_executor(agents):
    """The service is restarted in mid-run; the same process goes on, and its end is recorded."""
    host = agents("10m")
    (pid,) = begin(host, 25)
    host.run("systemctl restart spoold-execute@agents")
    assert host.run(f"test -d /proc/{pid}", ok=False).returncode == 0
    host.wait_ready()
    (name,) = host.wait_for("done", seconds=90)
    ended = json.loads(host.spool(f"done/agents/{name}").read_bytes())
    assert [attempt["number"] for attempt in ended["attempts"]] == [1]
    assert (host.tree / "srv/work/pids").read_text().split() == [pid]


def test_a_killed_executor_finds_its_agent_again(agents):
    """After kill -9 of the executor's process alone the agent is watched on to its end."""
    host = agents("10m")
    (pid,) = begin(host, 25)
    host.run("systemctl kill -s KILL --kill-who=main spoold-execute@agents")
    until(lambda: host.status()["execute agents"] == "ready", host.status, 60)
    host.wait_for("done", seconds=90)
    assert (host.tree / "srv/work/pids").read_text().split() == [pid]


def test_a_deadline_holds_under_the_service_and_leaves_nothing(agents):
    """An agent that takes too long is ended with all that it has started."""
    host = agents("8s")
    begin(host, 300)
    host.wait_for("failed", seconds=60)
    assert "sleep" not in host.run("ps -eo args").stdout
    said = host.run(f"spoold ls failed && ls {SPOOL}/logs/*/*", "ann").stdout
    assert "timeout" in said


OWN = """
root = "/root/own/spool"
[sources.decisions]
format = "decision"
[executors.agents]
kind  = "agent"
scope = "system"
[executors.agents.commands.slow]
argv  = ["/usr/local/bin/hides"]
login = ["/bin/true"]
"""
#: Leaves its session, its variables and its parents behind, and kills its supervisor.
HIDES = """#!/bin/sh
env -i setsid sh -c 'echo $$ > /srv/work/hidden; exec sleep 987' &
sleep 1
kill -9 $PPID
sleep 1
"""


def test_what_hides_from_its_supervisor_ends_with_its_scope(host):
    """A process with nothing by which it could be known is found in its control group."""
    host.run("rm -rf /srv/work /root/own; mkdir -p /srv/work /root/own/routes.d")
    host.write("/usr/local/bin/hides", HIDES, 0o755)
    host.write("/root/own/spoold.toml", OWN)
    host.write("/root/own/routes.d/1.toml", f"requires_approval = false\n{ROUTE}")
    host.run("systemd-run --unit=own spoold --config /root/own/spoold.toml run")
    try:
        drop = '{"decision_id": "x", "decision_type": "agent", "prompt": "go"}'
        inbox = "/root/own/spool/inbox/decisions"
        until(lambda: host.run(f"test -d {inbox}", ok=False).returncode == 0, "laid out", 30)
        host.run(f"echo '{drop}' > {inbox}/.x && mv {inbox}/.x {inbox}/x.json")
        there = "cat /root/own/spool/unknown/*/*.json"
        until(lambda: host.run(there, ok=False).returncode == 0,
              lambda: host.run("journalctl -u own -n 20 -o cat").stdout, 60)  # fmt: skip
        hidden = host.run("cat /srv/work/hidden").stdout.strip()
        assert host.run(f"kill -0 {hidden}", ok=False).returncode != 0
        found = json.loads(host.run(there).stdout)
        assert int(hidden) in found["attempts"][-1]["details"]["killed"]
    finally:
        host.run("systemctl stop own; systemctl reset-failed", ok=False)
