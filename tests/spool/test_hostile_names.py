"""Names and files that strangers put anywhere: no stage stops, nothing is lost, nothing steers."""

import io
import json
import logging
import os
import sys

import orjson
import pytest

from spoold import cli
from spoold.service import log_format
from spoold.spool.filenames import is_candidate
from spoold.states import FOLDERS, Per
from tests.conftest import route
from tests.invariants import violations

GOOD = {"decision_type": "cutover"}
STEERING = "\x1b[2J\x9b31m\u202e\u2028"

NAMES = [
    *(b"..json", b"...json", b".json", b".hidden.json", b".reason.json", b".index.sqlite3.json"),
    *(b"a\nb.json", b"a\rb.json", b"a\tb.json", b"\x7f.json", b"\x1b[2Ja.json", b"\x9b31m.json"),
    *(
        "\x9b31m.json".encode(),
        "\u2028.json".encode(),
        "\ufeff.json".encode(),
        "\xad.json".encode(),
    ),
    *(b"x" * 250 + b".json", "é".encode() * 125 + b".json", "\U0001f600".encode() * 62 + b".json"),
    *(b"x" * 196 + b".json", b"x" * 190 + b".json", b"\xff\xfe.json", "a\u202ebc.json".encode()),
    *(
        "\u0430pproved.json".encode(),
        "e\u0301.json".encode(),
        "é.json".encode(),
        b"A.json",
        b"a.json",
    ),
    *(b"-rf.json", b"--json.json", b"*.json", b"$(x).json", b"`x`.json", b";x.json", b"%s%n.json"),
    *(b"a b.json", b" .json", b'"x".json', b"'x'.json", b"\\.json", b"{x}.json", b"a.json.json"),
    *(b"a.reason.json", b"a.json.reason.json", b"x" * 238 + b".reason.json", b"HOLD.json"),
    *(b"index.sqlite3.json", b"inbox.json", b"dispatch-20260101T000000Z-any-00000000.json"),
]
TAKEN = [name for name in NAMES if is_candidate(os.fsdecode(name))]

#: Every folder in which a file waits for a stage or for a person, and `approvals`.
ELSEWHERE = [
    folder.path("rec" if folder.per == Per.EXECUTOR else "")
    for folder in FOLDERS.values()
    if folder.holds_requests or folder.name == "approvals"
]


def put(folder, name, data):
    """A file under any name, whatever the name is as text."""
    path = os.path.join(os.fsencode(folder), name)
    with open(path, "wb") as file:
        file.write(data)
    os.utime(path, (1, 1))


def record(number):
    return orjson.dumps({**GOOD, "decision_id": f"d-{number}"})


def contents(root):
    """The bytes of every file, once for each."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path.read_bytes() for path in files if path.parent.name != "archive"]


def is_plain(text):
    """Whether a terminal shows the text as it is, line by line."""
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def said():
    """What the stages say, in both forms of the log."""
    lines, objects = io.StringIO(), io.StringIO()
    logger = logging.getLogger("spoold")
    before, level = logger.handlers[:], logger.level
    stderr, sys.stderr = sys.stderr, lines
    log_format.log_to_stderr(as_json=False)
    plain = logger.handlers[0]
    sys.stderr = objects
    log_format.log_to_stderr(as_json=True)
    sys.stderr = stderr
    logger.handlers.append(plain)
    yield lambda: (lines.getvalue(), objects.getvalue())
    logger.handlers[:], logger.propagate = before, True
    logger.setLevel(level)


@pytest.fixture
def spoold(lab, monkeypatch, capfd):
    """Runs a verb on the lab, as the program does; checks what it prints."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["spoold", "--config", str(lab.file), *words])
        # As on a terminal: else click takes out some of what could steer one.
        monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_a, **_k: False)
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        sys.stdout.flush()
        out, err = capfd.readouterr()
        assert is_plain(out + err), (words, out, err)
        assert "bug in spoold" not in err, err
        if "--json" in words:
            assert all(isinstance(json.loads(line), dict) for line in (out + err).splitlines())
        return end.value.code, out

    return run


def check_log(said):
    """Both forms are plain text, and the objects are one a line."""
    lines, objects = said()
    assert is_plain(lines), lines
    assert is_plain(objects), objects
    assert all(isinstance(json.loads(line), dict) for line in objects.splitlines())


def test_every_name_in_an_inbox_gets_one_answer(lab, said, spoold):
    """Whatever a drop is called, it is a request or in quarantine; with a dot in front, nothing."""
    lab.drain()
    inbox = lab.root / "inbox/decisions"
    for number, name in enumerate(NAMES):
        put(inbox, name, record(number))
    assert lab.drain() == 0
    left = {os.fsencode(name) for name in os.listdir(inbox)}
    assert left == set(NAMES) - set(TAKEN)
    (inbox.rename(lab.folder / "left"), inbox.mkdir())
    taken = [record(number) for number, name in enumerate(NAMES) if name in TAKEN]
    assert violations(lab.root, taken) == []
    assert len(lab.files("awaiting-approval")) > len(TAKEN) // 2
    check_log(said)
    assert spoold("ls")[0] == 0
    assert spoold("--json", "ls")[0] == 0


