"""What a command leaves behind: nothing, however deaf, stubborn or escaped its processes are."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, child, command
from spoold.linux.processes import with_variable
from tests.conformance.commands import PYTHON, config_of, error_of, params_of, python
from tests.ended import gone

#: Starts a child that ignores SIGTERM and holds stderr open, and prints its number.
_DEAF_CHILD = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", '''
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(60)
'''], stdout=subprocess.PIPE, start_new_session="escape" in sys.argv)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(child.stdout.readline().decode(), end="", flush=True)
"""
_FOREVER = "time.sleep(600)"


def _printed(stage, context: Context) -> str:
    """What an attempt has printed, as soon as there is something."""
    path, deadline = stage.folder / f"{context.number}.out", time.monotonic() + 60
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.read_text()


def _after_it_prints(stage, code: str, then: Callable[[Context], Any], *arguments: str) -> Any:
    """The error of a program to which something happens as soon as it has printed something."""
    context = stage.context(config_of())

    def act():
        _printed(stage, context)
        then(context)

    thread = threading.Thread(target=act)
    thread.start()
    try:
        command.run(params_of(PYTHON, "-c", code, *arguments, timeout="50s"), context)
    except ExecutionError as error:
        return error
    finally:
        thread.join()
    pytest.fail("the program ended by itself")


def test_a_timeout_ends_the_whole_group(stage, monkeypatch, time_passes):
    """A leader and a grandchild that ignore SIGTERM are gone after the deadline."""
    monkeypatch.setattr(child, "GRACE", 0.1)
    error = _after_it_prints(stage, _DEAF_CHILD + _FOREVER, lambda _: time_passes())
    assert (error.code, error.details["signal"]) == ("timeout", 9)
    assert gone(error.details["pid"])
    assert gone(int(error.output["stdout_tail"]))


def test_a_timeout_lets_a_program_clean_up(stage, monkeypatch, time_passes):
    """SIGTERM comes first, and what is written in answer to it is kept."""
    monkeypatch.setattr(child, "GRACE", 60)
    code = (
        "import signal, time, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(4)))\n"
        "print('hello', flush=True); time.sleep(600)"
    )
    error = _after_it_prints(stage, code, lambda _: time_passes())
    assert error.code == "timeout"
    assert (error.details["exit_code"], error.output["stdout_tail"]) == (4, "hello\nbye\n")


def test_what_outlives_the_leader_is_ended_too(stage):
    """A grandchild left in the group neither lives on nor holds the attempt up."""
    result = python(stage, _DEAF_CHILD)
    assert result.code == "exit-0"
    assert gone(int(result.output["stdout_tail"]))


def test_an_escaped_process_that_holds_the_pipes_cannot_hang_the_attempt(stage, monkeypatch):
    """A daemon with a session of its own outlives the attempt, which does not wait for it."""
    monkeypatch.setattr(child, "DRAIN", 0.1)
    result = python(stage, _DEAF_CHILD, "escape")
    assert result.code == "exit-0"
    os.kill(int(result.output["stdout_tail"]), signal.SIGKILL)


def test_a_timeout_claims_the_end_of_no_more_than_the_group(stage, monkeypatch, time_passes):
    """What has left the group runs on, and the summary says only what is true."""
    monkeypatch.setattr(child, "GRACE", 0.1)
    monkeypatch.setattr(child, "DRAIN", 0.1)
    code = _DEAF_CHILD + _FOREVER
    error = _after_it_prints(stage, code, lambda _: time_passes(), "escape")
    os.kill(int(error.output["stdout_tail"]), signal.SIGKILL)
    assert error.summary.endswith("after 50 s; its process group was killed.")


def test_a_stopping_service_takes_its_programs_along(stage):
    """Without waiting for the timeout the group is gone, and the outcome is unknown."""
    error = _after_it_prints(stage, _DEAF_CHILD + _FOREVER, lambda it: it.stopping.set())
    assert error.code == "interrupted"
    assert gone(error.details["pid"])
    assert gone(int(error.output["stdout_tail"]))


