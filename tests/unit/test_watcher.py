"""Whom the watcher wakes, what it announces, and what it does where it cannot watch."""

import os
import threading
import time
from pathlib import Path

import pytest

from spoold.service import watcher
from spoold.service.watcher import Watcher


class Heard:
    """Stands where the arrivals are, and remembers."""

    def __init__(self):
        self.names = []

    def begin(self):
        pass

    def settle(self):
        pass

    def announced(self, folder, names):
        self.names += [(folder, name) for name in names]


#: Seconds after which a test takes what it waits for to be lost.
LONG = 20.0


@pytest.fixture
def watch():
    """Makes watchers; their threads are ended."""
    made = []

    def start(folder, wake, arrivals=None):
        one = Watcher({str(folder): [wake]}, arrivals)
        made.append(one)
        one.check()
        return one

    yield start
    for one in made:
        one.close()
        one._thread.join(LONG)
        assert not one._thread.is_alive()


@pytest.fixture
def watched(tmp_path, watch):
    """A folder that is watched, the event that is set, and the watcher."""
    folder, wake = tmp_path / "in", threading.Event()
    folder.mkdir()
    watcher = watch(folder, wake)
    assert wake.wait(LONG)
    settled(wake)
    return folder, wake, watcher


def settled(wake):
    """Wait until nothing more is announced."""
    wake.clear()
    while wake.wait(0.15):
        wake.clear()


def until(true):
    """Wait until something is true; fail if it does not become so."""
    deadline = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def notices(one, wake, file):
    """Whether a new file is noticed, by a stage that looks when woken and checks the watcher."""
    deadline = time.monotonic() + LONG
    settled(wake)
    while time.monotonic() < deadline:
        one.check()
        file.unlink(missing_ok=True)
        settled(wake)
        file.touch()
        if wake.wait(0.5):
            file.unlink()
            return True
    return False


CHANGES = {
    "rename in": lambda folder: (folder.parent / "x").rename(folder / "x.json"),
    "write": lambda folder: (folder / "x.json").write_text("{}"),
    "rename out": lambda folder: (folder / "there").rename(folder.parent / "out"),
    "remove": lambda folder: (folder / "there").unlink(),
    "chmod": lambda folder: (folder / "there").chmod(0o600),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_change_is_noticed(watched, how):
    """Whatever happens to a name in the folder wakes the stage."""
    folder, wake, _ = watched
    (folder.parent / "x").write_text("x")
    (folder / "there").write_text("x")
    assert wake.wait(LONG)
    settled(wake)
    CHANGES[how](folder)
    assert wake.wait(LONG)


def test_many_changes_wake_again_and_again(watched):
    """A change after a wake-up wakes once more; none is swallowed by the one before."""
    folder, wake, _ = watched
    for number in range(10):
        (folder / f"{number}.json").touch()
        assert wake.wait(LONG), number
        time.sleep(0.02)
        wake.clear()


@pytest.mark.parametrize("how", ["replaced", "removed and made again", "of the same number"])
def test_a_folder_that_was_replaced_is_watched_again(watched, how, monkeypatch):
    """After the next check the new folder of that name is watched, whatever its inode number is."""
    folder, wake, one = watched
    if how == "of the same number":
        number = watcher._identity(str(folder))
        monkeypatch.setattr(watcher, "_identity", lambda _: number)
    if how == "replaced":
        folder.rename(folder.parent / "old")
    else:
        folder.rmdir()
    folder.mkdir()
    assert notices(one, wake, folder / "x.json")


def test_a_check_without_a_change_leaves_the_watcher_alone(watched):
    """A look at every step costs no new watcher."""
    _, _, one = watched
    before = one._thread
    for _ in range(5):
        one.check()
    assert one._thread is before


def test_a_missing_folder_is_watched_as_soon_as_it_is_there(tmp_path, watch):
    """A folder that is not there yet is no error, and is watched after it appears."""
    wake = threading.Event()
    one = watch(tmp_path / "in", wake)
    (tmp_path / "in").mkdir()
    assert notices(one, wake, tmp_path / "in/x")


def test_names_that_came_are_announced_under_the_path_that_was_given(tmp_path, watch):
    """Renamed in, written, touched: announced, also through a link; what went is not."""
    (tmp_path / "real").mkdir()
    folder = tmp_path / "link"
    folder.symlink_to(tmp_path / "real")
    (folder / "there").touch()
    (folder / "changed").touch()
    heard, wake = Heard(), threading.Event()
    watch(folder, wake, heard)
    assert wake.wait(LONG)
    (tmp_path / "x").touch()
    (tmp_path / "x").rename(folder / "moved")
    (folder / "written").write_text("x")
    (folder / "changed").chmod(0o600)
    (folder / "there").unlink()
    until(lambda: {name for _, name in heard.names} == {"moved", "written", "changed"})
    assert {where for where, _ in heard.names} == {str(folder)}


REFUSED = OSError("OS file watch limit reached.")


def test_where_the_system_refuses_it_is_asked_less_and_less_often(tmp_path, said, monkeypatch):
    """Each refusal doubles the pause, up to a limit; one line says so and what to raise."""
    monkeypatch.setattr(watcher, "_REFUSED", 1.0)
    monkeypatch.setattr(watcher, "_LONGEST", 10.0)
    one = Watcher({str(tmp_path): []})
    assert [one._after(REFUSED) for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    (line,) = said
    assert line.levelname == "WARNING"
    assert "watch limit reached" in line.getMessage()
    assert "fs.inotify.max_user_instances" in line.getMessage()


def test_when_it_works_again_that_is_said(tmp_path, watch, said, monkeypatch):
    """A refusal ends in another try, watching again is worth a line, and so is the next refusal."""
    monkeypatch.setattr(watcher, "_REFUSED", 0.05)
    tries = []

    def refuse(*_, **__):
        tries.append(1)
        raise REFUSED

    with monkeypatch.context() as broken:
        broken.setattr(watcher, "RustNotify", refuse)
        one = watch(tmp_path, threading.Event())
        until(lambda: one.check() or len(tries) > 2)
    until(lambda: one.check() or one._pause == 0.05)
    until(lambda: [line.levelname for line in said] == ["WARNING", "INFO"])
    assert one._quiet_until == 0.0


def test_names_that_are_no_text_fill_no_log(tmp_path, watch, said):
    """Each of them ends the watching; it begins again at once, and one line says it."""
    wake = threading.Event()
    one = watch(tmp_path, wake)
    assert wake.wait(LONG)
    for number in range(3):
        settled(wake)
        odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%d.json" % number))
        odd.touch()
        assert wake.wait(LONG)
        odd.unlink()
        assert notices(one, wake, tmp_path / "good.json")
    assert len(said) == 1
