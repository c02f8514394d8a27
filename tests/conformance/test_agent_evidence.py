"""Evidence that is somebody else's, and caps that are heard of too late."""

import hashlib
import os
import time

import pytest

from spoold.errors import NeedsPerson, Permanent
from spoold.executors import Result, agent
from tests.conformance.agents import config, outcome, params


def run(stage, cwd, code, *, settings=None, **given):
    """Let an agent run to its end."""
    made = config(code, **(settings or {}))
    return outcome(lambda: agent.run(params(made, cwd, **given), stage.context(made)))


def test_what_another_agent_has_just_written_is_no_evidence(stage, tmp_path):
    """A file that is as it was when the agent began says nothing of it, however fresh it is."""
    (tmp_path / "REPORT.md").write_text("of the one before")
    ended = run(stage, tmp_path, "", evidence={"file": "REPORT.md"})
    assert (type(ended), ended.code) == (NeedsPerson, "no-evidence")
    assert "what it was before this run" in ended.summary


@pytest.mark.parametrize(
    "code",
    [
        "open('REPORT.md', 'w').write('of the one before')",
        "open('REPORT.md', 'a').write('!')",
        "open('new', 'w').write('x'); import os; os.rename('new', 'REPORT.md')",
    ],
)
def test_a_file_that_was_there_and_is_written_again_is_evidence(stage, tmp_path, code):
    """The same bytes written anew, more bytes, or another file in its place: it was touched."""
    report = tmp_path / "REPORT.md"
    report.write_text("of the one before")
    past = time.time() - 0.5
    os.utime(report, (past, past))
    assert run(stage, tmp_path, code, evidence={"file": "REPORT.md"}).code == "exit-0"


def test_a_file_with_an_old_date_that_was_put_there_is_no_evidence(stage, tmp_path):
    """Who moves yesterday's report to its place has not written one."""
    old = tmp_path / "old.md"
    old.write_text("of yesterday")
    os.utime(old, (1, 1))
    code = "import os; os.rename('old.md', 'REPORT.md')"
    ended = run(stage, tmp_path, code, evidence={"file": "REPORT.md"})
    assert ended.code == "no-evidence"
    assert "older" in ended.summary


def test_evidence_does_not_lie_outside_through_a_link(stage, tmp_path):
    """No folder on the way below the working directory may be a link."""
    (tmp_path / "work").mkdir()
    (tmp_path / "outside").mkdir()
    code = "import os; os.symlink('../outside', 'out'); open('../outside/R.md', 'w').write('other')"
    ended = run(stage, tmp_path / "work", code, evidence={"file": "out/R.md"})
    assert ended.code == "no-evidence"


def test_a_working_directory_may_be_a_link_itself(stage, tmp_path):
    """Only what an agent can change is distrusted."""
    (tmp_path / "work").mkdir()
    (tmp_path / "link").symlink_to("work")
    code = "import os; os.mkdir('a'); open('a/R.md', 'w').write('x')"
    assert run(stage, tmp_path / "link", code, evidence={"file": "./a//R.md"}).code == "exit-0"


@pytest.mark.parametrize("size", [1, 64 << 20, (64 << 20) + 1])
def test_how_much_of_a_file_was_hashed_is_said(stage, tmp_path, size):
    """A digest of the beginning is not taken for one of the whole file."""
    code = f"open('REPORT.md', 'wb').truncate({size})"
    found = run(stage, tmp_path, code, evidence={"file": "REPORT.md"}).evidence
    hashed = min(size, 64 << 20)
    assert (found["bytes"], found["sha256_bytes"]) == (size, hashed)
    assert found["sha256"] == hashlib.sha256(bytes(hashed)).hexdigest()


@pytest.mark.parametrize(
    ("said", "is_evidence"),
    [('[""]', False), ('{"a": null}', False), ("NaN", False), ('{"a": [0.5]}', True)],
)
def test_a_value_with_nothing_in_it_is_no_evidence(stage, tmp_path, said, is_evidence):
    """A list of nothing is nothing, and held for a person."""
    line = f'{{"result": {said}}}'
    ended = run(stage, tmp_path, f"print({line!r})", evidence={"json": "result"})
    assert ended.code == ("exit-0" if is_evidence else "no-evidence")


@pytest.mark.parametrize(
    ("line", "settings", "said"),
    [
        ('{"result":"x","total_cost_usd":5.5}', {"max_cost": 5.0}, "0.5 more than its cap of 5."),
        ('{"result":"x","num_turns":4}', {"max_turns": 3}, "4 turns, 1 more than its cap."),
    ],
)
def test_a_cap_that_was_passed_at_the_very_end_is_said(stage, tmp_path, line, settings, said):
    """What is over cannot be stopped: it is done, and its summary says by how much it was more."""
    ended = run(stage, tmp_path, f"print({line!r})", settings=settings)
    assert isinstance(ended, Result)
    assert ended.summary.endswith(said)
    failed = run(stage, tmp_path, f"print({line!r}); raise SystemExit(3)", settings=settings)
    assert (type(failed), failed.code) == (Permanent, "exit-3")
    assert failed.summary.endswith(said)
    within = run(
        stage, tmp_path, f"print({line!r})", settings={k: type(v)(9) for k, v in settings.items()}
    )
    assert "cap" not in within.summary
