"""`docs/how-to/add-an-executor.md` is true: what it shows works as it stands there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docs/how-to/add-an-executor.md").read_text(encoding="utf-8")


def block(language, number):
    """A code block of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[number]


@pytest.fixture
def installed(tmp_path):
    """The page's module, installed as its entry points say; gives the environment."""
    points = tomllib.loads(block("toml", 0))["project"]["entry-points"]
    (tmp_path / "spoold_append.py").write_text(block("python", 0), encoding="utf-8")
    meta = tmp_path / "append-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: append\nVersion: 1\n")
    lines = [f"[{group}]\n{name} = {where}\n" for group, found in points.items()
             for name, where in found.items()]  # fmt: skip
    (meta / "entry_points.txt").write_text("".join(lines))
    return {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}", "PATH": "/usr/bin:/bin"}


def pytest_says(installed, *arguments):
    """What pytest says in an environment with the kind installed."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        argv, env=installed, cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()[-1] if done.returncode == 0 else done.stdout + done.stderr


def test_the_kind_of_the_page_passes_the_conformance_suite(installed):
    """A new kind in one file, made as the page says, is a kind like the others."""
    said = pytest_says(installed, "tests/conformance/test_every_kind.py", "-k", "append")
    assert re.search(r"\d\d passed", said), said


def test_the_test_of_the_page_passes(installed, tmp_path):
    """The kind works in a real spool, as the page shows."""
    test = tmp_path / "test_append.py"
    test.write_text(block("python", 1), encoding="utf-8")
    assert "1 passed" in pytest_says(installed, str(test), "-c", "/dev/null")


@pytest.mark.parametrize("name", re.findall(r"^  \| `(\w+)", TEXT, re.MULTILINE))
def test_every_end_that_the_page_names_exists(name):
    """The page's table names what there is."""
    import spoold.errors
    import spoold.executors

    assert hasattr(spoold.errors, name) or hasattr(spoold.executors, name)
