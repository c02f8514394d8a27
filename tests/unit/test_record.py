"""Strict parsing: what is taken is unambiguous, what is refused is refused by its right name."""

import json
import time
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spoold.errors import BadInput
from spoold.record import Record
from spoold.strict_json import parse

INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.none() | st.booleans() | INT64 | st.floats(allow_nan=False, allow_infinity=False)
#: A NUL is refused; see below.
TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"))
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=5)
LAYOUTS = st.sampled_from(
    [{}, {"indent": 2}, {"separators": (" , ", " : ")}, {"ensure_ascii": False}]
)
PIECES = [
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"a"',
        '"b',
        '"',
        "\\",
        "\\u003a",
        "\\ud800",
        "é",
        "\0",
        " ",
        "\n",
    ),
    *("0", "1", "-", ".", "e", "9" * 19, "tru", "true", "null", "NaN", "Infinity"),
]
JSONISH = st.lists(st.sampled_from(PIECES)).map(lambda parts: "".join(parts).encode())


def code_of(raw: bytes, **options: Any) -> str:
    with pytest.raises(BadInput) as caught:
        parse(raw, **options)
    return caught.value.code


@given(OBJECTS, TEXTS, st.booleans())
def test_a_nul_is_refused_wherever_it_is(document, text, is_key):
    """CEL and most programs end a text at a NUL, so that none may be in a key or a value."""
    odd = f"{text}\0"
    document = {**document, "deep": [{odd: 1} if is_key else {"x": odd}]}
    assert code_of(json.dumps(document).encode()) == "nul-character"


@given(OBJECTS, LAYOUTS)
def test_every_object_comes_back_as_it_was_written(document, layout):
    """Whatever JSON writes in whatever layout, parse reads back equal."""
    assert parse(json.dumps(document, **layout).encode()) == document


@given(OBJECTS, LAYOUTS, st.data())
@example({"a": "é\\u"}, {"ensure_ascii": False}, None)
@example({"é": [1.5e-7, True, None]}, {}, None)
def test_every_proper_prefix_is_truncated(document, layout, data):
    """A file that is cut off anywhere is called truncated, or empty when nothing is left."""
    raw = json.dumps(document, **layout).encode()
    lengths = range(len(raw)) if data is None else [data.draw(st.integers(0, len(raw) - 1))]
    for length in lengths:
        assert code_of(raw[:length]) == ("truncated" if raw[:length].strip() else "empty")


@given(st.binary() | JSONISH)
def test_arbitrary_bytes_are_an_object_or_bad_input(raw):
    """No bytes make the parser fail in any other way, and what it takes is plain JSON."""
    try:
        document = parse(raw)
    except BadInput:
        return
    assert document == json.loads(raw, parse_constant=pytest.fail)


@given(TEXTS, VALUES, VALUES, VALUES, LAYOUTS)
@example("a", 1, ":", ":", {})
def test_a_repeated_key_is_never_taken(key, first, between, second, layout):
    """A key that comes twice is found, whatever it maps to and however it is spelled."""
    members = [
        f"{json.dumps(key)}:{json.dumps(first, **layout)}",
        f"{json.dumps(key + '!')}:{json.dumps(between, **layout)}",
        f"{json.dumps(key, ensure_ascii=False)} : {json.dumps(second, **layout)}",
    ]
    inner = "{" + ",".join(members) + "}"
    assert code_of(inner.encode()) == "duplicate-key"
    assert code_of(f'{{"x":[0,{inner}]}}'.encode()) == "duplicate-key"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "empty"),
        (b" \r\n\t", "empty"),
        (b"\0" * 512, "empty"),
        (b'\xef\xbb\xbf{"a":1}', "not-utf8"),
        ('{"a":1}'.encode("utf-16"), "not-utf8"),
        ('{"a":1}'.encode("utf-16-le"), "not-utf8"),
        ('{"a":1}'.encode("utf-32"), "not-utf8"),
        (b'{"a":"\xff"}', "not-utf8"),
        (b'{"a":"\xed\xa0\x80"}', "not-utf8"),
        (b'{"a":"\\ud800"}', "not-utf8"),
        (b'{"a":"\\ude00\\ud83d"}', "not-utf8"),
        (b'{"\\udfff":1}', "not-utf8"),
        (b"{", "truncated"),
        (b'{"a', "truncated"),
        (b'{"a"', "truncated"),
        (b'{"a":', "truncated"),
        (b'{"a":tru', "truncated"),
        (b'{"a":-', "truncated"),
        (b'{"a":1.', "truncated"),
        (b'{"a":12', "truncated"),
        (b'{"a":1e+', "truncated"),
        (b'{"a":"\\', "truncated"),
        (b'{"a":"\\u00', "truncated"),
        (b'{"a":"\\ud83d', "truncated"),
        ('{"a":"€'.encode()[:-1], "truncated"),
        (b'{"a":1,', "truncated"),
        (b'{"a":[1', "truncated"),
        (b'{"a":trux}', "not-json"),
        (b'{"a":01}', "not-json"),
        (b'{"a":1.}', "not-json"),
        (b'{"a":1,}', "not-json"),
        (b'{"a":[1,]}', "not-json"),
        (b'{"a" 1}', "not-json"),
        (b"{'a':1}", "not-json"),
        (b'{"a":"\n"}', "not-json"),
        (b'{"a":"\\x41"}', "not-json"),
        (b'{"a":[}', "not-json"),
        (b'{"a":1}{"b":2}', "not-json"),
        (b'{"a":1}\0', "not-json"),
        (b'{"a":1} tru', "not-json"),
        (b"\x0c{}", "not-json"),
        (b'{"a":\xe2\x82', "not-json"),
        (b"hello", "not-json"),
        (b"[]", "not-an-object"),
        (b'"text"', "not-an-object"),
        (b"12", "not-an-object"),
        (b"null", "not-an-object"),
        (b'{"a":1,"a":1}', "duplicate-key"),
        (b'{"a":1,"\\u0061":2}', "duplicate-key"),
        (b'{"x":[{"":1,"":1}]}', "duplicate-key"),
        (b'{"a":1,"a":"x","b":"\\u003a"}', "duplicate-key"),
        (b'{"a":NaN}', "not-a-number"),
        (b'{"a":Infinity}', "not-a-number"),
        (b'{"a":[-Infinity]}', "not-a-number"),
        (b'{"a":1e400}', "not-a-number"),
        (b'{"a":-1e400}', "not-a-number"),
        (b'{"a":9223372036854775808}', "number-out-of-range"),
        (b'{"a":-9223372036854775809}', "number-out-of-range"),
        (b'{"a":18446744073709551616}', "number-out-of-range"),
        (b'{"a":1' + b"0" * 5000 + b"}", "number-out-of-range"),
    ],
)
def test_each_kind_of_bad_text_has_its_own_code(raw, code):
    """The code names what is wrong, so that the advice that goes with it is right."""
    assert code_of(raw) == code


