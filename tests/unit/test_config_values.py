"""Durations, and secrets by reference."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spoold.config import secrets
from spoold.config.quantities import format_duration, parse_duration
from spoold.config.secrets import SecretMissing, SecretRef


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("4h", 14400), ("7d", 604800), ("500ms", 0.5), ("0s", 0)],
)
def test_a_duration_is_a_number_and_a_unit(text, seconds):
    """Seconds, minutes, hours, days and milliseconds, each with its letter."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "5", "s", "5 s", " 5s", "5s\n", "-5s", "1.5h", "5S", "5w", "1h30m", "1e3s",
        "9999999999s", "3651d", "\u0663s", None, 5, 5.0, True, ["5s"],
    ],
)  # fmt: skip
def test_anything_else_is_no_duration(text):
    """What is not digits and a unit is refused, and so is what no calendar could hold."""
    with pytest.raises(ValueError, match=r"is no duration|more than ten years"):
        parse_duration(text)


@example(3650, "d")
@given(st.integers(0, 3650), st.sampled_from(["ms", "s", "m", "h", "d"]))
@example(1000, "ms")
@example(0, "d")
def test_a_duration_survives_being_written(amount, unit):
    """What was read is written as text that is read as the same, and never longer than it was."""
    text = f"{amount}{unit}"
    seconds = parse_duration(text)
    written = format_duration(seconds)
    assert parse_duration(written) == seconds
    assert len(written) <= len(text)


def test_a_secret_comes_from_where_its_reference_says(tmp_path, monkeypatch):
    """A variable, a systemd credential, a file relative to the configuration or absolute."""
    monkeypatch.setenv("TOKEN", "one")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "creds"))
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds/api").write_text("two\n")
    (tmp_path / "file").write_text("three\r\n")
    assert secrets.read_secret(SecretRef(env="TOKEN"), tmp_path) == "one"
    assert secrets.read_secret(SecretRef(credential="api"), tmp_path) == "two"
    assert secrets.read_secret(SecretRef(file="file"), tmp_path) == "three"
    assert secrets.read_secret(SecretRef(file=str(tmp_path / "file")), Path("/")) == "three"


def test_only_the_line_end_is_no_part_of_a_secret(tmp_path):
    """Blanks around a secret are kept: nobody but its owner knows whether they belong to it."""
    (tmp_path / "file").write_text(" a b \n")
    assert secrets.read_secret(SecretRef(file="file"), tmp_path) == " a b "


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        ({"env": "SPOOLD_NO_SUCH"}, "variable SPOOLD_NO_SUCH"),
        ({"env": "SPOOLD_EMPTY"}, "variable SPOOLD_EMPTY"),
        ({"credential": "none"}, "credential none"),
        ({"credential": ""}, "credential"),
        ({"file": "none"}, "none is missing"),
        ({"file": "empty"}, "empty is missing or empty"),
        ({"file": "binary"}, "binary"),
        ({"file": "."}, "is missing or empty"),
    ],
)
def test_a_secret_that_is_not_there_is_named_by_its_place(tmp_path, monkeypatch, ref, words):
    """What is missing, empty or no text is an error that says where it was looked for."""
    monkeypatch.setenv("SPOOLD_EMPTY", "")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"s3cr3t\xff")
    with pytest.raises(SecretMissing, match="missing") as error:
        secrets.read_secret(SecretRef(**ref), tmp_path)
    assert words in str(error.value)
    assert "s3cr3t" not in f"{error.value!r} {error.value.__cause__!r}"
