"""The demo shows what it says it shows, and fails loudly when it does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path):
    """A checkout of which the demo may be changed, at a path with a space."""
    copy = tmp_path / "a b"
    shutil.copytree(CHECKOUT / "examples", copy / "examples")
    (copy / "tests").mkdir()
    (copy / "tests" / "records").symlink_to(CHECKOUT / "tests" / "records")
    (copy / "spoold").symlink_to(CHECKOUT / "spoold")
    return copy


def demo(checkout, temporary):
    temporary.mkdir()
    return subprocess.run(
        [sys.executable, str(checkout / "examples" / "demo" / "demo.py")],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_demo_runs_to_its_end_and_cleans_up(checkout, tmp_path):
    """From a path with a space it shows every step, writes no escape codes, and leaves nothing."""
    ended = demo(checkout, tmp_path / "t m p")
    assert ended.returncode == 0, ended.stderr
    shown = ["(asked 2 times)", "not-json", "called once", "ran once", "replayed", "altered",
             "exit code 0", "spoold init"]  # fmt: skip
    assert [text for text in shown if text not in ended.stdout] == []
    assert "\033" not in ended.stdout
    assert list((tmp_path / "t m p").iterdir()) == []


def test_the_demo_fails_when_a_step_does_not_happen(checkout, tmp_path):
    """A program that fails ends it with the step, what came of the request, and the log."""
    hyops = checkout / "examples" / "demo" / "bin" / "hyops"
    hyops.write_text("#!/bin/sh\nexit 1\n")
    ended = demo(checkout, tmp_path / "tmp")
    assert ended.returncode == 1
    assert "failed in step '5. Decide" in ended.stderr
    assert "hyops exited with 1" in ended.stderr
    assert "The service's log:" in ended.stderr
    assert list((tmp_path / "tmp").iterdir()) == []
