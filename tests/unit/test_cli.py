"""The command line: what it prints where, how it ends, and which request is meant."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold import cli
from spoold.cli import app as _app
from spoold.cli.app import App
from spoold.disk import fs
from spoold.errors import NoRoom
from spoold.spool.spool import Place, Spool
from spoold.states import Role
from spoold.text import age
from spoold.view import find

CHECKOUT = Path(__file__).resolve().parents[2]
CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}

#: The verbs of the contract that are built.
VERBS = [
    "init", "run", "intake", "gate", "sweep", "execute", "ls", "show", "approve", "reject", "hold",
    "release", "retry", "cancel", "resolve", "explain", "check", "stats", "doctor", "report",
    "health", "status", "metrics",
]  # fmt: skip


class Ended:
    """How a run of the command line ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def spoold(lab, monkeypatch, capfd):
    """Runs a verb on the lab in this process, as `main` does."""

    def run(*words, config=True):
        given = ["--config", str(lab.file)] if config else []
        monkeypatch.setattr(sys, "argv", ["spoold", *given, *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        sys.stdout.flush()
        out, err = capfd.readouterr()
        return Ended(end.value.code, out, err)

    return run


def process(lab, *words, start=subprocess.Popen, env=(), **more):
    """Starts a verb in a process of its own."""
    line = [sys.executable, "-m", "spoold", "--config", str(lab.file), *words]
    return start(line, env={**os.environ, "PYTHONPATH": str(CHECKOUT), **dict(env)}, **more)


def ended(lab, *words, **more):
    """Runs a verb in a process of its own to its end."""
    return process(lab, *words, start=subprocess.run, capture_output=True, timeout=30, **more)


@pytest.fixture
def waiting(lab):
    """Makes requests wait; returns their ids in order."""

    def make(*numbers):
        for number in numbers:
            lab.drop("decisions", f"{number}.json", {**CUTOVER, "decision_id": f"c-{number}"})
        assert lab.drain() == 0
        return [file.stem for file in lab.files("awaiting-approval")]

    return make


# Verbs


def test_the_verbs_are_those_of_the_contract():
    """Every verb of the contract is there, and `reindex` and `import` besides."""
    context = click.Context(cli.cli)
    assert set(cli.cli.list_commands(context)) == {*VERBS, "reindex", "import"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(spoold, verb):
    """`--help` needs no configuration, prints usage and a sentence to stdout, and ends with 0."""
    ended = spoold(verb, "--help", config=False)
    assert (ended.code, ended.err) == (0, "")
    usage, *rest = ended.out.splitlines()
    assert usage.startswith("Usage: ")
    assert f" {verb} [OPTIONS]" in usage
    assert any(line.strip().endswith(".") for line in rest)
    assert "--json" in ended.out
    assert spoold(verb, "-h", config=False).out == ended.out


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["--version"]])
def test_help_lists_what_there_is(spoold, words):
    """Help and version go to stdout and end with 0; help names every verb in the order of a day."""
    ended = spoold(*words, config=False)
    assert (ended.code, ended.err) == (0, "")
    if words != ["--version"]:
        listed = [line.split()[0] for line in ended.out.split("Commands:\n")[1].splitlines()]
        assert set(listed) >= set(VERBS)
        assert listed.index("init") < listed.index("run") < listed.index("approve")


# How it ends


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], os.EX_USAGE),
        (["bogus"], os.EX_USAGE),
        (["ls", "--bogus"], os.EX_USAGE),
        (["ls", "nowhere"], os.EX_USAGE),
        (["ls", "../.."], os.EX_USAGE),
        (["ls", "queued/nobody"], os.EX_USAGE),
        (["check", "--fix"], os.EX_USAGE),
        (["show"], os.EX_USAGE),
        (["show", "nothing"], os.EX_USAGE),
        (["approve", ""], os.EX_USAGE),
        (["resolve", "x"], os.EX_USAGE),
        (["resolve", "x", "--as", "maybe"], os.EX_USAGE),
        (["execute", "nobody"], os.EX_CONFIG),
        (["explain", "/no/such/file", "--source", "tasks"], os.EX_USAGE),
        (["explain", __file__], os.EX_USAGE),
        (["explain", __file__, "--source", "nowhere"], os.EX_USAGE),
        (["explain", __file__, "--source", "tasks"], os.EX_DATAERR),
        (["explain", "/", "--source", "tasks"], os.EX_DATAERR),
        (["explain", "/dev/null", "--source", "tasks"], os.EX_DATAERR),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_ends_with_its_code_and_says_why(spoold, lab, words, code, as_json):
    """The exit code is of sysexits; the message is on stderr, as one JSON line if asked for."""
    lab.drain()
    ended = spoold(*(["--json"] if as_json else []), *words)
    assert ended.code == code
    assert ended.err
    assert "Traceback" not in ended.err
    if as_json and words:
        for line in ended.out.splitlines():
            json.loads(line)
        (said,) = [json.loads(line) for line in ended.err.splitlines()]
        assert said["exit_code"] == code
        assert said["error"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_wrong_configuration_is_told_with_file_and_line(spoold, lab, as_json):
    """Every mistake is a line of its own with its place, and the code is 78."""
    route = lab.file.parent / "routes.d/10.toml"
    route.write_text(route.read_text() + "oops = 1\nmore = 2\n")
    ended = spoold(*(["--json"] if as_json else []), "check")
    assert ended.code == os.EX_CONFIG
    if as_json:
        assert json.loads(ended.err)["error"].count(f"{route}:") == 2
    else:
        assert [line.startswith(f"spoold: {route}:") for line in ended.err.splitlines()] == [
            True
        ] * 2


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(13, "Permission denied", "/x"), os.EX_NOPERM, "/x: Permission denied"),
        (OSError(5, "Input/output error", "/x"), os.EX_IOERR, "/x: Input/output error"),
        (NoRoom("it is full"), os.EX_TEMPFAIL, "it is full"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 0, ""),
        (RuntimeError("not planned"), os.EX_SOFTWARE, "a bug in spoold: RuntimeError: not planned"),
    ],
    ids=repr,
)
def test_each_error_has_its_code_and_its_message(spoold, monkeypatch, error, code, said):
    """Only a bug, which ends with 70, shows a trace; what is no failure says nothing."""

    def fail(*_):
        raise error

    monkeypatch.setattr(_app.find, "find", fail)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    ended = spoold("ls", config=False)
    assert ended.code == code
    assert ("Traceback" in ended.err) == (code == os.EX_SOFTWARE)
    assert f"spoold: {said}" in ended.err if said else ended.err == ""


