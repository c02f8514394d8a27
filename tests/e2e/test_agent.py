"""Agents whose service is killed or stopped: each is found again, and never begun twice."""

import json
import os
import signal

import pytest

from tests.e2e.agent_site import WAITS
from tests.e2e.conftest import until
from tests.ended import gone

#: Leaves a process in a session of its own, and waits.
LEAVES_ONE = f"""
import os, time
if os.fork() == 0:
    os.setsid()
    open('orphan.new', 'w').write(str(os.getpid()))
    os.rename('orphan.new', 'orphan')
    time.sleep(600)
while not os.path.exists('orphan'): time.sleep(0.02)
{WAITS}"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_outlives_its_executor_and_is_found_again(agents, number):
    """After a kill, or a stop, it works on; the next start watches it to its end, once."""
    site, pid = agents.site, agents.begin_and_leave(number)
    os.kill(pid, 0)
    assert site.where() == {"running": 1}
    site.start("run")
    assert site.where() == {"running": 1}
    agents.go()
    site.wait_for("done")
    assert agents.pids() == [pid]
    done = site.request("done")
    assert [tried["number"] for tried in done["attempts"]] == [1]
    assert done["result"]["evidence"]["bytes"] == 4


@pytest.mark.parametrize("reports", [True, False])
def test_what_ended_while_no_executor_ran_is_judged_by_the_next(agents, reports):
    """The exit code, the evidence, and what lay there before are not lost with the executor."""
    code = WAITS
    if not reports:
        (agents.work / "REPORT.md").write_text("of the one before")
        code = WAITS.replace("pathlib.Path('REPORT.md').write_text('done')", "")
    pid = agents.begin_and_leave(signal.SIGKILL, code)
    agents.go()
    assert gone(pid)
    agents.site.drain()
    assert agents.code("done" if reports else "held") == ("exit-0" if reports else "no-evidence")
    assert agents.pids() == [pid]


def test_its_deadline_holds_without_an_executor(agents):
    """An agent whose executor is gone is ended in time all the same."""
    pid = agents.begin_and_leave(signal.SIGKILL, timeout="1s")
    assert gone(pid)
    agents.site.drain()
    assert agents.code("failed") == "timeout"


def test_what_an_agent_and_its_supervisor_have_left_behind_is_ended_and_named(agents):
    """When both are killed, a person must say; a child that lives on is killed."""
    pid = agents.begin_and_leave(signal.SIGKILL, LEAVES_ONE)
    orphan = int((agents.work / "orphan").read_text())
    os.kill(agents.supervisor(), signal.SIGKILL)
    assert gone(pid)
    os.kill(orphan, 0)
    agents.site.drain()
    result = agents.site.request("unknown")["result"]
    assert result["code"] == "lost"
    assert result["details"]["killed"] == [orphan]
    assert str(orphan) in result["summary"]
    assert gone(orphan, 0.1)
    assert agents.pids() == [pid]


def test_an_agent_that_dies_with_its_supervisor_is_noticed_at_once(agents):
    """A dead one is not watched on, and no deadline (an hour) is waited for."""
    agents.begin(timeout="1h")
    os.kill(agents.supervisor(), signal.SIGKILL)
    agents.site.wait_for("unknown")


@pytest.mark.parametrize(("field", "other"), [("start", 1), ("boot", "another")])
def test_a_process_with_the_same_number_is_not_taken_for_it(agents, field, other):
    """A number that was given to another process, or is from before a reboot, is nobody's."""
    agents.begin_and_leave(signal.SIGKILL)
    supervisor, claim = agents.supervisor(), agents.claim()
    said = json.loads(claim.read_bytes())
    said["supervisor"][field] = other
    claim.write_text(json.dumps(said))
    try:
        agents.site.drain()
        assert agents.code("unknown") == "lost"
        os.kill(supervisor, 0)
    finally:
        os.kill(supervisor, signal.SIGKILL)


def test_two_agents_do_not_work_in_one_folder_at_a_time(agents):
    """The folder is a lane; the second one begins when the first has ended."""
    agents.configure(concurrency=2)
    site = agents.site
    agents.drop()
    site.start("run")
    until(agents.pids, "an agent")
    until(lambda: sum(site.where().values()) == 2, "both requests")
    assert len(agents.pids()) == 1
    agents.go()
    site.wait_for("done", 2)
    assert len(agents.pids()) == 2
