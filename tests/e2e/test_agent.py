"""Agents in a real service: found again, seen, cancelled; never two where one was asked for."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.conformance.agents import REPORT, ROUTE, gone
from tests.e2e import conftest
from tests.e2e.conftest import DECISIONS, until

AGENTS = """
[executors.agents]
kind         = "agent"
timeout      = "{timeout}"
idle_timeout = "1m"
retry        = {{ tries = 2, base = "1s" }}
[executors.agents.commands.it]
argv = {argv}
"""

#: Says that it runs, waits to be told to go on, and leaves its evidence.
WAITS = """
import os, pathlib, time
begun = pathlib.Path('begun'); begun.open('a').write(f'{os.getpid()}\\n')
print('hello', flush=True)
while not os.path.exists('go'): time.sleep(0.02)
pathlib.Path('REPORT.md').write_text('done')
"""


@pytest.fixture
def work(tmp_path):
    """The agents' working directory."""
    path = tmp_path / "work"
    path.mkdir()
    return path


def decision(number):
    """A record of this test alone: agents are found by an id made of it and of the second."""
    return conftest.decision(f"{os.getpid()}-{time.time_ns()}-{number}")


def configure(site, work, code, timeout="1m"):
    """A site whose one route launches Python code."""
    argv = json.dumps([sys.executable, "-c", code])
    site.configure(f"{DECISIONS}{AGENTS.format(timeout=timeout, argv=argv)}",
                   ROUTE.format(cwd=work, evidence=REPORT))  # fmt: skip


def begin(site, work, **more):
    """Start the service, and an agent that waits."""
    return begin_with(site, work, WAITS, **more)


def begin_with(site, work, code, **more):
    """The same with another agent, which says that it has begun."""
    configure(site, work, code, **more)
    site.drop("decisions", "a.json", decision(1))
    service = site.start("run")
    until(lambda: (work / "begun").exists() and (work / "begun").read_text(), "an agent")
    return service


def pids(work):
    """All that ever began."""
    return [int(line) for line in (work / "begun").read_text().split()]


def end(service, number):
    """Send a signal, and wait for the end."""
    service.send_signal(number)
    service.wait(15)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_agent_outlives_its_executor_and_is_found_again(site, work, number):
    """After a kill, or a stop, it works on; the next start watches it to its end, once."""
    started = time.monotonic()
    end(begin(site, work), number)
    assert time.monotonic() - started < 8
    (pid,) = pids(work)
    os.kill(pid, 0)
    assert site.where() == {"running": 1}
    site.start("run")
    time.sleep(0.5)
    assert site.where() == {"running": 1}
    (work / "go").touch()
    site.wait_for("done")
    assert pids(work) == [pid]
    done = site.request("done")
    assert [tried["number"] for tried in done["attempts"]] == [1]
    assert done["result"]["evidence"]["bytes"] == 4


def test_what_ended_while_no_executor_ran_is_judged_by_the_next(site, work):
    """The exit code and the evidence of an agent are not lost with its executor."""
    end(begin(site, work), signal.SIGKILL)
    (pid,) = pids(work)
    (work / "go").touch()
    assert gone(pid)
    site.drain()
    assert site.where() == {"done": 1}
    assert pids(work) == [pid]


def test_its_deadline_holds_without_an_executor(site, work):
    """An agent whose executor is gone is ended in time all the same."""
    end(begin(site, work, timeout="2s"), signal.SIGKILL)
    (pid,) = pids(work)
    assert gone(pid, 6)
    site.drain()
    assert site.request("failed")["result"]["code"] == "timeout"


def test_an_agent_that_died_with_its_supervisor_is_unknown(site, work):
    """Nobody saw how it ended, so a person must say; it is not started again."""
    end(begin(site, work), signal.SIGKILL)
    (pid,) = pids(work)
    os.kill(_supervisor(site), signal.SIGKILL)
    assert gone(pid)
    site.drain()
    assert site.request("unknown")["result"]["code"] == "lost"
    assert pids(work) == [pid]


