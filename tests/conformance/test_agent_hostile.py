"""Agents that turn on who watches them, and supervisors that end in odd ways."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import Running, agent
from spoold.executors.agent import watchdog
from spoold.linux.processes import boot_id, identify, with_variable
from tests.conformance.agents import config, gone, outcome, params
from tests.contract import FILLS_ITS_INPUT

#: Starts a process that leaves the session, forgets its environment, and says who it is.
LEAVES_ONE = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    os.execve('/bin/sleep', ['sleep', '600'], {})
"""


def until(condition, seconds=10.0):
    """What the condition gives as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
    return found


def supervisor(context):
    """Its process, as soon as the agent has begun."""
    until(Path(f"{context.files}.begun").exists)
    return json.loads(Path(f"{context.files}.process.json").read_bytes())["supervisor"]["pid"]


def begin(stage, cwd, code, **settings):
    """Let an agent run in a thread; its context, and a function that waits for its end."""
    made = config(code, **settings)
    context = stage.context(made)
    ended = []
    thread = threading.Thread(
        target=lambda: ended.append(outcome(lambda: agent.run(params(made, cwd), context)))
    )
    thread.start()

    def end():
        thread.join(30)
        assert ended, "it is still followed"
        return ended[0]

    return context, end


def run(stage, cwd, code, **given):
    """Let an agent run to its end."""
    made = config(code, **given.pop("settings", {}))
    return outcome(lambda: agent.run(params(made, cwd, **given), stage.context(made)))


def dangle(path):
    """A link to nothing."""
    os.symlink("/nonexistent", path)


def flood(path):
    """More than anybody should read."""
    with open(path, "wb") as file:
        file.truncate(1 << 40)


# What it does to the pipes


def test_an_agent_that_reads_its_own_output_does_not_break_its_supervisor(stage, tmp_path):
    """Bytes that somebody else has taken out of the pipe are only missing."""
    code = (
        "import os, threading, time\n"
        "end = time.monotonic() + 1\n"
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


def test_half_a_surrogate_pair_in_its_output_is_no_loss(stage, tmp_path):
    """Text that JSON allows and UTF-8 does not is cleaned, and the run counts."""
    code = r"""print('{"result": "it said \\ud83d and \\ud83d\\ude00"}')"""
    ended = run(stage, tmp_path, code, evidence={"json": "result"})
    assert ended.code == "exit-0"
    assert ended.evidence["value"] == "it said ? and \U0001f600"
    assert orjson.loads((stage.folder / "attempt-1.exit.json").read_bytes())


def test_half_a_surrogate_pair_in_how_it_ended_is_read_all_the_same(stage, tmp_path):
    """What an earlier version has written so is no riddle, and can be put into a request."""
    settings = config("")
    context = stage.context(settings)
    left(context, exit=r'{"why": "exited", "exit_code": 0, "value": "\ud83d", "started_at": '
                       '"2026-01-01T00:00:00+00:00"}')  # fmt: skip
    given = params(settings, tmp_path, evidence={"json": "result"})
    ended = outcome(lambda: agent.probe(given, context))
    assert orjson.loads(orjson.dumps(ended.evidence))["value"] == "?"


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
        assert ended.code == "exit-0"
        assert ended.details["survivors"] == []
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=True)
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
        "time.sleep(2.5)\n"
        "up = os.getppid()\n"
        "print(len(open(f'/proc/{up}/task/{up}/children').read().split()))"
    )
    assert run(stage, tmp_path, code).output["stdout_tail"] == "1\n"


@pytest.fixture
def _impatient(monkeypatch):
    """The watchdog waits for less."""
    monkeypatch.setattr(watchdog, "_GRACE", 0.5)
    monkeypatch.setattr(watchdog, "_SILENT", 1.5)


STOPS = f"""{LEAVES_ONE}
import signal
print('begun', flush=True)
while not os.path.exists('attempt-1.out'): time.sleep(0.02)
while True:
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(0.1)
"""


@pytest.mark.usefixtures("_impatient")
def test_an_agent_that_stops_its_supervisor_is_ended_at_its_deadline(stage, tmp_path):
    """Past the deadline the executor ends both, and all that was started."""
    context, end = begin(stage, tmp_path, STOPS, timeout="2s")
    watcher = supervisor(context)
    ended = end()
    assert (type(ended), ended.code) == (Permanent, "timeout")
    assert "it was killed too" in ended.summary
    assert ended.output["stdout_tail"] == "begun\n"
    assert len(ended.details["left_behind"]) >= 2
    assert all(gone(pid, 0.5) for pid in [watcher, *ended.details["left_behind"]])


@pytest.mark.usefixtures("_impatient")
def test_an_agent_that_stops_its_supervisor_can_be_cancelled(stage, tmp_path):
    """A person's wish has its effect also when nobody is there to hear it."""
    context, end = begin(stage, tmp_path, STOPS)
    watcher = supervisor(context)
    started = time.monotonic()
    context.cancelled.set()
    context.stopping.set()
    ended = end()
    assert (type(ended), ended.code) == (Permanent, "cancelled")
    assert time.monotonic() - started < 8
    assert all(gone(pid, 0.5) for pid in [watcher, *ended.details["left_behind"]])


