"""What stages share: being alone, ending with the right code, draining, signals."""

import logging
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from spoold.disk import locks
from spoold.errors import ConfigError, StorageError, Transient, TryLater
from spoold.request import parse
from spoold.service import drain, loop
from spoold.spool.spool import Place, Spool
from spoold.stages.stage import StageContext, Step, batches, earliest, seconds_until
from spoold.states import Role
from spoold.testing import Lab
from tests.conftest import route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}
#: Seconds after which a test takes what it waits for to be lost.
LONG = 30.0


def until(true):
    """Wait until something is true; fail if it does not become so."""
    deadline = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Service:
    """Stages that are served in a thread of their own, until they end or are told to."""

    def __init__(self, *stages):
        self._context = stages[0].context
        self._codes = []
        self._thread = threading.Thread(
            target=lambda: self._codes.append(loop.serve(stages, self._context))
        )

    def __enter__(self):
        self._thread.start()
        return self

    def code(self):
        """The exit code; fails if it does not end."""
        self._thread.join(LONG)
        assert self._codes, "it does not end"
        return self._codes[0]

    def __exit__(self, *_):
        self._context.stop.set()
        self._context.wake.set()
        self._thread.join(LONG)
        assert not self._thread.is_alive()


@contextmanager
def other(folder):
    """Another process that runs a stage here: it has the stage's lock."""
    lock = locks.FolderLock(str(folder))
    lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


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
def test_a_stage_that_fails_ends_the_process_with_its_code(context, error, code, way, said):
    """The exit code says what kind of failure it was; the lock is given back, the rest stopped."""
    stage = Fake(context, [Step(1), error])
    assert way([stage], context) == code
    assert stage.said == ["recover", "step", "step", "close"]
    assert context.stop.is_set()
    (line,) = [line.getMessage() for line in said if line.levelname == "CRITICAL"]
    assert line.startswith("fake stops: ")
    with other(stage.spool.path(Place("tmp"))):
        pass


@pytest.mark.parametrize("last", [Step(1), Step()])
def test_one_stage_that_fails_stops_all_others(make_lab, last):
    """Half a service looks like a whole one: the others end at once, also one that only waits."""
    context = StageContext(make_lab(route(), toml='rescan = "1h"\n' + Lab.SETTINGS).routing)
    good = Fake(context.for_stage(), folder="held")
    bad = Fake(context.for_stage(), [last, StorageError("the disk")], name="bad")
    with Service(good, bad) as service:
        if not last.moved:
            # After a move it steps again by itself, perhaps before the other one has begun.
            until(lambda: "step" in good.said and "step" in bad.said)
            bad.context.wake.set()
        assert service.code() == os.EX_IOERR
    assert last.moved or good.said[-1] == "close"


@pytest.mark.parametrize(
    ("steps", "looks"),
    [
        ([Step(3), Step(1), Step(busy=2), Step(due=0.05), Step(1)], 6),
        # A deferred file, a request's expiry.
        ([Step(look_again=3600)], 2),
    ],
)
def test_a_drain_goes_on_while_anything_moves(context, steps, looks):
    """It waits for what runs and what is due soon, and not for what may come later."""
    now = time.time()
    steps = [
        replace(one, due=one.due and now + one.due, look_again=one.look_again and now + 3600)
        for one in steps
    ]
    stage = Fake(context, steps)
    threading.Timer(0.05, context.wake.set).start()
    assert drain.drain([stage], context) == 0
    assert stage.said == ["recover", *["step"] * looks, "close"]


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
    with other(lab.root / "archive"):
        assert lab.drain() == os.EX_TEMPFAIL
    assert lab.drain() == 0
    assert lab.only("awaiting-approval")


@pytest.mark.parametrize("folder", ["archive", "checking", "running/rec", "expired"])
@pytest.mark.parametrize("hold", [False, True])
def test_a_drain_beside_a_service_ends_when_only_a_person_can_go_on(lab, impatient, folder, hold):
    """What waits for a yes, or for the end of HOLD, keeps no drain waiting, whoever else runs."""
    waiting(lab)
    if hold:
        lab.approve()
        (lab.root / "HOLD").touch()
    with other(lab.root / folder):
        assert lab.drain() == 0


