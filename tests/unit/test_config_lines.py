"""The line of a key in a TOML file."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spoold.config import toml
from spoold.config.toml import line_of

KEYS = st.text("abcxyz_-", min_size=1, max_size=4)
FILLERS = st.sampled_from(["", "# x = 1", "  # [x]", "\t"])
VALUES = st.sampled_from(
    ["1", '"x"', "true", "[1, 2]", '["a", "b"]', "[[1], [2]]", "{}", "{ q = 1 }", '"a = 1 # b"',
     '[\n  "a",\n  "b",\n]', "'''\nname = 1\n'''", '"""\n\n[x]\n"""', "[\n  [1],\n  [2],\n]"]
)  # fmt: skip


@st.composite
def documents(draw):
    """A TOML text and the line of every key in it."""
    lines, where = [], {}
    tables = draw(
        st.lists(st.lists(KEYS, min_size=1, max_size=3).map(tuple), max_size=4, unique=True)
    )
    for table in [(), *tables]:
        if table:
            assume(all(table[:n] not in where for n in range(1, len(table) + 1)))
            lines.append(f"[{'.'.join(table)}]")
            where[table] = len(lines)
        for key in draw(st.lists(KEYS, max_size=4, unique=True)):
            path = (*table, key)
            assume(path not in where and all(t[: len(path)] != path for t in tables))
            lines += draw(st.lists(FILLERS, max_size=2))
            number = len(lines) + 1
            lines += f"{key} = {draw(VALUES)}".split("\n")
            where[path] = number
    return "\n".join(lines), where


def first_mention(where, path):
    """The first line that sets a key or something below it."""
    return min(number for known, number in where.items() if known[: len(path)] == path)


@settings(max_examples=25)
@given(documents())
def test_every_key_has_its_line(document):
    """Whatever lies between, also values over several lines, a key is found where it is set."""
    text, where = document
    for path in where:
        assert line_of(text, path) == first_mention(where, path)


@settings(max_examples=25)
@given(documents(), st.lists(KEYS, min_size=1, max_size=2))
def test_what_a_table_lacks_is_told_at_the_table(document, below):
    """A key that is not there is told at the nearest one around it, or without a line."""
    text, where = document
    for path in [(), *where]:
        missing = (*path, *below)
        assume(not any(known[: len(path) + 1] == missing[: len(path) + 1] for known in where))
        assert line_of(text, missing) == (first_mention(where, path) if path else None)


@given(st.text(max_size=200), st.lists(st.text(max_size=5) | st.integers(0, 3), max_size=4))
def test_a_line_is_always_within_the_text(text, path):
    """Whatever the text and the path are, there is an answer, and it is a line of the text."""
    found = line_of(text, path)
    assert found is None or 1 <= found <= len(text.splitlines())


@pytest.mark.parametrize(
    ("text", "path", "number"),
    [
        ("match = '''\nname == 1'''\nname = 3\n", ("name",), 3),
        ("match = '''\nx in\n['a']\n'''\nsource = 3\n", ("source",), 5),
        ('x = [\n  ["a"],\n]\ny = 2\n', ("y",), 4),
        ("[[p]]\na = 1\n[[p]]\na = 2\n", ("p", 0, "a"), 2),
        ("[[p]]\na = 1\n[[p]]\na = 2\n", ("p", 1, "a"), 4),
        ("p = [\n  { a = 1 },\n  { a = 2 },\n]\n", ("p", 1, "a"), 1),
        ('x = "\u2028"\ny = 1\n', ("y",), 2),
        ('["a.b"]\nc = 1\n', ("a.b", "c"), 2),
        ('"a:b" = 2\n', ("a:b",), 1),
        ("[ a . b ]\n c=1\n", ("a", "b", "c"), 2),
        ('name = "x"\n[params.body]\nname = 3\n', ("params", "body", "name"), 3),
        ("a = 1\r\nb = 2\r\n", ("b",), 2),
    ],
)
def test_a_line_is_right_where_toml_is_difficult(text, path, number):
    """Texts and lists over several lines, lists of tables and quoted keys do not shift a line."""
    assert line_of(text, path) == number


def test_a_long_file_is_searched_quickly(monkeypatch):
    """A table of a thousand names, as Plane's ids need, is parsed a few times only."""
    text = "[names]\n" + "".join(f'"{n:08}-87ec" = {{ name = "n{n}" }}\n' for n in range(1000))
    parsed = []
    real = toml.tomllib.loads
    monkeypatch.setattr(toml.tomllib, "loads", lambda text: parsed.append(1) or real(text))
    assert toml.line_of(text, ("names", "00000998-87ec", "name")) == 1000
    assert len(parsed) < 30
