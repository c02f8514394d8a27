"""The command kind with real processes: floods, orphans, deaf ones, and what must survive none."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, child, command
from tests.contract import FILLS_ITS_INPUT

_PY = sys.executable


def _config(**more: Any) -> command.Config:
    return command.Config.model_validate({"programs": [_PY, "true", "sh"], **more})


def _params(*argv: str, **more: Any) -> command.Params:
    return command.Params.model_validate({"argv": argv and list(argv), "timeout": "9s", **more})


def _python(stage, code: str, *, config: Any = None, **more: Any) -> Any:
    params, made = _params(_PY, "-c", code, **more), _config(**(config or {}))
    command.check(params, made)
    return command.run(params, stage.context(made))


def _kept(stage, stream: str) -> bytes:
    (capture,) = [c for c in stage.captures if c.name.endswith(f".{stream}")]
    capture.close()
    return (stage.folder / capture.name).read_bytes()


def _gone(pid: int, within: float = 1.0) -> bool:
    """Whether a process ends; one that merely nobody waited for has ended."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


# What it is given


def test_the_arguments_arrive_as_they_are(stage):
    """No shell, no expansion: an argument is what was approved, to the byte."""
    odd = ["$HOME", "; rm -rf /", "a b", "*", "", "-x", "ä", "\n"]
    code = "import sys; sys.stdout.buffer.write('|'.join(sys.argv[1:]).encode())"
    params = _params(_PY, "-c", code, *odd)
    command.run(params, stage.context(_config()))
    assert _kept(stage, "out").decode() == "|".join(odd)


def test_the_environment_is_exactly_what_was_said(stage, monkeypatch):
    """Nothing of the service's environment leaks, such as its secrets; the rest is as approved."""
    monkeypatch.setenv("HOOK_TOKEN", "s3cr3t")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    result = command.run(
        _params("/usr/bin/env", "-0", env={"STAGE": "a=b\n"}),
        context := stage.context(
            _config(programs=["/usr/bin/env"], path="/usr/bin:/bin", inherit_env=["LANG", "LC_ALL"])
        ),
    )
    assert result.code == "exit-0"
    assert set(_kept(stage, "out").decode().removesuffix("\0").split("\0")) == {
        "LANG=de_DE.UTF-8",
        "PATH=/usr/bin:/bin",
        "STAGE=a=b\n",
        f"SPOOLD_DISPATCH_ID={context.dispatch_id}",
        f"SPOOLD_ATTEMPT={context.number}",
    }


def test_stdin_is_the_text_and_then_its_end(stage):
    """A megabyte of text goes in while as much comes out, without either side blocking."""
    text = "zeile ä\n" * 120_000
    _python(
        stage,
        "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)",
        stdin=text,
        config={"max_output": 10_000_000},
    )
    assert _kept(stage, "out").decode() == text


@pytest.mark.parametrize("stdin", [None, ""])
def test_without_stdin_a_reader_is_at_the_end_at_once(stage, stdin):
    """A program that asks a question nobody will answer does not wait for it."""
    result = _python(stage, "import sys; print(repr(sys.stdin.read()))", stdin=stdin)
    assert result.output["stdout_tail"] == "''\n"


def test_a_program_may_read_its_own_output(stage):
    """Bytes that it has taken out of the pipe again are only missing."""
    code = (
        "import os, threading, time\n"
        "end = time.monotonic() + 1\n"
        "fd = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\n"
        "def steal():\n"
        "    while time.monotonic() < end:\n"
        "        try: os.read(fd, 65536)\n"
        "        except BlockingIOError: pass\n"
        "for _ in range(2): threading.Thread(target=steal).start()\n"
        "while time.monotonic() < end: os.write(1, b'x')\n"
        "time.sleep(0.2); os.write(1, b'the end')"
    )
    assert _python(stage, code).output["stdout_tail"].endswith("the end")


def test_a_program_may_write_into_its_own_input(stage):
    """A pipe that it has filled itself is waited for."""
    assert _python(stage, FILLS_ITS_INPUT, stdin="x" * 1_000_000).code == "exit-0"


def test_a_program_need_not_read_its_stdin(stage):
    """What is left unread is no failure."""
    assert _python(stage, "pass", stdin="x" * 1_000_000).code == "exit-0"


