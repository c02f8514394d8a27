"""What a terminal shows of a stranger's text: no second row, and a mark where it may mislead."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.cli import ls
from spoold.view import lines

LINE = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "))
#: A whole row of `ls`, as an attacker would have it.
ROW = "deadbeef  awaiting-approval      5m  harmless       agent/docs            expires in 3h"


def row(**more):
    return {"id": "dispatch-20260101T000000Z-r-0badc0de", "folder": "awaiting-approval",
            "age_s": 7.0, "route": "r", "target": "agent/x", **more}  # fmt: skip


@given(LINE, st.integers(4, 90))
def test_no_part_is_wider_than_the_terminal_and_nothing_is_left_out(text, most):
    """A folded line fits everywhere, says where it goes on, and its parts make it up again."""
    first, *others = lines.fold(text, most)
    assert all(lines.width(one) <= most for one in (first, *others))
    assert all(one.startswith(lines.GOES_ON) for one in others)
    assert first + "".join(one.removeprefix(lines.GOES_ON) for one in others) == text


@given(LINE, st.integers(4, 90))
def test_a_clipped_line_fits(text, most):
    """It is no wider than asked for, and says with `…` that something is left out."""
    found = lines.clip(text, most)
    assert lines.width(found) <= most
    assert found == text or (found.endswith("…") and text.startswith(found[:-1]))


@pytest.mark.parametrize("most", [40, 80, 81, 132, 200])
@pytest.mark.parametrize("filler", ["x", " ", "字", "e\u0301"])
@pytest.mark.parametrize("field", ["target", "route", "id"])
def test_a_text_makes_no_second_row(field, filler, most):
    """However long a target, a route or a file's name is: `ls` prints one line that fits."""
    for length in range(10, 2 * most, 7):
        text = filler * length + ROW
        given_row = row(**{field: text}) if field != "id" else row(id=text, route="", target="")
        line = ls._line(given_row, most)
        assert "\n" not in line
        assert lines.width(line) <= most
        assert not line.startswith("deadbeef")


def test_a_long_target_hides_no_note():
    """What a person must know of a request stands on the line, whatever its target is."""
    given_row = row(target="x" * 500, asked=3, differ=1)
    assert ls._line(given_row, 100).endswith("asked 3 times, 1 differs")


def test_a_pipe_gets_all_of_it():
    """Where there is no terminal, nothing is left out."""
    assert "x" * 500 in ls._line(row(target="x" * 500), None)


@pytest.mark.parametrize(
    "text", ["p\u0430ypal", "\u0440roduction/db", "\u03bfrders", "prod-\u0430\u0440\u0435"]
)
def test_look_alikes_are_marked(text):
    """A word with letters of two scripts is marked in the row and in the warnings."""
    assert "mixed scripts" in ls._line(row(target=f"agent/{text}"), 120)
    assert any(text in sentence for sentence in lines.warnings({"a": [{"b": f"to {text} now"}]}))


@pytest.mark.parametrize(
    "text", ["zürich µs", "база данных", "東京タワー", "PERTH東京", "straße 12", "x 是 y"]
)
def test_a_language_of_its_own_is_not(text):
    """What people write in one script, or in East Asian ones beside Latin, is left alone."""
    assert lines.mixed(text) == []


def test_what_cannot_be_seen_is_counted():
    """Every character that is escaped on a terminal counts, in keys and in values."""
    text = {"a\u200b": "b\u202e\x1b"}
    assert lines.warnings(text)[0].startswith("3 characters of it cannot be seen")
    assert unicodedata.category("\u200b") == "Cf"
