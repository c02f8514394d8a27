"""What stages share: being woken, being alone, ending with the right code, saying what happens."""

import io
import json
import logging
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import orjson
import pytest

from spoold.disk import locks
from spoold.errors import ConfigError, StorageError, Transient, TryLater
from spoold.request import parse
from spoold.service import drain, log_format, loop
from spoold.service.watcher import Watcher
from spoold.spool.spool import Place, Spool
from spoold.stages.stage import StageContext, Step, batches, earliest, seconds_until
from spoold.states import Role
from spoold.testing import Lab
from tests.conftest import route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}


# Being woken


@pytest.fixture
def watched(tmp_path):
    """A folder that is watched, and the event that is set."""
    folder, wake = tmp_path / "in", threading.Event()
    folder.mkdir()
    watcher = Watcher({str(folder): [wake]})
    watcher.check()
    settled(wake)
    yield folder, wake, watcher
    watcher.close()
    watcher._thread.join(5)


def look_on(watcher, wake):
    """What a stage does: look whenever it is woken, and see that the watcher goes on."""
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        watcher.check()
        if wake.wait(0.1):
            wake.clear()
    settled(wake)


def settled(wake):
    """Wait until the watcher listens and is quiet."""
    time.sleep(0.15)
    wake.clear()


@pytest.mark.parametrize("how", ["rename in", "write", "rename out", "remove", "chmod"])
def test_a_change_is_noticed_at_once(watched, how):
    """Whatever happens to a name in the folder wakes the stage within half a second."""
    folder, wake, _ = watched
    (folder.parent / "x").write_text("x")
    (folder / "there").write_text("x")
    settled(wake)
    {
        "rename in": lambda: (folder.parent / "x").rename(folder / "x.json"),
        "write": lambda: (folder / "x.json").write_text("{}"),
        "rename out": lambda: (folder / "there").rename(folder.parent / "out"),
        "remove": (folder / "there").unlink,
        "chmod": lambda: (folder / "there").chmod(0o600),
    }[how]()
    assert wake.wait(0.5)


def test_many_changes_wake_again_and_again(watched):
    """A change after a wake-up wakes once more; none is swallowed by the one before."""
    folder, wake, _ = watched
    for number in range(10):
        (folder / f"{number}.json").touch()
        assert wake.wait(2), number
        time.sleep(0.02)
        wake.clear()


@pytest.mark.parametrize("how", ["replaced", "removed and made again"])
def test_a_folder_that_was_replaced_is_watched_again(watched, how):
    """After the next check, changes in the new folder of that name are noticed too."""
    folder, wake, watcher = watched
    if how == "replaced":
        folder.rename(folder.parent / "old")
    else:
        folder.rmdir()
    folder.mkdir()
    look_on(watcher, wake)
    (folder / "x.json").touch()
    assert wake.wait(2)


def test_a_check_without_a_change_leaves_the_watcher_alone(watched):
    """A look at every step costs no new watcher."""
    _, _, watcher = watched
    before = watcher._thread
    for _ in range(5):
        watcher.check()
    assert watcher._thread is before


def test_a_missing_folder_is_watched_as_soon_as_it_is_there(tmp_path):
    """A folder that is not there yet is no error, and is watched after it appears."""
    wake = threading.Event()
    (tmp_path / "other").mkdir()
    watcher = Watcher({str(tmp_path / "in"): [wake], str(tmp_path / "other"): [wake]})
    watcher.check()
    settled(wake)
    (tmp_path / "in").mkdir()
    watcher.check()
    settled(wake)
    (tmp_path / "in/x").touch()
    assert wake.wait(2)
    watcher.close()


def test_a_name_that_is_not_utf8_does_not_deafen_the_stage(watched):
    """Such a name may end the watching, but that wakes the stage, and a check starts it anew."""
    folder, wake, watcher = watched
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.json"))
    for _ in range(2):
        odd.touch()
        assert wake.wait(2)
        odd.unlink()
        look_on(watcher, wake)
        (folder / "x.json").touch()
        assert wake.wait(2)
        (folder / "x.json").unlink()
        settled(wake)


def test_a_closed_watcher_ends_its_thread(tmp_path):
    """Stopping leaves no thread behind for longer than a moment."""
    watcher = Watcher({str(tmp_path): [threading.Event()]})
    watcher.check()
    watcher.close()
    watcher._thread.join(2)
    assert not watcher._thread.is_alive()


# Ending