def test_a_name_of_the_archive_or_of_another_request_is_no_clash(lab):
    """A drop called like an archived original, a request or a case variant replaces nothing."""
    dropped = [record(0)]
    lab.drop("decisions", "a.json", dropped[0])
    lab.drain()
    waiting = lab.only("awaiting-approval").name
    for number, name in enumerate(["a.json", "A.json", waiting, f"x{waiting}", "a.json.json"], 1):
        dropped.append(record(number))
        lab.drop("decisions", name, dropped[-1])
    dropped.append(b"[]")
    lab.drop("decisions", "b.json", dropped[-1])
    lab.drain()
    dropped.append(b"[0]")
    lab.drop("decisions", "b.json", dropped[-1])
    assert lab.drain() == 0
    assert violations(lab.root, dropped) == []
    assert len(lab.files("awaiting-approval")) == 6


@pytest.mark.parametrize("folder", ELSEWHERE)
def test_foreign_files_stop_no_stage_and_are_not_lost(lab, said, spoold, folder):
    """Foreign files of any name, in any folder, do not run, are not lost and stop nobody."""
    lab.drop("decisions", "first.json", {**GOOD, "decision_id": "first"})
    lab.drain()
    waiting = lab.only("awaiting-approval")
    for number, name in enumerate(NAMES):
        put(lab.root / folder, name, b'{"foreign": %d}' % number)
    assert lab.drain() == 0
    assert lab.recorder.calls == []
    after = contents(lab.root)
    assert all(after.count(b'{"foreign": %d}' % number) == 1 for number in range(len(NAMES)))
    assert spoold("ls")[0] == 0
    assert spoold("--json", "ls", folder.split("/")[0])[0] in (0, 64)
    assert spoold("stats")[0] == 0
    waiting.rename(lab.root / "approved" / waiting.name)
    assert lab.drain() == 0
    assert [name for name, _ in lab.recorder.calls] == [waiting.stem]
    check_log(said)


def test_what_lies_in_a_foreign_file_steers_no_terminal(lab, said, spoold):
    """Control characters inside foreign files reach neither the log nor the tables."""
    lab.drop("decisions", "first.json", GOOD)
    lab.drain()
    fields = orjson.loads(lab.only("awaiting-approval").read_bytes())
    keys = ["dispatch_id", "executor", "route", "lane", "target_ref"]
    forged = [{**fields, key: STEERING} for key in keys] + [{**fields, STEERING: 1}]
    for folder in ("approved", "queued/rec", "running/rec", "held", "unknown"):
        for number, one in enumerate(forged):
            name = f"{folder.replace('/', '-')}-{number}.json"
            put(lab.root / folder, name.encode(), orjson.dumps(one, option=orjson.OPT_INDENT_2))
    why = orjson.dumps(dict.fromkeys(["code", "what", "advice"], STEERING))
    for place in ("held/y.json", "quarantine/decisions/y.json"):
        (lab.root / place).write_bytes(b"{}")
        (lab.root / f"{place}.reason.json").write_bytes(why)
    assert lab.drain() == 0
    check_log(said)
    for words in (["ls"], ["ls", "held"], ["--json", "ls"], ["--json", "show", "held/y"]):
        assert spoold(*words)[0] == 0
    assert spoold("show", "quarantine/decisions/y")[0] == 0
    assert spoold("release", "held/approved-5")[0] == 65
    assert lab.recorder.calls == []


def test_what_is_quarantined_under_any_name_can_be_tried_again(lab, spoold):
    """`spoold retry` takes a file back to its inbox whatever its name; it then gets an answer."""
    lab.drain()
    names = [name for name in TAKEN if not name.endswith(b".reason.json")]
    for number, name in enumerate(names):
        put(lab.root / "quarantine/decisions", name, record(number))
        given = f"quarantine/decisions/{os.fsdecode(name)}"
        assert spoold(*["--json"] * (number % 2), "retry", given)[0] == 0
    assert sorted(os.listdir(os.fsencode(lab.root / "inbox/decisions"))) == sorted(names)
    assert lab.drain() == 0
    assert violations(lab.root, map(record, range(len(names)))) == []