def test_a_reader_that_has_seen_enough_is_no_error(lab, waiting):
    """`spoold ls | head -1` ends with 0 and says nothing, however much there was to print."""
    waiting(*range(40))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with process(lab, "ls", env={"PYTHONUNBUFFERED": "1"}, **pipes) as ls:
        ls.stdout.close()
        assert ls.wait(20) == 0
        assert ls.stderr.read() == b""


# What it prints


@pytest.mark.parametrize("words", [["ls"], ["ls", "awaiting-approval"], ["stats"], ["check"]])
def test_json_is_one_object_a_line_and_nothing_else(spoold, waiting, words):
    """With --json, before the verb or after it, stdout holds JSON Lines only."""
    waiting(1, 2)
    before, after = spoold("--json", *words), spoold(*words, "--json")
    assert (before.code, after.code) == (0, 0)
    rows = [json.loads(line) for line in before.out.splitlines()]
    assert rows
    assert all(isinstance(row, dict) for row in rows)
    assert [set(json.loads(line)) for line in after.out.splitlines()] == [set(r) for r in rows]


def test_a_table_that_is_piped_has_no_colours(lab, waiting):
    """Not at a terminal there is plain text; with NO_COLOR at one, too."""
    waiting(1)
    for env in ({}, {"FORCE_COLOR": "1"}, {"NO_COLOR": "1", "TERM": "xterm-256color"}):
        run = ended(lab, "ls", env=env)
        assert run.returncode == 0
        assert b"\x1b" not in run.stdout