class Fake:
    """A stage that does as it is told; its lock is a folder's."""

    def __init__(self, context, steps=(), name="fake", folder="archive", inputs=()):
        self.name = name
        self.context = context
        self.spool = Spool(str(context.routing.config.root), Role.INTAKE)
        self.spool.lay_out()
        self.lock = self.spool.lock(Place("tmp") if folder == "archive" else Place(folder))
        self.steps = list(steps)
        self.said = []
        self._inputs = list(inputs)

    def inputs(self):
        return self._inputs

    def adopt(self):
        self.said.append("adopt")

    def recover(self):
        self.said.append("recover")

    def step(self):
        self.said.append("step")
        step = self.steps.pop(0) if self.steps else Step()
        if isinstance(step, BaseException):
            raise step
        return step

    def close(self):
        self.said.append("close")


@pytest.fixture
def context(lab):
    """StageContext with a rescan that is soon."""
    return StageContext(lab.routing)


FAILURES = [
    (StorageError("the disk"), os.EX_IOERR),
    (OSError(5, "Input/output error"), os.EX_IOERR),
    (PermissionError(13, "Permission denied"), os.EX_IOERR),
    (ConfigError("no"), os.EX_CONFIG),
    (TryLater("busy"), os.EX_TEMPFAIL),
    (RuntimeError("a bug"), os.EX_SOFTWARE),
]


@pytest.mark.parametrize("way", [drain.drain, loop.serve])
@pytest.mark.parametrize(("error", "code"), FAILURES)
def test_a_stage_that_fails_ends_the_process_with_its_code(context, error, code, way):
    """The exit code says what kind of failure it was; the lock is given back, the rest stopped."""
    stage = Fake(context, [Step(1), error])
    assert way([stage], context) == code
    assert stage.said == ["recover", "step", "step", "close"]
    assert context.stop.is_set()
    again = locks.FolderLock(stage.spool.path(Place("tmp")))
    again.acquire()
    again.release()


def test_one_stage_that_fails_stops_all_others(lab):
    """Half a service looks like a whole one, so the others end as well, and are closed."""
    context = StageContext(lab.routing)
    good = Fake(context.for_stage(), folder="held")
    bad = Fake(context.for_stage(), [Step(1), StorageError("the disk")], name="bad")
    start = time.monotonic()

    def nudge():
        while not context.stop.is_set():
            time.sleep(0.01)
        good.context.wake.set()

    threading.Thread(target=nudge).start()
    assert loop.serve([good, bad], context) == os.EX_IOERR
    assert good.said[-1] == "close"
    assert time.monotonic() - start < 5


def test_a_stage_that_waits_is_stopped_at_once_when_another_fails(make_lab):
    """A failure does not wait for the next rescan of the stages that have nothing to do."""
    lab = make_lab(route(), toml='rescan = "4s"\n' + Lab.SETTINGS)
    context = StageContext(lab.routing)
    good = Fake(context.for_stage(), folder="held")
    bad = Fake(context.for_stage(), [Step(), StorageError("the disk")], name="bad")
    threading.Timer(0.3, bad.context.wake.set).start()
    start = time.monotonic()
    assert loop.serve([good, bad], context) == os.EX_IOERR
    assert time.monotonic() - start < 3


def test_a_failure_is_logged_with_the_name_of_the_stage_that_failed(lab, logged):
    """Who reads the log is sent to the stage that failed, not to the first one of the list."""
    context = StageContext(lab.routing)
    stages = [Fake(context, name="one", folder="held"),
              Fake(context, [StorageError("the disk")], name="two")]  # fmt: skip
    drain.drain(stages, context)
    (line,) = [line for line in logged() if line["level"] == "CRITICAL"]
    assert line["message"].startswith("two stops: ")


def test_a_drain_goes_on_while_anything_moves(context):
    """It ends after the first pass in which nothing moved, nothing runs and nothing is due."""
    stage = Fake(context, [Step(3), Step(1), Step(busy=2), Step(due=time.time() + 0.05), Step(1)])
    threading.Timer(0.05, context.wake.set).start()
    assert drain.drain([stage], context) == 0
    assert stage.said == ["recover", *["step"] * 6, "close"]


def test_a_drain_does_not_wait_for_what_is_only_worth_another_look(context):
    """What may come later (a deferred file, a request's expiry) keeps no drain waiting."""
    stage = Fake(context, [Step(look_again=time.time() + 3600)])
    start = time.monotonic()
    assert drain.drain([stage], context) == 0
    assert time.monotonic() - start < 30


