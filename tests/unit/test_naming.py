"""Names: which are looked at, which are odd, and what an odd one is turned into."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.errors import SpooldError
from spoold.spool.filenames import is_candidate, is_odd, readable_name
from spoold.spool.spool import Place, Spool
from spoold.states import REASON_SUFFIX, Role

#: Names as a file system gives them: any bytes but NUL and slash, some of them not UTF-8.
NAMES = st.binary(min_size=1, max_size=255).map(
    lambda raw: os.fsdecode(raw.replace(b"\0", b"_").replace(b"/", b"_"))
)
JSON_NAMES = NAMES.map(lambda name: name[:100] + ".json")
TAKEN = Place("quarantine", "src")


@pytest.fixture
def spool(fs):
    """A spool in a file system that is only in memory."""
    made = Spool("/spool", Role.INTAKE, ["src"])
    for folder in ("quarantine/src", "archive/src", "held"):
        fs.create_dir(f"/spool/{folder}")
    return made


@pytest.mark.parametrize("name", ["a.json", "é.json", "a b.json", "x.reason.json", "-.json"])
def test_a_drop_is_a_json_name(name):
    """Whatever ends in .json asks to be looked at."""
    assert is_candidate(name)


@pytest.mark.parametrize("name", [".a.json", ".json", "a.json.tmp", "a.JSON", "json", "a.json~"])
def test_hidden_and_other_names_are_not_looked_at(name):
    """A name that starts with a dot, or does not end in .json, is left alone."""
    assert not is_candidate(name)


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[31m.json",
        "a\nb.json",
        "\u202egpj.json",
        "a\u00a0b.json",
        "-rf.json",
        "x.reason.json",
        os.fsdecode(b"\xff.json"),
        "x" * 196 + ".json",
        "é" * 98 + ".json",
    ],
)
def test_a_name_that_could_mislead_is_odd(name):
    """Control and invisible characters, options, reasons, broken UTF-8 and great length are odd."""
    assert is_odd(name)
    assert is_candidate(readable_name(name))


@pytest.mark.parametrize(
    "name", ["a.json", "é.json", "a b.json", "$(x).json", "x" * 195 + ".json", "报告.json"]
)
def test_a_name_that_a_person_can_read_is_kept(name):
    """Letters of any script, blanks and shell characters are nobody's problem here."""
    assert not is_odd(name)
    assert readable_name(name) == name


@given(NAMES)
def test_an_odd_name_becomes_one_that_can_be_typed(name):
    """The stand-in is plain ASCII, is looked at, is not odd, and begins with no dash or dot."""
    shown = readable_name(name)
    assert not is_odd(shown)
    if is_odd(name):
        assert shown.isascii()
        assert is_candidate(shown)
        assert shown.startswith("odd-")
        assert set(shown) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
        )


@given(JSON_NAMES)
def test_there_is_room_for_a_reason(name):
    """The name of a file that is set aside, with a number and a reason, fits in 255 bytes."""
    longest = readable_name(name).removesuffix(".json") + ".0123abcd.json" + REASON_SUFFIX
    assert len(os.fsencode(longest)) <= 255


@given(JSON_NAMES.filter(is_odd))
def test_two_odd_names_do_not_meet(name):
    """Each stand-in is a new one, so that two odd files never get the same name."""
    assert readable_name(name) != readable_name(name)


def test_a_free_name_is_kept(spool):
    """A name that none of the places has is not changed."""
    assert spool.free_name("a.json", TAKEN, Place("held")) == "a.json"


@pytest.mark.parametrize("where", ["quarantine/src", "held"])
def test_a_taken_name_gets_a_neighbour(spool, fs, where):
    """A name that any of the places has becomes one that begins the same and none has."""
    fs.create_file(f"/spool/{where}/a.json")
    found = spool.free_name("a.json", TAKEN, Place("held"))
    assert found.startswith("a.")
    assert found.endswith(".json")
    assert not is_odd(found)
    assert not spool.exists(TAKEN, found)
    assert not spool.exists(Place("held"), found)


