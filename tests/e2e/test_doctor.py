"""`spoold doctor`: what is there, what is missing, and how a script can tell."""

import json
import os
import signal
import time
import tracemalloc

import pytest

from spoold.executors import agent
from spoold.executors.agent import runtimes
from tests.conformance.agents import gone
from tests.e2e.conftest import DECISIONS, until

AGENTS = """
[executors.agents]
kind = "agent"
path = "{path}"
[executors.agents.commands.one]
argv  = ["one"]
[executors.agents.commands.two]
argv  = ["two", "-"]
login = ["two", "login"]
"""


ROUTE = """
name     = "agent"
source   = "decisions"
match    = "true"
executor = "agents"
[params]
agent    = "one"
prompt   = "=record.id"
cwd      = "{cwd}"
{limits}
"""


def tool(folder, name, text):
    """A program."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_all_runtimes_there_is_a_pass(site, tmp_path):
    """With every program there, working and logged in, the last line says so and the code is 0."""
    tool(tmp_path / "bin", "one", "echo one 1.2.3")
    tool(tmp_path / "bin", "two", 'test "$1" = login || echo two 4')
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    out = site.spoold("doctor").stdout
    assert out.endswith("[doctor] PASS all runtimes available\n")
    assert "ok one (executor agents): one 1.2.3" in out
    assert "logged in" in out


def test_a_login_that_nobody_has_looked_at_is_a_warning(site, tmp_path):
    """Without a probe the doctor says that it has not looked, and claims no login."""
    tool(tmp_path / "bin", "one", "echo one 1.2.3")
    tool(tmp_path / "bin", "two", "echo two 4")
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    lines = site.spoold("doctor").stdout.splitlines()
    (warning,) = [line for line in lines if "WARNING" in line]
    assert warning.startswith("[doctor] WARNING one (executor agents): login not checked: no probe")
    assert not [line for line in lines if "one (" in line and "logged in" in line]
    rows = [json.loads(line) for line in site.spoold("--json", "doctor").stdout.splitlines()]
    assert [row["warning"] for row in rows if row["what"] == "one"] == [False, True]


def test_a_probe_can_be_asked_for_what_it_prints(site, tmp_path):
    """A tool whose probe always exits with 0 is believed only if its output says so."""
    login = 'login = ["two", "login"]\nlogged_in = "[1-9][0-9]* credential"'
    text = (DECISIONS + AGENTS).replace('login = ["two", "login"]', login)
    tool(tmp_path / "bin", "one", "echo one")
    site.configure(text.format(path=tmp_path / "bin"))
    for count, code in (("0", 69), ("2", 0)):
        tool(tmp_path / "bin", "two", f"echo {count} credentials")
        assert site.spoold("doctor", ok=False).returncode == code


def test_a_probe_sees_what_the_agent_would_see(site, tmp_path):
    """A key in the executor's environment counts as a login; a missing one is named."""
    tool(tmp_path / "bin", "one", "echo one")
    tool(tmp_path / "bin", "two", 'test "$1" != login || test "$KEY" = k3y')
    env = 'env = {{ KEY = {{ file = "{path}/key" }} }}\n[executors.agents.commands.one]'
    text = (DECISIONS + AGENTS).replace("[executors.agents.commands.one]", env, 1)
    site.configure(text.format(path=tmp_path / "bin"))
    ended = site.spoold("doctor", ok=False)
    assert ended.returncode == 69
    assert "MISSING variable KEY" in ended.stdout
    (tmp_path / "bin/key").write_text("k3y")
    (tmp_path / "bin/key").chmod(0o600)
    assert "logged in" in site.spoold("doctor").stdout


@pytest.mark.parametrize("verb", ["check", "doctor"])
@pytest.mark.parametrize("where", ["executor", "route"])
def test_a_limit_that_nothing_enforces_is_a_warning(site, tmp_path, verb, where):
    """Limits without systemd or a delegated control group do nothing, and that is said."""
    for name in ("one", "two"):
        tool(tmp_path / "bin", name, f"echo {name}")
    text = (DECISIONS + AGENTS).format(path=tmp_path / "bin")
    none = 'kind = "agent"\nscope = "none"'
    limits = 'memory = "1G"\ncpus = 2.0\n'
    more = limits if where == "executor" else ""
    site.configure(
        text.replace('kind = "agent"', f"{none}\n{more}"),
        ROUTE.format(cwd=tmp_path, limits="" if more else limits),
    )
    out = site.spoold(verb).stdout
    assert "`cpus` and `memory` set, but not enforced" in out
    site.configure(text.replace('kind = "agent"', none), ROUTE.format(cwd=tmp_path, limits=""))
    assert "not enforced" not in site.spoold(verb).stdout