def test_a_drain_stops_when_it_is_told_to(context):
    """A drain whose stages would move for ever ends when the process is stopped."""
    stage = Fake(context, [Step(1)] * 1_000_000)
    threading.Timer(0.1, context.stop.set).start()
    assert drain.drain([stage], context) == 0
    assert stage.said[-1] == "close"


@pytest.fixture
def impatient(monkeypatch):
    """A drain that gives up on others after a moment."""
    monkeypatch.setattr(drain, "_PATIENCE", 0.3)


def test_a_drain_that_others_keep_waiting_says_try_later(lab, impatient):
    """Drops that a foreign intake leaves where they are end a drain with 75, and who it is."""
    lab.drain()
    lab.drop("decisions", "c.json", CUTOVER)
    other = locks.FolderLock(str(lab.root / "archive"))
    other.acquire()
    assert lab.drain() == os.EX_TEMPFAIL
    other.release()
    assert lab.drain() == 0
    assert lab.only("awaiting-approval")


@pytest.mark.parametrize("folder", ["archive", "checking", "running/rec", "expired"])
def test_a_drain_beside_a_service_ends_when_only_a_person_can_go_on(lab, impatient, folder):
    """What waits for a yes is nobody's work: a drain ends with 0, whoever else runs here."""
    lab.drop("decisions", "c.json", CUTOVER)
    assert lab.drain() == 0
    other = locks.FolderLock(str(lab.root / folder))
    other.acquire()
    assert lab.drain() == 0
    other.release()


def test_a_drain_waits_for_the_one_that_has_the_work(lab):
    """While another process takes the drops, a drain waits, and finds them taken."""
    lab.drain()
    lab.drop("decisions", "c.json", CUTOVER)
    other = locks.FolderLock(str(lab.root / "archive"))
    other.acquire()
    threading.Timer(0.3, other.release).start()
    assert lab.drain() == 0
    assert lab.only("awaiting-approval")


def test_with_hold_a_drain_waits_for_nobody(lab, impatient):
    """What the gate must not touch keeps no drain waiting."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    lab.approve()
    (lab.root / "HOLD").touch()
    assert lab.drain() == 0
    other = locks.FolderLock(str(lab.root / "checking"))
    other.acquire()
    assert lab.drain() == 0
    other.release()


def test_a_service_stands_by_until_the_other_one_is_gone(context):
    """A second instance starts nothing, and takes over when the lock is free."""
    stage = Fake(context)
    other = locks.FolderLock(stage.spool.path(Place("tmp")))
    other.acquire()
    thread = threading.Thread(target=loop.serve, args=([stage], context))
    thread.start()
    time.sleep(0.4)
    assert stage.said == []
    other.release()
    until(lambda: "step" in stage.said)
    context.stop.set()
    context.wake.set()
    thread.join(5)
    assert not thread.is_alive()
    assert stage.said[-1] == "close"


def until(true, seconds=20.0):
    """Wait until something is true; fail if it does not become so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_service_makes_a_lost_folder_again(lab):
    """A folder that somebody removed while the service runs is there again, and is watched."""
    context = StageContext(lab.routing)
    place = Place("held")
    stage = Fake(context, inputs=[place])
    thread = threading.Thread(target=loop.serve, args=([stage], context))
    thread.start()
    until(lambda: "step" in stage.said)
    time.sleep(0.2)
    Path(stage.spool.path(place)).rmdir()
    until(Path(stage.spool.path(place)).is_dir)
    seen = len(stage.said)
    time.sleep(0.2)
    Path(stage.spool.path(place), "x.json").touch()
    until(lambda: len(stage.said) > seen)
    context.stop.set()
    context.wake.set()
    thread.join(5)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_service_stops_when_its_locked_folder_is_another_one(context, how, said):
    """The lock is on a folder, not on its name: without that folder a second instance could run."""
    stage = Fake(context, folder="held")
    codes = []
    thread = threading.Thread(target=lambda: codes.append(loop.serve([stage], context)))
    thread.start()
    until(lambda: "step" in stage.said)
    locked = Path(stage.spool.path(Place("held")))
    locked.rename(locked.with_name("moved"))
    if how == "replaced":
        locked.mkdir()
    context.wake.set()
    thread.join(10)
    ended = not thread.is_alive()
    context.stop.set()
    context.wake.set()
    thread.join(10)
    assert ended
    assert codes == [os.EX_IOERR]
    assert "fake has locked was moved or removed" in said[-1].getMessage()


# Whatever lies in a folder that a person can write to


