"""The kind `agent` in a git worktree of its own: how that is made, and what ends it."""

import itertools
import os
import subprocess
import threading
from pathlib import Path

import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import Result, agent
from spoold.executors.agent import worktree
from tests.conformance.agents import config, outcome, params, until
from tests.ended import gone

WRITES = "import os; open('REPORT.md', 'w').write(os.getcwd())"
RAN = "open({!r}, 'w')"


def git(repository, *argv):
    """Run it, as somebody."""
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    argv = ["git", "-C", repository, *who, *argv]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path):
    """A git repository with one commit, and a hook."""
    path = tmp_path / "repo"
    (path / "a/b").mkdir(parents=True)
    (path / "a/b/file").write_text("x\n")
    git(path, "init", "-q")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "x")
    hook = path / ".git/hooks/post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    return path


@pytest.fixture
def stuck(repository, tmp_path):
    """The same with a filter that does not end, and leaves its number and two others."""
    new = tmp_path / "new"
    starts = f"sleep 300 & echo $$ $! > {new}; setsid sh -c 'echo $$ >> {new}; exec sleep 300' &"
    all_three = f"until test $(wc -w < {new}) = 3; do sleep 0.05; done"
    slow = f"{starts} {all_three}; mv {new} {tmp_path}/pids; sleep 40; cat"
    git(repository, "config", "filter.slow.smudge", slow)
    (repository / ".git/info/attributes").write_text("file filter=slow\n")
    return repository


def start(stage, cwd, code=WRITES, *, context=None, **given):
    """Let an agent run to its end in a worktree."""
    settings = config(code)
    context = context or stage.context(settings)
    object.__setattr__(context, "config", settings)
    given = {"evidence": {"file": "REPORT.md"}, **given}
    return outcome(lambda: agent.run(params(settings, cwd, worktree=True, **given), context))


def ended_while_git_works(stage, repository, tmp_path, end):
    """How it ends when that is done to its context in the middle of making the worktree."""
    context = stage.context(None)
    found = []
    run = threading.Thread(target=lambda: found.append(start(stage, repository, context=context)))
    run.start()
    until((tmp_path / "pids").exists)
    for event in end:
        getattr(context, event).set()
    run.join(60)
    assert found
    return found[0]


def nothing_is_left(repository, tmp_path):
    """Whether all processes are gone, and git knows of one worktree only."""
    pids = map(int, (tmp_path / "pids").read_text().split())
    listed = git(repository, "worktree", "list", "--porcelain").count("worktree ")
    folder = tmp_path / "repo.worktrees"
    left = list(folder.iterdir()) if folder.exists() else []
    ended = [gone(pid, 1) for pid in pids]
    return (ended, listed, left) == ([True] * 3, 1, [])


def test_it_works_in_a_fresh_worktree_if_asked_to(stage, tmp_path, repository):
    """The worktree is new, beside the repository, and stays; no hook of the repository runs."""
    ended = start(stage, repository)
    where = Path(ended.details["cwd"])
    assert where.parent == tmp_path / "repo.worktrees"
    assert (where / "REPORT.md").read_text() == str(where)
    assert not (repository / "REPORT.md").exists()
    assert not (tmp_path / "hook-ran").exists()


def test_without_a_repository_nothing_is_started(stage, tmp_path):
    """Git's refusal is a final failure, and kept."""
    ended = start(stage, tmp_path, "open('ran', 'w')")
    assert (type(ended), ended.code) == (Permanent, "worktree-failed")
    assert "not a git repository" in ended.details["git"]
    assert not (tmp_path / "ran").exists()


def test_no_file_system_monitor_of_the_repository_runs(stage, tmp_path, repository):
    """A program that its configuration names for watching files is not asked."""
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {tmp_path}/monitor-ran\nexit 1\n")
    monitor.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(monitor))
    git(repository, "status")
    assert (tmp_path / "monitor-ran").exists()
    (tmp_path / "monitor-ran").unlink()
    assert isinstance(start(stage, repository), Result)
    assert not (tmp_path / "monitor-ran").exists()


# What ends it


def test_a_cancel_ends_git_and_all_that_it_has_started(stage, tmp_path, stuck):
    """A person need not wait for the repository's filters, and nothing of them is left."""
    ended = ended_while_git_works(stage, stuck, tmp_path, ["cancelled", "stopping"])
    assert (type(ended), ended.code) == (Permanent, "cancelled")
    assert "the agent was not started" in ended.summary
    assert nothing_is_left(stuck, tmp_path)


@pytest.mark.parametrize("removed", [True, False])
def test_a_stop_of_the_service_hands_it_back(stage, tmp_path, stuck, monkeypatch, removed):
    """It costs no try, and the next start makes the worktree of the same attempt.

    What a stopped service could not remove of it is no obstacle.
    """
    if not removed:
        monkeypatch.setattr(worktree._Git, "remove", lambda *_: None)
    ended = ended_while_git_works(stage, stuck, tmp_path, ["stopping"])
    assert (type(ended), ended.code) == (Transient, "interrupted")
    assert (ended.counts, ended.retry_after) == (False, 0)
    assert nothing_is_left(stuck, tmp_path) == removed
    monkeypatch.undo()
    git(stuck, "config", "--unset", "filter.slow.smudge")
    stage.numbers = itertools.count(1)
    assert isinstance(start(stage, stuck), Result)


