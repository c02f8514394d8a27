"""Installed as a user does it (`pipx install`, `uv tool install`): the wheel alone, no network."""

import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import CHECKOUT, decision

ROUTE = """
name     = "drill"
source   = "decisions"
match    = "record.facts.decision_type == 'drill'"
executor = "runner"
[params]
argv = ["/usr/bin/true"]
"""
#: What would lead to this checkout, or to a network.
NOT_PASSED_ON = re.compile(r"PYTHON|PIP_|SPOOLD|VIRTUAL_ENV|XDG_|.*_(?:proxy|PROXY)$")


@pytest.fixture(scope="module")
def offline(require):
    """What goes before a command line so that it has no network, not even this machine's own."""
    for words in (["unshare", "--net"], ["unshare", "--net", "--map-root-user"]):
        if shutil.which(words[0]) and subprocess.run([*words, "true"], check=False).returncode == 0:
            return words
    require(False, "network name space")  # noqa: FBT003 - reads as everywhere else
    return []


class Installed:
    """A virtual environment with spoold from its wheel, and the home of who uses it."""

    def __init__(self, folder, offline):
        self.folder, self.home, self._offline = folder, folder / "home", offline
        self.spoold = folder / "venv/bin/spoold"
        with (folder.parent / "installing").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                for made in (self.home, folder / "elsewhere"):
                    made.mkdir(parents=True)
                self._build()
                self._install()
        (self.wheel,) = (folder / "wheels").iterdir()

    def run(self, *words, **more):
        """Run a command without a network, outside the checkout."""
        env = {k: v for k, v in os.environ.items() if not NOT_PASSED_ON.match(k)}
        env |= {"HOME": str(self.home), **more}
        ended = subprocess.run(
            [*self._offline, *map(str, words)], env=env, cwd=self.folder / "elsewhere",
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
        return ended.stdout

    def _build(self):
        self.run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
                 "--no-index", "--wheel-dir", self.folder / "wheels", CHECKOUT)  # fmt: skip

    def _install(self):
        venv = self.folder / "venv"
        self.run(sys.executable, "-m", "venv", "--without-pip", venv)
        offline = ("--no-index", "--find-links", self.folder / "wheels", "--no-deps")
        self.run(sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "-q",
                 *offline, "spoold")  # fmt: skip
        (site,) = venv.glob("lib/python3*/site-packages")
        # What it depends on is there already; an editable spoold is not, since a line of a .pth
        # brings no other .pth with it.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory, offline):
    """Built and installed once for all workers; nothing here changes it."""
    base = tmp_path_factory.getbasetemp()
    together = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return Installed(together / "installed", offline)


def test_the_wheel_has_all_that_the_package_has(installed):
    """Every module, `py.typed` and the example configuration; nothing else but its own data."""
    names = {Path(name) for name in zipfile.ZipFile(installed.wheel).namelist()}
    here = [p for p in (CHECKOUT / "spoold").rglob("*") if p.is_file() and p.suffix != ".pyc"]
    wanted = {path.relative_to(CHECKOUT) for path in here}
    wanted |= {"spoold/example" / path.relative_to(CHECKOUT)
               for path in (CHECKOUT / "config").rglob("*.toml")}  # fmt: skip
    assert {name for name in names if "dist-info" not in name.parts[0]} == {*map(Path, wanted)}
    assert Path("spoold/py.typed") in names


def test_it_is_the_installed_one_that_runs(installed):
    """The command's interpreter finds the package in its own environment, not in the checkout."""
    python = installed.spoold.parent / "python"
    found = installed.run(python, "-c", "import spoold; print(spoold.__file__)").strip()
    assert found.startswith(str(installed.spoold.parents[1]))
    assert "spoold, version" in installed.run(installed.spoold, "--version")


def test_a_spool_that_it_lays_out_works(installed, tmp_path):
    """`init`, `check`, a drop, a yes, and it is done."""
    config = tmp_path / "config/spoold.toml"
    installed.run(installed.spoold, "init", tmp_path)
    (tmp_path / "config/routes.d/05-drill.toml").write_text(ROUTE)
    words = (installed.spoold, "--config", config)
    assert "ok       route drill" in installed.run(*words, "check")
    spool = tmp_path / "spool"
    drop = json.dumps(decision(1, decision_type="drill"))
    (spool / "inbox/decisions/1.json").write_text(drop)
    installed.run(*words, "run", "--drain")
    (waits,) = (spool / "awaiting-approval").glob("*.json")
    waits.rename(spool / "approved" / waits.name)
    installed.run(*words, "run", "--drain")
    (done,) = (spool / "done").rglob("*.json")
    assert json.loads(done.read_bytes())["result"]["code"] == "exit-0"


def test_the_service_that_it_makes_for_a_user_starts_what_is_installed(installed):
    """`init --user` lays out all of it in the home, and the unit's command is there and works."""
    installed.run(installed.spoold, "init", "--user")
    unit = (installed.home / ".config/systemd/user/spoold.service").read_text()
    ((program, config, verb),) = re.findall(
        r"^ExecStart=(\S+) --config (\S+) (\w+)$", unit, re.MULTILINE
    )
    assert Path(program) == installed.spoold
    assert shlex.split(program) == [program]
    assert Path(config) == installed.home / ".config/spoold/spoold.toml"
    installed.run(program, "--config", config, verb, "--drain")
    assert "ok       executor runner" in installed.run(program, "check")
    assert (installed.home / ".local/state/spoold/spool/awaiting-approval").is_dir()
