"""/etc/spoold as the Debian package makes it of config/: it loads, and `spoold check` takes it."""

import os
import re
import shlex
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from spoold import rights, routing, states
from spoold.config import configuration as config
from tests.unit._manual import CHECKOUT

BUILD = (CHECKOUT / "packaging/deb/build").read_text(encoding="utf-8")
ROOT, RUNTIME = "/var/spool/spoold", "/run/spoold"


def commands(begins):
    """The commands of the build script that begin so, with the lines that they go on in."""
    return re.findall(rf"^{begins} (?:[^\n]*\\\n)*[^\n]*$", BUILD, re.MULTILINE)


@pytest.fixture
def file(tmp_path):
    """The configuration, written by the script's own commands."""
    (rewrite,) = commands("sed")
    (routes,) = commands("for route in")
    here, to = shlex.quote(str(CHECKOUT)), shlex.quote(str(tmp_path))
    script = f"""
        set -euo pipefail; shopt -s nullglob; cd {here}; work={to} tree={to}
        put() {{ install -D -m "$1" "$2" "$tree$3"; }}
        {rewrite}
        {next(line for line in commands("put") if "/etc/spoold/spoold.toml" in line)}
        {routes}
    """
    subprocess.run(["bash", "-c", script], check=True, timeout=30)
    return tmp_path / "etc/spoold/spoold.toml"


def test_it_differs_from_the_example_in_three_keys(file):
    """Root and runtime are the FHS's, each stage has a user of its own; all else is the example."""
    packaged = tomllib.loads(file.read_text(encoding="utf-8"))
    example = tomllib.loads((CHECKOUT / "config/spoold.toml").read_text(encoding="utf-8"))
    assert packaged == {**example, "root": ROOT, "runtime": RUNTIME, "separate_users": True}


def test_it_loads_with_every_route(file):
    """It compiles, with the folders where units, tmpfiles.d and the pages have them."""
    loaded = routing.load(config.load(file))
    assert str(loaded.config.root) == ROOT
    assert loaded.config.runtime == RUNTIME
    assert loaded.config.settings.separate_users
    assert [route.file.document.file.name for route in loaded.routes] == sorted(
        path.name for path in (CHECKOUT / "config/routes.d").iterdir()
    )
    assert f"d {ROOT} " in (CHECKOUT / "packaging/tmpfiles.d/spoold.conf").read_text()
    assert f"d {RUNTIME} " in (CHECKOUT / "packaging/tmpfiles.d/spoold.conf").read_text()


def test_its_executors_can_have_users_of_their_own(file):
    """No name is too long, and every folder of theirs has somebody to belong to."""
    settings = config.load(file).settings
    assert all(rights.user_of(name) for name in settings.executors)
    table = rights.of_spool(sorted(settings.sources), sorted(settings.executors))
    assert {entry.path.partition("/")[0] for entry in table} >= {
        folder.path("x").partition("/")[0] for folder in states.FOLDERS.values()
    }


def test_check_accepts_it(file):
    """`spoold check` finds nothing wrong with it, before there is a spool."""
    # Not that of a machine which has the package.
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(ROOT, str(file.parent / "spool")), encoding="utf-8")
    words = [sys.executable, "-m", "spoold", "--config", file, "check"]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run(words, env=env, cwd=file.parent, stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert ended.returncode == os.EX_OK, ended.stderr
    for name in config.load(file).settings.executors:
        assert f"ok       executor {name} " in ended.stdout
    assert "is not laid out yet" in ended.stdout


LOCKS = {
    "requirements.lock": ("project", "dependencies"),
    "build.lock": ("build-system", "requires"),
}


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_fits_what_the_project_needs(name):
    """Each requirement is pinned at a version that it allows; `make lock` after a change."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    table, key = LOCKS[name]
    text = (CHECKOUT / "packaging/deb" / name).read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    wanted = [Requirement(one) for one in project[table][key]]
    assert wanted
    for one in wanted:
        assert one.name in pinned, f"{one.name} is not in {name}: make lock"
        assert one.specifier.contains(pinned[one.name]), f"{one}: make lock"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_bytes_and_no_place(name):
    """Each package has a digest, and where it comes from is the business of who builds."""
    text = (CHECKOUT / "packaging/deb" / name).read_text(encoding="utf-8")
    packages = re.split(r"\n(?=\S)", text.replace("\\\n", "").strip())
    packages = [one for one in packages if not one.startswith("#")]
    assert packages
    for one in packages:
        assert re.fullmatch(r"[a-z0-9-]+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", one), one[:80]


def test_the_package_is_built_of_what_is_locked():
    """The build asks an index for nothing that has no digest in a lock file."""
    asked = re.findall(r"^.*-m pip .*$", BUILD, re.MULTILINE)
    assert len(asked) == 3
    for line in asked:
        assert "--no-deps" in line
        is_own = "--no-build-isolation" in line or "--no-index" in line
        assert is_own or "--require-hashes" in line