def test_each_missing_runtime_is_one_line_and_the_code_is_69(site, tmp_path):
    """A program that is not there, and one that is not logged in, are named, and nothing passes."""
    tool(tmp_path / "bin", "two", 'test "$1" != login && echo two 4')
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    ended = site.spoold("doctor", ok=False)
    assert ended.returncode == 69
    missing = [line for line in ended.stdout.splitlines() if "[doctor] MISSING" in line]
    assert len(missing) == 2
    assert "one (executor agents): runtime not available on this host: one" in missing[0]
    assert "not logged in" in missing[1]
    assert "PASS" not in ended.stdout


def test_a_program_can_read_it(site, tmp_path):
    """With `--json` every finding is an object."""
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    (tmp_path / "spool").mkdir()
    ended = site.spoold("--json", "doctor", ok=False)
    found = {row["what"]: row["ok"] for row in map(json.loads, ended.stdout.splitlines())}
    assert found == {"one": False, "two": False, "disk": True, "clock": True}


def test_disk_and_clock_are_looked_at_before_there_is_a_spool(site, tmp_path):
    """Where it will be laid out there may be too little room; what else is there is not its age."""
    tool(tmp_path / "bin", "one", "echo one")
    tool(tmp_path / "bin", "two", "echo two")
    os.utime(tmp_path / "bin", (time.time() + 3600,) * 2)
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    site.config.write_text(site.config.read_text().replace("../spool", "../not/there/yet"))
    rows = [json.loads(line) for line in site.spoold("--json", "doctor").stdout.splitlines()]
    found = {row["what"]: (row["where"], row["ok"]) for row in rows if row["where"][0] == "/"}
    assert found == {"disk": (str(tmp_path), True), "clock": (str(tmp_path), True)}
    site.config.write_text(f'min_free = "99999TiB"\n{site.config.read_text()}')
    ended = site.spoold("doctor", ok=False)
    assert (ended.returncode, f"MISSING disk ({tmp_path}): " in ended.stdout) == (69, True)


def test_a_version_cannot_steer_a_terminal(site, tmp_path):
    """What a program prints is shown without control characters."""
    tool(tmp_path / "bin", "one", r"printf '\033[31mred\n'")
    tool(tmp_path / "bin", "two", "true")
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    assert "\x1b" not in site.spoold("doctor").stdout


