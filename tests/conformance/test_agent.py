"""The kind `agent`: what it launches, and how that ends."""

import json
import sys
from pathlib import Path

import pytest

from spoold.errors import Permanent, Transient
from tests.conformance.agents import run
from tests.ended import gone

# What it is given


SEES_PLAN = (
    "import os, sys; said = sys.stdin.read(); "
    "print(said, any('secret plan' in t for t in [*sys.argv, *os.environ.values()]))"
)


@pytest.mark.parametrize(
    ("code", "prompt", "printed"),
    [
        (SEES_PLAN, "the secret plan\n", "the secret plan\n False\n"),
        ("import sys; print(len(sys.stdin.read()))", "x" * 900_000, "900000\n"),
        ("import os; os.close(0); print('ok')", "x" * 500_000, "ok\n"),
        ("import os; print(os.getsid(0) == os.getpid() == os.getpgrp())", "x", "True\n"),
    ],
    ids=["on stdin and nowhere else", "larger than a pipe", "not read", "session of its own"],
)  # fmt: skip
def test_an_agent_gets_its_prompt_on_stdin_in_a_session_of_its_own(
    stage, tmp_path, code, prompt, printed
):
    """The prompt arrives whole, on stdin alone, and need not be read; no group's signals come."""
    ended = run(stage, tmp_path, code, prompt=prompt)
    assert (ended.code, ended.output["stdout_tail"]) == ("exit-0", printed)


def test_a_prompt_in_a_file_is_private_and_goes_away(stage, tmp_path):
    """The file that an argument names holds the prompt, for its user only, while the run lasts."""
    code = "import os, sys; p = sys.argv[1]; print(p, open(p).read(), oct(os.stat(p).st_mode))"
    command = {"argv": [sys.executable, "-c", code, "{prompt_file}"], "prompt": "file"}
    ended = run(stage, tmp_path, code, settings={"command": command}, prompt="the plan")
    path, *said = ended.output["stdout_tail"].split()
    assert said == ["the", "plan", "0o100600"]
    assert not Path(path).exists()


def test_only_listed_variables_are_passed_on(stage, tmp_path, monkeypatch):
    """Its environment is the allow-list, what the configuration sets, and who it is."""
    monkeypatch.setenv("PASSED_ON", "yes")
    monkeypatch.setenv("NOT_PASSED_ON", "secret")
    code = "import os, json; print(json.dumps(sorted(os.environ)))"
    settings = {"inherit_env": ["PASSED_ON"], "env": {"SET": "1"}}
    ended = run(stage, tmp_path, code, settings=settings)
    expected = ["PASSED_ON", "PATH", "SET", "SPOOLD_ATTEMPT", "SPOOLD_DISPATCH_ID"]
    assert set(json.loads(ended.output["stdout_tail"])) - {"LC_CTYPE"} == set(expected)


def test_secrets_are_taken_out_of_its_output_by_value(stage, tmp_path):
    """A secret that the agent prints, in whatever pieces, is in no file."""
    stage.secrets = {"KEY": "s3cr3t-v4lue"}
    code = (
        "import os, sys, time, json\n"
        "key = os.environ['KEY']\n"
        "for half in (key[:5], key[5:]):\n"
        "    sys.stdout.write(half); sys.stdout.flush(); time.sleep(0.2)\n"
        "print(); print(json.dumps({'result': key}), file=sys.stdout)\n"
        "print('mine is ' + key, file=sys.stderr)"
    )
    settings = {"env": {"KEY": {"env": "KEY"}}}
    ended = run(stage, tmp_path, code, settings=settings, evidence={"json": "result"})
    assert ended.evidence["value"] == "[redacted]"
    assert ended.output["stdout_tail"].startswith("[redacted]\n")
    assert ended.output["stderr_tail"] == "mine is [redacted]\n"
    for path in stage.folder.rglob("*"):
        assert path.is_dir() or b"s3cr3t-v4lue" not in path.read_bytes(), path


def test_a_secret_that_is_missing_starts_nothing(stage, tmp_path):
    """Without its secret it can be tried again later, and nothing has happened."""
    ended = run(stage, tmp_path, "", settings={"env": {"KEY": {"env": "NOT_THERE"}}})
    assert isinstance(ended, Transient)
    assert not list(stage.folder.glob("attempt*"))


# How it ends


@pytest.mark.parametrize(
    ("code", "ends"),
    [
        ("import sys; print('why'); sys.exit(1)", ("exit-1", 1, None, "why\n")),
        ("import sys; print('why'); sys.exit(127)", ("exit-127", 127, None, "why\n")),
        ("import os; os.kill(os.getpid(), 11)", ("signal-11", None, 11, "")),
    ],
)
def test_an_agent_that_fails_has_failed_for_good(stage, tmp_path, code, ends):
    """An exit code or a signal is named, and the agent is not started again by itself."""
    ended = run(stage, tmp_path, code)
    assert isinstance(ended, Permanent)
    said = (ended.details["exit_code"], ended.details["signal"], ended.output["stdout_tail"])
    assert (ended.code, *said) == ends


def test_cost_and_turns_are_recorded(stage, tmp_path):
    """What the tool says that it cost is in the result."""
    said = '{"type":"result","result":"x","total_cost_usd":0.25,"num_turns":3}'
    ended = run(stage, tmp_path, f"print({said!r})")
    assert (ended.details["cost_usd"], ended.details["turns"]) == (0.25, 3)


def test_what_it_leaves_behind_when_it_ends_is_killed_and_named(stage, tmp_path):
    """A daemon that an agent started does not outlive the attempt."""
    code = (
        "import subprocess, sys\n"
        "left = subprocess.Popen(['sleep', '600'], start_new_session=True,\n"
        "    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(left.pid)"
    )
    ended = run(stage, tmp_path, code)
    pid = int(ended.output["stdout_tail"])
    assert ended.code == "exit-0"
    assert pid in ended.details["left_behind"]
    assert gone(pid, 0.1)


@pytest.mark.parametrize(
    ("folder", "settings", "code", "named"),
    [
        ("", {"command": {"argv": ["no-such-agent"]}}, "runtime-missing", "no-such-agent"),
        ("missing", {}, "cannot-start", "missing"),
    ],
)
def test_what_is_not_there_is_named(stage, tmp_path, folder, settings, code, named):
    """A program or a folder that is missing is a final failure, and nothing runs elsewhere."""
    ended = run(stage, tmp_path / folder, "open('x', 'w')", settings=settings)
    assert (type(ended), ended.code) == (Permanent, code)
    assert named in ended.summary