def test_a_supervisor_that_is_heard_of_is_left_to_it(stage, tmp_path, monkeypatch):
    """As long as it gives a sign of life, the deadline is its own business."""
    monkeypatch.setattr(watchdog, "_GRACE", -1800.0)
    monkeypatch.setattr(watchdog, "_SILENT", 4.0)
    context, end = begin(stage, tmp_path, "import time; time.sleep(6); print(1)")
    supervisor(context)
    assert end().code == "exit-0"


def test_a_silent_supervisor_without_an_agent_only_waits(stage, tmp_path, monkeypatch):
    """One that waits for room on a disk to write down the end is not killed; a stopped one is."""
    monkeypatch.setattr(watchdog, "_GRACE", 0.0)
    monkeypatch.setattr(watchdog, "_SILENT", 0.0)
    context = stage.context(config(""))
    left(context)
    with subprocess.Popen(["sleep", "600"]) as silent:
        watcher = watchdog.Watchdog(identify(silent.pid), -1, context, -1.0)
        assert watcher.overdue() is None
        silent.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, silent.pid, os.WSTOPPED)
        assert watcher.overdue() == "timeout"
        silent.send_signal(signal.SIGCONT)
        until(lambda: watcher.overdue() is None)
        claim = json.loads(Path(f"{context.files}.process.json").read_bytes())
        claim["agent"] = identify(silent.pid)._asdict()
        left(context, process=json.dumps(claim))
        assert watcher.overdue() == "timeout"
        silent.kill()


# A supervisor that ends in odd ways


def test_a_supervisor_that_is_told_to_end_by_nobody_we_know_leaves_a_doubt(stage, tmp_path):
    """A shutdown or a stray kill is not taken for a person's wish."""
    context, end = begin(stage, tmp_path, "import time; print(1, flush=True); time.sleep(600)")
    os.kill(supervisor(context), signal.SIGTERM)
    ended = end()
    assert (type(ended), ended.code) == (OutcomeUnknown, "interrupted")
    assert "A person" not in ended.summary
    assert gone(ended.details["pid"], 0.1)


def test_a_wish_is_known_to_the_next_executor(stage, tmp_path):
    """Who was told to end because a person said so is cancelled, whoever reads how it ended."""
    context, end = begin(stage, tmp_path, "import time; time.sleep(600)")
    supervisor(context)
    context.cancelled.set()
    assert end().code == "cancelled"
    again = stage.context(context.config)
    object.__setattr__(again, "files", context.files)
    ended = outcome(lambda: agent.probe(params(context.config, tmp_path), again))
    assert (type(ended), ended.code) == (Permanent, "cancelled")


def left(context, **files):
    """What a supervisor would have left."""
    who = {"pid": 1, "start": 1, "boot": boot_id()}
    claim = {"supervisor": who, "agent": who, "started_at": "2026-01-01T00:00:00+00:00"}
    for what, content in {"process": json.dumps(claim), **files}.items():
        Path(f"{context.files}.{what}.json").write_text(content)
    Path(f"{context.files}.begun").touch()


def test_before_the_agent_had_begun_a_stray_kill_is_no_harm(stage, tmp_path):
    """An agent that was not let go may be begun later."""
    settings = config("")
    context = stage.context(settings)
    left(context, exit='{"why": "terminated", "begun": false, "started_at": "2026-01-01T00:00Z"}')
    ended = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(ended), ended.code) == (Transient, "interrupted")


@pytest.mark.parametrize("torn", ["", "{", "\xff", "[" * 100_000])
def test_an_end_that_cannot_be_read_is_not_taken_for_missing(stage, tmp_path, torn):
    """How it ended is there, and a person is told where."""
    settings = config("")
    context = stage.context(settings)
    left(context, exit=torn)
    ended = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(ended), ended.code) == (OutcomeUnknown, "unreadable")
    assert f"{context.files}.exit.json" in ended.summary


@pytest.mark.parametrize("what", ["exit", "process", "beat"])
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, dangle, flood], ids=lambda put: put.__name__)
def test_nothing_in_the_place_of_what_its_supervisor_leaves_blocks_us(stage, tmp_path, what, put):
    """A pipe, a folder, a link or a flood there is no word, and nobody waits for one."""
    context, ended = begin(stage, tmp_path, "import os, time; time.sleep(600)")
    pid, path = supervisor(context), f"{context.files}.{what}.json"
    os.kill(pid, signal.SIGSTOP)
    with suppress(FileNotFoundError):
        Path(path).unlink()
    put(path)
    time.sleep(watchdog._TICK * 1.5)
    os.kill(pid, signal.SIGKILL)
    assert type(ended()) is OutcomeUnknown
    probed = outcome(lambda: agent.probe(params(context.config, tmp_path), context))
    assert type(probed) is OutcomeUnknown