def test_agents_are_looked_at_side_by_side_and_told_in_their_order(site, tmp_path):
    """Each of two sees the other run, and the first is told first though it ends last."""
    for name, other, later in (("one", "two", 0.5), ("two", "one", 0)):
        seen = f"test -e {tmp_path}/{other}.on"
        wait = f"for i in $(seq 99); do {seen} && break; sleep 0.1; done"
        met = f"touch {tmp_path}/{name}.on; {wait}; {seen} && said='{name} met {other}'"
        tool(tmp_path / "bin", name, f"{met}; sleep {later}; echo $said")
    alone = AGENTS.replace('login = ["two", "login"]\n', "")
    site.configure(DECISIONS + alone.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    found = [line for line in site.spoold("doctor").stdout.splitlines() if " met " in line]
    assert [line.split("): ")[1][:11] for line in found] == ["one met two", "two met one"]


def test_a_probe_leaves_nothing_behind(site, tmp_path):
    """What a program starts in the background when it is asked for its version is ended."""
    number = tmp_path / "number"
    loop = f"while sleep 0.1; do date > {tmp_path}/alive; done >/dev/null 2>&1 &"
    tool(tmp_path / "bin", "one", f"{loop}\necho $! > {number}\necho one 1")
    tool(tmp_path / "bin", "two", "echo two 4")
    site.configure(DECISIONS + AGENTS.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    assert "ok one (executor agents): one 1" in site.spoold("doctor").stdout
    assert gone(int(number.read_text()), 0.5)


def test_what_holds_the_output_open_does_not_hold_the_doctor_up(site, tmp_path):
    """A program has answered when it has ended, whatever it left running with its output."""
    tool(tmp_path / "bin", "one", "sleep 60 &\necho one 1")
    tool(tmp_path / "bin", "two", "echo two 4")
    site.configure(DECISIONS + AGENTS.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    started = time.monotonic()
    assert "ok one (executor agents): one 1" in site.spoold("doctor").stdout
    assert time.monotonic() - started < 15


def test_a_program_that_does_not_answer_is_ended(tmp_path, monkeypatch):
    """One that begins to work instead of telling its version is missing, and is over."""
    monkeypatch.setattr(runtimes, "_TIMEOUT", 0.5)
    tool(tmp_path / "bin", "one", f"sleep 60 &\necho $! > {tmp_path}/number\nwait")
    (found,) = agent_doctor(tmp_path / "bin")
    assert (found.ok, found.detail.endswith("does not run: no answer in 0.5 s")) == (False, True)
    assert gone(int((tmp_path / "number").read_text()), 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#!/usr/bin/env no-such-interpreter", "it exited with 127: /usr/bin/env: "),
        ("#!/bin/sh\necho not for me; exit 126", "it exited with 126: not for me"),
        ("#!/bin/sh\necho here >&2; kill -SEGV $$", "it was killed by signal 11: here"),
        ("#!/bin/sh\nkill -KILL $$", "it was killed by signal 9"),
    ],
)
def test_a_program_that_cannot_run_is_missing(site, tmp_path, text, said):
    """A program that is there, and that only says why it does not run, is no runtime."""
    tool(tmp_path / "bin", "two", "echo two 4")
    tool(tmp_path / "bin", "one", "")
    (tmp_path / "bin/one").write_text(f"{text}\n")
    site.configure(DECISIONS + AGENTS.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    ended = site.spoold("doctor", ok=False)
    assert ended.returncode == 69
    (missing,) = [line for line in ended.stdout.splitlines() if "[doctor] MISSING" in line]
    assert f"one (executor agents): {tmp_path}/bin/one does not run: {said}" in missing
    assert "PASS" not in ended.stdout


@pytest.mark.parametrize(("slug", "more"), [("one", "login not checked"), ("two", "two 4 (")])
def test_a_version_that_ends_with_an_error_is_a_warning(site, tmp_path, slug, more):
    """A program that does not know the question may run all the same; its words are shown."""
    for name in ("one", "two"):
        code = 2 if name == slug else 0
        tool(tmp_path / "bin", name, f'test "$1" = login || {{ echo {name} 4; exit {code}; }}')
    site.configure(DECISIONS + AGENTS.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    lines = site.spoold("doctor").stdout.splitlines()
    said = [line for line in lines if f" {slug} (executor agents): " in line]
    path = tmp_path / "bin" / slug
    assert said[0] == (
        f"[doctor] WARNING {slug} (executor agents): {slug} 4 ({path}), "
        "but it exited with 2 when asked for its version"
    )
    assert (len(said), more in said[1]) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_doctor_that_is_ended_ends_its_probes(site, tmp_path, number):
    """Whoever has waited long enough leaves no program behind that nobody waits for."""
    tool(tmp_path / "bin", "one", f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/one\n"
         "sleep 60")  # fmt: skip
    site.configure(DECISIONS + AGENTS.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    asked = site.start("doctor", ready=0)
    until((tmp_path / "one").exists, "asked")
    asked.send_signal(number)
    assert asked.wait(60) == 130
    assert gone(int((tmp_path / "one").read_text()), 0.5)


def test_of_what_a_program_prints_only_the_beginning_is_kept(tmp_path):
    """One that prints without need costs no memory."""
    tool(tmp_path / "bin", "one", "echo one 1; head -c 30000000 /dev/zero")
    tracemalloc.start()
    try:
        version, _ = agent_doctor(tmp_path / "bin")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert version.detail.startswith("one 1 (")
    assert most < 10_000_000


def agent_doctor(path):
    """What the doctor says of an executor with one agent."""
    commands = {"one": {"argv": ["one"]}}
    config = agent.Config.model_validate({"path": f"{path}:/usr/bin:/bin", "commands": commands})
    return list(agent.doctor(config, lambda _: ""))