def test_what_both_have_left_behind_is_ended_and_named(site, work):
    """When executor and supervisor are killed, a child that went its own way is no secret."""
    leaves = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    open('orphan', 'w').write(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "while not os.path.exists('orphan') or not open('orphan').read(): time.sleep(0.02)\n"
    )
    configure(site, work, leaves + WAITS)
    site.drop("decisions", "a.json", decision(1))
    service = site.start("run")
    until(lambda: (work / "begun").exists() and (work / "begun").read_text(), "an agent")
    end(service, signal.SIGKILL)
    orphan = int((work / "orphan").read_text())
    os.kill(_supervisor(site), signal.SIGKILL)
    assert gone(pids(work)[0])
    os.kill(orphan, 0)
    site.drain()
    result = site.request("unknown")["result"]
    assert result["code"] == "lost"
    assert result["details"]["killed"] == [orphan]
    assert str(orphan) in result["summary"]
    assert gone(orphan, 0.1)


def test_two_agents_do_not_work_in_one_folder_at_a_time(site, work):
    """The folder is a lane; the second one begins when the first has ended."""
    configure(site, work, WAITS)
    config = site.config.parent / "spoold.toml"
    config.write_text(config.read_text().replace("retry ", "concurrency = 2\nretry "))
    for number in (1, 2):
        site.drop("decisions", f"{number}.json", decision(number))
    site.start("run")
    until(lambda: (work / "begun").exists() and (work / "begun").read_text(), "an agent")
    time.sleep(1)
    assert len(pids(work)) == 1
    (work / "go").touch()
    until(lambda: site.where() == {"done": 2}, "both to be done")
    assert len(pids(work)) == 2


def test_what_lay_there_before_is_no_evidence_after_a_restart_either(site, work):
    """What the file was when the agent began is known to whoever judges its end."""
    (work / "REPORT.md").write_text("of the one before")
    idle = WAITS.replace("pathlib.Path('REPORT.md').write_text('done')", "")
    end(begin_with(site, work, idle), signal.SIGKILL)
    (work / "go").touch()
    assert gone(pids(work)[0])
    site.drain()
    assert site.request("held")["result"]["code"] == "no-evidence"


def test_an_agent_that_dies_with_its_supervisor_is_noticed_within_seconds(site, work):
    """A dead one is not watched on, and no deadline is waited for."""
    begin(site, work)
    os.kill(_supervisor(site), signal.SIGKILL)
    started = time.monotonic()
    site.wait_for("unknown")
    assert time.monotonic() - started < 3


def _supervisor(site):
    (file,) = site.root.glob("logs/*/attempt-1.process.json")
    return json.loads(file.read_bytes())["supervisor"]["pid"]


@pytest.mark.parametrize("field", ["start", "boot"])
def test_a_process_with_the_same_number_is_not_taken_for_it(site, work, field):
    """A number that was given to another process, or is from before a reboot, is nobody's."""
    end(begin(site, work), signal.SIGKILL)
    supervisor, (pid,) = _supervisor(site), pids(work)
    (file,) = site.root.glob("logs/*/attempt-1.process.json")
    said = json.loads(file.read_bytes())
    said["supervisor"][field] = {"start": 1, "boot": "another"}[field]
    file.write_text(json.dumps(said))
    try:
        site.drain()
        assert site.request("unknown")["result"]["code"] == "lost"
        os.kill(supervisor, 0)
    finally:
        os.kill(supervisor, signal.SIGTERM)
        assert gone(pid)


def test_the_request_file_shows_when_it_was_last_heard_of(site, work):
    """While an agent runs, its request says how much it has printed, and when."""
    code = "import time\nfor n in range(100): print('x' * 99, flush=True); time.sleep(0.2)"
    configure(site, work, code)
    site.drop("decisions", "a.json", decision(1))
    site.start("run")

    def progress():
        found = site.files("running/agents")
        attempts = found and json.loads(found[0].read_bytes())["attempts"]
        shown = (attempts and attempts[-1]["progress"]) or {}
        return shown if shown.get("last_output_at") else None

    first = until(progress, "progress")
    later = until(
        lambda: (p := progress()) and p["stdout_bytes"] > first["stdout_bytes"] and p, "more"
    )
    assert later["last_output_at"] > first["last_output_at"]
    (row,) = site.lines("ls", "running")
    assert row["heard_at"] >= later["last_output_at"]
    assert re.search(r"attempt 1, heard of \d+s ago", site.spoold("ls", "running").stdout)
    site.spoold("cancel", site.files("running/agents")[0].stem[-8:])
    site.wait_for("failed")


