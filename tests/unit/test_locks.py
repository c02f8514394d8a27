"""One instance of a stage, and whether a producer still writes: asked of the kernel."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spoold.disk import locks
from spoold.errors import TryLater

CHECKOUT = Path(__file__).resolve().parents[2]


def python(text, *arguments, **more):
    """Start a Python program that can import spoold."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


def test_a_writer_is_noticed(tmp_path):
    """Exactly while a process has it open for writing; and asking keeps no later writer waiting."""
    path = tmp_path / "x"
    path.write_text("x")
    if locks.written_to_now(str(path)) is None:
        pytest.skip("this file system has no leases")
    assert locks.written_to_now(str(path)) is False
    with open(os.open(path, os.O_WRONLY | os.O_NONBLOCK), "wb"):  # the lease was given back
        assert locks.written_to_now(str(path)) is True
    assert locks.written_to_now(str(path)) is False
    with path.open("rb"):
        assert locks.written_to_now(str(path)) is False
    with python(
        "import sys; f = open(sys.argv[1], 'ab'); print(1, flush=True); input()", path
    ) as p:
        p.stdout.readline()
        assert locks.written_to_now(str(path)) is True
        p.communicate("\n")
    assert locks.written_to_now(str(path)) is False


def test_what_is_no_file_has_no_answer(tmp_path):
    """A missing file, a link and a folder: nobody can say, and nothing is opened by following."""
    (tmp_path / "link").symlink_to(__file__)
    for path in (tmp_path / "none", tmp_path / "link", tmp_path):
        assert locks.written_to_now(str(path)) is None


HOLD = (
    "import sys; from spoold.disk.locks import FolderLock; lock = FolderLock(sys.argv[1]); "
    "lock.acquire(); print('held', flush=True); sys.stdin.read()"
)


def test_a_lock_keeps_another_process_out_until_it_dies(tmp_path):
    """While it lives nobody else gets the lock, and after SIGKILL the next one does at once."""
    lock = locks.FolderLock(str(tmp_path))
    with python(HOLD, tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TryLater, match=str(tmp_path)):
            lock.acquire()
        other.send_signal(signal.SIGKILL)
        other.wait()
    lock.acquire()
    lock.release()


def test_a_lock_is_not_left_to_children(tmp_path):
    """A program that outlives the service that started it does not keep the next service out."""
    lock = locks.FolderLock(str(tmp_path))
    lock.acquire()
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        lock.release()
        other = locks.FolderLock(str(tmp_path))
        other.acquire()
        other.release()
    finally:
        child.kill()
        child.wait()


def test_a_lock_can_be_taken_again_and_leaves_nothing_behind(tmp_path):
    """Taking what one has and giving back what one has not is no error; nothing is written."""
    lock, other = locks.FolderLock(str(tmp_path)), locks.FolderLock(str(tmp_path))
    lock.release()
    for _ in range(2):
        lock.acquire()
        lock.acquire()
        with pytest.raises(TryLater):
            other.acquire()
        lock.release()
        lock.release()
    other.acquire()
    assert os.listdir(tmp_path) == []
    other.release()