def test_a_deadline_ends_git_and_all_that_it_has_started(stage, tmp_path, stuck):
    """Making the worktree has its own deadline and says so; no agent has been started then."""
    ended = start(stage, stuck, timeout="2s")
    assert (type(ended), ended.code) == (Permanent, "worktree-timeout")
    assert "after 2 s" in ended.summary
    assert nothing_is_left(stuck, tmp_path)


def test_a_worktree_in_which_an_agent_has_begun_is_never_removed(stage, tmp_path, repository):
    """Whoever takes an attempt for one that has not begun finds it taken, and ends nothing."""
    first = start(stage, repository)
    stage.numbers = itertools.count(1)
    environment = {"SPOOLD_DISPATCH_ID": stage.dispatch_id}
    with subprocess.Popen(["/bin/sleep", "60"], env=environment) as of_the_agent:
        again = start(stage, repository, RAN.format(str(tmp_path / "ran")))
        lived = of_the_agent.poll() is None
        of_the_agent.kill()
    assert lived
    assert (again.code, "already exists" in again.details["git"]) == ("worktree-failed", True)
    assert Path(first.details["cwd"], "REPORT.md").exists()
    assert not (tmp_path / "ran").exists()


def test_what_an_attempt_did_not_make_is_never_removed(stage, tmp_path, repository):
    """A worktree of the same name from before, at which people look, outlives every try."""
    made = start(stage, repository).details["cwd"]
    # The same event in a new spool: no note of an attempt is there.
    other = tmp_path / "other"
    other.mkdir()
    for _ in range(2):
        stage.folder, stage.numbers = other, itertools.count(1)
        again = start(stage, repository, RAN.format(str(tmp_path / "ran")))
        assert (type(again), again.code) == (Permanent, "worktree-failed")
        assert f"{made} is there already" in again.summary
        # Else a next try would take it for its own.
        assert not list(other.iterdir())
    assert Path(made, "REPORT.md").exists()
    assert not (tmp_path / "ran").exists()


def test_what_a_filter_leaves_running_is_ended_before_the_agent_begins(stage, tmp_path, repository):
    """A filter that did its work may have left its session, and is ended all the same."""
    left = f"setsid sleep 300 >/dev/null 2>&1 & echo $! > {tmp_path}/pid; cat"
    git(repository, "config", "filter.leaves.smudge", left)
    (repository / ".git/info/attributes").write_text("file filter=leaves\n")
    program = f"'/proc/' + open({str(tmp_path / 'pid')!r}).read().strip() + '/exe'"
    sees = f"import os; open('REPORT.md', 'w').write(str(os.path.exists({program})))"
    ended = start(stage, repository, sees)
    assert gone(int((tmp_path / "pid").read_text()))
    assert Path(ended.details["cwd"], "REPORT.md").read_text() == "False"


def test_an_agent_that_cannot_be_started_names_the_folder_of_the_worktree(
    stage, tmp_path, repository
):
    """Whoever reads why it could not be started is sent to where that was tried."""
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    settings = config("", command={"argv": [str(program)]})
    context = stage.context(settings)
    ended = outcome(lambda: agent.run(params(settings, repository / "a", worktree=True), context))
    assert ended.code == "cannot-start"
    where = worktree.works_in(str(repository / "a"), context)
    assert where.startswith(f"{repository}/a.worktrees/")
    assert where.endswith("/a")
    assert f"could not be started in {where}: " in ended.summary


# A folder in the repository


@pytest.mark.parametrize("name", ["a/b", "a//b/", "a/../a/b", "../link"])
def test_it_starts_in_the_same_folder_of_the_worktree(stage, tmp_path, repository, name):
    """An agent for a part of a repository, by whatever name, works in that part of its own."""
    (tmp_path / "link").symlink_to(repository / "a/b")
    context = stage.context(None)
    ended = start(stage, f"{repository}/{name}", context=context)
    where = Path(ended.details["cwd"])
    assert where.parts[-2:] == ("a", "b")
    assert (where / "file").read_text() == "x\n"
    assert (where / "REPORT.md").read_text() == str(where.resolve())
    assert not (repository / "a/b/REPORT.md").exists()
    given = {"worktree": True, "evidence": {"file": "REPORT.md"}}
    found = agent.probe(params(context.config, f"{repository}/{name}", **given), context)
    assert (found.code, found.details) == ("exit-0", ended.details)


@pytest.mark.parametrize(
    "lie",
    [None, "", "/", "{where}/a\0b", "{where}/" + "x/" * 4096, "{where}/../..", "{where}/a/../../b"],
)
def test_an_agent_that_hides_where_it_worked_is_judged_all_the_same(stage, repository, lie):
    """What lies in the place of that note is neither waited for nor believed."""
    context = stage.context(None)
    where = start(stage, repository, context=context).details["cwd"]
    note = Path(f"{context.files}.cwd")
    note.unlink()
    if lie is None:
        os.mkfifo(note)
    else:
        note.write_text(lie.format(where=where))
    given = {"worktree": True, "evidence": {"file": "REPORT.md"}}
    found = agent.probe(params(context.config, repository, **given), context)
    assert found.details["cwd"] == where


def test_a_folder_that_is_not_in_the_commit_is_an_error(stage, tmp_path, stuck):
    """Nothing is made and nothing runs for a folder that the worktree would not have."""
    (stuck / "new").mkdir()
    ended = start(stage, stuck / "new", RAN.format(str(tmp_path / "ran")))
    assert (type(ended), ended.code) == (Permanent, "worktree-failed")
    assert "new is no folder in its HEAD" in ended.summary
    assert not (tmp_path / "pids").exists()
    assert not (tmp_path / "ran").exists()
    assert not (stuck / "new.worktrees").exists()
