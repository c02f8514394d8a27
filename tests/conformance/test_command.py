"""The command kind with real processes: what they are given, how they end, what they print."""

import os
import signal
from pathlib import Path

import orjson
import pytest
from pydantic import ValidationError

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import child, command
from tests.conformance.commands import config_of, error_of, kept, params_of, python
from tests.contract import FILLS_ITS_INPUT
from tests.ended import gone

# What it is given


def test_the_arguments_arrive_as_they_are(stage):
    """No shell, no expansion: an argument is what was approved, to the byte."""
    odd = ["$HOME", "; rm -rf /", "a b", "*", "", "-x", "ä", "\n"]
    code = "import sys; sys.stdout.buffer.write('|'.join(sys.argv[1:]).encode())"
    python(stage, code, *odd)
    assert kept(stage, "out").decode() == "|".join(odd)


def test_the_environment_is_exactly_what_was_said(stage, monkeypatch):
    """Nothing of the service's environment leaks, such as its secrets; the rest is as approved."""
    monkeypatch.setenv("HOOK_TOKEN", "s3cr3t")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    result = command.run(
        params_of("/usr/bin/env", "-0", env={"STAGE": "a=b\n"}),
        context := stage.context(
            config_of(
                programs=["/usr/bin/env"], path="/usr/bin:/bin", inherit_env=["LANG", "LC_ALL"]
            )
        ),
    )
    assert result.code == "exit-0"
    assert set(kept(stage, "out").decode().removesuffix("\0").split("\0")) == {
        "LANG=de_DE.UTF-8",
        "PATH=/usr/bin:/bin",
        "STAGE=a=b\n",
        f"SPOOLD_DISPATCH_ID={context.dispatch_id}",
        f"SPOOLD_ATTEMPT={context.number}",
    }


def test_stdin_is_the_text_and_then_its_end(stage):
    """A megabyte of text goes in while as much comes out, without either side blocking."""
    text = "zeile ä\n" * 120_000
    python(
        stage,
        "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)",
        stdin=text,
        config={"max_output": 10_000_000},
    )
    assert kept(stage, "out").decode() == text


@pytest.mark.parametrize("stdin", [None, ""])
def test_without_stdin_a_reader_is_at_the_end_at_once(stage, stdin):
    """A program that asks a question nobody will answer does not wait for it."""
    result = python(stage, "import sys; print(repr(sys.stdin.read()))", stdin=stdin)
    assert result.output["stdout_tail"] == "''\n"


def test_a_program_may_read_its_own_output(stage):
    """Bytes that it has taken out of the pipe again are only missing."""
    code = (
        "import os, threading, time\n"
        "end = time.monotonic() + 0.3\n"
        "fd = os.open('/proc/self/fd/1', os.O_RDONLY | os.O_NONBLOCK)\n"
        "def steal():\n"
        "    while time.monotonic() < end:\n"
        "        try: os.read(fd, 65536)\n"
        "        except BlockingIOError: pass\n"
        "for _ in range(2): threading.Thread(target=steal).start()\n"
        "while time.monotonic() < end: os.write(1, b'x')\n"
        "[one.join() for one in threading.enumerate()[1:]]; os.write(1, b'the end')"
    )
    assert python(stage, code).output["stdout_tail"].endswith("the end")


@pytest.mark.parametrize("code", [FILLS_ITS_INPUT, "pass"])
def test_a_program_may_fill_its_own_input_or_leave_it_unread(stage, code):
    """A pipe that it has filled itself is waited for; what is left unread is no failure."""
    assert python(stage, code, stdin="x" * 1_000_000).code == "exit-0"


def test_the_working_directory_is_the_one_named(stage, tmp_path):
    """It runs where the request says, and in / when it says nothing, wherever spoold runs."""
    code = "import os; print(os.getcwd())"
    assert python(stage, code, cwd=str(tmp_path)).output["stdout_tail"] == f"{tmp_path}\n"
    assert python(stage, code).output["stdout_tail"] == "/\n"


def test_a_bare_name_is_looked_up_in_the_path_of_the_table(stage, tmp_path, monkeypatch):
    """A program planted in the service's own PATH is not the one that runs."""
    for name, text in (("planted", "evil"), ("right", "good")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "hyops").write_text(f"#!/bin/sh\necho {text}\n")
        (tmp_path / name / "hyops").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "planted"))
    config = config_of(programs=["hyops"], path=str(tmp_path / "right"))
    result = command.run(params_of("hyops"), stage.context(config))
    assert result.output["stdout_tail"] == "good\n"


