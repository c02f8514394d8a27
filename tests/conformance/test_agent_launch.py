"""How a supervisor is begun, and what its files prove of an agent's start."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spoold.errors import OutcomeUnknown, Transient
from spoold.executors import Running, agent
from spoold.executors.agent import attempt_files, confinement
from spoold.executors.agent.attempt_files import Start, how_far
from spoold.executors.agent.confinement import Confined, scope_for
from spoold.linux.processes import Identity, identify
from tests.conformance.agents import claim, config, left, outcome, params, probed, run, until


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


def test_an_agent_that_is_found_again_is_limited_again(stage, tmp_path, monkeypatch):
    """Whoever watches it on sees to its limits first."""
    settings = config("", memory="1G", cpus=2.0)
    context, asked = stage.context(settings), []
    monkeypatch.setattr(agent, "confine_again", lambda *given: asked.append(given))
    outcome(lambda: agent.resume(params(settings, tmp_path, memory="1G", cpus=2.0), context))
    assert asked == [(context, "1G", 2.0)]


# What files prove

LIVES = identify(os.getpid())._asdict()
ENDS = [
    {"why": "never-started"},
    {"why": "not-started", "errno": 11},
    {"why": "terminated", "begun": False},
]


@pytest.mark.parametrize(
    ("files", "more", "start", "code"),
    [
        ({}, {"begun": False}, Start.NOT_BEGUN, "never-started"),
        ({"process": claim()}, {"begun": False}, Start.NOT_BEGUN, "never-started"),
        ({"process": claim()}, {}, Start.BEGUN, "lost"),
        ({"process": claim(boot="another")}, {"begun": False}, Start.CANNOT_TELL, "lost"),
        ({"process": claim(**LIVES)}, {"begun": False}, Start.ABOUT_TO_BEGIN, "running"),
        ({"process": claim(**LIVES)}, {}, Start.BEGUN, "running"),
        *(({"process": torn}, {"begun": False}, Start.CANNOT_TELL, "lost")
          for torn in ("", "{", "[]", '{"supervisor": 1}')),
        ({"process": "{"}, {}, Start.BEGUN, "lost"),
        ({}, {"begun": False, "heard_of": True}, Start.BEGUN, "lost"),
        ({"process": claim()}, {"begun": False, "heard_of": True}, Start.BEGUN, "lost"),
        *(({"process": claim(), "exit": end}, {"begun": False, "heard_of": True}, Start.BEGUN,
           "lost") for end in ENDS),
        ({"process": claim(), "exit": ENDS[2] | {"started_at": "x"}}, {}, Start.BEGUN,
         "interrupted"),
    ],
)  # fmt: skip
def test_what_an_attempt_has_left_says_whether_it_may_be_repeated(
    stage, tmp_path, files, more, start, code
):
    """Only where no agent can have begun is an attempt repeated; a doubt is a person's.

    An agent can remove the mark, and write in its supervisor's place that it never began: what
    was heard of has begun all the same.
    """
    context = replace(stage.context(config("")), heard_of=more.get("heard_of", False))
    left(context, begun=more.get("begun", True), **files)
    assert how_far(context) is start
    said = probed(context, tmp_path)
    expected = {"never-started": Transient, "interrupted": Transient, "lost": OutcomeUnknown}
    assert type(said) is expected.get(code, Running)
    assert isinstance(said, Running) or said.code == code


def test_what_cannot_be_looked_at_is_not_taken_for_missing(stage, tmp_path, monkeypatch):
    """A link in place of the claim is one; a mark that may not be looked at raises; so does none.

    Without its folder, which an agent or whoever tidies up can remove, nothing is known.
    """
    context = stage.context(config(""))
    os.symlink("/nonexistent", f"{context.files}.process.json")
    assert probed(context, tmp_path).code == "lost"
    real = os.lstat

    def failing(path, **options):
        if str(path).endswith(".begun"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, **options)

    monkeypatch.setattr(os, "lstat", failing)
    with pytest.raises(PermissionError):
        probed(context, tmp_path)
    monkeypatch.undo()
    shutil.rmtree(stage.folder)
    assert probed(context, tmp_path).code == "lost"


def test_one_that_is_about_to_begin_is_waited_for(stage, tmp_path, monkeypatch):
    """A supervisor that was started and has not claimed yet is not taken for none."""
    context = stage.context(config(""))
    starting = subprocess.Popen(["sleep", "600"], env={"SPOOLD_ATTEMPT_FILES": context.files})
    looks = []
    real = attempt_files.with_variable

    def look(*variables):
        looks.append(found := real(*variables))
        if len(looks) == 3:
            starting.kill()
            starting.wait()
        return found

    try:
        until(lambda: how_far(context) is Start.ABOUT_TO_BEGIN)
        monkeypatch.setattr(attempt_files, "with_variable", look)
        assert probed(context, tmp_path).code == "never-started"
        assert looks[:3] == [[starting.pid]] * 3
    finally:
        starting.kill()
        starting.wait()


def test_an_agent_that_begins_and_ends_while_it_is_looked_at_has_begun(stage, monkeypatch):
    """A supervisor proves that nothing began only if it was gone before the mark was missed."""
    context = stage.context(config(""))
    left(context, begun=False, process=claim(**LIVES))

    def began_and_ended(_: Identity) -> bool:
        Path(f"{context.files}.begun").touch()
        return False

    monkeypatch.setattr(Identity, "alive", property(began_and_ended))
    assert how_far(context) is Start.BEGUN


# A supervisor that does not start, or must not


def test_an_agent_is_not_begun_for_an_executor_that_is_gone(stage, tmp_path):
    """A supervisor whose executor has died before the claim ends without a trace."""
    job = {"parent": 1, "program": "/bin/touch", "argv": ["touch", "ran"], "cwd": str(tmp_path),
           "env": {}, "prompt": "x", "timeout": 9, "idle_timeout": 9, "max_output": 9,
           "secrets": [], "key": None, "max_cost": None, "max_turns": None}  # fmt: skip
    argv = [sys.executable, "-m", "spoold.supervisor", str(stage.folder / "attempt-1")]
    subprocess.run(argv, input=json.dumps(job).encode(), check=True, timeout=60)
    assert not list(stage.folder.iterdir())


def test_only_one_supervisor_has_an_attempt(stage, tmp_path):
    """A second one for the same attempt starts nothing, and leaves the first one's files alone."""
    (stage.folder / "attempt-1.process.json").write_text(json.dumps(claim()))
    assert run(stage, tmp_path, "open('ran', 'a').write('x')").code == "lost"
    assert not (tmp_path / "ran").exists()
    assert json.loads((stage.folder / "attempt-1.process.json").read_bytes()) == claim()


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
    ended = run(stage, tmp_path, "")
    assert (type(ended), ended.code) == (Transient, "cannot-start")
    assert problem.strerror in ended.summary


