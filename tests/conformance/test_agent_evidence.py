"""What counts as a sign that an agent has done its work, and what is somebody else's."""

import hashlib
import os
import time

import pytest

from spoold.errors import NeedsPerson
from tests.conformance.agents import run

REPORT = {"file": "REPORT.md"}
WRITES = "open('REPORT.md', 'w').write('of the one before')"


def is_evidence(ended):
    """Whether a run that exited with 0 was taken for done, or waits for a person."""
    if ended.code == "exit-0":
        return True
    assert (type(ended), ended.code, ended.details["exit_code"]) == (NeedsPerson, "no-evidence", 0)
    return False


@pytest.mark.parametrize(
    ("evidence", "enough"),
    [(REPORT, False), ({"json": "result"}, False), ({"pattern": "x"}, False), (None, False),
     ({"none": True}, True)],
)  # fmt: skip
def test_exit_0_with_nothing_is_enough_only_if_a_route_says_so(stage, tmp_path, evidence, enough):
    """Without the evidence that its route asks for, whichever, a person must look."""
    given = {"evidence": evidence} if evidence else {}
    assert is_evidence(run(stage, tmp_path, "", **given)) == enough


@pytest.mark.parametrize(
    ("before", "code", "missing"),
    [
        (None, "open('REPORT.md', 'w').write('done')", None),
        (None, "open('REPORT.md', 'w')", "is empty"),
        (None, "import os; os.symlink('/etc/hostname', 'REPORT.md')", "cannot be read"),
        (None, "import os; os.mkdir('REPORT.md')", "is no regular file"),
        (None, "import os; os.mkfifo('REPORT.md')", "is no regular file"),
        (0.5, WRITES, None),
        (0.5, "open('REPORT.md', 'a').write('!')", None),
        (0.5, "open('new', 'w').write('x'); import os; os.rename('new', 'REPORT.md')", None),
        (0.0, "", "what it was before this run"),
        (1e9, "", "what it was before this run"),
        (None, WRITES + "; import os; os.utime('REPORT.md', (1, 1))", "is older than this run"),
    ],
)
def test_a_file_is_evidence_if_this_run_has_written_it(stage, tmp_path, before, code, missing):
    """An empty file, a link, a folder or a pipe is none; nor what lay there, however fresh.

    The same bytes written anew, more bytes, or another file in its place is. Who puts an old
    report in place has not written one.
    """
    if before is not None:
        (tmp_path / "REPORT.md").write_text("of the one before")
        past = time.time() - before
        os.utime(tmp_path / "REPORT.md", (past, past))
    ended = run(stage, tmp_path, code, evidence=REPORT)
    assert is_evidence(ended) == (missing is None)
    assert missing is None or missing in ended.summary


def test_evidence_does_not_lie_outside_through_a_link(stage, tmp_path):
    """No folder on the way may be a link; the working directory, which no agent chose, may."""
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").mkdir()
    code = "import os; os.symlink('../outside', 'out'); open('../outside/R.md', 'w').write('other')"
    assert not is_evidence(run(stage, tmp_path / "work", code, evidence={"file": "out/R.md"}))
    (tmp_path / "link").symlink_to("work")
    code = "import os; os.mkdir('a'); open('a/R.md', 'w').write('x')"
    assert is_evidence(run(stage, tmp_path / "link", code, evidence={"file": "./a//R.md"}))


@pytest.mark.parametrize("size", [1, 64 << 20, (64 << 20) + 1])
def test_how_much_of_a_file_was_hashed_is_said(stage, tmp_path, size):
    """A digest of the beginning is not taken for one of the whole file."""
    code = f"open('REPORT.md', 'wb').truncate({size})"
    found = run(stage, tmp_path, code, evidence=REPORT).evidence
    hashed = min(size, 64 << 20)
    assert (found["bytes"], found["sha256_bytes"]) == (size, hashed)
    assert found["sha256"] == hashlib.sha256(bytes(hashed)).hexdigest()


@pytest.mark.parametrize(
    ("printed", "key", "value"),
    [
        ('{"type": "result", "result": "fine"}', "result", "fine"),
        ('{"result": ""}\n{"result": null}', "result", None),
        ('{"type":"item.completed","item":{"text":"one"}}\n{"item":{"text":"two"}}\n{}',
         "item.text", "two"),
        ('{\n  "result": {"a": 1}\n}', "result", '{"a": 1}'),
        ('{"result": "cut', "result", None),
        ('{"other": "x"}\n[1]\nno json', "result", None),
        ('{"result": [""]}', "result", None),
        ('{"result": "it said \\ud83d and \\ud83d\\ude00"}', "result",
         "it said ? and \U0001f600"),
    ],
)  # fmt: skip
def test_a_value_in_its_json_output_is_evidence_if_it_is_not_empty(
    stage, tmp_path, printed, key, value
):
    """The last value under the key counts, in lines or one document; bad text is cleaned."""
    ended = run(stage, tmp_path, f"print({printed!r})", evidence={"json": key})
    assert is_evidence(ended) == (value is not None)
    assert ended.evidence["value"] == value


def test_a_pattern_is_evidence_and_costs_no_more_for_hostile_output(stage, tmp_path):
    """The output is searched for it in linear time: a search that takes ages would never end."""
    code = "print('a' * 300_000 + '!')"
    assert not is_evidence(run(stage, tmp_path, code, evidence={"pattern": "(a+)+b"}))
    assert is_evidence(run(stage, tmp_path, code, evidence={"pattern": "a!"}))