def waiting(lab):
    """One request that waits."""
    lab.drop("decisions", "c.json", CUTOVER)
    assert lab.drain() == 0
    return lab.only("awaiting-approval")


def respelled(file, **changes):
    """A request's bytes with some fields changed, spelled as spoold does."""
    fields = {**orjson.loads(file.read_bytes()), **changes}
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def deep(file, levels):
    """A request's bytes with a parameter that is nested deeply."""
    return file.read_bytes().replace(b'"say": null', b'"say": ' + b"[" * levels + b"]" * levels)


HOSTILE = {
    "a name that is not UTF-8": lambda f: (b"\xff\xfe.json", f.read_bytes()),
    "a name that is long": lambda f: (b"x" * 250 + b".json", f.read_bytes()),
    "a name that steers a terminal": lambda f: (b"\x1b[2J.json", f.read_bytes()),
    "a seal that is not ASCII": lambda f: (f.name.encode(), respelled(f, seal="é")),
    "an empty seal": lambda f: (f.name.encode(), respelled(f, seal="")),
    "a time that is none": lambda f: (
        f.name.encode(),
        respelled(f, approval={**orjson.loads(f.read_bytes())["approval"], "expires_at": "soon"}),
    ),
    "a name inside that is a path": lambda f: (
        f.name.encode(), respelled(f, dispatch_id="../../x"),
    ),
    **{f"{n} levels": (lambda f, n=n: (f.name.encode(), deep(f, n))) for n in (252, 254, 255, 900)},
}  # fmt: skip


@pytest.fixture
def unlogged():
    """Names that are no text are logged as they are, and no report of a test could hold them."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("unlogged")
@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("folder", ["approved", "awaiting-approval"])
def test_no_file_that_a_person_can_place_stops_a_stage(lab, folder, what):
    """Whatever is put where people may write, every stage goes on, and nothing of it runs."""
    file = waiting(lab)
    name, data = HOSTILE[what](file)
    file.unlink()
    target = Path(os.fsdecode(os.fsencode(lab.root / folder) + b"/" + name))
    target.write_bytes(data)
    assert lab.drain() == 0
    assert lab.drain() == 0
    lab.drop("decisions", "next.json", {**CUTOVER, "decision_id": "c-2"})
    assert lab.drain() == 0
    assert lab.recorder.calls == []
    assert len(lab.files("held")) == (1 if folder == "approved" else 0)


def test_a_copy_of_what_expired_does_not_stop_the_sweep(lab):
    """`cp expired/X awaiting-approval/` is a mistake; whatever becomes of the copy, spoold runs."""
    waiting(lab)
    lab.clock.advance(8 * 86400)
    assert lab.drain() == 0
    old = lab.only("expired")
    before = old.read_bytes()
    shutil.copy(old, lab.root / "awaiting-approval" / old.name)
    assert lab.drain() == 0
    assert lab.drain() == 0
    assert old.read_bytes() == before


def test_a_copy_in_the_queue_does_not_stop_the_sweep(lab):
    """`cp deferred/E/X queued/E/` is a mistake too, and stops nobody."""
    waiting(lab)
    lab.approve()
    lab.recorder.outcomes = [Transient("busy", "Later.", retry_after=60)]
    assert lab.drain() == 0
    later = lab.only("deferred")
    (lab.root / "HOLD").touch()
    shutil.copy(later, lab.root / "queued/rec" / later.name)
    lab.clock.advance(120)
    assert lab.drain() == 0


def test_a_copy_in_done_does_not_stop_the_executor(lab):
    """`cp queued/E/X done/` is one more; the run ends with its result recorded somewhere."""
    file = waiting(lab)
    lab.approve()
    (lab.root / "done" / file.name).write_bytes(b"{}")
    assert lab.drain() == 0
    assert lab.drain() == 0


def test_a_settled_file_is_still_a_request(lab):
    """What the stages leave in done/ is a request that can be read back."""
    waiting(lab)
    lab.approve()
    lab.drain()
    assert parse(lab.only("done").read_bytes()).status == "done"


# Saying what happens


@pytest.fixture
def logged(monkeypatch):
    """The log lines of this test, as data."""
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", write_through=True)
    monkeypatch.setattr(log_format.sys, "stderr", out)
    log = logging.getLogger("spoold")
    before = (log.handlers[:], log.level, log.propagate)
    log_format.log_to_stderr(as_json=True)
    yield lambda: [json.loads(line) for line in raw.getvalue().splitlines()]
    log.handlers[:], log.level, log.propagate = before


def test_every_log_line_is_json_and_tells_of_which_request(lab, logged):
    """Each line of a run is an object with time, level, stage and message, and the request's id."""
    made = waiting(lab).stem
    lab.approve()
    lab.drain()
    lines = logged()
    assert len(lines) >= 4
    for line in lines:
        assert {"at", "level", "stage", "message"} <= line.keys()
        assert line["stage"] in ("intake", "gate", "execute", "sweep", "service")
    about = [line["stage"] for line in lines if line.get("dispatch_id") == made]
    assert set(about) >= {"intake", "gate", "execute"}


