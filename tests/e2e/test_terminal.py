"""`ls`, `show` and `explain` on a real terminal, with text from somebody who wants to mislead."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

import pytest

from spoold.view.lines import width
from tests.e2e.conftest import argv, command, decision, route

FORGED = "deadbeef  awaiting-approval     5m  harmless       agent/docs          expires in 3h"
UNSEEN = "\u202e\u2066\u200b\x9b31m\x85\u2028"


def on_a_terminal(site, columns, *words):
    """The lines that a verb writes to a terminal of that width, on stdout."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {**site.env, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "9999"}
    written = b""
    with subprocess.Popen(site.words(*words), env=env, stdout=theirs, stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        os.close(theirs)
        try:
            while chunk := os.read(ours, 1 << 16):
                written += chunk
        except OSError:  # the terminal has no writer any more
            pass
        said = process.stderr.read()
    os.close(ours)
    assert process.returncode == 0, said
    return written.decode().replace("\r\n", "\n").splitlines(), said.decode()


@pytest.fixture
def misled(site):
    """A request, and a bad drop, whose texts are made to look like rows of a harmless request."""
    target = "target_ref = '=record.facts.rationale'"
    does = argv("/usr/bin/true", "=record.facts.rationale")
    site.configure(command("/usr/bin/true"), route("runner", target, params=does))
    text = "x" * 57 + FORGED + " p\u0430ypal " + UNSEEN + "z" * 300
    site.drop("decisions", "1.json", decision(1, rationale=text))
    site.drop("decisions", f"{'y' * 70}{FORGED.replace('/', '-')}.json", b"[]")
    site.drain()
    return site, text


@pytest.mark.parametrize("columns", [40, 80, 113])
def test_nothing_wraps_and_nothing_unseen_is_printed(misled, columns):
    """No verb prints a line wider than the terminal, or a character that nobody sees."""
    site, _ = misled
    request = site.only("awaiting-approval")
    original = next(file for file in site.files("archive") if file.name == "1.json")
    for words in (["ls"], ["show", request.stem], ["explain", original]):
        lines, _ = on_a_terminal(site, columns, *words)
        assert lines
        for line in lines:
            assert width(line) <= columns, (words, line)
            assert line.isprintable(), (words, line)
            assert not line.startswith("deadbeef"), (words, line)


def test_ls_has_a_row_for_each_file_and_no_more(misled):
    """A long text and a long name make one row each, and mixed scripts are marked."""
    site, _ = misled
    lines, _ = on_a_terminal(site, 80, "ls")
    assert len(lines) == 1 + 2
    assert any("mixed scripts" in line for line in lines)


def test_show_leaves_nothing_out_and_says_what_may_mislead(misled):
    """The parts of the lines on a terminal make up the file again; what misleads is named."""
    site, text = misled
    request = site.only("awaiting-approval")
    lines, said = on_a_terminal(site, 80, "show", request.stem)
    whole = re.sub("\n» ", "", "\n".join(lines))
    assert json.loads(whole)["params"]["argv"][1] == text
    assert "p\u0430ypal" in said
    assert "cannot be seen" in said


def test_the_plan_that_is_approved_fits_and_says_what_may_mislead(misled):
    """What approve prints will run has no line that wraps, and names look-alikes."""
    site, _ = misled
    request = site.only("awaiting-approval")
    lines, _ = on_a_terminal(site, 60, "approve", "--yes", request.stem)
    assert any(line.startswith("  executor") for line in lines)
    assert all(width(line) <= 60 or "→" in line for line in lines)
    assert any("scripts are mixed" in line for line in lines)
