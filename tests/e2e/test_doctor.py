"""`spoold doctor`: what is there, what is missing, and how a script can tell."""

import json

from tests.e2e.conftest import DECISIONS

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


def test_a_version_cannot_steer_a_terminal(site, tmp_path):
    """What a program prints is shown without control characters."""
    tool(tmp_path / "bin", "one", r"printf '\033[31mred\n'")
    tool(tmp_path / "bin", "two", "true")
    site.configure(DECISIONS + AGENTS.format(path=tmp_path / "bin"))
    assert "\x1b" not in site.spoold("doctor").stdout