@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (b'{"a":9223372036854775807}', {"a": 2**63 - 1}),
        (b'{"a":-9223372036854775808}', {"a": -(2**63)}),
        (b'{"a":1e19,"b":-1E300}', {"a": 1e19, "b": -1e300}),
        (b'{"a":"12345678901234567890"}', {"a": "12345678901234567890"}),
        (b'{"a":"\\u003a","b":":"}', {"a": ":", "b": ":"}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":{"a":{"a":1}},"b":[{"a":1},{"a":2}]}', None),
        (b' \n{"a":"\x7f"}\r\n', {"a": "\x7f"}),
    ],
)
def test_what_only_looks_bad_is_taken(raw, document):
    """The limits are exact: nothing sound is refused because it is near one."""
    assert parse(raw) == (document or json.loads(raw))


@pytest.mark.parametrize("limit", [1, 2, 64, 300, 900])
def test_the_depth_limit_counts_levels_exactly(limit):
    """As many levels as allowed are taken, one more is refused, whatever they are made of."""
    for opening, closing in ((b'{"a":', b"}"), (b"[", b"]")):
        inner = limit - 1
        raw = b'{"a":' + opening * inner + b"0" + closing * inner + b"}"
        assert parse(raw, max_depth=limit)
        deeper = b'{"a":' + opening * limit + b"0" + closing * limit + b"}"
        assert code_of(deeper, max_depth=limit) == "too-deep"


@pytest.mark.parametrize(
    "raw",
    [b"[" * 200_000, b"[" * 200_000 + b"]" * 200_000, b'{"a":' * 200_000, b'[{"a":' * 100_000],
)
def test_absurd_nesting_is_refused_without_recursion(raw):
    """200,000 levels neither exhaust the stack nor take long."""
    start = time.process_time()
    assert code_of(raw, max_depth=900) in {"too-deep", "truncated"}
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "unit",
    [b"[],", b'"",', b"0,", b"1e19,", b'{"a":1},', b'"\\n\\u003a",', b'{"a":{}},'],
)
def test_a_hostile_megabyte_takes_linear_time(unit):
    """Four times the text takes nowhere near sixteen times as long, even when bad at its end."""

    def seconds(size: int) -> float:
        raw = b'{"x":[' + unit * (size // len(unit)) + b"NaN]}"
        start = time.process_time()
        assert code_of(raw) == "not-a-number"
        return time.process_time() - start

    assert seconds(1 << 20) < 10 * min(seconds(1 << 18) for _ in range(2)) + 0.1


@pytest.mark.parametrize(
    "raw",
    [b'{"a":1' + b"1" * (1 << 20), b'{"' + b"\\\\" * (1 << 19), b'{"a":"' + b"\\u12" * (1 << 18)],
)
def test_one_hostile_token_takes_linear_time(raw):
    """A megabyte in one token is decided in one pass."""
    start = time.process_time()
    assert code_of(raw) in {"truncated", "not-json", "number-out-of-range"}
    assert time.process_time() - start < 2


def test_a_message_says_where():
    """An operator finds the mistake by line and column."""
    with pytest.raises(BadInput, match=r"line 3, column 8"):
        parse(b'{\n  "a": 1,\n  "b": nul1\n}')


def test_a_repeated_key_is_named():
    """The message has the key that came twice."""
    with pytest.raises(BadInput, match="'target'"):
        parse(b'{"target":"a","b":1,"target":"c"}')


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1}\x1b[2J' + b"x" * 500,
        b'{"' + b"k\\u001b" * 500 + b'":1,"' + b"k\\u001b" * 500 + b'":2}',
        b'{"a":' + b"9" * 500 + b"}",
        b'{"a":"\x07"}',
        '{"a": \u202e}'.encode(),
    ],
)
def test_a_message_is_one_short_printable_line(raw):
    """Hostile content can neither flood the terminal nor control it."""
    with pytest.raises(BadInput) as caught:
        parse(raw)
    assert caught.value.what.isprintable()
    assert len(caught.value.what) < 260


def test_a_record_as_data_has_all_its_fields():
    """Routes see every field of a record, and see it as plain JSON."""
    record = Record(source="s", id=None, type="t")
    assert set(record.as_dict()) == {field.name for field in fields(Record)} - {"content"}
    assert json.loads(json.dumps(record.as_dict())) == record.as_dict()
