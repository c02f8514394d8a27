"""What a command's result says, a person's cancel, and what the doctor finds."""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import command
from spoold.linux.processes import with_variable

_PY = sys.executable


def _run(stage, code: str, context: Any = None) -> Any:
    params = command.Params.model_validate({"argv": [_PY, "-c", code], "timeout": "9s"})
    return command.run(params, context or stage.context(_config()))


def _config(**more: Any) -> command.Config:
    return command.Config.model_validate({"programs": [_PY], **more})


def test_a_success_names_its_evidence(stage):
    """What it was judged by is the exit code, and the ends of both streams are kept with it."""
    result = _run(stage, "import sys; print('a'); print('b', file=sys.stderr)")
    assert result.evidence == {"exit_code": 0}
    assert (result.output["stdout_tail"], result.output["stderr_tail"]) == ("a\n", "b\n")


def test_a_failure_has_no_evidence_and_all_of_its_output(stage):
    """A person who asks why it failed finds the last words of both streams."""
    with pytest.raises(Permanent) as raised:
        _run(stage, "import sys; print('a'); sys.exit('why')")
    assert raised.value.evidence is None
    assert raised.value.output["stdout_tail"] == "a\n"
    assert raised.value.output["stderr_tail"] == "why\n"
    assert raised.value.output["stdout_bytes"] == 2


def test_a_cancelled_command_is_killed_with_all_its_children(stage):
    """A person's cancel ends the whole group at once, and the result says what is known."""
    context = stage.context(_config())
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    code = (
        "import subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        "print('half done', flush=True); time.sleep(60)"
    )
    mark = f"SPOOLD_DISPATCH_ID={context.dispatch_id}"
    cancelled: list[float] = []

    def cancel() -> None:
        deadline = time.monotonic() + 8
        while len(with_variable(mark)) < 2 or not any(c.total for c in stage.captures):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        context.cancelled.set()
        context.stopping.set()
        cancelled.append(time.monotonic())

    person = threading.Thread(target=cancel)
    person.start()
    with pytest.raises(Permanent) as raised:
        _run(stage, code, context)
    person.join()
    assert time.monotonic() - cancelled[0] < 2
    assert raised.value.code == "cancelled"
    assert "and its process group were killed after" in raised.value.summary
    assert "What it had done by then stays done" in raised.value.summary
    assert raised.value.details["signal"] == 9
    assert raised.value.output["stdout_tail"] == "half done\n"
    assert with_variable(mark) == []


def test_what_is_cancelled_before_it_starts_had_no_effect(stage, tmp_path):
    """Nothing is started for a person who does not want it any more."""
    context = stage.context(_config())
    context.cancelled.set()
    context.stopping.set()
    with pytest.raises(Transient):
        _run(stage, f"open({str(tmp_path / 'ran')!r}, 'w')", context)
    assert not (tmp_path / "ran").exists()


def test_the_doctor_names_each_program_and_where_it_is(tmp_path):
    """Links are followed to the file that would run, and what is missing is said with the path."""
    real = tmp_path / "hyops-1.2"
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    (tmp_path / "hyops").symlink_to(real)
    (tmp_path / "plain").write_text("x")
    config = _config(programs=["hyops", str(real), "plain", "/no/such"], path=str(tmp_path))
    found = list(command.doctor(config, lambda _: pytest.fail("a command has no secrets")))
    assert [(one.what, one.ok) for one in found] == [
        *(("hyops", True), (str(real), True), ("plain", False), ("/no/such", False)),
    ]
    assert [Path(one.detail) for one in found[:2]] == [real, real]
    assert str(tmp_path) in found[2].detail