# How it ends


def test_an_end_says_what_is_worth_knowing(stage):
    """The result carries the code, which is its evidence, the time and both streams."""
    code = "import sys; print('out'); print('err', file=sys.stderr); print('\\x1b[31m\\r')"
    result = python(stage, code)
    assert (result.details["exit_code"], result.details["signal"]) == (0, None)
    assert result.evidence == {"exit_code": 0}
    data = result.output
    assert data["truncated"] is False
    assert data["stdout_tail"] == "out\n\\x1b[31m\\r\n"
    assert data["stderr_tail"] == "err\n"
    assert (data["stdout_bytes"], data["stderr_bytes"]) == (11, 4)
    data = result.details
    assert 0 <= data["duration_s"] < 60
    assert orjson.loads(orjson.dumps(data)) == data


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, Permanent), (3, Permanent), (127, Permanent), (75, Transient), (9, OutcomeUnknown)],
)
def test_an_exit_code_has_the_class_of_the_table(stage, code, kind):
    """Only what the operator declared is repeated or doubted."""
    error = error_of(stage, f"exit({code})", kind, config={"exit_codes": {"unknown": [9]}})
    assert (error.code, error.details["exit_code"]) == (f"exit-{code}", code)


def test_a_failure_has_no_evidence_and_all_of_its_output(stage):
    """A person who asks why it failed finds the last words of both streams."""
    error = error_of(stage, "import sys; print('a'); sys.exit('why')", Permanent)
    assert error.evidence is None
    assert (error.output["stdout_tail"], error.output["stderr_tail"]) == ("a\n", "why\n")
    assert error.output["stdout_bytes"] == 2


def test_a_death_by_signal_is_no_exit_code(stage):
    """A program that was killed failed, by the signal's number."""
    error = error_of(stage, "import os; os.kill(os.getpid(), 9)", Permanent)
    assert (error.code, error.details["signal"], error.details["exit_code"]) == (
        "signal-9",
        9,
        None,
    )