@pytest.mark.parametrize("how", ["verb", "touch"])
def test_a_person_can_cancel_what_runs(site, work, how):
    """`spoold cancel`, or a file of that name in the right folder, ends the run and says so."""
    begin(site, work)
    (file,) = site.files("running/agents")
    if how == "verb":
        site.spoold("cancel", file.stem[-8:], "--reason", "not today")
    else:
        (site.root / "approvals/cancel/agents" / file.name).touch()
    site.wait_for("failed")
    failed = site.request("failed")
    assert failed["result"]["code"] == "cancelled"
    assert failed["result"]["output"]["stdout_tail"] == "hello\n"
    assert gone(pids(work)[0], 0.1)
    until(lambda: not os.listdir(site.root / "approvals/cancel/agents"), "the wish to be gone")
    if how == "verb":
        (slip,) = site.root.glob("approvals/*.json")
        assert json.loads(slip.read_bytes())["reason"] == "not today"


def test_what_was_cancelled_while_no_executor_ran_is_stopped_by_the_next(site, work):
    """A wish waits for the executor, and is heeded as soon as that runs."""
    end(begin(site, work), signal.SIGKILL)
    (file,) = site.files("running/agents")
    site.spoold("cancel", file.stem[-8:])
    site.drain()
    assert site.request("failed")["result"]["code"] == "cancelled"
    assert gone(pids(work)[0], 0.1)


def test_a_request_that_is_put_among_the_wishes_is_not_lost(site, work):
    """What is no wish is set aside with a reason, wherever it was meant to go."""
    configure(site, work, "print(1)")
    site.drop("decisions", "a.json", decision(1))
    for stage in ("intake", "gate"):
        site.spoold(stage, "--drain")
    (file,) = site.files("queued/agents")
    wishes = site.root / "approvals/cancel/agents"
    wishes.mkdir(parents=True, exist_ok=True)
    data = file.read_bytes()
    file.rename(wishes / file.name)
    (wishes / "about-nothing.json").touch()
    site.drain()
    held = site.only("held")
    assert held.read_bytes() == data
    assert json.loads(Path(f"{held}.reason.json").read_bytes())["code"] == "misplaced"
    assert os.listdir(wishes) == []


def test_what_waits_in_the_queue_is_not_begun_when_it_is_not_wanted(site, work):
    """A wish that comes before its turn keeps a request from starting."""
    configure(site, work, WAITS)
    site.drop("decisions", "a.json", decision(1))
    (site.root / "HOLD").touch()
    for stage in ("intake", "gate"):
        site.spoold(stage, "--drain")
    (site.root / "HOLD").unlink()
    site.spoold("gate", "--drain")
    (file,) = site.files("queued/agents")
    wish = site.root / "approvals/cancel/agents"
    wish.mkdir(parents=True, exist_ok=True)
    (wish / file.name).touch()
    site.drain()
    assert site.request("failed")["result"]["code"] == "cancelled"
    assert not (work / "begun").exists()


def test_an_end_without_evidence_waits_for_a_person_who_can_say_that_it_is_done(site, work):
    """It is held with the reason; `resolve --as done` ends it, and nothing else is resolved so."""
    configure(site, work, "print('finished, honestly')")
    site.drop("decisions", "a.json", decision(1))
    site.drain()
    held = site.only("held")
    assert json.loads(Path(f"{held}.reason.json").read_bytes())["code"] == "no-evidence"
    assert "REPORT.md" in site.request("held")["result"]["summary"]
    site.spoold("resolve", held.stem[-8:], "--as", "done")
    assert site.where() == {"done": 1}


def test_what_a_person_has_held_cannot_be_resolved_as_done(site, work):
    """What never ran is never said to be done."""
    configure(site, work, "print(1)")
    config = site.config.parent / "routes.d/10.toml"
    config.write_text(config.read_text().replace("requires_approval = false", ""))
    site.drop("decisions", "a.json", decision(1))
    site.drain()
    name = site.only("awaiting-approval").stem[-8:]
    site.spoold("hold", name)
    refused = site.spoold("resolve", name, "--as", "done", ok=False)
    assert refused.returncode == 65
    assert site.where() == {"held": 1}
