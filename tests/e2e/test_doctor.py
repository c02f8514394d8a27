"""`spoold doctor`: what is there, what is missing, and how a script can tell."""

import os
import re
import signal
import time
import tracemalloc

import pytest

from spoold.executors import agent
from spoold.executors.agent import runtimes
from tests.e2e.conftest import DECISIONS, until
from tests.ended import gone

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
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def ask(site, tmp_path):
    """Writes the programs `one` and `two`, and runs the doctor of a site that names them."""

    def run(one=None, two="echo two 4", agents=AGENTS, route=(), verb="doctor"):
        for name, text in (("one", one), ("two", two)):
            if text is not None:
                tool(tmp_path / "bin", name, text)
        path = f"{tmp_path}/bin:/usr/bin:/bin"
        site.configure(DECISIONS + agents.format(path=path, bin=tmp_path / "bin"), *route)
        return site.spoold(verb, ok=False)

    return run


KEY = AGENTS.replace(
    "[executors.agents.commands.one]",
    'env = {{ KEY = {{ file = "{bin}/key" }} }}\n[executors.agents.commands.one]',
    1,
)
TALKS = AGENTS.replace(
    'login = ["two", "login"]', 'login = ["two", "login"]\nlogged_in = "[1-9][0-9]* credential"'
)
LOGIN = 'test "$1" = login || echo two 4'


@pytest.mark.parametrize(
    ("one", "two", "agents", "code", "said"),
    [
        pytest.param("echo one 1.2.3", LOGIN, AGENTS, 0,
                     [r"ok one \(executor agents\): one 1\.2\.3", "logged in",
                      r"\[doctor\] PASS all runtimes available\n\Z"], id="all there"),
        pytest.param("echo one", "echo two 4", AGENTS, 0,
                     [r"WARNING one \(executor agents\): login not checked: no probe"],
                     id="login without a probe"),
        pytest.param("echo one", "echo 0 credentials", TALKS, 69, ["MISSING two"],
                     id="probe that denies it"),
        pytest.param("echo one", "echo 2 credentials", TALKS, 0, ["logged in"],
                     id="probe that says so"),
        pytest.param("echo one", "true", KEY, 69, ["MISSING variable KEY"], id="no key"),
        pytest.param(None, 'test "$1" != login && echo two 4', AGENTS, 69,
                     [r"MISSING one \(executor agents\): runtime not available on this host: one",
                      "MISSING two .*not logged in"], id="two missing"),
        pytest.param(r"printf '\033[31mred\n'", "true", AGENTS, 0, ["red"], id="escapes"),
        pytest.param("sleep 600 &\necho one 1", "echo two 4", AGENTS, 0,
                     [r"ok one \(executor agents\): one 1"], id="output held open"),
        *(
            pytest.param(text, "echo two 4", AGENTS, 69,
                         [f"MISSING one .*/bin/one does not run: {why}"], id=why)
            for text, why in (
                ("#!/usr/bin/env no-such-interpreter\n", "it exited with 127: /usr/bin/env: "),
                ("echo not for me; exit 126", "it exited with 126: not for me"),
                ("echo here >&2; kill -SEGV $$", "it was killed by signal 11: here"),
                ("kill -KILL $$", "it was killed by signal 9"),
            )
        ),
    ],
)  # fmt: skip
def test_what_is_there_and_what_is_missing_is_said(ask, one, two, agents, code, said):
    """Each finding is a line; what is missing is 69, names itself, and nothing passes beside it."""
    ended = ask(one, two, agents)
    assert ended.returncode == code
    assert [want for want in said if not re.search(want, ended.stdout)] == [], ended.stdout
    missing = [want for want in said if want.startswith("MISSING")]
    assert ended.stdout.count("[doctor] MISSING") == len(missing)
    assert ("PASS" in ended.stdout) == (not code)
    assert not re.search(r" one \(.*logged in", ended.stdout), "it has no probe"
    assert "\x1b" not in ended.stdout


