"""The kind `agent`: what it launches, and how that ends."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from spoold.errors import NeedsPerson, Permanent, Transient
from spoold.executors import agent
from tests.conformance.agents import ESCAPES, config, gone, outcome, params


def run(stage, cwd, code, *, context=None, settings=None, **given):
    """Let an agent run to its end."""
    settings = config(code, **(settings or {}))
    context = context or stage.context(settings)
    object.__setattr__(context, "config", settings)
    return outcome(lambda: agent.run(params(settings, cwd, **given), context))


# What it is given


def test_the_prompt_comes_on_stdin_and_is_nowhere_else(stage, tmp_path):
    """The agent reads the prompt; its arguments and environment do not have it."""
    code = (
        "import os, sys; said = sys.stdin.read(); "
        "print(said, any('secret plan' in t for t in [*sys.argv, *os.environ.values()]))"
    )
    ended = run(stage, tmp_path, code, prompt="the secret plan\n")
    assert ended.output["stdout_tail"] == "the secret plan\n False\n"


def test_a_prompt_larger_than_a_pipe_arrives_whole(stage, tmp_path):
    """A long prompt is neither cut nor does it block."""
    prompt = "x" * 900_000
    ended = run(stage, tmp_path, "import sys; print(len(sys.stdin.read()))", prompt=prompt)
    assert ended.output["stdout_tail"] == "900000\n"


def test_an_agent_that_does_not_read_its_prompt_is_no_problem(stage, tmp_path):
    """A closed stdin ends nothing."""
    ended = run(stage, tmp_path, "import os; os.close(0); print('ok')", prompt="x" * 500_000)
    assert ended.code == "exit-0"


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


def test_it_leads_a_session_of_its_own(stage, tmp_path):
    """Signals to the service's group do not reach it."""
    ended = run(stage, tmp_path, "import os; print(os.getsid(0) == os.getpid() == os.getpgrp())")
    assert ended.output["stdout_tail"] == "True\n"


# How it ends


@pytest.mark.parametrize("code", [1, 2, 127])
def test_an_exit_code_is_a_final_failure(stage, tmp_path, code):
    """An agent that fails is not started again by itself."""
    ended = run(stage, tmp_path, f"import sys; print('why'); sys.exit({code})")
    assert isinstance(ended, Permanent)
    assert (ended.code, ended.details["exit_code"]) == (f"exit-{code}", code)
    assert ended.output["stdout_tail"] == "why\n"


def test_a_signal_that_killed_it_is_named(stage, tmp_path):
    """Who died of a signal is said to have."""
    ended = run(stage, tmp_path, "import os; os.kill(os.getpid(), 11)")
    assert (ended.code, ended.details["signal"]) == ("signal-11", 11)


@pytest.mark.parametrize(
    ("settings", "code"), [({"timeout": "1s"}, "timeout"), ({"idle_timeout": "1s"}, "idle")]
)
def test_past_a_deadline_the_whole_tree_is_killed(stage, tmp_path, settings, code):
    """Neither ignoring signals nor leaving the session twice saves anything it started."""
    started = time.monotonic()
    ended = run(stage, tmp_path, ESCAPES, settings=settings)
    assert (type(ended), ended.code) == (Permanent, code)
    assert time.monotonic() - started < 6
    grandchild = int(ended.output["stdout_tail"])
    assert gone(grandchild, 0.1)
    assert gone(ended.details["pid"], 0.1)
    assert ended.details["survivors"] == []


def test_output_keeps_the_idle_deadline_away(stage, tmp_path):
    """An agent that prints now and then may take as long as its total deadline allows."""
    code = "import time\nfor n in range(8): print(n, flush=True); time.sleep(0.25)"
    ended = run(stage, tmp_path, code, settings={"idle_timeout": "1s"})
    assert ended.code == "exit-0"


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


def test_a_fork_bomb_is_ended(stage, tmp_path):
    """Children that make children as fast as they can are all stopped within the deadline."""
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
    assert ended.code == "timeout"
    assert ended.details["survivors"] == []


def test_a_gigabyte_of_output_is_capped_and_memory_stays_flat(stage, tmp_path):
    """A flood costs its time and no memory; both ends of it are kept."""
    settings = config("", command={
        "argv": ["/bin/sh", "-c", "echo begin; head -c 1000000000 /dev/zero | tr '\\0' a; echo end"]
    })  # fmt: skip
    context = stage.context(settings)
    most = _watch_memory(context.files)
    ended = outcome(lambda: agent.run(params(settings, tmp_path), context))
    assert ended.output["stdout_bytes"] == 1_000_000_010
    assert ended.output["truncated"]
    kept = Path(f"{context.files}.out").read_bytes()
    assert kept.startswith(b"begin\na")
    assert kept.endswith(b"aend\n")
    assert len(kept) < settings.max_output + 100
    assert 0 < most() < 60_000


def _watch_memory(files):
    """Watches a supervisor; gives a function that says the most it needed, in KiB."""
    seen = [0]
    over = threading.Event()

    def look():
        while not over.wait(0.02):
            try:
                pid = json.loads(Path(f"{files}.process.json").read_bytes())["supervisor"]["pid"]
                status = Path(f"/proc/{pid}/status").read_text()
            except (OSError, ValueError):
                continue
            seen[0] = max([seen[0], *(int(line.split()[1]) for line in status.splitlines()
                                      if line.startswith("VmHWM"))])  # fmt: skip

    thread = threading.Thread(target=look)
    thread.start()

    def most():
        over.set()
        thread.join()
        return seen[0]

    return most


