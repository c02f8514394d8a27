"""The index: fast, never the truth, and never a reason to stop."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoold.spool.index import Index, Known, peek

CHECKOUT = Path(__file__).resolve().parents[2]
DIGESTS = st.binary(min_size=1, max_size=4)
ENTRIES = st.dictionaries(DIGESTS, st.text(max_size=9), max_size=8)
KNOWN = st.builds(Known, st.text(max_size=9), st.text(max_size=3), st.none() | st.integers(0, 9))
EVENTS = st.dictionaries(DIGESTS, KNOWN, max_size=8)
A, B, Z = Known("x", "00", 1000), Known("y"), Known("z")


@pytest.fixture
def path(tmp_path):
    """Where an index may be."""
    return str(tmp_path / "index.sqlite3")


def rebuilt(path, events=(), intents=()):
    """A complete index with these entries, closed."""
    index = Index(path)
    index.rebuild(events, intents)
    index.close()


def files(path):
    """The files of an index, with what is in them."""
    folder = Path(path).parent
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


@settings(max_examples=15)
@given(EVENTS, EVENTS, ENTRIES)
def test_what_was_noted_is_found_after_a_restart(tmp_path_factory, first, later, intents):
    """Rebuilt or added, the latest entry of each digest is found, events and intents apart."""
    path = str(tmp_path_factory.mktemp("i") / "index")
    index = Index(path)
    assert index.rebuild(first.items(), ()) == len(first)
    index.add(later.items(), intents.items())
    index.close()
    again = Index(path)
    assert again.complete
    known = {**first, **later}
    for digest in {*known, *intents, b"never"}:
        assert again.event(digest) == known.get(digest)
        assert again.intent(digest) == intents.get(digest)
    again.close()


def test_a_new_index_is_not_complete_until_it_was_built(path):
    """A lost index says that it knows nothing, so that nobody takes silence for an answer."""
    index = Index(path)
    assert not index.complete
    index.add([(b"a", A)], [])
    assert not index.complete
    index.rebuild([(b"a", A)], [])
    assert index.complete
    index.close()


def test_rebuilding_forgets_what_the_files_no_longer_say(path):
    """After a rebuild there is what the files say and nothing else, events and intents alike."""
    rebuilt(path, [(b"old", A)], [(b"old", "y")])
    index = Index(path)
    assert index.rebuild([(b"new", Z)], []) == 1
    assert (index.event(b"old"), index.intent(b"old"), index.event(b"new")) == (None, None, Z)
    index.close()


def test_an_index_that_was_half_built_is_not_complete(path):
    """If building fails in the middle, the next start builds again, and nothing is kept of it."""

    def interrupted():
        yield b"a", A
        raise KeyboardInterrupt

    index = Index(path)
    with pytest.raises(KeyboardInterrupt):
        index.rebuild(interrupted(), ())
    index.close()
    again = Index(path)
    assert not again.complete
    assert again.event(b"a") is None
    again.close()


def test_an_index_of_another_version_is_rebuilt_whatever_its_tables_are(path):
    """What another spoold left, with other columns, is replaced and not stumbled over."""
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE events(digest BLOB PRIMARY KEY, more TEXT NOT NULL)")
        database.execute("PRAGMA user_version = 7")
    database.close()
    index = Index(path)
    assert not index.complete
    assert index.rebuild([(b"a", A)], [(b"b", "y")]) == 1
    assert (index.event(b"a"), index.intent(b"b")) == (A, "y")
    index.close()


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"not a database" * 1000, b"SQLite format 3\0" + b"\xff" * 4080, b"\0" * 4096],
)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_garbage_is_replaced(path, content, suffix):
    """Whatever lies where the index or its journal should be, there is a usable index after."""
    rebuilt(path, [(b"a", A)])
    Path(path + suffix).write_bytes(content)
    index = Index(path)
    if not index.complete:
        index.rebuild([(b"a", A)], [])
    assert index.event(b"a") == A
    index.add([(b"b", B)], [])
    assert index.event(b"b") == B
    index.close()


@pytest.mark.parametrize("cut", [100, 4096, 5000, 12288])
def test_a_cut_index_is_noticed_when_it_is_opened(path, cut):
    """An index that lost its end is rebuilt at the start, not when a lookup needs what is lost."""
    entries = [(number.to_bytes(32, "big"), Known(f"dispatch-{number}")) for number in range(500)]
    rebuilt(path, entries)
    os.truncate(path, cut)
    index = Index(path)
    if not index.complete:
        index.rebuild(entries, [])
    assert [index.event(digest) for digest, _ in entries] == [known for _, known in entries]
    index.close()


def test_damage_inside_stops_no_intake(lab):
    """Damage to the pages of an index, seen only by a lookup, ends in a rebuilt index."""
    for number in range(300):
        lab.drop("decisions", f"{number}.json", {"decision_type": "c", "decision_id": f"{number}"})
    assert lab.drain() == 0
    index = lab.root / "archive/.index.sqlite3"
    with index.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xaa" * (index.stat().st_size - 4096))
    lab.drop("decisions", "0.json", {"decision_type": "c", "decision_id": "0"})
    lab.drop("decisions", "new.json", {"decision_type": "c", "decision_id": "new"})
    assert lab.drain() == 0
    assert len(lab.files("awaiting-approval")) == 301


def test_a_crash_loses_nothing_that_was_noted(path):
    """What `add` returned for is there after kill -9, without a close."""
    text = (
        "import os, sys\nfrom spoold.spool.index import Index, Known\nindex = Index(sys.argv[1])\n"
        "index.rebuild([], [])\nindex.add([(b'a', Known('x', '00', 1000))], [(b'b', 'y')])\n"
        "os.kill(os.getpid(), 9)"
    )
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run([sys.executable, "-c", text, path], env=env, check=False)
    assert peek(path, "events", b"a") == A
    index = Index(path)
    assert index.complete
    assert (index.event(b"a"), index.intent(b"b")) == (A, "y")
    index.close()


def test_an_entry_that_fails_leaves_none_of_its_group(path):
    """A group is noted as a whole or not at all, and the index goes on working."""
    rebuilt(path)
    index = Index(path)

    def failing():
        yield b"a", A
        raise RuntimeError

    with pytest.raises(RuntimeError):
        index.add(failing(), [])
    assert index.event(b"a") is None
    index.add([(b"b", B)], [])
    assert index.event(b"b") == B
    index.close()


# Looking without touching


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 1000])
def test_a_look_without_an_index_finds_nothing(path, content):
    """Where there is no index, or none that can be read, the answer is none, and never an error."""
    if content is not None:
        Path(path).write_bytes(content)
    before = files(path)
    assert peek(path, "events", b"a") is None
    assert files(path) == before


@pytest.mark.parametrize("table", ["events", "intents"])
def test_a_look_finds_what_was_noted(path, table):
    """Events and intents are looked up apart; what is not there is none."""
    rebuilt(path, [(b"a", A)], [(b"a", "intent")])
    assert peek(path, table, b"a") == (A if table == "events" else Known("intent"))
    assert peek(path, table, b"b") is None


def test_a_look_leaves_no_trace(path):
    """After a look there are the same files with the same bytes: root may explain, too."""
    rebuilt(path, [(b"a", A)])
    before = files(path)
    assert peek(path, "events", b"a") == A
    assert files(path) == before


def test_a_look_sees_what_a_running_service_has_just_noted(path):
    """While the service has the index open, a look sees its last entry and disturbs nothing."""
    index = Index(path)
    index.rebuild([], [])
    index.add([(b"a", A)], [])
    before = set(files(path))
    assert peek(path, "events", b"a") == A
    assert set(files(path)) == before
    index.add([(b"b", B)], [])
    assert peek(path, "events", b"b") == B
    index.close()


@pytest.mark.parametrize("name", ["a b", "a#b", "a?b", "a%41b", "a%b", "é"])
def test_a_look_works_in_a_folder_of_any_name(tmp_path, name):
    """Characters that mean something in a URI mean nothing in a folder's name."""
    folder = tmp_path / name
    folder.mkdir()
    path = str(folder / "index")
    rebuilt(path, [(b"a", A)])
    assert peek(path, "events", b"a") == A