def test_a_broken_link_takes_a_name_too(spool, fs):
    """A name is taken by whatever has it, even by a link to nothing."""
    fs.create_symlink("/spool/held/a.json", "/nowhere")
    assert spool.free_name("a.json", Place("held")) != "a.json"


def test_requests_are_listed_oldest_first_without_what_lies_beside(spool, fs):
    """Reasons, hidden and other files are no requests; ids begin with the time, so names sort."""
    for name in ("b.json", "a.json", "a.json.reason.json", ".c.json", "d.txt"):
        fs.create_file(f"/spool/held/{name}")
    assert spool.names(Place("held")) == ["a.json", "b.json"]


def test_a_request_is_found_in_the_first_state_that_has_it(tmp_path):
    """Where two places have a name, the earlier one in a request's life is told."""
    spool = Spool(str(tmp_path), Role.PERSON, [], ["x", "y"])
    spool.lay_out()
    for where in ("queued/y", "done/x"):
        (tmp_path / where / "a.json").write_bytes(b"")
    assert spool.find("a.json") == Place("queued", "y")
    assert spool.find("a.json", ["done"]) == Place("done", "x")
    assert spool.find("b.json") is None


def test_hold_is_a_name_in_the_root_whatever_it_is(tmp_path):
    """`touch HOLD`, `mkdir HOLD` and a dangling link all hold; without a name nothing is held."""
    spool = Spool(str(tmp_path), Role.GATE)
    hold = Path(spool.root) / "HOLD"
    assert not spool.on_hold
    for make in (hold.touch, hold.mkdir, lambda: hold.symlink_to("/nowhere")):
        make()
        assert spool.on_hold
        hold.rmdir() if hold.is_dir() else hold.unlink()
    assert not spool.on_hold


def test_places_follow_the_configuration(tmp_path):
    """There is one place for each source and executor that is configured, and no other."""
    spool = Spool(str(tmp_path), Role.INTAKE, ["a", "b"], ["x"])
    assert [str(p) for p in spool.places("inbox", "queued", "done")] == [
        "inbox/a", "inbox/b", "queued/x", "done/x",
    ]  # fmt: skip


def test_the_seal_key_is_made_once_and_is_private(tmp_path):
    """Every spool has a key of its own, the same at every look, that only its owner can read."""
    spool = Spool(str(tmp_path / "a"), Role.INTAKE)
    other = Spool(str(tmp_path / "b"), Role.INTAKE)
    for made in (spool, other):
        Path(made.root).mkdir()
    key = spool.seal_key()
    assert len(key) >= 32
    assert spool.seal_key() == key
    assert other.seal_key() != key
    assert (Path(spool.root) / ".seal.key").stat().st_mode & 0o777 == 0o600


def test_a_seal_key_that_a_stranger_made_is_not_believed_in(tmp_path, require):
    """Whoever may put a file into the spool's root cannot make the key when it is missing."""
    require(os.geteuid() == 0, "root, which gives a file to somebody else")
    spool = Spool(str(tmp_path), Role.GATE)
    spool.seal_key()
    os.chown(tmp_path / ".seal.key", 54321, -1)
    with pytest.raises(SpooldError, match="uid 54321, who could seal what runs"):
        spool.seal_key()
    (tmp_path / "archive").mkdir()
    os.chown(tmp_path / "archive", 54321, -1)
    assert spool.seal_key()


@pytest.mark.parametrize("content", [b"", b"\n", b"short"])
def test_a_seal_key_that_anybody_could_guess_is_refused(tmp_path, content):
    """An emptied or cut key file stops the stage: every seal under it could be forged."""
    (tmp_path / ".seal.key").write_bytes(content)
    with pytest.raises(SpooldError, match=r"seal\.key"):
        Spool(str(tmp_path), Role.GATE).seal_key()
