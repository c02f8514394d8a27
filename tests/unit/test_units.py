"""The packaged units: whose they are, what they may do, and what systemd itself says of them."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spoold import rights, routing
from spoold.cli import init
from spoold.config import configuration as config
from spoold.host import units
from tests.unit._manual import CHECKOUT, KINDS, table

PACKAGING = CHECKOUT / "packaging"
UNITS = PACKAGING / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
#: The targets that units refer to, which a real system has.
STUBS = ("sysinit", "basic", "shutdown", "network-online", "local-fs", "multi-user", "timers",
         "time-set", "time-sync")  # fmt: skip
#: Exposure, times ten, that `systemd-analyze security` may say at most.
STAGES, OTHERS = 15, 25
LIMITS = {
    **{f"spoold-{stage}.service": STAGES for stage in ("intake", "gate", "sweep", "report")},
    **{f"spoold-execute@{kind}.service": OTHERS for kind in KINDS},
    "spoold-metrics.service": OTHERS,
    "spoold-health.service": OTHERS,
}


def settings(text):
    """The settings of a unit: key → values, without comments."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def unit(name):
    """The settings of a packaged unit."""
    return settings((UNITS / name).read_text(encoding="utf-8"))


@pytest.fixture
def root(tmp_path, require):
    """A tree that has the units as they are installed, with a drop-in for each kind."""
    require(shutil.which("systemd-analyze") is not None, "systemd-analyze")
    system = tmp_path / "usr/lib/systemd/system"
    system.mkdir(parents=True)
    for path in UNITS.iterdir():
        shutil.copy(path, system)
    for target in STUBS:
        (system / f"{target}.target").write_text("[Unit]\nDescription=there\n")
    dropped = {f"spoold-execute@{kind}": kind for kind in KINDS} | {"spoold-health": "container"}
    for name, kind in dropped.items():
        folder = tmp_path / f"etc/systemd/system/{name}.service.d"
        folder.mkdir(parents=True)
        shutil.copy(PACKAGING / f"kinds/{kind}.conf", folder / "50-spoold.conf")
    programs = "usr/bin/spoold usr/bin/env bin/sh bin/kill root/.local/bin/spoold"
    for program in programs.split():
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    return tmp_path


