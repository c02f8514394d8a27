"""What a person sees of an agent that runs, and what they can decide about it."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import until
from tests.ended import gone

#: A service that writes what an attempt reports as soon as it hears of it.
SHOWS_AT_ONCE = (
    "import runpy\n"
    "from spoold.stages.execute import jobs\n"
    "jobs.SHOWN_EVERY = 0.1\n"
    "runpy.run_module('spoold', run_name='__main__')"
)


def test_the_request_file_shows_when_it_was_last_heard_of(agents, monkeypatch):
    """While an agent runs, its request says how much it has printed, and when."""
    site = agents.site
    agents.configure("import time\nwhile True: print('x' * 99, flush=True); time.sleep(0.1)")
    words = site.words
    monkeypatch.setattr(
        site, "words", lambda *given: [sys.executable, "-c", SHOWS_AT_ONCE, *words(*given)[3:]]
    )
    site.start("run")
    monkeypatch.undo()

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


@pytest.mark.parametrize("how", ["verb", "touch", "while no executor ran"])
def test_a_person_can_cancel_what_runs(agents, how):
    """`spoold cancel`, or a file of that name in the right folder, ends the run and says so."""
    site = agents.site
    if how == "while no executor ran":
        agents.begin_and_leave(signal.SIGKILL)
    else:
        agents.begin()
    (file,) = site.files("running/agents")
    if how == "touch":
        (site.root / "approvals/cancel/agents" / file.name).touch()
    else:
        site.spoold("cancel", file.stem[-8:], "--reason", "not today")
        (said,) = site.root.glob("approvals/*.json")
        assert json.loads(said.read_bytes())["reason"] == "not today"
    if how == "while no executor ran":
        site.drain()
    site.wait_for("failed")
    assert agents.code("failed") == "cancelled"
    assert site.request("failed")["result"]["output"]["stdout_tail"] == "hello\n"
    assert gone(agents.pids()[0], 0.1)
    until(lambda: not os.listdir(site.root / "approvals/cancel/agents"), "it to be taken away")


def queue(agents):
    """Bring the request as far as its queue; where it is, and where it would be cancelled."""
    for stage in ("intake", "gate"):
        agents.site.spoold(stage, "--drain")
    (file,) = agents.site.files("queued/agents")
    folder = agents.site.root / "approvals/cancel/agents"
    folder.mkdir(parents=True, exist_ok=True)
    return file, folder


def test_a_request_that_is_put_where_it_would_be_cancelled_is_not_lost(agents):
    """What is no decision there is set aside with a reason, wherever it was meant to go."""
    agents.configure("print(1)")
    file, folder = queue(agents)
    data = file.read_bytes()
    file.rename(folder / file.name)
    (folder / "about-nothing.json").touch()
    agents.site.drain()
    held = agents.site.only("held")
    assert held.read_bytes() == data
    assert json.loads(Path(f"{held}.reason.json").read_bytes())["code"] == "misplaced"
    assert os.listdir(folder) == []


def test_what_waits_in_the_queue_is_not_begun_when_it_is_cancelled(agents):
    """A cancellation that comes before its turn keeps a request from starting."""
    agents.configure()
    file, folder = queue(agents)
    (folder / file.name).touch()
    agents.site.drain()
    assert agents.code("failed") == "cancelled"
    assert agents.pids() == []


def test_an_end_without_evidence_waits_for_a_person_who_can_say_that_it_is_done(agents):
    """It is held with the reason, and `resolve --as done` ends it."""
    agents.configure("print('finished, honestly')")
    agents.site.drain()
    held = agents.site.only("held")
    assert json.loads(Path(f"{held}.reason.json").read_bytes())["code"] == "no-evidence"
    assert "REPORT.md" in agents.site.request("held")["result"]["summary"]
    agents.site.spoold("resolve", held.stem[-8:], "--as", "done")
    assert agents.site.where() == {"done": 1}


def test_what_a_person_has_held_cannot_be_resolved_as_done(agents):
    """What never ran is never said to be done."""
    site = agents.site
    agents.configure("print(1)")
    config = site.config.parent / "routes.d/10.toml"
    config.write_text(config.read_text().replace("requires_approval = false", ""))
    site.drain()
    name = site.only("awaiting-approval").stem[-8:]
    site.spoold("hold", name)
    assert site.spoold("resolve", name, "--as", "done", ok=False).returncode == 65
    assert site.where() == {"held": 1}
