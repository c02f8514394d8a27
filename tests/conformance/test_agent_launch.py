"""How a supervisor is begun, and who may begin."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from spoold.errors import OutcomeUnknown, Transient
from spoold.executors import Running, agent
from spoold.executors.agent import attempt_files, confinement
from spoold.executors.agent.confinement import Confined, scope_for
from spoold.linux.processes import Identity, boot_id, identify
from tests.conformance.agents import config, outcome, params


def left(stage, what, fields):
    """What a supervisor of attempt 1 would have left."""
    (stage.folder / f"attempt-1.{what}.json").write_text(json.dumps(fields))


def process(**changes):
    """An identity that is nobody's."""
    who = {"pid": 1, "start": 1, "boot": boot_id()} | changes
    return {"supervisor": who, "agent": who, "started_at": "2026-01-01T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("wanted", "manager", "scope"),
    [
        ("none", "system", None),
        ("auto", "none", None),
        ("auto", "system", "--system"),
        ("auto", "user", "--user"),
        ("user", "system", "--user"),
    ],
)
def test_under_systemd_it_gets_a_scope_of_its_own(stage, monkeypatch, wanted, manager, scope):
    """The scope carries the request's name and its limits; without systemd there is none."""
    monkeypatch.setattr(confinement, "_manager", lambda: manager)
    context = stage.context(None)
    confined = scope_for(wanted, context, "2G", 1.5)
    if scope is None:
        assert confined == Confined()
        return
    argv = confined.argv
    assert argv[:3] == ("systemd-run", scope, "--scope")
    assert f"--unit={confined.name.removesuffix('.scope')}" in argv
    assert f"--unit=spoold-{context.dispatch_id}-1" in argv
    assert {"--property=MemoryMax=2G", "--property=CPUQuota=150%"} <= set(argv)


def probed(stage, tmp_path):
    """What the probe says of attempt 1."""
    settings = config("")
    stage.numbers = itertools.count(1)
    context = stage.context(settings)
    return outcome(lambda: agent.probe(params(settings, tmp_path), context))


def test_an_agent_that_is_found_again_is_limited_again(stage, tmp_path, monkeypatch):
    """Whoever watches it on sees to its limits first."""
    settings = config("", memory="1G", cpus=2.0)
    context, asked = stage.context(settings), []
    monkeypatch.setattr(agent, "confine_again", lambda *given: asked.append(given))
    outcome(lambda: agent.resume(params(settings, tmp_path, memory="1G", cpus=2.0), context))
    assert asked == [(context, "1G", 2.0)]


def test_nothing_left_means_never_started(stage, tmp_path):
    """Where no supervisor has claimed the attempt, and none runs that could, it may be repeated."""
    assert (type(said := probed(stage, tmp_path)), said.code) == (Transient, "never-started")


def test_a_supervisor_that_lives_means_running(stage, tmp_path):
    """While the process of the claim lives, the attempt goes on."""
    left(stage, "process", process(**identify(os.getpid())._asdict()))
    assert isinstance(probed(stage, tmp_path), Running)


def test_a_dead_supervisor_without_a_word_is_unknown(stage, tmp_path):
    """The agent had begun, and nobody saw its end."""
    left(stage, "process", process())
    (stage.folder / "attempt-1.begun").touch()
    assert (type(said := probed(stage, tmp_path)), said.code) == (OutcomeUnknown, "lost")


def test_before_it_had_begun_a_dead_supervisor_has_done_nothing(stage, tmp_path):
    """Without the mark it may be repeated; but not after a reboot, which may have lost the mark."""
    left(stage, "process", process())
    assert probed(stage, tmp_path).code == "never-started"
    left(stage, "process", process(boot="another"))
    assert (type(said := probed(stage, tmp_path)), said.code) == (OutcomeUnknown, "lost")


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"supervisor": 1}'])
def test_a_claim_that_cannot_be_read_is_no_ground_for_another_attempt(stage, tmp_path, torn):
    """Somebody had claimed it; who that was and whether it had begun, nobody knows any more."""
    (stage.folder / "attempt-1.process.json").write_text(torn)
    assert (type(said := probed(stage, tmp_path)), said.code) == (OutcomeUnknown, "lost")