def analyze(root, verb, *argv):
    """Ask systemd about units in a tree."""
    return subprocess.run(
        ["systemd-analyze", verb, f"--root={root}", "--no-pager", *argv],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def verified(root, *names):
    """What systemd has to complain about."""
    ended = analyze(root, "verify", "--man=no", *names)
    return ended.stderr.splitlines() or [""] * ended.returncode


def is_safe(root, name, limit):
    """Whether its exposure is at most so much."""
    ended = analyze(root, "security", "--offline=true", f"--threshold={limit}", name)
    assert "Overall exposure level" in ended.stdout, ended.stderr
    return ended.returncode == 0


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_root(name):
    """Each has one of spoold's users and its group, no capability, and no command with more."""
    known = {*rights.USERS.values(), "spoold-x-%i"}
    has = unit(name)
    (user,) = has["User"]
    assert user in known
    assert has["Group"] == [rights.EVERYBODY]
    assert has["CapabilityBoundingSet"] == has["AmbientCapabilities"] == [""]
    assert has["NoNewPrivileges"] == ["yes"]
    commands = [one for key in has if key.startswith("Exec") for one in has[key]]
    assert commands
    assert not [command for command in commands if command[0] in "+!"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_write_to_the_spool_as_one(name):
    """One path for the whole spool: with two, each is a mount, and renames between them fail."""
    has = unit(name)
    assert has["ReadWritePaths"] == ["/var/spool/spoold"]
    assert has["ProtectSystem"] == ["strict"]
    assert not {"BindPaths", "TemporaryFileSystem", "ReadOnlyPaths"} & has.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_loosens_only_what_it_gives_a_reason_for(kind):
    """Every kind has its drop-in; a line that gives more than the template has a comment above."""
    text = (PACKAGING / f"kinds/{kind}.conf").read_text(encoding="utf-8")
    assert text.startswith("[Service]\n#")
    assert not {"ReadWritePaths", "User", "CapabilityBoundingSet"} & settings(text).keys()
    tighter = {"ProcSubset", "MemoryDenyWriteExecute"}
    commented = False
    for line in text.splitlines()[1:]:
        key = line.partition("=")[0]
        commented = line.startswith("#") or (commented and key not in tighter)
        assert commented or key in tighter, line


#: What a service does, in what place, as whom and when: no right that it has or has not.
_WORK = re.compile(r"Exec|Runtime|State|Working|Timeout|Type|User|Group|Watchdog|Restart(?!rict)"
                   r"|Success|Description|Documentation|PartOf|After|Wants|WantedBy")  # fmt: skip


def looser(base, *dropped):
    """The settings of a service, with its drop-ins, that intake has not, or has otherwise."""
    tight, found = unit("spoold-intake.service"), unit(base)
    for name in dropped:
        more = settings((PACKAGING / f"kinds/{name}.conf").read_text(encoding="utf-8"))
        for key, values in more.items():
            # What is a list is added to; all else is replaced.
            kept = found.get(key, []) if key == "RestrictAddressFamilies" else []
            found[key] = [" ".join(dict.fromkeys(" ".join([*kept, *values]).split()))]
    keys = {key for key in tight.keys() | found.keys() if not _WORK.match(key)}
    return {key for key in keys if tight.get(key) != found.get(key)}


#: Where the page has a row → what is looser there.
PLACES = {
    **{f"`{name}`": (f"spoold-{name}.service",) for name in ("metrics", "health")},
    "`health`, with an executor of kind `container`": ("spoold-health.service", "container"),
    "`execute@`": ("spoold-execute@.service",),
    **{f"`execute@`, kind `{kind}`": ("spoold-execute@.service", kind) for kind in KINDS},
}


def explained(place):
    """The settings that the page gives a reason for, in that place and in the one it is part of."""
    text = (CHECKOUT / "docs/permissions.md").read_text(encoding="utf-8")
    rows = [row for row in table(text, "| where | what | why |") if row[2]]
    within = [row for row in rows if row[0] in (place, place.partition(",")[0])]
    return {name for row in within for name in re.findall(r"`((?!AF_)[A-Z]\w+)[=`]", row[1])}


@pytest.mark.parametrize("place", PLACES)
def test_the_page_gives_a_reason_for_every_setting_that_is_looser(place):
    """What a unit, with the drop-in of its kind, has otherwise than intake is in the page's table.

    In the template all that a kind's drop-in tightens again is that kind's.
    """
    found = looser(*PLACES[place])
    if place == "`execute@`":
        found &= set.intersection(*(looser(PLACES[place][0], kind) for kind in KINDS))
        found -= {"RestrictAddressFamilies"}
    assert found <= explained(place)
    assert explained(place) <= looser(*PLACES[place])


@pytest.mark.parametrize("name", ["gate", "sweep", "report"])
def test_stages_without_a_network_are_as_tight_as_intake(name):
    """So the page needs no row for them."""
    assert looser(f"spoold-{name}.service") == set()


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "spoold-health.service"])
def test_a_stage_is_ready_when_it_says_so(name):
    """It notifies, is watched, comes back, but not with a wrong configuration."""
    has = unit(name)
    assert has["Type"] == ["notify"]
    assert has["WatchdogSec"]
    assert has["Restart"] == ["on-failure"]
    assert has["RestartPreventExitStatus"] == ["78"]


def test_systemd_finds_nothing_wrong(root):
    """All units together, with an executor of each kind, pass `systemd-analyze verify`."""
    names = [path.name for path in UNITS.iterdir() if "@" not in path.name]
    assert verified(root, *names, *(f"spoold-execute@{kind}.service" for kind in KINDS)) == []


@pytest.mark.parametrize(("was", "becomes"), [
    ("RestartSec=5", "RestartSecs=5"),
    ("ExecStart=/usr/bin/spoold ", "ExecStart=/usr/bin/spooled "),
    ("ProtectSystem=strict", "ProtectSystem=stricter"),
])  # fmt: skip
def test_a_mistake_in_a_unit_is_noticed(root, was, becomes):
    """A key, a value or a program that is not there is a complaint."""
    path = root / "usr/lib/systemd/system/spoold-gate.service"
    text = path.read_text(encoding="utf-8")
    assert was in text
    path.write_text(text.replace(was, becomes), encoding="utf-8")
    assert verified(root, "spoold-gate.service")


@pytest.mark.parametrize("name", LIMITS)
def test_a_service_is_exposed_no_more_than_promised(root, name):
    """At most 1.5 for stages without a network, 2.5 for executors of each kind and the rest."""
    assert is_safe(root, name, LIMITS[name])


