"""Agents that turn on who watches them, and supervisors that end in odd ways."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from spoold.errors import OutcomeUnknown, Permanent
from spoold.executors import Running, agent
from spoold.executors.agent import watchdog
from spoold.linux.processes import identify, with_variable
from tests.conformance.agents import begin, claim, config, left, outcome, params, probed, run, until
from tests.contract import FILLS_ITS_INPUT
from tests.ended import gone

SLEEPS = "import time; print(1, flush=True); time.sleep(600)"


def supervisor(context):
    """Its process, as soon as the agent has begun."""
    until(Path(f"{context.files}.begun").exists)
    return json.loads(Path(f"{context.files}.process.json").read_bytes())["supervisor"]["pid"]


# What it does to the pipes


def test_an_agent_that_reads_its_own_output_does_not_break_its_supervisor(stage, tmp_path):
    """Bytes that somebody else has taken out of the pipe are only missing."""
    code = (
        "import os, threading, time\n"
        "end = time.monotonic() + 0.5\n"
        "fd = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\n"
        "def steal():\n"
        "    while time.monotonic() < end:\n"
        "        try: os.read(fd, 65536)\n"
        "        except BlockingIOError: pass\n"
        "for _ in range(2): threading.Thread(target=steal).start()\n"
        "while time.monotonic() < end: os.write(1, b'x')\n"
        "time.sleep(0.2); os.write(1, b'the end\\n')"
    )
    ended = run(stage, tmp_path, code)
    assert ended.code == "exit-0"
    assert ended.output["stdout_tail"].endswith("the end\n")


def test_an_agent_that_writes_into_its_own_input_does_not_break_its_supervisor(stage, tmp_path):
    """A pipe that somebody else has filled is waited for."""
    code = FILLS_ITS_INPUT + "print('the end')"
    assert run(stage, tmp_path, code, prompt="x" * 900_000).code == "exit-0"


# How it tries to outlive its end


def test_a_chain_of_forks_does_not_escape(stage, tmp_path):
    """Whoever forks and ends faster than a list of processes is read is ended all the same."""
    code = (
        "import os, time\n"
        "fd = os.open('alive', os.O_WRONLY | os.O_CREAT)\n"
        "if os.fork(): print(1); raise SystemExit\n"
        "os.setsid(); end = time.monotonic() + 20\n"
        "while time.monotonic() < end:\n"
        "    if os.fork(): os._exit(0)\n"
        "    os.pwrite(fd, str(time.monotonic()).encode(), 0)\n"
    )
    for _ in range(3):
        ended = run(stage, tmp_path, code)
        assert (ended.code, ended.details["survivors"]) == ("exit-0", [])
        last = (tmp_path / "alive").read_text()
        time.sleep(0.3)
        assert (tmp_path / "alive").read_text() == last, "it forks on"


def test_who_cannot_be_killed_is_named():
    """As long as there is a child, whatever the process table shows, there are survivors."""
    code = (
        "import os, time\n"
        "from spoold.supervisor import agent\n"
        "class It:\n"
        "    status, tree = None, None\n"
        "    reap = agent.Agent.reap\n"
        "It.pid = os.fork() or time.sleep(600)\n"
        "agent._GONE, agent.send = 0.3, lambda *_: True\n"
        "agent.descendants = lambda _: []\n"
        "print(agent.kill_all(It(), lambda: True, time.sleep, gently=False)[1] == [It.pid])\n"
        "os.kill(It.pid, 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"True\n"


def test_orphans_do_not_fill_the_process_table(stage, tmp_path):
    """What has lost its parent and ended is taken away while the agent still runs."""
    code = (
        "import os, time\n"
        "for _ in range(30):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0: os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "up, end = os.getppid(), time.monotonic() + 60\n"
        "def left(): return len(open(f'/proc/{up}/task/{up}/children').read().split())\n"
        "while left() > 1 and time.monotonic() < end: time.sleep(0.05)\n"
        "print(left())"
    )
    assert run(stage, tmp_path, code).output["stdout_tail"] == "1\n"


STOPS = """
import glob, os, signal, time
if os.fork() == 0:
    os.setsid()
    os.execve('/bin/sleep', ['sleep', '600'], {})
