"""The limits of an agent: its deadlines, its caps, and how much of its output is kept."""

import json
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from spoold.errors import Permanent
from spoold.executors import agent
from tests.conformance.agents import ESCAPES, begin, config, outcome, params, run
from tests.ended import gone


def test_past_a_deadline_the_whole_tree_is_killed(stage, tmp_path):
    """Ignoring signals and leaving the session twice save nothing; output keeps `idle` away."""
    prints = "import time\nfor n in range(6): print(n, flush=True); time.sleep(0.4)"
    _, end = begin(stage, tmp_path, ESCAPES, idle_timeout="2s")
    _, end_of_other = begin(stage, tmp_path, prints, idle_timeout="2s")
    ended = end()
    assert (type(ended), ended.code) == (Permanent, "idle")
    grandchild = int(ended.output["stdout_tail"])
    assert gone(grandchild, 0.1)
    assert gone(ended.details["pid"], 0.1)
    assert ended.details["survivors"] == []
    assert end_of_other().code == "exit-0"


def test_a_fork_bomb_is_ended_at_its_deadline(stage, tmp_path):
    """Children that make children as fast as they can are all stopped."""
    code = (
        "import os, time\n"
        "for _ in range(6): os.fork()\n"
        "os.setsid() if os.getpgrp() != os.getpid() else None\n"
        "while True:\n"
        "    if os.fork() == 0: time.sleep(0.05); os._exit(0)\n"
        "    time.sleep(0.02)\n"
        "    try: os.waitpid(-1, os.WNOHANG)\n"
        "    except ChildProcessError: pass\n"
    )
    ended = run(stage, tmp_path, code, settings={"timeout": "1s"})
    assert (type(ended), ended.code) == (Permanent, "timeout")
    assert ended.details["survivors"] == []


def test_a_cap_stops_the_run(stage, tmp_path):
    """As soon as its output says that it has cost more, it ends."""
    rows = [
        ('{"type":"step_finish","part":{"cost":0.6}}', {"max_cost": 1.0}, "over-cost"),
        ('{"type":"turn.completed"}', {"max_turns": 1}, "over-turns"),
    ]
    program = "import time\nfor _ in range(3): print({!r}, flush=True)\ntime.sleep(600)"
    begun = [begin(stage, tmp_path, program.format(line), **caps) for line, caps, _ in rows]
    ends = [end() for _, end in begun]
    assert [(type(ended), ended.code) for ended in ends] == [(Permanent, code) for *_, code in rows]


@pytest.mark.parametrize(
    ("line", "cap", "said"),
    [
        ('{"result":"x","total_cost_usd":5.5}', ("max_cost", 5.0), "0.5 more than its cap of 5."),
        ('{"result":"x","num_turns":4}', ("max_turns", 3), "4 turns, 1 more than its cap."),
    ],
)
def test_a_cap_that_was_passed_at_the_very_end_is_said(stage, tmp_path, line, cap, said):
    """What is over cannot be stopped: it is done, and its summary says by how much it was more."""
    name, most = cap
    ended = run(stage, tmp_path, f"print({line!r})", settings={name: most})
    assert (ended.code, ended.summary.endswith(said)) == ("exit-0", True)
    failed = run(stage, tmp_path, f"print({line!r}); raise SystemExit(3)", settings={name: most})
    assert (failed.code, failed.summary.endswith(said)) == ("exit-3", True)
    within = run(stage, tmp_path, f"print({line!r})", settings={name: type(most)(9)})
    assert "cap" not in within.summary


def test_a_flood_of_output_is_capped_and_memory_stays_flat(stage, tmp_path):
    """200 MB cost their time and no memory; both ends of them are kept."""
    settings = config("", command={
        "argv": ["/bin/sh", "-c", "echo begin; head -c 200000000 /dev/zero | tr '\\0' a; echo end"]
    })  # fmt: skip
    context = stage.context(settings)
    over, most = threading.Event(), [0]

    def watch():
        while not over.wait(0.02):
            with suppress(OSError, ValueError):
                claim = json.loads(Path(f"{context.files}.process.json").read_bytes())
                status = Path(f"/proc/{claim['supervisor']['pid']}/status").read_text()
                (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
                most.append(int(line.split()[1]))

    watching = threading.Thread(target=watch)
    watching.start()
    ended = outcome(lambda: agent.run(params(settings, tmp_path), context))
    over.set()
    watching.join()
    assert ended.output["stdout_bytes"] == 200_000_010
    assert ended.output["truncated"]
    kept = Path(f"{context.files}.out").read_bytes()
    assert kept.startswith(b"begin\na")
    assert kept.endswith(b"aend\n")
    assert len(kept) < settings.max_output + 100
    assert 0 < max(most) < 60_000
