"""Whom the watcher wakes, what it announces, and what it does where it cannot watch."""

import os
import threading
import time
from itertools import pairwise
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
        one._thread.join(20)


def until(true, seconds=3.0):
    """Wait until something is true; fail if it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_who_looked_before_the_watching_began_is_woken_once_more(tmp_path, watch):
    """A change between a scan and the first moment of watching waits for no rescan."""
    wake = threading.Event()
    watch(tmp_path, wake)
    assert wake.wait(1)
    wake.clear()
    assert not wake.wait(0.5)


def test_names_that_came_are_announced_under_the_path_that_was_given(tmp_path, watch):
    """Renamed in, written, touched: announced, also through a link; what went is not."""
    (tmp_path / "real").mkdir()
    folder = tmp_path / "link"
    folder.symlink_to(tmp_path / "real")
    (folder / "there").touch()
    (folder / "changed").touch()
    heard, wake = Heard(), threading.Event()
    watch(folder, wake, heard)
    assert wake.wait(1)
    (tmp_path / "x").touch()
    (tmp_path / "x").rename(folder / "moved")
    (folder / "written").write_text("x")
    (folder / "changed").chmod(0o600)
    (folder / "there").unlink()
    until(lambda: {name for _, name in heard.names} == {"moved", "written", "changed"})
    assert {where for where, _ in heard.names} == {str(folder)}


def failing(error, monkeypatch):
    """Every attempt to watch fails with that; returns the times of the attempts."""
    times = []

    def watch(*_, **__):
        times.append(time.monotonic())
        raise error

    monkeypatch.setattr(watcher, "RustNotify", watch)
    return times


def looking(one, wake, seconds):
    """What a stage does: look when woken, and see that the watcher goes on."""
    until = time.monotonic() + seconds
    looks = 0
    while time.monotonic() < until:
        one.check()
        if wake.wait(0.05):
            wake.clear()
            looks += 1
    return looks


def test_where_the_system_refuses_it_is_asked_less_and_less_often(
    tmp_path, watch, said, monkeypatch
):
    """Each refusal doubles the pause; one line says so and what to raise."""
    monkeypatch.setattr(watcher, "_REFUSED", 0.1)
    times = failing(OSError("OS file watch limit reached."), monkeypatch)
    wake = threading.Event()
    looking(watch(tmp_path, wake), wake, 1.8)
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert 3 <= len(pauses) <= 4
    assert all(later > 1.5 * earlier for earlier, later in pairwise(pauses))
    (line,) = said
    assert line.levelname == "WARNING"
    assert "watch limit reached" in line.getMessage()
    assert "fs.inotify.max_user_instances" in line.getMessage()


def test_when_it_works_again_that_is_said(tmp_path, watch, said, monkeypatch):
    """After refusals, watching again is worth a line, and the next refusal too."""
    monkeypatch.setattr(watcher, "_REFUSED", 0.05)
    with monkeypatch.context() as broken:
        failing(OSError("OS file watch limit reached."), broken)
        wake = threading.Event()
        one = watch(tmp_path, wake)
        looking(one, wake, 0.3)
    looking(one, wake, 1.0)
    assert [line.levelname for line in said] == ["WARNING", "INFO"]
    assert one._pause == 0.05
    assert one._quiet_until == 0.0


def test_names_that_are_no_text_fill_no_log(tmp_path, watch, said):
    """Each of them ends the watching; it begins again at once, and one line says it."""
    wake = threading.Event()
    one = watch(tmp_path, wake)
    assert wake.wait(1)
    for number in range(5):
        odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%d.json" % number))
        odd.touch()
        assert looking(one, wake, 0.4) >= 1
        odd.unlink()
    assert len(said) == 1
    wake.clear()
    (tmp_path / "good.json").touch()
    assert wake.wait(1)


def test_a_folder_with_the_number_of_the_one_that_went_is_watched(tmp_path, watch, monkeypatch):
    """A folder that is made again may have the same inode number; it is another one."""
    monkeypatch.setattr(watcher, "_identity", lambda _: (1, 1))
    folder, wake = tmp_path / "in", threading.Event()
    folder.mkdir()
    one = watch(folder, wake)
    assert wake.wait(1)
    for number in range(3):
        folder.rmdir()
        folder.mkdir()
        looking(one, wake, 0.5)
        wake.clear()
        (folder / "x.json").touch()
        assert wake.wait(1), number
        (folder / "x.json").unlink()