def test_output_is_there_while_it_runs(stage):
    """A person who watches an attempt sees what it has printed so far."""
    seen = []

    def look(context):
        seen.append(_printed(stage, context))
        context.stopping.set()

    code = "import time; print('so far', flush=True); time.sleep(600)"
    assert _after_it_prints(stage, code, look).code == "interrupted"
    assert seen == ["so far\n"]


def test_a_process_that_will_not_die_is_not_waited_for(stage, monkeypatch):
    """Where even SIGKILL does nothing, the attempt ends and says whose process is left."""
    for name in ("GRACE", "GONE", "DRAIN"):
        monkeypatch.setattr(child, name, 0.05)
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remember(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", remember)
    with monkeypatch.context() as no_kill:
        no_kill.setattr(os, "killpg", lambda *_: (_ for _ in ()).throw(PermissionError))
        error = error_of(stage, "import time; time.sleep(60)", OutcomeUnknown, timeout="100ms")
    assert error.code == "lost"
    assert str(error.details["pid"]) in error.summary
    started[0].kill()
    started[0].wait()


def test_a_failing_output_leaves_no_process_behind(stage):
    """Whatever breaks in the service, the program that it watched does not run on."""

    class Broken:
        name, total = "1.out", 0

        def write(self, data):
            self.total = int(data)
            raise FileExistsError(self.name)

    broken = Broken()
    context = stage.context(config_of())
    object.__setattr__(context, "open_output", lambda _: broken)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(FileExistsError):
        command.run(params_of(PYTHON, "-c", code), context)
    assert gone(broken.total)


def test_no_descriptor_is_left_open(stage):
    """A service that runs for months does not run out of descriptors, however attempts end."""

    def attempts():
        python(stage, "print(1)", stdin="x")
        error_of(
            stage, "import time; time.sleep(99)", Permanent, stdin="x" * 200_000, timeout="50ms"
        )
        for capture in stage.captures:
            capture.close()

    attempts()
    before = sorted(Path("/proc/self/fd").iterdir())
    attempts()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


# A person's cancel


def test_a_cancelled_command_is_killed_with_all_its_children(stage):
    """A person's cancel ends the whole group, and the result says what is known."""
    context = stage.context(config_of())
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print('half done', flush=True); time.sleep(600)"
    )
    mark = f"SPOOLD_DISPATCH_ID={context.dispatch_id}"

    def cancel() -> None:
        deadline = time.monotonic() + 60
        while len(with_variable(mark)) < 2 or not any(c.total for c in stage.captures):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        context.cancelled.set()
        context.stopping.set()

    person = threading.Thread(target=cancel)
    person.start()
    with pytest.raises(Permanent) as raised:
        command.run(params_of(PYTHON, "-c", code, timeout="600s"), context)
    person.join()
    assert raised.value.code == "cancelled"
    assert "and its process group were killed after" in raised.value.summary
    assert "What it had done by then stays done" in raised.value.summary
    assert raised.value.details["signal"] == 9
    assert raised.value.output["stdout_tail"] == "half done\n"
    assert with_variable(mark) == []


def test_what_is_cancelled_before_it_starts_had_no_effect(stage, tmp_path):
    """Nothing is started for a person who does not want it any more."""
    context = stage.context(config_of(programs=["touch"]))
    context.cancelled.set()
    context.stopping.set()
    with pytest.raises(Transient):
        command.run(params_of("touch", str(tmp_path / "ran")), context)
    assert not (tmp_path / "ran").exists()


# After a crash


def test_a_crash_leaves_the_outcome_to_a_person_and_names_what_still_runs(stage):
    """Nobody repeats a command whose end was not seen; a child that lives on is named."""
    context = stage.context(config_of())
    params = params_of(PYTHON, "-c", "")
    with pytest.raises(OutcomeUnknown, match=re.escape(os.path.dirname(context.files))) as raised:
        command.probe(params, context)
    assert raised.value.details == {"pids": []}
    environment = {"SPOOLD_DISPATCH_ID": context.dispatch_id}
    with subprocess.Popen(["/bin/sleep", "60"], env=environment) as orphan:
        with pytest.raises(OutcomeUnknown, match=f"still runs as process {orphan.pid}") as raised:
            command.probe(params, context)
        orphan.kill()
    assert raised.value.details == {"pids": [orphan.pid]}
