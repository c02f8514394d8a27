"""`docs/how-to/add-an-executor.md` is true: what it shows works as it stands there."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import spoold.errors
import spoold.executors

CHECKOUT = Path(__file__).parents[2]
TEXT = (CHECKOUT / "docs/how-to/add-an-executor.md").read_text(encoding="utf-8")

#: Ways to get the page's kind wrong: what is replaced, by what, and the tests that must notice.
BROKEN = {
    "lax": (
        "class Params(Model)",
        "class Params(Model, extra='ignore')",
        "test_a_misspelt_key_is_an_error",
    ),
    "wordy": (
        'return Result("appended", f"',
        'return Result("Appended!", f"',
        "test_run_ends_in_something_that_can_be_recorded",
    ),
    "deaf": (
        "if context.stopping.is_set()",
        "if False",
        "test_run_starts_nothing_while_the_service_stops",
    ),
    "meddling": (
        '"""After a crash: look at the world."""',
        "context.open_output('x').write(b'x')",
        "test_probe_acts_on_nothing_and_says_the_same_again",
    ),
    "unfinished": (
        "def probe(",
        "def look(",
        "test_a_kind_has_the_functions_of_the_contract",
        "test_probe_acts_on_nothing_and_says_the_same_again",
    ),
}


def block(language, number):
    """A code block of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)[number]


@pytest.fixture
def run_pytest(tmp_path):
    """Runs pytest with the page's kind, and its broken versions, installed as the page says."""
    points = tomllib.loads(block("toml", 0))["project"]["entry-points"]
    lines = {group: [f"{name} = {where}" for name, where in found.items()]
             for group, found in points.items()}  # fmt: skip
    module = block("python", 0)
    (tmp_path / "spoold_append.py").write_text(module, encoding="utf-8")
    for name, (old, new, *_) in BROKEN.items():
        assert old in module
        broken = module.replace(old, new, 1)
        (tmp_path / f"broken_{name}.py").write_text(broken, encoding="utf-8")
        lines["spoold.executors"].append(f"append-{name} = broken_{name}")
        lines["spoold.executors.examples"].append(f"append-{name} = broken_{name}:EXAMPLE")
    meta = tmp_path / "append-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: append\nVersion: 1\n")
    groups = [f"[{group}]\n" + "\n".join(found) for group, found in lines.items()]
    (meta / "entry_points.txt").write_text("\n".join(groups))

    def run(*arguments):
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
        env = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}", "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            argv, env=env, cwd=CHECKOUT, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    return run


def test_the_kind_of_the_page_passes_the_conformance_suite_and_broken_ones_do_not(run_pytest):
    """A kind made as the page says is like the others; each mistake fails the test about it."""
    said = run_pytest("tests/conformance/test_every_kind.py", "-k", "append")
    failed = re.findall(r"^FAILED .*::(\w+)\[append-(\w+)(?:-\w+)?\]", said, re.MULTILINE)
    expected = {(test, name) for name, (_, _, *tests) in BROKEN.items() for test in tests}
    assert set(failed) == expected, said
    passed = re.search(r"(\d+) failed, (\d+) passed", said)
    assert passed, said
    assert int(passed[2]) > 10 * len(BROKEN)


def test_the_test_of_the_page_passes(run_pytest, tmp_path):
    """The kind works in a real spool, as the page shows."""
    test = tmp_path / "test_append.py"
    test.write_text(block("python", 1), encoding="utf-8")
    assert "1 passed" in run_pytest(str(test), "-c", "/dev/null")


@pytest.mark.parametrize("name", re.findall(r"^  \| `(\w+)", TEXT, re.MULTILINE))
def test_every_end_that_the_page_names_exists(name):
    """The page's table names what there is."""
    assert hasattr(spoold.errors, name) or hasattr(spoold.executors, name)