def test_the_working_directory_is_the_one_named(stage, tmp_path):
    """It runs where the request says, and in / when it says nothing, wherever spoold runs."""
    code = "import os; print(os.getcwd())"
    assert _python(stage, code, cwd=str(tmp_path)).output["stdout_tail"] == f"{tmp_path}\n"
    assert _python(stage, code).output["stdout_tail"] == "/\n"


def test_a_bare_name_is_looked_up_in_the_path_of_the_table(stage, tmp_path, monkeypatch):
    """A program planted in the service's own PATH is not the one that runs."""
    for name, text in (("planted", "evil"), ("right", "good")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hyops").write_text(f"#!/bin/sh\necho {text}\n")
        (tmp_path / name / "hyops").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "planted"))
    config = _config(programs=["hyops"], path=str(tmp_path / "right"))
    result = command.run(_params("hyops"), stage.context(config))
    assert result.output["stdout_tail"] == "good\n"


# How it ends


def test_an_end_says_what_is_worth_knowing(stage):
    """The result carries the code, the time and both streams."""
    code = "import sys; print('out'); print('err', file=sys.stderr); print('\\x1b[31m\\r')"
    result = _python(stage, code)
    assert (result.details["exit_code"], result.details["signal"]) == (0, None)
    data = result.output
    assert data["truncated"] is False
    assert data["stdout_tail"] == "out\n\\x1b[31m\\r\n"
    assert data["stderr_tail"] == "err\n"
    assert (data["stdout_bytes"], data["stderr_bytes"]) == (11, 4)
    data = result.details
    assert 0 < data["duration_s"] < 9
    assert orjson.loads(orjson.dumps(data)) == data


@pytest.mark.parametrize(
    ("code", "error"),
    [(1, Permanent), (3, Permanent), (127, Permanent), (75, Transient), (9, OutcomeUnknown)],
)
def test_an_exit_code_has_the_class_of_the_table(stage, code, error):
    """Only what the operator declared is repeated or doubted."""
    with pytest.raises(ExecutionError) as raised:
        _python(stage, f"exit({code})", config={"exit_codes": {"unknown": [9]}})
    assert type(raised.value) is error
    assert raised.value.code == f"exit-{code}"
    assert raised.value.details["exit_code"] == code


def test_a_death_by_signal_is_no_exit_code(stage):
    """A program that was killed failed, by the signal's number."""
    with pytest.raises(Permanent) as raised:
        _python(stage, "import os; os.kill(os.getpid(), 9)")
    assert raised.value.code == "signal-9"
    assert (raised.value.details["signal"], raised.value.details["exit_code"]) == (9, None)