def test_a_probe_sees_what_the_agent_would_see(site, tmp_path, ask):
    """A key in the executor's environment counts as a login."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/key").write_text("k3y")
    (tmp_path / "bin/key").chmod(0o600)
    ended = ask("echo one", 'test "$1" != login || test "$KEY" = k3y', KEY)
    assert (ended.returncode, "logged in" in ended.stdout) == (0, True)


@pytest.mark.parametrize("verb", ["check", "doctor"])
@pytest.mark.parametrize("where", ["executor", "route"])
def test_a_limit_that_nothing_enforces_is_a_warning(ask, tmp_path, verb, where):
    """Limits without systemd or a delegated control group do nothing, and that is said."""
    limits = 'memory = "1G"\ncpus = 2.0\n'
    for set_ in (True, False):
        own, more = [limits if set_ and place == where else "" for place in ("executor", "route")]
        agents = AGENTS.replace('kind = "agent"', f'kind = "agent"\nscope = "none"\n{own}')
        routes = [ROUTE.format(cwd=tmp_path, limits=more)]
        said = ask("echo one", "echo two", agents, routes, verb).stdout
        assert ("`cpus` and `memory` set, but not enforced" in said) == set_


def test_a_program_can_read_it(site, tmp_path, ask):
    """With `--json` every finding is an object."""
    ask("echo one", None)
    (tmp_path / "spool").mkdir()
    rows = site.lines("doctor", ok=False)
    assert {row["what"]: row["ok"] for row in rows if not row["warning"]} == {
        "one": True, "two": False, "disk": True, "clock": True,
    }  # fmt: skip
    assert [row["warning"] for row in rows if row["what"] == "one"] == [False, True]


def test_disk_and_clock_are_looked_at_before_there_is_a_spool(site, tmp_path, ask):
    """Where it will be laid out there may be too little room; what else is there is not its age."""
    ask("echo one")
    os.utime(tmp_path / "bin", (time.time() + 3600,) * 2)
    site.config.write_text(site.config.read_text().replace("../spool", "../not/there/yet"))
    rows = [row for row in site.lines("doctor") if row["where"][0] == "/"]
    assert {row["what"]: (row["where"], row["ok"]) for row in rows} == {
        "disk": (str(tmp_path), True), "clock": (str(tmp_path), True),
    }  # fmt: skip
    site.config.write_text(f'min_free = "99999TiB"\n{site.config.read_text()}')
    ended = site.spoold("doctor", ok=False)
    assert (ended.returncode, f"MISSING disk ({tmp_path}): " in ended.stdout) == (69, True)


def test_agents_are_looked_at_side_by_side_and_told_in_their_order(tmp_path, ask):
    """Each of two sees the other run, and the first is told first though it ends last."""
    meets = {}
    for name, other, later in (("one", "two", 0.5), ("two", "one", 0)):
        seen = f"test -e {tmp_path}/{other}.on"
        wait = f"for i in $(seq 99); do {seen} && break; sleep 0.1; done"
        met = f"touch {tmp_path}/{name}.on; {wait}; {seen} && said='{name} met {other}'"
        meets[name] = f"{met}; sleep {later}; echo $said"
    said = ask(**meets, agents=AGENTS.replace('login = ["two", "login"]\n', "")).stdout
    found = [line for line in said.splitlines() if " met " in line]
    assert [line.split("): ")[1][:11] for line in found] == ["one met two", "two met one"]


def test_a_probe_leaves_nothing_behind(tmp_path, ask):
    """What a program starts in the background when it is asked for its version is ended."""
    number = tmp_path / "number"
    loop = f"while sleep 0.1; do date > {tmp_path}/alive; done >/dev/null 2>&1 &"
    said = ask(f"{loop}\necho $! > {number}\necho one 1").stdout
    assert "ok one (executor agents): one 1" in said
    assert gone(int(number.read_text()))


def test_a_program_that_does_not_answer_is_ended(tmp_path, monkeypatch):
    """One that begins to work instead of telling its version is missing, and is over."""
    monkeypatch.setattr(runtimes, "_TIMEOUT", 0.5)
    tool(tmp_path / "bin", "one", f"sleep 600 &\necho $! > {tmp_path}/number\nwait")
    (found,) = agent_doctor(tmp_path / "bin")
    assert (found.ok, found.detail.endswith("does not run: no answer in 0.5 s")) == (False, True)
    until((tmp_path / "number").exists, "it began, if late")
    assert gone(int((tmp_path / "number").read_text()))


@pytest.mark.parametrize(("slug", "more"), [("one", "login not checked"), ("two", "two 4 (")])
def test_a_version_that_ends_with_an_error_is_a_warning(tmp_path, ask, slug, more):
    """A program that does not know the question may run all the same; its words are shown."""
    texts = [
        f'test "$1" = login || {{ echo {name} 4; exit {2 if name == slug else 0}; }}'
        for name in ("one", "two")
    ]
    said = [line for line in ask(*texts).stdout.splitlines() if f" {slug} (executor" in line]
    path = tmp_path / "bin" / slug
    assert said[0] == (
        f"[doctor] WARNING {slug} (executor agents): {slug} 4 ({path}), "
        "but it exited with 2 when asked for its version"
    )
    assert (len(said), more in said[1]) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_doctor_that_is_ended_ends_its_probes(site, tmp_path, number):
    """Whoever has waited long enough leaves no program behind that nobody waits for."""
    slow = f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/one\nsleep 600"
    tool(tmp_path / "bin", "one", slow)
    site.configure(DECISIONS + AGENTS.format(path=f"{tmp_path}/bin:/usr/bin:/bin"))
    asked = site.start("doctor", ready=0)
    until((tmp_path / "one").exists, "asked")
    asked.send_signal(number)
    assert asked.wait(60) == 130
    assert gone(int((tmp_path / "one").read_text()))


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