def test_a_log_line_is_one_line_whatever_is_logged(lab, logged):
    """Line breaks, other scripts, broken names and traces are inside one line of JSON."""
    handler = logging.getLogger("spoold").handlers[0]
    error = ValueError("x\ny")
    for more in (
        {"msg": "a\nb %s", "args": ("é\u2028",), "file": "\x1b[31m"},
        {"msg": "odd %s", "args": ("\udcff",)},
        {"msg": "it failed", "exc_info": (ValueError, error, None)},
    ):
        # Past the loggers: a test's own report could not hold the second one.
        handler.emit(
            logging.makeLogRecord({"name": "spoold.x", "levelname": "INFO", "levelno": 20, **more})
        )
    lines = logged()
    assert len(lines) == 3
    assert lines[0]["message"] == "a\nb é\u2028"
    assert "ValueError" in lines[2]["exc_info"]


def test_a_quarantined_drop_is_logged_with_its_code(lab, logged):
    """What went wrong can be found by its code, source and file."""
    lab.drop("decisions", "bad.json", b'{"a": NaN}')
    lab.drain()
    (line,) = [line for line in logged() if line["level"] == "WARNING"]
    assert (line["code"], line["source"], line["file"]) == ("not-a-number", "decisions", "bad.json")


def test_lines_for_a_person_are_short_and_indented(lab, monkeypatch):
    """At a terminal: time, stage, level if it matters, request, message; the rest indented."""
    out = io.StringIO()
    monkeypatch.setattr(log_format.sys, "stderr", out)
    log = logging.getLogger("spoold")
    before = (log.handlers[:], log.level, log.propagate)
    log_format.log_to_stderr(as_json=False)
    try:
        log.getChild("gate").info("passed", extra={"dispatch_id": "dispatch-1"})
        log.getChild("gate").warning("one\ntwo")
    finally:
        log.handlers[:], log.level, log.propagate = before
    first, second, third = out.getvalue().splitlines()
    assert first[8:] == " gate    dispatch-1: passed"
    assert second[8:] == " gate    WARNING one"
    assert third == "  two"


# Small parts


def test_a_group_holds_all_in_order():
    """Groups have at most their size, and together they are the whole."""
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([])) == []


def test_the_earliest_time_is_that_of_those_that_are_known():
    """None is no time; of no times the earliest is none, and 0 is a time."""
    assert earliest(None, 3.0, 2.0) == 2.0
    assert earliest(None, None) is None
    assert earliest(0.0, None) == 0.0


def test_nobody_sleeps_longer_than_allowed_or_less_than_nothing():
    """A time in the past is now, a far one is the limit, and none is the limit too."""
    now = time.time()
    assert seconds_until(now - 100, 10) == 0
    assert seconds_until(now + 1e9, 10) == 10
    assert seconds_until(None, 10) == 10
    assert 0 < seconds_until(now + 5, 10) <= 5


def test_a_time_far_in_the_future_counts_as_long_ago(lab):
    """A file from a clock that was wrong is not left alone until that time comes."""
    now = lab.clock().timestamp()
    assert lab.context.age(now - 5) == pytest.approx(5, abs=0.01)
    assert lab.context.age(now + 5) == pytest.approx(-5, abs=0.01)
    assert lab.context.age(now + 3600) == float("inf")


def test_the_first_signal_lets_things_finish_and_the_second_does_not(lab):
    """SIGTERM sets `stop` and wakes everybody; another one sets `stop_now`."""
    context, wake = StageContext(lab.routing), threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGIO)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        loop.handle_signals(context, [wake])
        signal.raise_signal(signal.SIGTERM)
        assert (context.stop.is_set(), context.stop_now.is_set(), wake.is_set()) == (
            True, False, True,
        )  # fmt: skip
        signal.raise_signal(signal.SIGINT)
        assert context.stop_now.is_set()
        signal.raise_signal(signal.SIGIO)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
