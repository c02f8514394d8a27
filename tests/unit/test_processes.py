"""Which process is meant."""

import os
import signal
import subprocess
import time

from spoold.linux import processes
from spoold.linux.processes import Identity, boot_id, descendants, identify, with_variable


def test_a_process_is_alive_until_it_ends():
    """An identity holds while the process runs, and not for a zombie or afterwards."""
    child = subprocess.Popen(["sleep", "600"])
    who = identify(child.pid)
    assert who.alive
    descriptor = who.open()
    assert descriptor is not None
    os.close(descriptor)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not who.alive
    child.wait()
    assert not who.alive
    assert who.open() is None


def test_the_same_number_is_not_the_same_process():
    """Another start time, or another boot, is somebody else."""
    me = identify(os.getpid())
    assert me.alive
    assert not me._replace(start=me.start + 1).alive
    assert not me._replace(boot="another").alive
    assert Identity(me.pid, me.start + 1, boot_id()).open() is None


def test_descendants_are_found_to_the_last(tmp_path):
    """Children of children are found, and nobody else's."""
    code = "sleep 600 & sh -c 'sleep 600 & wait' & wait"
    child = subprocess.Popen(["sh", "-c", code], start_new_session=True)
    try:
        until = time.monotonic() + 5
        while len(found := descendants(child.pid)) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        assert len(found) == 3
        assert os.getpid() not in found
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_descendants_are_found_where_the_kernel_keeps_no_lists(monkeypatch):
    """Without /proc/PID/task/TID/children the whole process table gives the same answer."""
    child = subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True)
    try:
        until = time.monotonic() + 5
        while len(found := descendants(child.pid)) < 1 and time.monotonic() < until:
            time.sleep(0.01)
        monkeypatch.setattr(processes, "_has_lists", lambda: False)
        assert descendants(child.pid) == found
        assert set(found) < set(descendants(os.getpid()))
    finally:
        os.killpg(child.pid, 9)
        child.wait()


def test_a_stopped_process_is_told_from_one_that_runs():
    """Stopped by a signal is neither dead nor at work."""
    child = subprocess.Popen(["sleep", "600"])
    try:
        who = identify(child.pid)
        assert not who.stopped
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert who.stopped
        assert who.alive
    finally:
        child.kill()
        child.wait()
    assert not who.stopped


def test_a_process_is_found_by_its_environment():
    """A variable that only one process has names that one."""
    value = f"SPOOLD_TEST_{os.getpid()}_{time.time_ns()}"
    child = subprocess.Popen(["sleep", "600"], env={"MARK": value})
    try:
        assert with_variable(f"MARK={value}") == [child.pid]
        assert with_variable(f"MARK={value[:-1]}") == []
    finally:
        child.kill()
        child.wait()
