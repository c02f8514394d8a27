"""A disk that fails for a moment: it is said in words, and nothing is believed that is not so."""

import errno
import os

import orjson
import pytest

from spoold.disk import fs, reading
from spoold.errors import OutcomeUnknown
from spoold.spool.spool import Place
from spoold.testing import Lab, Recorder
from tests.conftest import BEGUN, queue, route, running

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}


def fail_once(monkeypatch, owner, name, when):
    """Let a function fail with EIO the first time that its arguments are such."""
    real, failed = getattr(owner, name), []

    def failing(*args, **kwargs):
        if not failed and when(*args):
            failed.append(args)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
    return failed


def test_an_error_of_the_disk_is_said_in_words(lab, monkeypatch, caplog):
    """What an operator meets is a sentence and the exit code of I/O errors, not a trace."""
    lab.drop("decisions", "c.json", CUTOVER)
    fail_once(monkeypatch, fs, "rename_new", lambda source, _: "/inbox/" in source)
    assert lab.drain() == os.EX_IOERR
    (said,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "Input/output error" in said.getMessage()
    assert said.exc_info is None


def test_an_index_that_cannot_be_opened_is_no_bug(lab):
    """It is trouble with the disk, and said as such."""
    (lab.root / "archive" / ".index.sqlite3").mkdir(parents=True)
    assert lab.drain() == os.EX_IOERR


def test_after_a_failed_sync_nothing_is_moved_written_or_synced(lab, monkeypatch):
    """The kernel would report success the next time, so the process that saw it does no more."""
    for number in range(3):
        lab.drop("decisions", f"{number}.json", {**CUTOVER, "decision_id": f"c-{number}"})
    lab.drain()
    for path in lab.files("awaiting-approval"):
        lab.approve(path)
    with monkeypatch.context() as patch:
        failed = fail_once(patch, os, "fsync", lambda _: bool(lab.recorder.calls))
        after = []
        for name in ("rename_new", "replace", "exchange", "sync_folder"):
            real = getattr(fs, name)
            patch.setattr(fs, name, lambda *a, real=real: (failed and after.append(a), real(*a))[1])
        assert lab.drain() == os.EX_IOERR
        assert failed
        assert after == []
    lab.drain()
    ran = [call[0] for call in lab.recorder.calls]
    assert len(ran) == len(set(ran)) == 3


def test_output_that_cannot_be_kept_costs_the_output_and_not_the_attempt(tmp_path, monkeypatch):
    """What runs is worth more than its log."""

    class Talker(Recorder):
        def run(self, params, context):
            context.open_output("out").write(b"said")
            return super().run(params, context)

    lab = Lab(tmp_path, routes={"10.toml": route()}, recorder=Talker())
    queue(lab, CUTOVER)
    failed = fail_once(monkeypatch, os, "mkdir", lambda path, *_: "/logs/" in path)
    assert lab.drain() == 0
    assert failed
    assert lab.request("done")["attempts"][0]["outcome"] == "done"


@pytest.mark.parametrize(("began", "folder"), [(False, "deferred"), (True, "unknown")])
def test_where_output_goes_cannot_be_looked_at_and_nothing_runs(lab, monkeypatch, began, folder):
    """A request waits for its next try; one whose attempt nobody saw the end of gets no other."""
    if began:
        running(lab, CUTOVER, status="running", attempts=[BEGUN])
    else:
        queue(lab, CUTOVER)
    failed = fail_once(monkeypatch, os, "lstat", lambda path, *_: "/logs/" in path)
    assert lab.drain() == 0
    assert failed
    assert lab.request(folder)["attempts"][-1]["code"] == "logs-unreadable"
    assert lab.recorder.calls == []


@pytest.mark.parametrize("ends", ["done", "unknown"])
def test_a_copy_of_what_ended_is_held_also_after_a_crash(lab, ends):
    """A crash between the claim of a copy and the look at it does not change how it ended."""
    queue(lab, CUTOVER)
    if ends == "unknown":
        lab.recorder.outcomes = [OutcomeUnknown("lost", "?")]
    lab.drain()
    lab.recorder.probed = OutcomeUnknown("died", "nobody saw the end")
    done = lab.only(ends)
    copy = orjson.loads(done.read_bytes()) | {
        "status": "running", "attempts": [BEGUN], "result": None
    }  # fmt: skip
    before = done.read_bytes()
    written = orjson.dumps(copy, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (lab.root / "running" / "rec" / done.name).write_bytes(written)
    assert lab.drain() == 0
    assert lab.reason(lab.only("held"))["code"] == "replayed"
    assert lab.only(ends).read_bytes() == before


def test_a_seal_key_that_cannot_be_read_now_switches_no_check_off(lab, monkeypatch):
    """What somebody has changed in the queue does not run while the disk keeps the key back."""
    path = queue(lab, CUTOVER)
    path.write_bytes(path.read_bytes().replace(b'"say": null', b'"say": "evil"'))
    execute = lab.stages()[3]
    failed = fail_once(monkeypatch, reading, "read_regular", lambda p, _: p.endswith(".seal.key"))
    execute.lock.acquire()
    with pytest.raises(OSError, match="Input/output error"):
        execute.step()
    execute.lock.release()
    assert failed
    assert lab.recorder.calls == []
    lab.drain()
    assert lab.reason(lab.only("held"))["code"] == "altered"


def test_a_disk_error_while_a_crash_is_mended_parts_no_request_from_its_original(lab, monkeypatch):
    """What may have been published waits for a disk that can be read; it is not set aside."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    archived = lab.only("archive")
    stage = lab.stages()[0]
    taking = stage.spool.path(Place("taking", "decisions"), "c.json")
    archived.rename(taking)
    with monkeypatch.context() as patch:
        failed = fail_once(patch, reading, "read_regular", lambda p, *_: "/.taking/" in p)
        assert lab.drain() == os.EX_IOERR
        assert failed
        assert os.path.exists(taking)
    assert lab.drain() == 0
    assert archived.exists()
    assert lab.files("quarantine") == []
