"""What a person reads is what is there: nothing unseen is in a file or a row as itself."""

import json
import unicodedata

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold import request
from spoold.errors import BadInput
from spoold.request import parse
from spoold.request.reasons import FOR_PEOPLE
from spoold.text import UNSEEN, escaped, printable, shown, visible

#: Default-ignorable characters that are letters or marks to Unicode's categories.
FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef"
ANY = st.text(st.characters(exclude_categories=["Cs"])) | st.text(
    st.sampled_from('a\n"\\\x00\x1b\x7f\x85\x9b\xad\u200b\u202e\u2028\u2066\ufeff' + FILLERS)
)


def test_every_control_and_format_character_counts():
    """Whatever Unicode calls a control, a format character or a separator of lines is unseen."""
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category in ("Cc", "Cf", "Zl", "Zp") or chr(code) in FILLERS:
            assert UNSEEN.match(chr(code)), hex(code)
        elif category[0] in "LNPS" and chr(code) not in FILLERS:
            assert not UNSEEN.match(chr(code)), hex(code)


@given(st.dictionaries(ANY, ANY | st.lists(ANY)))
def test_json_for_people_hides_nothing_and_says_the_same(fields):
    """No unseen character, the same data, and the lines that its structure has."""
    raw = orjson.dumps(fields, option=FOR_PEOPLE)
    data = visible(raw)
    assert json.loads(data) == fields
    assert data.count(b"\n") == raw.count(b"\n")
    assert not UNSEEN.search(data.decode().replace("\n", ""))


@given(ANY)
def test_a_row_a_message_and_a_line_of_json_hide_nothing(text):
    """What goes to a terminal or a log has unseen characters spelled out."""
    assert not UNSEEN.search(shown(text))
    assert not UNSEEN.search(printable(text).replace("\n", "").replace("\t", ""))
    assert not UNSEEN.search(escaped(orjson.dumps(text).decode()))


@pytest.mark.parametrize("text", ["plain", "Größe 東京", "\u202egnp.exe", "a\x9bb", "x\u3164y\x7f"])
def test_a_request_is_canonical_in_the_new_spelling_and_in_the_old(lab, text):
    """What version 0.1.0 wrote can be read, and its seal holds; any third spelling is refused."""
    lab.drop("decisions", "a.json", {"decision_id": "a", "decision_type": "cutover"})
    lab.drain()
    made = parse(lab.only("awaiting-approval").read_bytes()).with_(target_ref=text)
    key = b"k" * 32
    made = made.sealed(key)
    old = orjson.dumps(made._fields(), option=FOR_PEOPLE)
    for data in (made.to_bytes(), old):
        assert parse(data) == made
        assert parse(data).seal_holds(key)
    assert not UNSEEN.search(made.to_bytes().decode().replace("\n", ""))
    with pytest.raises(BadInput, match="not as spoold wrote"):
        parse(made.to_bytes().replace(b'"cutover"', b'"\\u0063utover"', 1))
    assert request.validated(old).pin == made.pin


def test_no_file_that_people_read_hides_anything(lab):
    """A record full of unseen text leaves none in requests, reasons and decisions."""
    hostile = "a\u202eb\x9b\u200b\u3164"
    lab.drop("decisions", "a.json", {"decision_id": hostile, "decision_type": hostile})
    lab.drop("decisions", "b.json", {"decision_type": hostile, hostile: [hostile]})
    lab.drain()
    lab.approve(lab.files("awaiting-approval")[0])
    lab.drain()
    for path in lab.root.rglob("*.json"):
        if not str(path.relative_to(lab.root)).startswith(
            ("archive", "quarantine/decisions/b.json")
        ):
            assert not UNSEEN.search(path.read_text().replace("\n", "")), path
