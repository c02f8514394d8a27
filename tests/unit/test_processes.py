"""Which process is meant."""

import os
import signal
import subprocess
import time

import pytest

from spoold.linux import processes
from spoold.linux.processes import Identity, boot_id, descendants, identify, with_variable


@pytest.fixture
def start():
    """Starts processes in sessions of their own, and ends them."""
    started = []

    def begin(*argv, **options):
        started.append(subprocess.Popen(argv, start_new_session=True, **options))
        return started[-1]

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_process_is_alive_until_it_ends(start):
    """An identity holds while the process runs or is stopped, not for a zombie or afterwards."""
    child = start("sleep", "600")
    who = identify(child.pid)
    assert (who.alive, who.stopped) == (True, False)
    descriptor = who.open()
    assert descriptor is not None
    os.close(descriptor)
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    assert (who.alive, who.stopped) == (True, True)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not who.alive
    child.wait()
    assert (who.alive, who.stopped, who.open()) == (False, False, None)


def test_the_same_number_is_not_the_same_process():
    """Another start time, or another boot, is somebody else."""
    me = identify(os.getpid())
    assert me.alive
    assert not me._replace(start=me.start + 1).alive
    assert not me._replace(boot="another").alive
    assert Identity(me.pid, me.start + 1, boot_id()).open() is None


def test_descendants_are_found_to_the_last(start, monkeypatch):
    """Children of children and nobody else's, also where the kernel keeps no lists of them."""
    child = start("sh", "-c", "sleep 600 & sh -c 'sleep 600 & wait' & wait")
    until = time.monotonic() + 60
    while len(found := descendants(child.pid)) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(found) == 3
    assert os.getpid() not in found
    assert set(found) < set(descendants(os.getpid()))
    monkeypatch.setattr(processes, "_has_lists", lambda: False)
    assert descendants(child.pid) == found
    assert set(found) < set(descendants(os.getpid()))


def test_a_process_is_found_by_its_environment(start):
    """A variable that only one process has names that one."""
    value = f"SPOOLD_TEST_{os.getpid()}_{time.time_ns()}"
    child = start("sleep", "600", env={"MARK": value})
    assert with_variable(f"MARK={value}") == [child.pid]
    assert with_variable(f"MARK={value[:-1]}") == []