def test_explaining_changes_nothing_in_the_spool(lab):
    """A look at the index of a spool, between two drains, leaves the tree as it was."""
    lab.drop("decisions", "a.json", {"decision_type": "c"})
    lab.drain()
    archive = lab.root / "archive"
    before = {p: p.stat().st_mtime_ns for p in archive.rglob("*")}
    peek(str(archive / ".index.sqlite3"), "events", b"x")
    assert {p: p.stat().st_mtime_ns for p in archive.rglob("*")} == before


def test_a_read_only_index_can_be_looked_at(tmp_path):
    """A copy in a folder where nobody may write answers like the original."""
    rebuilt(str(tmp_path / "index"), [(b"a", A)])
    folder = tmp_path / "ro"
    folder.mkdir()
    shutil.copy(tmp_path / "index", folder / "index")
    (folder / "index").chmod(0o400)
    folder.chmod(0o500)
    assert peek(str(folder / "index"), "events", b"a") == A
    folder.chmod(0o700)


def test_a_rebuilt_index_knows_the_imports_that_came_meanwhile(path):
    """That it knew of no import, or of one, is not remembered beyond a rebuild."""
    index = Index(path)
    for known in ([], [(b"a", "file", 5.0)], []):
        index.rebuild([], [], known)
        assert index.imported(b"a", 5.0) == ("file" if known else None)
        assert index.imported(b"a", 5.1) is None
    index.close()
