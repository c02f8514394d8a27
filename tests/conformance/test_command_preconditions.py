"""Preconditions: what state files must say is looked up when the command starts, not before."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from spoold.errors import NeedsPerson, Permanent
from spoold.executors import command

_STATE = {
    "status": "ok",
    "outputs": {
        "cluster": {"ready": True, "nodes": 3, "share": 1.0, "zones": ["a", "b"]},
        "cap.control.dispatcher": "ready",
        "endpoint": "10.0.0.7:5432",
        "password": "hunter2-hunter2",
        "note": "",
        "list": [],
        "zero": 0,
        "off": False,
    },
}


@pytest.fixture
def state(tmp_path) -> Path:
    file = tmp_path / "state.json"
    file.write_text(json.dumps(_STATE))
    return file


def _run(stage, file: Any, *, config: Any = None, argv=("true",), reaction="block", **asked: Any):
    table = command.Config.model_validate({"programs": ["true", "false"], **(config or {})})
    asked = {"file": str(file), **asked}
    params = command.Params.model_validate(
        {"argv": list(argv), "preconditions": [asked], "on_failed_precondition": reaction}
    )
    command.check(params, table)
    return command.run(params, stage.context(table))


def _refused(stage, file: Any, **asked: Any) -> NeedsPerson:
    with pytest.raises(NeedsPerson) as raised:
        _run(stage, file, **asked)
    assert raised.value.code == "precondition-failed"
    assert raised.value.summary.isprintable()
    return raised.value


# What must hold


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "ok"),
        ("outputs.cluster.ready", True),
        ("outputs.cluster.nodes", 3),
        ("outputs.cluster.share", 1),
        ("outputs.cluster.zones", ["a", "b"]),
        ("outputs.cluster", _STATE["outputs"]["cluster"]),
        ("outputs.cap.control.dispatcher", "ready"),
    ],
)
def test_what_holds_lets_it_start_and_is_kept(stage, state, key, value):
    """The command runs, and the result says what was found."""
    result = _run(stage, state, equal={key: value})
    assert result.code == "exit-0"
    (seen,) = result.details["preconditions"]
    assert (seen["file"], seen["key"], seen["holds"]) == (str(state), key, True)
    assert result.summary == "true exited with 0."


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("status", "applied", 'has "ok"'),
        ("status", None, 'has "ok"'),
        ("Status", "ok", "does not have it"),
        ("status.x", "ok", "does not have it"),
        ("outputs.cluster.ready", 1, "has true"),
        ("outputs.cluster.ready", "true", "has true"),
        ("outputs.cluster.nodes", "3", "has 3"),
        ("outputs.cluster.share", True, "has 1.0"),
        ("outputs.zero", False, "has 0"),
        ("outputs.cluster.zones", ["b", "a"], 'has ["a","b"]'),
        ("outputs.cluster.zones", ["a"], 'has ["a","b"]'),
        ("outputs.cluster", {"ready": True}, "has {"),
        ("outputs.missing", None, "does not have it"),
        ("outputs.cap", {}, "does not have it"),
    ],
)
def test_what_is_otherwise_blocks_the_start(stage, state, key, value, found):
    """Nothing is started, and a person is told which file, which key, what for, and what is so."""
    error = _refused(stage, state, equal={key: value})
    for part in (str(state), key, json.dumps(value, separators=(",", ":")), found):
        assert part in error.summary
    assert not stage.captures or not any(c.total for c in stage.captures)


def test_of_two_readings_of_a_key_the_longer_name_counts(stage, state):
    """Where a name with dots could mean two members, one rule says which."""
    state.write_text('{"a": {"b": {"c": 1}, "b.c": 2}, "a.b": {"c": 3, "d": 4}, "x": {"y": 5}}')
    for key, value in (("a.b.c", 3), ("a.b.d", 4), ("x.y", 5)):
        assert _run(stage, state, equal={key: value}).code == "exit-0"


@pytest.mark.parametrize("key", ["outputs.endpoint", "outputs.zero", "outputs.off", "status"])
def test_a_value_is_not_empty(stage, state, key):
    """Zero and false are values."""
    assert _run(stage, state, non_empty=[key]).details["preconditions"][0]["holds"]


@pytest.mark.parametrize("key", ["outputs.note", "outputs.list", "outputs.none", "x.y"])
def test_nothing_is_empty(stage, state, key):
    """An empty text or list, and what is not there at all, is no value."""
    assert key in _refused(stage, state, non_empty=[key]).summary


def test_all_that_was_looked_at_is_in_the_details(stage, state):
    """The sentence names the first that does not hold, and the details have all."""
    error = _refused(stage, state, equal={"status": "x", "outputs.note": ""}, non_empty=["a", "b"])
    assert error.summary.endswith('should have status "x", and has "ok"; 2 more do not hold.')
    holds = [(one["key"], one["holds"]) for one in error.details["preconditions"]]
    assert holds == [("status", False), ("outputs.note", True), ("a", False), ("b", False)]


# What is no state file


def _torn(file: Path) -> None:
    file.write_text(json.dumps(_STATE)[:-5])


def _link(file: Path) -> None:
    file.rename(file.with_name("elsewhere.json"))
    file.symlink_to("elsewhere.json")


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


_ODD = {
    "gone": lambda file: file.unlink(),
    "empty": lambda file: file.write_text(""),
    "torn": _torn,
    "list": lambda file: file.write_text('[{"status": "ok"}]'),
    "twice": lambda file: file.write_text('{"status": "bad", "status": "ok"}'),
    "huge": lambda file: file.write_text('{"status": "ok"}' + " " * (1 << 20)),
    "latin": lambda file: file.write_bytes(b'{"status": "ok", "x": "\xe4"}'),
    "link": _link,
    "pipe": _pipe,
    "folder": _folder,
}


@pytest.mark.parametrize("odd", _ODD)
def test_a_file_that_cannot_be_read_whole_does_not_hold(stage, state, odd):
    """Missing, torn, ambiguous, linked, endless: none of them counts as what was wanted."""
    _ODD[odd](state)
    error = _refused(stage, state, equal={"status": "ok"})
    assert error.details["preconditions"][0]["key"] is None
    assert str(state) in error.summary


def test_only_a_regular_file_is_read(stage, state):
    """A pipe is none, also when somebody has put the right words into it."""
    _pipe(state)
    pipe = os.open(state, os.O_RDWR)
    try:
        os.write(pipe, b'{"status": "ok"}')
        assert "no regular file" in _refused(stage, state, equal={"status": "ok"}).summary
    finally:
        os.close(pipe)


def test_a_file_of_the_largest_size_is_read(stage, state):
    """The limit is what it says: 1 MiB."""
    text = '{"status": "ok"}'
    state.write_text(text + " " * ((1 << 20) - len(text)))
    assert _run(stage, state, equal={"status": "ok"}).code == "exit-0"


# What is kept of it


def test_a_found_value_is_quoted_briefly_and_without_tricks(stage, state):
    """A state file neither floods the request nor steers a terminal."""
    state.write_text(json.dumps({"a": "\x1b[31m\u202e" + "x" * 5000, "b": {"n": "\x85"}}))
    error = _refused(stage, state, equal={"a": 1, "b": 2})
    found = [one["found"] for one in error.details["preconditions"]]
    assert all(len(text) <= 210 and text.isprintable() for text in found)


def test_no_secret_of_a_state_file_is_kept(stage, state):
    """What a key calls a secret, and what only had to be there, is not written down."""
    outputs = {"db": {"api_token": "t0k-en", "users": [{"private_pem": "pr1v"}]}, "plain": "seen"}
    state.write_text(json.dumps({**_STATE, "deep": outputs, "dsn": "postgres://u:pw@h"}))
    error = _refused(
        stage, state, equal={"outputs.password": "x", "deep": {}}, non_empty=["dsn", "none"]
    )
    kept = f"{error} {error.details}"
    assert "seen" in kept
    for secret in ("hunter2", "t0k-en", "pr1v", "postgres:"):
        assert secret not in kept


# Block, warn, off


def test_a_warning_is_kept_and_does_not_block(stage, state):
    """`warn` starts it all the same, and says so in the result, however that turns out."""
    result = _run(stage, state, reaction="warn", equal={"status": "x"})
    assert "although 1 of what must hold did not" in result.summary
    assert result.details["preconditions"][0]["found"] == 'has "ok"'
    with pytest.raises(Permanent) as raised:
        _run(stage, state, reaction="warn", argv=["false"], equal={"status": "x"})
    assert raised.value.details["preconditions"][0]["found"] == 'has "ok"'


def test_off_does_not_look(stage, state):
    """`off` reads no file."""
    state.unlink()
    result = _run(stage, state, reaction="off", equal={"status": "x"})
    assert "preconditions" not in result.details