print('begun', flush=True)
while not glob.glob('attempt-*.out'): time.sleep(0.02)
while True:
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(0.1)
"""


@pytest.mark.parametrize(("how", "code"), [("deadline", "timeout"), ("cancel", "cancelled")])
def test_an_agent_that_stops_its_supervisor_is_ended(stage, tmp_path, monkeypatch, how, code):
    """Past the deadline, or after a cancel, the executor ends both, and all that was started."""
    monkeypatch.setattr(watchdog, "_GRACE", 0.5)
    monkeypatch.setattr(watchdog, "_SILENT", 1.0)
    context, end = begin(stage, tmp_path, STOPS, timeout="2s" if how == "deadline" else "1h")
    watcher = supervisor(context)
    if how == "cancel":
        until(lambda: identify(watcher).stopped)
        context.cancelled.set()
        context.stopping.set()
    ended = end()
    assert (type(ended), ended.code) == (Permanent, code)
    assert "it was killed too" in ended.summary
    assert ended.output["stdout_tail"] == "begun\n"
    assert len(ended.details["left_behind"]) >= 2
    assert all(gone(pid, 0.5) for pid in [watcher, *ended.details["left_behind"]])


def test_a_supervisor_is_ended_from_outside_only_if_it_does_not_do_its_work(stage, monkeypatch):
    """It is left alone while it beats, or runs without an agent and waits for room on a disk."""
    monkeypatch.setattr(watchdog, "_GRACE", 0.0)
    context = stage.context(config(""))
    left(context, process=claim())
    silent = subprocess.Popen(["sleep", "600"])
    try:
        watcher = watchdog.Watchdog(identify(silent.pid), -1, context, -1.0)
        left(context, process=claim(**identify(silent.pid)._asdict()))
        assert watcher.overdue() is None, "it may have just begun"
        monkeypatch.setattr(watchdog, "_SILENT", -1e9)
        assert watcher.overdue() == "timeout", "its agent lives past the deadline"
        monkeypatch.setattr(watchdog, "_SILENT", 600.0)
        watcher._beat_at -= 1e6
        assert watcher.overdue() == "timeout"
        left(context, beat={})
        assert watcher.overdue() is None, "it has been heard of"
        monkeypatch.setattr(watchdog, "_SILENT", 0.0)
        left(context, process=claim())
        assert watcher.overdue() is None, "it has no agent any more"
        silent.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, silent.pid, os.WSTOPPED)
        assert watcher.overdue() == "timeout", "it is stopped"
        silent.send_signal(signal.SIGCONT)
        until(lambda: watcher.overdue() is None)
    finally:
        silent.kill()
        silent.wait()


# A supervisor that ends in odd ways


def test_a_supervisor_that_is_told_to_end_by_nobody_we_know_leaves_a_doubt(stage, tmp_path):
    """A shutdown or a stray kill is not taken for a person's decision."""
    context, end = begin(stage, tmp_path, SLEEPS)
    os.kill(supervisor(context), signal.SIGTERM)
    ended = end()
    assert (type(ended), ended.code) == (OutcomeUnknown, "interrupted")
    assert "A person" not in ended.summary
    assert gone(ended.details["pid"], 0.1)


def test_a_cancellation_is_known_to_the_next_executor(stage, tmp_path):
    """Who was told to end because a person said so is cancelled, whoever reads how it ended."""
    context, end = begin(stage, tmp_path, SLEEPS)
    supervisor(context)
    context.cancelled.set()
    assert end().code == "cancelled"
    ended = probed(replace(stage.context(context.config), files=context.files), tmp_path)
    assert (type(ended), ended.code) == (Permanent, "cancelled")