def test_a_claim_that_cannot_be_read_now_is_no_start_that_did_nothing(stage, tmp_path, monkeypatch):
    """While no descriptor is left the agent has begun all the same: nobody says it may start."""
    context = stage.context(config("import time; time.sleep(600)"))
    begun = Path(f"{context.files}.begun")
    monkeypatch.setattr(attempt_files, "supervisor_of", lambda _: until(begun.exists) and None)
    monkeypatch.setattr(attempt_files, "CLAIMS_WITHIN", 0.1)
    ended = outcome(lambda: agent.run(params(context.config, tmp_path), context))
    assert (type(ended), ended.code) == (OutcomeUnknown, "lost")
    said = json.loads(Path(f"{context.files}.process.json").read_bytes())
    assert not Identity(**said["agent"]).alive


def test_a_supervisor_that_does_not_start_says_why(stage, tmp_path, monkeypatch):
    """The end of what systemd-run or Python has printed is in the summary."""
    says = "echo noise >&2; echo 'Failed to connect to bus: \033[1mno medium' >&2; exit 1"
    monkeypatch.setattr(agent, "scope_for", lambda *_: Confined(argv=("sh", "-c", says, "--")))
    ended = run(stage, tmp_path, "")
    assert (type(ended), ended.code) == (Transient, "cannot-start")
    assert "did not start: Failed to connect to bus: \\x1b[1mno medium; nothing" in ended.summary