@pytest.mark.parametrize("name", LIMITS)
def test_a_service_that_is_exposed_is_noticed(root, name):
    """Without what begins with Protect and Restrict each is beyond its limit."""
    found = name if (UNITS / name).exists() else "spoold-execute@.service"
    path = root / "usr/lib/systemd/system" / found
    text = path.read_text(encoding="utf-8")
    bare = re.sub(r"^(Protect|Restrict(?!Prev)|SystemCall).*\n", "", text, flags=re.MULTILINE)
    path.write_text(bare, encoding="utf-8")
    assert not is_safe(root, name, LIMITS[name])


def test_the_unit_for_a_user_is_right(root):
    """What `spoold init --user` writes passes, and waits for readiness like the others."""
    text = init.unit_for(["/root/.local/bin/spoold"], Path("/root/spoold.toml"))
    (root / "usr/lib/systemd/system/spoold.service").write_text(text, encoding="utf-8")
    assert verified(root, "spoold.service") == []
    has = settings(text)
    assert has["Type"] == ["notify"]
    assert has["RestartPreventExitStatus"] == ["78"]


def test_the_unit_for_a_user_names_any_home(root):
    """Spaces, quotes, percent signs and dollars in its paths are what systemd reads there."""
    odd = root / 'root/o d"d %n $HOME'
    odd.mkdir()
    (odd / "spoold").touch(mode=0o755)
    file = Path("/root", odd.name, "spoold.toml")
    text = init.unit_for([f"/root/{odd.name}/spoold", "-m", "spoold"], file)
    (root / "usr/lib/systemd/system/spoold.service").write_text(text, encoding="utf-8")
    assert verified(root, "spoold.service") == []
    assert '"/root/o d\\"d %%n $$HOME/spoold.toml"' in text


def test_what_has_no_script_is_started_as_a_module(monkeypatch):
    """After `python -m spoold init --user` the unit names that Python."""
    monkeypatch.setattr(init.sys, "argv", [str(CHECKOUT / "spoold/__main__.py")])
    assert init.program() == [sys.executable, "-m", "spoold"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_says_which_configuration_it_means(name):
    """None of its commands looks in the working directory, which its own programs may write to."""
    commands = [line for key in ("ExecStartPre", "ExecStart") for line in unit(name).get(key, [])]
    assert commands
    for line in commands:
        assert "spoold --config /etc/spoold/spoold.toml " in line


CREDENTIALS = """
root = "spool"
[sources.in]
format = "task"
[executors.own]
kind = "hook"
url = "http://127.0.0.1:1/"
token = { credential = "own-token" }
[executors.routed]
kind = "agent"
[executors.routed.commands.x]
argv = ["x"]
[executors.none]
kind = "hook"
url = "http://127.0.0.1:1/"
"""
ROUTED = """
name = "routed"
source = "in"
match = "true"
executor = "routed"
[params]
agent = "x"
prompt = "=record.id"
cwd = "/tmp"
evidence = { none = true }
env = { A = { credential = "of-route" }, B = { env = "HOME" }, C = "plain" }
"""
NONE = """
name = "none"
source = "in"
match = "true"
executor = "none"
[params]
body = { credential = "no-secret" }
"""


def test_a_service_is_given_the_credentials_that_it_needs_and_no_other(tmp_path):
    """What the executor's settings or its routes refer to; a body that looks like it does not."""
    (tmp_path / "routes.d").mkdir()
    (tmp_path / "spoold.toml").write_text(CREDENTIALS)
    for name, text in (("1", ROUTED), ("2", NONE)):
        (tmp_path / f"routes.d/{name}.toml").write_text(text)
    made = units.wanted(routing.load(config.load(tmp_path / "spoold.toml")))
    given = {
        str(unit.path).partition("@")[2].partition(".")[0]: re.findall(r"LoadCredential=(.*)", text)
        for unit in made
        if (text := unit.text) and "@" in str(unit.path)
    }
    folder = "/etc/spoold/credentials"
    assert given == {
        "own": [f"own-token:{folder}/own-token"],
        "routed": [f"of-route:{folder}/of-route"],
        "none": [],
    }


def generated():
    """What `python packaging/generate.py` writes."""
    spec = importlib.util.spec_from_file_location("generate", PACKAGING / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files: dict[Path, str] = module.files()
    return files


def test_users_and_folders_are_those_of_the_table():
    """sysusers.d and tmpfiles.d are as `python packaging/generate.py` makes them now."""
    files = generated()
    assert {path.name for path in files} == {"spoold.conf"}
    assert len(files) == len(["sysusers.d", "tmpfiles.d"])
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, "run: python packaging/generate.py"