@pytest.mark.parametrize("torn", ["", "{", "\xff", "[" * 100_000])
def test_an_end_that_cannot_be_read_is_not_taken_for_missing(stage, tmp_path, torn):
    """How it ended is there, and a person is told where."""
    context = stage.context(config(""))
    left(context, process=claim(), exit=torn)
    ended = probed(context, tmp_path)
    assert (type(ended), ended.code) == (OutcomeUnknown, "unreadable")
    assert f"{context.files}.exit.json" in ended.summary


def test_half_a_surrogate_pair_in_how_it_ended_is_read_all_the_same(stage, tmp_path):
    """What an earlier version has written so is no riddle, and can be put into a request."""
    context = stage.context(config(""))
    left(context, process=claim(), exit=r'{"why": "exited", "exit_code": 0, "value": "\ud83d", '
         '"started_at": "2026-01-01T00:00:00+00:00"}')  # fmt: skip
    ended = probed(context, tmp_path, evidence={"json": "result"})
    assert orjson.loads(orjson.dumps(ended.evidence))["value"] == "?"


def test_nothing_in_the_place_of_what_its_supervisor_leaves_blocks_us(stage, tmp_path):
    """A pipe, a folder, a link or a flood there is no word, and nobody waits for one."""
    puts = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "link": lambda path: os.symlink("/nonexistent", path),
        "flood": lambda path: (Path(path).touch(), os.truncate(path, 1 << 40)),
    }
    runs = {
        (what, put): begin(stage, tmp_path, SLEEPS)
        for what in ("exit", "process", "beat")
        for put in puts
    }
    pids = []
    for (what, put), (context, _) in runs.items():
        pids.append(pid := supervisor(context))
        os.kill(pid, signal.SIGSTOP)
        with suppress(FileNotFoundError):
            Path(f"{context.files}.{what}.json").unlink()
        puts[put](f"{context.files}.{what}.json")
    # Each executor looks once at what lies there.
    time.sleep(watchdog._TICK * 1.5)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for which, (context, ended) in runs.items():
        assert type(ended()) is OutcomeUnknown, which
        assert type(probed(context, tmp_path)) is OutcomeUnknown, which


def test_what_is_shown_of_an_agent_is_what_its_supervisor_would_say(stage, tmp_path):
    """A beat that an agent has written tells no stories, however long."""
    context, ended = begin(stage, tmp_path, SLEEPS)
    shown = []
    object.__setattr__(context, "report", shown.append)
    pid = supervisor(context)
    os.kill(pid, signal.SIGSTOP)
    left(context, beat={"pid": [1] * 1000, "last_output_at": "x" * 1000, "turns": 3, "more": "x"})
    facts = {"turns": 3, "stdout_bytes": None, "stderr_bytes": None, "cost_usd": None}
    until(lambda: facts in shown)
    os.kill(pid, signal.SIGKILL)
    ended()
    assert shown[-1] == facts


@pytest.mark.parametrize("claimed", [True, False])
def test_what_lives_on_without_its_supervisor_is_ended_and_named(stage, tmp_path, claimed):
    """The probe finds it and touches nothing; then it is killed, and its number is in the file."""
    context = stage.context(config(""))
    left(context, process=claim() if claimed else "{")
    mark = {"SPOOLD_DISPATCH_ID": context.dispatch_id}
    orphan = subprocess.Popen(["sleep", "600"], env=mark, start_new_session=True)
    try:
        until(lambda: with_variable(f"SPOOLD_DISPATCH_ID={context.dispatch_id}"))
        assert isinstance(probed(context, tmp_path), Running)
        assert orphan.poll() is None
        ended = outcome(lambda: agent.resume(params(context.config, tmp_path), context))
        assert (type(ended), ended.code) == (OutcomeUnknown, "lost")
        assert ended.details["killed"] == [orphan.pid]
        assert str(orphan.pid) in ended.summary
        assert orphan.wait(60) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()