def test_a_program_that_is_not_there_is_named(stage, tmp_path):
    """A runtime that is not installed is a final failure that says so."""
    command = {"argv": ["no-such-agent"]}
    ended = run(stage, tmp_path, "", settings={"command": command})
    assert (type(ended), ended.code) == (Permanent, "runtime-missing")
    assert "no-such-agent" in ended.summary


def test_a_folder_that_is_not_there_is_named(stage, tmp_path):
    """An agent never starts in another folder than the approved one."""
    ended = run(stage, tmp_path / "missing", "open('x', 'w')")
    assert (type(ended), ended.code) == (Permanent, "cannot-start")
    assert "missing" in ended.summary


# Evidence


@pytest.mark.parametrize("evidence", [{"file": "REPORT.md"}, {"json": "result"}, {"pattern": "x"},
                                      None])  # fmt: skip
def test_exit_0_with_nothing_is_no_success(stage, tmp_path, evidence):
    """Without the evidence that its route asks for, whichever, a person must look."""
    given = {"evidence": evidence} if evidence else {}
    ended = run(stage, tmp_path, "", **given)
    assert (type(ended), ended.code) == (NeedsPerson, "no-evidence")
    assert ended.details["exit_code"] == 0


def test_exit_0_with_nothing_is_enough_if_a_route_says_so(stage, tmp_path):
    """`none = true` asks for no evidence."""
    assert run(stage, tmp_path, "", evidence={"none": True}).code == "exit-0"


@pytest.mark.parametrize(
    ("code", "there"),
    [
        ("open('REPORT.md', 'w').write('done')", True),
        ("open('REPORT.md', 'w')", False),
        ("import os; os.symlink('/etc/hostname', 'REPORT.md')", False),
        ("import os; os.mkdir('REPORT.md')", False),
        ("import os; os.mkfifo('REPORT.md')", False),
    ],
)
def test_a_file_is_evidence_if_it_is_one_and_not_empty(stage, tmp_path, code, there):
    """Neither an empty file nor a link, a folder or a pipe says that work was done."""
    ended = run(stage, tmp_path, code, evidence={"file": "REPORT.md"})
    assert ended.code == ("exit-0" if there else "no-evidence")
    if there:
        assert ended.evidence["bytes"] == 4
        assert len(ended.evidence["sha256"]) == 64


def test_an_old_file_is_no_evidence(stage, tmp_path):
    """What lay there before the run is somebody else's work."""
    report = tmp_path / "REPORT.md"
    report.write_text("of yesterday")
    os.utime(report, (1, 1))
    ended = run(stage, tmp_path, "", evidence={"file": "REPORT.md"})
    assert ended.code == "no-evidence"


@pytest.mark.parametrize(
    ("lines", "key", "value"),
    [
        (['{"type": "result", "result": "fine"}'], "result", "fine"),
        (['{"result": ""}', '{"result": null}'], "result", None),
        (['{"type":"item.completed","item":{"text":"one"}}', '{"item":{"text":"two"}}', "{}"],
         "item.text", "two"),
        (["{", '  "result": {"a": 1}', "}"], "result", '{"a": 1}'),
        (['{"result": "cut'], "result", None),
        (['{"other": "x"}', "[1]", "no json"], "result", None),
    ],
)  # fmt: skip
def test_a_value_in_its_json_output_is_evidence_if_it_is_not_empty(
    stage, tmp_path, lines, key, value
):
    """The last value under the key counts, whether the tool prints lines or one document."""
    code = f"print({chr(10).join(lines)!r})"
    ended = run(stage, tmp_path, code, evidence={"json": key})
    assert ended.code == ("exit-0" if value else "no-evidence")
    assert ended.evidence["value"] == value


def test_a_pattern_is_evidence_and_costs_no_more_for_hostile_output(stage, tmp_path):
    """The output is searched for it, in linear time."""
    code = "print('a' * 300_000 + '!')"
    started = time.monotonic()
    assert run(stage, tmp_path, code, evidence={"pattern": "(a+)+b"}).code == "no-evidence"
    assert run(stage, tmp_path, code, evidence={"pattern": "a!"}).code == "exit-0"
    assert time.monotonic() - started < 10


# Cost


@pytest.mark.parametrize(
    ("line", "settings", "code"),
    [
        ('{"total_cost_usd": 2.5}', {"max_cost": 1.0}, "over-cost"),
        ('{"type":"step_finish","part":{"cost":0.6}}', {"max_cost": 1.0}, "over-cost"),
        ('{"type":"turn.completed"}', {"max_turns": 1}, "over-turns"),
        ('{"total_cost_usd": "900.5"}', {"max_cost": 1.0}, "over-cost"),
        ('{"num_turns": 1e25}', {"max_turns": 9}, "over-turns"),
    ],
)
def test_a_cap_stops_the_run(stage, tmp_path, line, settings, code):
    """As soon as its output says that it has cost more, it ends."""
    program = f"import time\nfor _ in range(3): print({line!r}, flush=True)\ntime.sleep(600)"
    started = time.monotonic()
    ended = run(stage, tmp_path, program, settings=settings)
    assert (type(ended), ended.code) == (Permanent, code)
    assert time.monotonic() - started < 6


def test_cost_and_turns_are_recorded(stage, tmp_path):
    """What the tool says that it cost is in the result."""
    said = '{"type":"result","result":"x","total_cost_usd":0.25,"num_turns":3}'
    ended = run(stage, tmp_path, f"print({said!r})")
    assert (ended.details["cost_usd"], ended.details["turns"]) == (0.25, 3)