def test_a_drain_waits_for_the_one_that_has_the_work(lab):
    """While another process takes the drops, a drain waits, and finds them taken."""
    lab.drain()
    lab.drop("decisions", "c.json", CUTOVER)
    with other(lab.root / "archive") as lock:
        threading.Timer(0.3, lock.release).start()
        assert lab.drain() == 0
    assert lab.only("awaiting-approval")


def test_a_service_stands_by_until_the_other_one_is_gone(context, said):
    """A second instance starts nothing, and takes over when the lock is free."""
    stage = Fake(context)
    with other(stage.spool.path(Place("tmp"))) as lock, Service(stage):
        until(lambda: any("standing by" in line.getMessage() for line in said))
        assert stage.said == []
        lock.release()
        until(lambda: "step" in stage.said)
    assert stage.said[-1] == "close"


def test_a_service_makes_a_lost_folder_again(lab):
    """A folder that somebody removed while the service runs is there again, and is watched."""
    stage = Fake(StageContext(lab.routing), inputs=[Place("held")])
    folder = Path(stage.spool.path(Place("held")))
    with Service(stage):
        until(lambda: "step" in stage.said)
        folder.rmdir()
        until(folder.is_dir)
        before = len(stage.said)
        (folder / "x.json").touch()
        until(lambda: len(stage.said) > before)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_a_service_stops_when_its_locked_folder_is_another_one(context, how, said):
    """The lock is on a folder, not on its name: without that folder a second instance could run."""
    stage = Fake(context, folder="held")
    locked = Path(stage.spool.path(Place("held")))
    with Service(stage) as service:
        until(lambda: "step" in stage.said)
        locked.rename(locked.with_name("moved"))
        if how == "replaced":
            locked.mkdir()
        context.wake.set()
        assert service.code() == os.EX_IOERR
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


def expired(lab):
    """`cp expired/X awaiting-approval/`: what expired stays as it is."""
    lab.clock.advance(8 * 86400)
    assert lab.drain() == 0
    old = lab.only("expired")
    shutil.copy(old, lab.root / "awaiting-approval" / old.name)
    return old


def deferred(lab):
    """`cp deferred/E/X queued/E/`: it stays deferred."""
    lab.approve()
    lab.recorder.outcomes = [Transient("busy", "Later.", retry_after=60)]
    assert lab.drain() == 0
    later = lab.only("deferred")
    (lab.root / "HOLD").touch()
    shutil.copy(later, lab.root / "queued/rec" / later.name)
    lab.clock.advance(120)


def done(lab):
    """`cp queued/E/X done/E/`, or anything of that name: what is there stays as it is."""
    lab.approve()
    there = lab.root / "done/rec" / lab.only("approved").name
    there.write_bytes(b"{}")
    return there


@pytest.mark.parametrize("copied", [expired, deferred, done])
def test_a_copy_stops_no_stage(lab, copied):
    """Copying a request by hand is a mistake; whatever becomes of the copy, spoold runs."""
    waiting(lab)
    kept = copied(lab)
    before = kept and kept.read_bytes()
    assert lab.drain() == 0
    assert lab.drain() == 0
    assert not kept or kept.read_bytes() == before


def test_a_settled_file_is_still_a_request(lab):
    """What the stages leave in done/ is a request that can be read back."""
    waiting(lab)
    lab.approve()
    lab.drain()
    assert parse(lab.only("done").read_bytes()).status == "done"


# Small parts


def test_a_group_holds_all_in_order():
    """Groups have at most their size, and together they are the whole."""
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([])) == []


@pytest.mark.parametrize(
    ("times", "first"),
    [((None, 3.0, 2.0), 2.0), ((None, None), None), ((0.0, None), 0.0)],
)
def test_the_earliest_time_is_that_of_those_that_are_known(times, first):
    """None is no time; of no times the earliest is none, and 0 is a time."""
    assert earliest(*times) == first


def test_nobody_sleeps_longer_than_allowed_or_less_than_nothing():
    """A time in the past is now, a far one is the limit, and none is the limit too."""
    now = time.time()
    assert [seconds_until(at, 10) for at in (now - 100, now + 1e9, None)] == [0, 10, 10]
    assert 0 < seconds_until(now + 60, 100) <= 60


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