def test_without_its_folder_nobody_says_that_it_never_started(stage, tmp_path):
    """An agent, or whoever tidies up, can remove all that its supervisor had left."""
    settings = config("")
    context = stage.context(settings)
    shutil.rmtree(stage.folder)
    said = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(said), said.code) == (OutcomeUnknown, "lost")


def test_what_was_heard_of_has_started(stage, tmp_path):
    """What the request file shows of an attempt is not forgotten with the files it came from."""
    settings = config("")
    context = replace(stage.context(settings), heard_of=True)
    said = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(said), said.code) == (OutcomeUnknown, "lost")


@pytest.mark.parametrize(
    "end",
    [None, {"why": "never-started"}, {"why": "not-started", "errno": 11},
     {"why": "terminated", "begun": False}],
    ids=["no mark", "never", "not", "interrupted"],
)  # fmt: skip
def test_who_was_heard_of_has_begun_whatever_is_written_there(stage, tmp_path, end):
    """An agent can remove the mark, and write in its supervisor's place that it never began."""
    settings = config("")
    context = replace(stage.context(settings), heard_of=True)
    left(context, **({"exit": json.dumps(end)} if end else {}))
    Path(f"{context.files}.begun").unlink()
    said = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(said), said.code) == (OutcomeUnknown, "lost")


def test_a_mark_that_cannot_be_looked_at_is_not_taken_for_missing(stage, tmp_path, monkeypatch):
    """Nobody says of it that the agent never began."""
    settings = config("")
    context = stage.context(settings)
    real = os.lstat

    def failing(path, **options):
        if str(path).endswith(".begun"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", failing)
    with pytest.raises(PermissionError):
        agent.probe(params(settings, tmp_path), context)


def test_a_link_to_nothing_in_place_of_the_claim_is_a_claim(stage, tmp_path):
    """Something is there, so somebody had begun."""
    settings = config("")
    context = stage.context(settings)
    os.symlink("/nonexistent", f"{context.files}.process.json")
    said = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(said), said.code) == (OutcomeUnknown, "lost")


def test_what_is_shown_of_an_agent_is_what_its_supervisor_would_say(stage, tmp_path):
    """A beat that an agent has written tells no stories, however long."""
    context, ended = begin(stage, tmp_path, "import time; time.sleep(600)")
    shown = []
    object.__setattr__(context, "report", shown.append)
    pid = supervisor(context)
    os.kill(pid, signal.SIGSTOP)
    forged = {"pid": [1] * 1000, "last_output_at": "x" * 1000, "turns": 3, "more": "x"}
    Path(f"{context.files}.beat.json").write_text(json.dumps(forged))
    shown.clear()
    facts = until(lambda: shown and shown[-1])
    os.kill(pid, signal.SIGKILL)
    ended()
    assert facts == {"turns": 3, "stdout_bytes": None, "stderr_bytes": None, "cost_usd": None}


def test_a_claim_that_cannot_be_read_does_not_begin_it_again(stage, tmp_path):
    """Where the mark says that an agent has begun, it is never repeated."""
    settings = config("")
    context = stage.context(settings)
    left(context, process="{")
    ended = outcome(lambda: agent.probe(params(settings, tmp_path), context))
    assert (type(ended), ended.code) == (OutcomeUnknown, "lost")


@pytest.mark.parametrize("claimed", [True, False])
def test_what_lives_on_without_its_supervisor_is_ended_and_named(stage, tmp_path, claimed):
    """The probe finds it and touches nothing; then it is killed, and its number is in the file."""
    settings = config("")
    context = stage.context(settings)
    left(context, **({} if claimed else {"process": "{"}))
    mark = {"SPOOLD_DISPATCH_ID": context.dispatch_id}
    orphan = subprocess.Popen(["sleep", "600"], env=mark, start_new_session=True)
    try:
        until(lambda: with_variable(f"SPOOLD_DISPATCH_ID={context.dispatch_id}"))
        found = outcome(lambda: agent.probe(params(settings, tmp_path), context))
        assert isinstance(found, Running)
        assert orphan.poll() is None
        ended = outcome(lambda: agent.resume(params(settings, tmp_path), context))
        assert (type(ended), ended.code) == (OutcomeUnknown, "lost")
        assert ended.details["killed"] == [orphan.pid]
        assert str(orphan.pid) in ended.summary
        assert orphan.wait(5) == -signal.SIGKILL
    finally:
        orphan.kill()
        orphan.wait()