def test_a_lost_status_is_not_taken_for_success(stage):
    """Where the parent of spoold made it ignore its children, an exit code is unknown, not 0."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert error_of(stage, "exit(3)", OutcomeUnknown).code == "lost"
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("error", [ProcessLookupError(3, "gone"), OSError(24, "too many files")])
def test_a_process_that_cannot_be_watched_is_ended(stage, monkeypatch, error):
    """A program that was started but cannot be followed does not run on unseen."""

    def fail(pid):
        pids.append(pid)
        raise error

    pids: list[int] = []
    monkeypatch.setattr(os, "pidfd_open", fail)
    assert error_of(stage, "import time; time.sleep(60)", OutcomeUnknown, stdin="x").code == "lost"
    assert gone(pids[0])


def test_a_missing_program_is_named(stage, tmp_path):
    """The error says what is missing and what to do, and nothing was started."""
    (tmp_path / "plain").write_text("x")
    (tmp_path / "lost").write_text("#!/no/such/interpreter\n")
    (tmp_path / "lost").chmod(0o755)
    (tmp_path / "alien").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "alien").chmod(0o755)
    for program in ("no-such-program", "/no/such", *map(str, tmp_path.iterdir())):
        with pytest.raises(Permanent, match=program) as raised:
            command.run(params_of(program), stage.context(config_of()))
        assert raised.value.code == "program-missing"


def test_a_missing_working_directory_is_named(stage, tmp_path):
    """A cwd that does not exist, or is a file, is not mistaken for a missing program."""
    (tmp_path / "file").write_text("x")
    for cwd in (tmp_path / "none", tmp_path / "file"):
        error = error_of(stage, "", Permanent, cwd=str(cwd))
        assert error.code == "cwd-missing"
        assert str(cwd) in error.summary


def test_a_program_that_is_being_written_may_be_started_later(stage, tmp_path):
    """An update in progress is a reason to wait, not to fail."""
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    with program.open("ab"), pytest.raises(Transient) as raised:
        command.run(params_of(str(program)), stage.context(config_of()))
    assert raised.value.code == "cannot-start"


# What it prints


def test_a_flood_is_capped_and_counted(stage):
    """50 MB a stream cost no disk, and the end is remembered."""
    code = (
        "import sys, threading\n"
        "def flood(s):\n"
        "    for _ in range(50): s.write(b'x' * 1_000_000)\n"
        "    s.write(b'the end'); s.flush()\n"
        "t = threading.Thread(target=flood, args=(sys.stderr.buffer,)); t.start()\n"
        "flood(sys.stdout.buffer); t.join()"
    )
    data = python(stage, code, config={"max_output": 1000}, timeout="120s").output
    assert (data["stdout_bytes"], data["stderr_bytes"]) == (50_000_007, 50_000_007)
    assert data["truncated"] is True
    assert data["stdout_tail"].endswith("xthe end")
    assert len(data["stdout_tail"]) == 4000
    for stream in ("out", "err"):
        file = kept(stage, stream)
        assert len(file) < 1100
        assert file.startswith(b"x" * 500)
        assert file.endswith(b"x" * 493 + b"the end")


def test_what_is_still_in_the_pipe_at_the_end_is_kept(stage, monkeypatch):
    """The last words of a program are not lost because it ended before they were read."""
    monkeypatch.setattr(child, "_CHUNK", 50)
    assert python(stage, "print('x' * 60_000, end='')").output["stdout_bytes"] == 60_000


def test_a_flood_without_end_does_not_hide_the_deadline(stage):
    """A program that never stops writing is ended in time all the same."""
    error = error_of(stage, "while True: print('x' * 9999)", Permanent, timeout="300ms")
    assert error.code == "timeout"


def test_the_doctor_names_each_program_and_where_it_is(tmp_path):
    """Links are followed to the file that would run, and what is missing is said with the path."""
    real = tmp_path / "hyops-1.2"
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    (tmp_path / "hyops").symlink_to(real)
    (tmp_path / "plain").write_text("x")
    config = config_of(programs=["hyops", str(real), "plain", "/no/such"], path=str(tmp_path))
    found = list(command.doctor(config, lambda _: pytest.fail("a command has no secrets")))
    assert [(one.what, one.ok) for one in found] == [
        *(("hyops", True), (str(real), True), ("plain", False), ("/no/such", False)),
    ]
    assert [Path(one.detail) for one in found[:2]] == [real, real]
    assert str(tmp_path) in found[2].detail


# What is refused before a person sees it


@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(({"argv": [program]}, "list of programs") for program in
          ("sh2", "/bin/true", "./true", "true ")),
        *((given, "NUL") for given in
          ({"argv": ["true", "a\0b"]}, {"stdin": "a\0"}, {"cwd": "/tmp\0"}, {"env": {"A": "\0"}})),
        *(({"cwd": cwd}, "not absolute") for cwd in ("tmp", "", "~/x")),
        *(({"env": {name: "x"}}, "no name") for name in ("", "A=B", "1A", "BASH_FUNC_x%%", "Ä")),
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
)  # fmt: skip
def test_what_must_not_run_is_refused(given, words):
    """A request cannot name another program, load code by a variable, or defeat the kernel."""
    params = command.Params.model_validate({"argv": ["true"], **given})
    with pytest.raises(ValueError, match=words) as raised:
        command.check(params, config_of())
    assert type(raised.value) is ValueError
    assert len(str(raised.value)) < 300


def test_the_largest_command_that_check_lets_through_starts(stage):
    """What a person approves is not refused by the kernel afterwards."""
    argv = ["true", "x" * 131_071, *["x" * 100_000] * 8]
    params = params_of(*argv)
    command.check(params, config_of())
    assert command.run(params, stage.context(config_of())).code == "exit-0"


@pytest.mark.parametrize(
    "table",
    [{"programs": ["bin/x"]}, {"programs": [""]}, {"path": "/bin:"}, {"path": "bin"},
     {"timeout": "0s"}, {"max_output": -1}, {"exit_codes": {"transient": [0]}},
     {"exit_codes": {"transient": [256]}}, {"exit_codes": {"transient": [3], "unknown": [3]}},
     {"exit_codes": {"permanent": [3]}}],
)  # fmt: skip
def test_a_table_that_cannot_work_is_an_error_at_load(table):
    """A mistake in the configuration is found at start, not when a person said yes."""
    with pytest.raises(ValidationError):
        config_of(**table)


def test_an_empty_argument_list_is_no_command():
    """There must be a program to run."""
    with pytest.raises(ValidationError):
        params_of()