def test_a_request_is_shown_to_the_byte(spoold, lab, waiting):
    """The file goes to stdout as it is, so that it can be piped; where it lies, to stderr."""
    (made,) = waiting(1)
    ended = spoold("show", made[-8:])
    assert ended.out.encode() == lab.only("awaiting-approval").read_bytes()
    assert f"awaiting-approval/{made}.json" in ended.err


HOSTILE = {
    "expires soon": {"approval": {"expires_at": "soon"}},
    "expires never": {"approval": {"expires_at": None}},
    "expires somewhere": {"approval": {"expires_at": "2030-01-01"}},
    "asked by letters": {"asked": "x"},
    "asked a list": {"asked": []},
    "route a list": {"route": ["x"]},
    "attempts a number": {"attempts": 5},
    "result a text": {"result": "x"},
    "executor an object": {"executor": {}},
    "control characters": {"route": "\x1b[2J\x07", "target_ref": "\x1b]0;x\x07"},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_damaged_request_hides_no_other(spoold, lab, waiting, what):
    """Whatever is in one file, others are listed; nothing steers a terminal, no verb breaks."""
    first, second = waiting(1, 2)
    file = lab.root / "awaiting-approval" / f"{first}.json"
    fields = orjson.loads(file.read_bytes())
    for key, value in HOSTILE[what].items():
        both = isinstance(value, dict) and isinstance(fields[key], dict)
        fields[key] = {**fields[key], **value} if both else value
    file.write_bytes(orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    for words in (["ls"], ["--json", "ls"], ["show", first], ["stats"],
                  ["approve", "--yes", first], ["hold", first]):  # fmt: skip
        ended = spoold(*words)
        refused = words[0] == "approve" and what != "control characters"
        assert ended.code == (os.EX_DATAERR if refused else 0), ended.err
        assert "Traceback" not in ended.err
        assert not {"\x1b", "\x07"} & set(ended.out + ended.err)
        if "ls" in words:
            assert second[-8:] in ended.out
            assert first[-8:] in ended.out
    assert [held.stem for held in lab.files("held")] == [first]


def test_a_strangers_bytes_do_not_steer_a_terminal(lab):
    """What is quarantined is shown to a terminal with its control characters escaped."""
    pty = pytest.importorskip("pty")
    lab.drop("decisions", "bad.json", b"x \x1b]0;owned\x07 \xc2\x9b31m")
    lab.drain()
    leader, follower = pty.openpty()
    both = {"stdout": follower, "stderr": follower}
    with process(lab, "show", "quarantine/decisions/bad", env={"NO_COLOR": "1"}, **both) as show:
        os.close(follower)
        said = b""
        try:
            while chunk := os.read(leader, 4096):
                said += chunk
        except OSError:
            pass
        assert show.wait(20) == 0
    os.close(leader)
    assert b"owned" in said
    assert b"\x1b" not in said
    assert b"\x07" not in said


def test_a_reason_may_be_typed_in_any_encoding(lab, waiting):
    """A terminal in Latin-1 sends bytes that are not UTF-8; the decision is made all the same."""
    (made,) = waiting(1)
    run = ended(lab, "reject", made, "--reason", b"caf\xe9")
    assert run.returncode == 0, run.stderr
    assert "caf" in lab.reason(lab.only("rejected"))["what"]
    assert lab.files("awaiting-approval") == []


def test_ids_can_be_piped(lab, waiting):
    """`-` reads ids from stdin, one a line."""
    made = waiting(1, 2, 3)
    run = ended(lab, "reject", "-", input="\n".join(made[:2]).encode() + b"\n\n")
    assert run.returncode == 0, run.stderr
    assert [file.stem for file in lab.files("rejected")] == made[:2]


def test_one_id_that_fails_does_not_keep_the_others_back(spoold, lab, waiting):
    """Every id is tried, every failure is told, and the exit code says that there was one."""
    first, second = waiting(1, 2)
    ended = spoold("reject", first, "nothing", "nobody", second)
    assert ended.code == os.EX_USAGE
    assert "'nothing'" in ended.err
    assert "'nobody'" in ended.err
    assert len(lab.files("rejected")) == 2


# Which request is meant


@pytest.fixture
def app(lab):
    """The command line's view of the lab."""
    lab.drain()
    return App(str(lab.file))


def test_a_missing_folder_hides_no_request(app, lab, waiting):
    """An executor that was configured after the last start has no folders yet; that is no error."""
    (made,) = waiting(1)
    text = lab.file.read_text() + '\n[executors.later]\nkind = "recorder"\n'
    lab.file.write_text(text)
    assert find.find(App(str(lab.file)).spool, made).id == made


def test_a_person_has_only_a_persons_moves(app):
    """Whatever verb is built on it, the command line moves only what a person may."""
    assert app.spool.role is Role.PERSON
    with pytest.raises(RuntimeError):
        app.spool.move(Place("checking"), Place("queued", "rec"), "x.json")


# Small parts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (42.4, "42s"), (99, "99s"), (100, "2m"), (780, "13m"), (18000, "5h"),
     (86400 * 9, "9d"), (-5, "-5s"), (-18000, "-5h")],
)  # fmt: skip
def test_an_age_is_short(seconds, text):
    """A number and a unit that a person takes in at a glance."""
    assert age(seconds) == text


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_an_age_is_about_right(one, two):
    """It is short, wrong by half a unit at most, and what is clearly older is shown as older."""
    shown, units = [], []
    for seconds in (one, two):
        text = age(seconds)
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]
        shown.append(float(text[:-1]) * unit)
        units.append(unit)
        assert abs(shown[-1] - seconds) <= unit * 0.51
        assert len(text) <= 7
    assert shown[0] <= shown[1] or one > two or two - one < max(units)