def test_a_lost_status_is_not_taken_for_success(stage):
    """Where the parent of spoold made it ignore its children, an exit code is unknown, not 0."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(OutcomeUnknown) as raised:
            _python(stage, "exit(3)")
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert raised.value.code == "lost"


@pytest.mark.parametrize("error", [ProcessLookupError(3, "gone"), OSError(24, "too many files")])
def test_a_process_that_cannot_be_watched_is_ended(stage, monkeypatch, error):
    """A program that was started but cannot be followed does not run on unseen."""

    def fail(pid):
        pids.append(pid)
        raise error

    pids: list[int] = []
    monkeypatch.setattr(os, "pidfd_open", fail)
    with pytest.raises(OutcomeUnknown) as raised:
        _python(stage, "import time; time.sleep(60)", stdin="x")
    assert raised.value.code == "lost"
    assert _gone(pids[0])


def test_a_missing_program_is_named(stage, tmp_path):
    """The error says what is missing and what to do, and nothing was started."""
    (tmp_path / "plain").write_text("x")
    (tmp_path / "lost").write_text("#!/no/such/interpreter\n")
    (tmp_path / "lost").chmod(0o755)
    (tmp_path / "alien").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "alien").chmod(0o755)
    for program in ("no-such-program", "/no/such", *map(str, tmp_path.iterdir())):
        with pytest.raises(Permanent, match=program) as raised:
            command.run(_params(program), stage.context(_config()))
        assert raised.value.code == "program-missing"


def test_a_missing_working_directory_is_named(stage, tmp_path):
    """A cwd that does not exist, or is a file, is not mistaken for a missing program."""
    (tmp_path / "file").write_text("x")
    for cwd in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(Permanent, match=str(cwd)) as raised:
            command.run(_params(_PY, "-c", "", cwd=str(cwd)), stage.context(_config()))
        assert raised.value.code == "cwd-missing"


def test_a_program_that_is_being_written_may_be_started_later(stage, tmp_path):
    """An update in progress is a reason to wait, not to fail."""
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    with program.open("ab"), pytest.raises(Transient) as raised:
        command.run(_params(str(program)), stage.context(_config()))
    assert raised.value.code == "cannot-start"


# What it leaves behind: nothing

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
_FOREVER = "time.sleep(60)"


def test_a_timeout_ends_the_whole_group(stage, monkeypatch):
    """A leader and a grandchild that ignore SIGTERM are gone soon after the deadline."""
    monkeypatch.setattr(child, "GRACE", 0.3)
    started = time.monotonic()
    with pytest.raises(Permanent) as raised:
        _python(stage, _DEAF_CHILD + _FOREVER, timeout="1s")
    assert time.monotonic() - started < 2.5
    assert (raised.value.code, raised.value.details["signal"]) == ("timeout", 9)
    assert _gone(raised.value.details["pid"])
    assert _gone(int(raised.value.output["stdout_tail"]))


def test_a_timeout_lets_a_program_clean_up(stage):
    """SIGTERM comes first, and what is written in answer to it is kept."""
    code = (
        "import signal, time, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit(4)))\n"
        "time.sleep(60)"
    )
    with pytest.raises(Permanent) as raised:
        _python(stage, code, timeout="1s")
    assert raised.value.code == "timeout"
    assert (raised.value.details["exit_code"], raised.value.output["stdout_tail"]) == (4, "bye\n")


def test_what_outlives_the_leader_is_ended_too(stage):
    """A grandchild left in the group neither lives on nor holds the attempt up."""
    started = time.monotonic()
    result = _python(stage, _DEAF_CHILD)
    assert time.monotonic() - started < 5
    assert result.code == "exit-0"
    assert _gone(int(result.output["stdout_tail"]))


def test_an_escaped_process_that_holds_the_pipes_cannot_hang_the_attempt(stage, monkeypatch):
    """A daemon with a session of its own is out of reach, but delays the result only a little."""
    monkeypatch.setattr(child, "DRAIN", 0.3)
    started = time.monotonic()
    result = command.run(_params(_PY, "-c", _DEAF_CHILD, "escape"), stage.context(_config()))
    assert time.monotonic() - started < 2
    assert result.code == "exit-0"
    os.kill(int(result.output["stdout_tail"]), signal.SIGKILL)


def test_a_timeout_claims_the_end_of_no_more_than_the_group(stage, monkeypatch):
    """What has left the group runs on, and the summary says only what is true."""
    monkeypatch.setattr(child, "GRACE", 0.3)
    monkeypatch.setattr(child, "DRAIN", 0.3)
    code = _DEAF_CHILD + _FOREVER
    with pytest.raises(Permanent) as raised:
        command.run(_params(_PY, "-c", code, "escape", timeout="1s"), stage.context(_config()))
    os.kill(int(raised.value.output["stdout_tail"]), signal.SIGKILL)
    assert raised.value.summary.endswith("after 1 s; its process group was killed.")


def _printed(stage, context: Context) -> str:
    """What an attempt has printed, as soon as there is something."""
    path, deadline = stage.folder / f"{context.number}.out", time.monotonic() + 5
    while not (path.exists() and path.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.read_text()


def test_a_stopping_service_takes_its_programs_along(stage):
    """When the service stops, the group is gone at once and the outcome is unknown."""
    context = stage.context(_config())
    stopped: list[float] = []

    def stop():
        _printed(stage, context)
        context.stopping.set()
        stopped.append(time.monotonic())

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(OutcomeUnknown) as raised:
        command.run(_params(_PY, "-c", _DEAF_CHILD + _FOREVER), context)
    thread.join()
    assert time.monotonic() - stopped[0] < 1.5
    assert raised.value.code == "interrupted"
    assert _gone(raised.value.details["pid"])
    assert _gone(int(raised.value.output["stdout_tail"]))


def test_a_process_that_will_not_die_is_not_waited_for(stage, monkeypatch):
    """Where even SIGKILL does nothing, the attempt ends and says whose process is left."""
    monkeypatch.setattr(child, "GRACE", 0.1)
    monkeypatch.setattr(child, "GONE", 0.1)
    monkeypatch.setattr(child, "DRAIN", 0.1)
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def remember(*args, **kwargs):
        started.append(real(*args, **kwargs))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", remember)
    with monkeypatch.context() as no_kill:
        no_kill.setattr(os, "killpg", lambda *_: (_ for _ in ()).throw(PermissionError))
        with pytest.raises(OutcomeUnknown) as raised:
            _python(stage, "import time; time.sleep(60)", timeout="100ms")
    assert raised.value.code == "lost"
    assert str(raised.value.details["pid"]) in raised.value.summary
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
    context = stage.context(_config())
    object.__setattr__(context, "open_output", lambda _: broken)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(FileExistsError):
        command.run(_params(_PY, "-c", code), context)
    assert _gone(broken.total)


def test_no_descriptor_is_left_open(stage):
    """A service that runs for months does not run out of descriptors, however attempts end."""

    def attempts():
        _python(stage, "print(1)", stdin="x")
        with pytest.raises(Permanent):
            _python(stage, "import time; time.sleep(9)", stdin="x" * 200_000, timeout="50ms")
        for capture in stage.captures:
            capture.close()

    attempts()
    before = sorted(Path("/proc/self/fd").iterdir())
    attempts()
    assert sorted(Path("/proc/self/fd").iterdir()) == before


# What it prints


def test_a_flood_is_capped_counted_and_quick(stage):
    """50 MB a stream cost neither disk nor minutes, and the end is remembered."""
    code = (
        "import sys, threading\n"
        "def flood(s):\n"
        "    for _ in range(50): s.write(b'x' * 1_000_000)\n"
        "    s.write(b'the end'); s.flush()\n"
        "t = threading.Thread(target=flood, args=(sys.stderr.buffer,)); t.start()\n"
        "flood(sys.stdout.buffer); t.join()"
    )
    started = time.monotonic()
    data = _python(stage, code, config={"max_output": 1000}).output
    assert time.monotonic() - started < 5
    assert (data["stdout_bytes"], data["stderr_bytes"]) == (50_000_007, 50_000_007)
    assert data["truncated"] is True
    assert data["stdout_tail"].endswith("xthe end")
    assert len(data["stdout_tail"]) == 4000
    for stream in ("out", "err"):
        kept = _kept(stage, stream)
        assert len(kept) < 1100
        assert kept.startswith(b"x" * 500)
        assert kept.endswith(b"x" * 493 + b"the end")


def test_what_is_still_in_the_pipe_at_the_end_is_kept(stage, monkeypatch):
    """The last words of a program are not lost because it ended before they were read."""
    monkeypatch.setattr(child, "_CHUNK", 50)
    assert _python(stage, "print('x' * 60_000, end='')").output["stdout_bytes"] == 60_000


def test_a_flood_without_end_does_not_hide_the_deadline(stage):
    """A program that never stops writing is ended in time all the same."""
    started = time.monotonic()
    with pytest.raises(Permanent) as raised:
        _python(stage, "while True: print('x' * 9999)", timeout="300ms")
    assert raised.value.code == "timeout"
    assert time.monotonic() - started < 5


def test_output_is_there_while_it_runs(stage):
    """Somebody who watches an attempt sees what it printed so far."""
    context = stage.context(_config())
    code = "import time; print('so far', flush=True); time.sleep(60)"
    errors: list[ExecutionError] = []

    def attempt():
        try:
            command.run(_params(_PY, "-c", code), context)
        except ExecutionError as error:
            errors.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    seen = _printed(stage, context)
    context.stopping.set()
    thread.join()
    assert seen == "so far\n"
    assert [error.code for error in errors] == ["interrupted"]


# After a crash


def test_a_crash_leaves_the_outcome_to_a_person_and_names_what_still_runs(stage):
    """Nobody repeats a command whose end was not seen; a child that lives on is named."""
    context = stage.context(_config())
    params = _params(_PY, "-c", "")
    with pytest.raises(OutcomeUnknown, match=f"logs/{context.dispatch_id}/") as raised:
        command.probe(params, context)
    assert raised.value.details == {"pids": []}
    environment = {"SPOOLD_DISPATCH_ID": context.dispatch_id}
    with subprocess.Popen(["/bin/sleep", "60"], env=environment) as orphan:
        with pytest.raises(OutcomeUnknown, match=f"still runs as process {orphan.pid}") as raised:
            command.probe(params, context)
        orphan.kill()
    assert raised.value.details == {"pids": [orphan.pid]}


# What is refused before a person sees it


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"argv": ["sh2"]}, "list of programs"),
        ({"argv": ["/bin/true"]}, "list of programs"),
        ({"argv": ["./true"]}, "list of programs"),
        ({"argv": ["true "]}, "list of programs"),
        ({"argv": ["true", "a\0b"]}, "NUL"),
        ({"stdin": "a\0"}, "NUL"),
        ({"cwd": "/tmp\0"}, "NUL"),
        ({"env": {"A": "\0"}}, "NUL"),
        ({"cwd": "tmp"}, "not absolute"),
        ({"cwd": ""}, "not absolute"),
        ({"cwd": "~/x"}, "not absolute"),
        ({"env": {"": "x"}}, "no name"),
        ({"env": {"A=B": "x"}}, "no name"),
        ({"env": {"1A": "x"}}, "no name"),
        ({"env": {"BASH_FUNC_x%%": "() { :; }"}}, "no name"),
        ({"env": {"Ä": "x"}}, "no name"),
        ({"argv": ["true", "x" * 131_072]}, "131071 bytes"),
        ({"argv": ["true", *["x" * 100_000] * 11]}, "all together"),
        ({"argv": ["true", "\ud800"]}, "valid text"),
        *(
            ({"env": {name: "x"}}, "changes what is run")
            for name in (
                *("PATH", "IFS", "ENV", "BASH_ENV", "SHELLOPTS", "LD_PRELOAD", "LD_LIBRARY_PATH"),
                *("LD_AUDIT", "GLIBC_TUNABLES", "GCONV_PATH", "PYTHONPATH", "PYTHONSTARTUP"),
                *("PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "JAVA_TOOL_OPTIONS", "GIT_SSH_COMMAND"),
                *("GIT_CONFIG_COUNT", "EDITOR", "PAGER", "SPOOLD_DISPATCH_ID", "SPOOLD_ATTEMPT"),
            )
        ),
    ],
)
def test_what_must_not_run_is_refused(given, words):
    """A request cannot name another program, load code by a variable, or defeat the kernel."""
    params = command.Params.model_validate({"argv": ["true"], **given})
    with pytest.raises(ValueError, match=words) as raised:
        command.check(params, _config())
    assert type(raised.value) is ValueError
    assert len(str(raised.value)) < 300


def test_the_largest_command_that_check_lets_through_starts(stage):
    """What a person approves is not refused by the kernel afterwards."""
    argv = ["true", "x" * 131_071, *["x" * 100_000] * 8]
    params = _params(*argv)
    command.check(params, _config())
    assert command.run(params, stage.context(_config())).code == "exit-0"


@pytest.mark.parametrize(
    "table",
    [
        {"programs": ["bin/x"]},
        {"programs": [""]},
        {"path": "/bin:"},
        {"path": "bin"},
        {"timeout": "0s"},
        {"max_output": -1},
        {"exit_codes": {"transient": [0]}},
        {"exit_codes": {"transient": [256]}},
        {"exit_codes": {"transient": [3], "unknown": [3]}},
        {"exit_codes": {"permanent": [3]}},
    ],
)
def test_a_table_that_cannot_work_is_an_error_at_load(table):
    """A mistake in the configuration is found at start, not when somebody said yes."""
    with pytest.raises(ValidationError):
        _config(**table)


def test_an_empty_argument_list_is_no_command():
    """There must be a program to run."""
    with pytest.raises(ValidationError):
        _params()