@pytest.mark.parametrize("kind", ["folder", "fifo", "link", "dangling", "itself"])
def test_what_is_no_file_can_be_anywhere(lab, spoold, kind):
    """A folder, a FIFO or a link is in no folder followed or waited for, and stops nobody."""
    lab.drop("decisions", "first.json", GOOD)
    lab.drain()
    waiting = lab.only("awaiting-approval")
    targets = {"link": "/etc/passwd", "dangling": "/nowhere/x", "itself": "x.json"}
    for folder in [*ELSEWHERE, "quarantine/decisions", "inbox/decisions"]:
        path = lab.root / folder / "x.json"
        if kind == "folder":
            path.mkdir()
        elif kind == "fifo":
            os.mkfifo(path)
        else:
            path.symlink_to(targets[kind])
    assert lab.drain() == 0
    for words in (["ls"], ["--json", "ls", "held"], ["stats"]):
        assert spoold(*words)[0] == 0
    assert spoold("show", "quarantine/decisions/x")[0] == 74
    assert spoold("release", "held/x")[0] in (64, 65)
    lab.approve(waiting)
    assert lab.drain() == 0
    assert len(lab.recorder.calls) == 1


REASON = ".json.reason.json"


def test_a_folder_in_the_way_of_a_reason_stops_no_stage(make_lab):
    """Where a reason cannot be written, the file still goes where it belongs."""
    more = 'intent_key = "record.facts.decision_type"\non_repeat = "supersede"'
    lab = make_lab(route(more=more))
    lab.drain()
    (lab.root / f"quarantine/decisions/bad{REASON}").mkdir()
    lab.drop("decisions", "bad.json", b"[]")
    lab.drop("decisions", "first.json", {**GOOD, "decision_id": "1"})
    assert lab.drain() == 0
    assert lab.reason(lab.only("quarantine"))["code"] == "not-an-object"
    first = lab.only("awaiting-approval")
    (lab.root / f"expired/{first.stem}{REASON}").mkdir()
    lab.drop("decisions", "second.json", {**GOOD, "decision_id": "2"})
    assert lab.drain() == 0
    assert lab.only("expired").name == first.name
    second = lab.only("awaiting-approval")
    (lab.root / f"held/{second.stem}{REASON}").mkdir()
    second.write_bytes(second.read_bytes() + b" ")
    lab.approve(second)
    assert lab.drain() == 0
    assert lab.reason(lab.only("held"))["code"] == "altered"
    lab.drop("decisions", "third.json", {**GOOD, "decision_id": "3"})
    lab.drain()
    third = lab.only("awaiting-approval")
    (lab.root / f"expired/{third.stem}{REASON}").mkdir()
    lab.clock.advance(10 * 86400)
    assert lab.drain() == 0
    assert {path.name for path in lab.files("expired")} == {first.name, third.name}


@pytest.mark.parametrize("archived", ["x", "archive/decisions", "a/b/../../../../stolen/x.json"])
def test_a_forged_request_does_not_say_where_an_original_goes(lab, archived):
    """After a crash, only a request that intake sealed speaks for the drop it names."""
    data = record(1)
    lab.drop("decisions", "one.json", data)
    lab.drain()
    made = lab.only("awaiting-approval")
    fields = orjson.loads(made.read_bytes())
    fields["source"]["archived"] = archived
    forged = orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (lab.root / "held" / made.name).write_bytes(forged)
    made.unlink()
    for path in lab.root.glob("archive/**/one.json"):
        path.rename(lab.root / "archive/decisions/.taking/one.json")
    for path in lab.root.glob("archive/.index*"):
        path.unlink()
    (lab.folder / "stolen").mkdir()
    assert lab.drain() == 0
    kept = [path for path in lab.folder.rglob("*.json") if path.read_bytes() == data]
    assert [path.relative_to(lab.root).parts[:2] for path in kept] == [("archive", "decisions")]
    assert os.listdir(lab.root / "archive/decisions/.taking") == []


@pytest.mark.parametrize("forged", ["a\0b", "../../x", "y/z", "x" * 300])
def test_an_id_that_is_no_name_is_not_indexed(make_lab, forged):
    """A forged file's id never becomes a path: intake goes on with the intent that it claims."""
    lab = make_lab(route(more='intent_key = "record.facts.decision_type"'))
    lab.drop("decisions", "one.json", {**GOOD, "decision_id": "1"})
    lab.drain()
    made = lab.only("awaiting-approval")
    fields = {**orjson.loads(made.read_bytes()), "dispatch_id": forged, "event_key": "forged"}
    made.write_bytes(orjson.dumps(fields))
    for path in lab.root.glob("archive/.index*"):
        path.unlink()
    lab.drop("decisions", "two.json", {**GOOD, "decision_id": "2"})
    assert lab.drain() == 0
    assert len(lab.files("awaiting-approval")) == 2


def test_a_stranger_cannot_plant_what_the_index_knows(lab):
    """What lies claimed and looks like a reason is no answer about another delivery."""
    lab.drain()
    planted = {"source": "decisions", "event_key": "d-1", "dispatch_id": "gone"}
    put(lab.root / "archive/decisions/.taking", b"x.json.reason.json", orjson.dumps(planted))
    for path in lab.root.glob("archive/.index*"):
        path.unlink()
    lab.drop("decisions", "one.json", record(1))
    assert lab.drain() == 0
    assert lab.request("awaiting-approval")["event_key"] == "d-1"