def test_a_reason_that_came_back_with_its_file_stays(lab, spoold, monkeypatch):
    """`retry` removes the reason it saw, and not that of an intake that was faster."""
    lab.drop("decisions", "bad.json", b"[]")
    lab.drain()
    original = Spool.move

    def move_and_be_overtaken(self, source, target, *names):
        moved = original(self, source, target, *names)
        if source.folder == "quarantine":
            monkeypatch.setattr(Spool, "move", original)
            lab.drain()
        return moved

    monkeypatch.setattr(Spool, "move", move_and_be_overtaken)
    assert spoold("retry", "quarantine/decisions/bad.json").code == 0
    assert lab.reason(lab.only("quarantine"))["code"] == "not-an-object"


def test_a_reason_goes_after_its_file(lab, spoold, monkeypatch):
    """A retried file has left quarantine/ durably before the reason beside it is removed."""
    lab.drop("decisions", "bad.json", b"[]")
    lab.drain()
    steps = []
    for where, name in ((Spool, "move"), (Spool, "sync"), (fs, "remove")):
        original = getattr(where, name)

        def noting(*args, name=name, original=original):
            steps.append(name)
            return original(*args)

        monkeypatch.setattr(where, name, noting)
    assert spoold("retry", "quarantine/decisions/bad.json").code == 0
    assert steps == ["move", "sync", "remove"]


def test_a_user_gets_folders_and_a_service_of_their_own(tmp_path, monkeypatch, spoold):
    """`init --user` follows the XDG specification, and what it writes works."""
    tmp_path = tmp_path / 'h o\\m"e'
    tmp_path.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert spoold("init", "--user", config=False).code == 0
    file = tmp_path / ".config/spoold/spoold.toml"
    made = tomllib.loads(file.read_text())
    assert made["root"] == f"{tmp_path}/state/spoold/spool"
    assert made["runtime"] == f"{tmp_path}/run/spoold"
    unit = (tmp_path / ".config/systemd/user/spoold.service").read_text()
    shown = str(file).replace("\\", "\\\\").replace('"', '\\"')
    assert f'--config "{shown}" run\n' in unit
    assert "Type=notify" in unit
    assert spoold("check", config=False).code == 0
    assert (tmp_path / "state/spoold/spool/inbox/decisions").is_dir()
    assert spoold("init", "--user", config=False).code != 0
    assert spoold("init", config=False).code == os.EX_USAGE
    assert spoold("init", "--user", "x", config=False).code == os.EX_USAGE