def test_one_that_is_about_to_begin_is_waited_for(stage, tmp_path):
    """A supervisor that was started and has not claimed yet is not taken for none."""
    settings = config("")
    context = stage.context(settings)
    starting = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        env={"SPOOLD_ATTEMPT_FILES": context.files},
    )
    try:
        time.sleep(0.3)
        began = time.monotonic()
        threading.Timer(1, starting.kill).start()
        assert outcome(lambda: agent.probe(params(settings, tmp_path), context)).code == (
            "never-started"
        )
        assert time.monotonic() - began > 0.5
    finally:
        starting.kill()
        starting.wait()


def test_an_agent_is_not_begun_for_an_executor_that_is_gone(stage, tmp_path):
    """A supervisor whose executor has died before the claim ends without a trace."""
    job = {"parent": 1, "program": "/bin/touch", "argv": ["touch", "ran"], "cwd": str(tmp_path),
           "env": {}, "prompt": "x", "timeout": 9, "idle_timeout": 9, "max_output": 9,
           "secrets": [], "key": None, "max_cost": None, "max_turns": None}  # fmt: skip
    argv = [sys.executable, "-m", "spoold.supervisor", str(stage.folder / "attempt-1")]
    subprocess.run(argv, input=json.dumps(job).encode(), check=True, timeout=20)
    assert not list(stage.folder.iterdir())


def test_only_one_supervisor_has_an_attempt(stage, tmp_path):
    """A second one for the same attempt starts nothing, and leaves the first one's files alone."""
    settings = config("open('ran', 'a').write('x'); import time; time.sleep(0.5); print(1)")
    context = stage.context(settings)
    left(stage, "process", process())
    ended = outcome(lambda: agent.run(params(settings, tmp_path), context))
    assert ended.code == "lost"
    assert not (tmp_path / "ran").exists()
    claim = json.loads((stage.folder / "attempt-1.process.json").read_bytes())
    assert claim == process()


# A supervisor that does not start


@pytest.mark.parametrize(
    "problem",
    [FileNotFoundError(2, "No such file", "systemd-run"), BlockingIOError(11, "Try again"),
     OSError(12, "Cannot allocate memory")],
)  # fmt: skip
def test_a_start_that_did_nothing_may_be_repeated(stage, tmp_path, monkeypatch, problem):
    """When no process could be made, nothing was done."""

    def no_process(*_args, **_options):
        raise problem

    monkeypatch.setattr(subprocess, "Popen", no_process)
    settings = config("")
    context = stage.context(settings)
    ended = outcome(lambda: agent.run(params(settings, tmp_path), context))
    assert (type(ended), ended.code) == (Transient, "cannot-start")
    assert problem.strerror in ended.summary


def test_a_claim_that_cannot_be_read_now_is_no_start_that_did_nothing(stage, tmp_path, monkeypatch):
    """While no descriptor is left the agent has begun all the same: nobody says it may start."""
    monkeypatch.setattr(attempt_files, "CLAIMS_WITHIN", 2.0)
    monkeypatch.setattr(attempt_files, "supervisor_of", lambda _: None)
    settings = config("import time; time.sleep(600)")
    context = stage.context(settings)
    ended = outcome(lambda: agent.run(params(settings, tmp_path), context))
    assert (type(ended), ended.code) == (OutcomeUnknown, "lost")
    claim = json.loads(Path(f"{context.files}.process.json").read_bytes())
    assert not Identity(**claim["agent"]).alive


def test_a_supervisor_that_does_not_start_says_why(stage, tmp_path, monkeypatch):
    """The end of what systemd-run or Python has printed is in the summary."""
    says = "echo noise >&2; echo 'Failed to connect to bus: \033[1mno medium' >&2; exit 1"
    monkeypatch.setattr(agent, "scope_for", lambda *_: Confined(argv=("sh", "-c", says, "--")))
    settings = config("")
    context = stage.context(settings)
    ended = outcome(lambda: agent.run(params(settings, tmp_path), context))
    assert (type(ended), ended.code) == (Transient, "cannot-start")
    assert "did not start: Failed to connect to bus: \\x1b[1mno medium; nothing" in ended.summary
