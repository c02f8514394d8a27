"""What kinds say of their attempts: recorded so that it can be read back, or said to be unknown."""

import asyncio
import math
import os
import time
from dataclasses import replace

import pytest

from spoold import request
from spoold.config.settings import Retry
from spoold.errors import NeedsPerson, OutcomeUnknown, Permanent, Transient
from spoold.executors import Result
from spoold.request import MAX_BYTES
from spoold.spool.spool import Spool
from spoold.stages.execute.history import begun
from spoold.stages.execute.jobs import Job
from spoold.stages.execute.readable import readable_bytes
from spoold.stages.execute.verdict import judge
from spoold.testing import Lab, Recorder
from tests.conftest import queue, route

RECORD = {"decision_id": "c-1", "decision_type": "x"}
HUGE = {"body": "x" * (7 << 20)}


class Sayer(Recorder):
    """Ends its runs with whatever it is given, and reports whatever it is given."""

    def __init__(self, *said, reports=()):
        super().__init__()
        self.outcomes, self.reports = list(said), reports

    def run(self, params, context):
        for facts in self.reports:
            context.report(facts)
            time.sleep(0.3)
        return super().run(params, context)

    def _end(self, outcome):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


def deep(levels):
    """An object in an object, and so on."""
    made = {}
    for _ in range(levels):
        made = {"a": made}
    return made


def lab_with(tmp_path, kind, settings=""):
    """A lab whose executor is such a kind."""
    lab = Lab(tmp_path, Lab.SETTINGS + settings, {"10.toml": route()}, recorder=kind)
    queue(lab, RECORD)
    return lab


UNSAYABLE = {
    "nothing": None,
    "no result": {"code": "ok"},
    "a set": Result("x", "y", {"set": {1, 2}}),
    "a large number": Result("x", "y", {"int": 10**30}),
    "a key that is a number": Result("x", "y", {1: "a key"}),
    "half a pair": Result("x", "\ud800"),
    "too deep to be read": Result("x", "y", deep(230)),
    "too deep to be written": Result("x", "y", deep(2000)),
    "a code that is a number": Result(7, "y"),
    "no summary": Result("x", None),
    "no details": Result("x", "y", None),
    "evidence that is a list": Result("x", "y", evidence=["list"]),
    "a set in an error": Permanent("x", "y", {"set": {1, 2}}),
    "a large number in an output": Permanent("x", "y", output={"int": 10**30}),
    "half a pair in an error": OutcomeUnknown("x", "\udcff"),
    "advice that nobody gives": NeedsPerson("no-such-advice", "y"),
    "no time": Transient("x", "y", retry_after=math.nan),
    "never": Transient("x", "y", retry_after=math.inf),
    "after the end of time": Transient("x", "y", retry_after=1e300),
    "exit": SystemExit(0),
    "interrupt": KeyboardInterrupt(),
    "cancelled": asyncio.CancelledError(),
}


@pytest.mark.parametrize("said", UNSAYABLE.values(), ids=UNSAYABLE.keys())
def test_what_cannot_be_recorded_is_unknown(tmp_path, said):
    """The stage goes on, nothing is repeated, and the next start reads what was written."""
    lab = lab_with(tmp_path, Sayer(said))
    assert lab.drain() == 0
    assert lab.request("unknown")["result"]["code"] == "executor-bug"
    assert lab.drain() == 0
    assert len(lab.recorder.calls) == 1
    assert lab.files("held") == []


@pytest.mark.parametrize(
    "facts",
    [{"set": {1}}, {"int": 10**30}, ["list"], {"a": "\ud800"}, deep(230), HUGE],
    ids=["set", "number", "list", "half", "deep", "huge"],
)
def test_what_cannot_be_shown_costs_no_attempt(tmp_path, facts):
    """A report that no request file can hold is dropped; the attempt goes on to its end."""
    lab = lab_with(tmp_path, Sayer(reports=[facts]))
    assert lab.drain() == 0
    assert lab.request("done")["attempts"][0]["progress"] is None


@pytest.mark.parametrize("kind", [Result, Permanent], ids=lambda kind: kind.__name__)
def test_what_is_too_large_is_left_out_and_the_end_stands(tmp_path, kind):
    """A request file is never larger than what is read back, whatever an answer brings."""
    lab = lab_with(tmp_path, Sayer(kind("x", "y" * (9 << 20), HUGE)))
    assert lab.drain() == 0
    ended = lab.request("done" if kind is Result else "failed")
    assert "left_out" in ended["result"]["details"]
    assert ended["result"]["code"] == "x"


def test_many_large_tries_leave_a_request_that_can_be_read(tmp_path):
    """The details of earlier tries make room; that one of them is in doubt is kept."""
    tries = [Transient("busy", "later", {"body": "x" * (1 << 20), "in_doubt": True})] * 9
    kind = Sayer(*tries)
    lab = lab_with(tmp_path, kind, 'retry = { tries = 20, base = "1s", cap = "1s" }')
    for _ in tries:
        assert lab.drain() == 0
        lab.clock.advance(5)
    assert lab.drain() == 0
    ended = lab.request("done")
    assert len(ended["attempts"]) == len(tries) + 1
    assert all(tried["details"]["in_doubt"] for tried in ended["attempts"][:-1])


def test_an_outcome_that_is_judged_twice_is_said_once(lab):
    """That a full disk has it judged again changes nothing of what is said."""
    found = request.parse(queue(lab, RECORD).read_bytes())
    found = found.with_(attempts=begun(found, lab.clock()))
    outcome = Transient("busy", "It is busy.")
    for _ in range(2):
        said = judge(found, outcome, Retry(), lab.clock()).request.attempts[-1].summary
        assert said.count("Next try in") == 1


class Stayer(Recorder):
    """A kind whose work goes on without its executor."""

    def resume(self, params, context):
        return self.probe(params, context)


@pytest.mark.parametrize(
    "put",
    [lambda path: path.touch(), lambda path: path.symlink_to("/nonexistent"),
     lambda path: path.symlink_to("/"), os.mkfifo],
    ids=["file", "dangling", "link", "pipe"],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Stayer, Recorder])
def test_what_lies_where_its_folder_should_be_costs_a_try_and_no_stage(tmp_path, kind, put):
    """Who may write in logs/ can put anything there; nothing runs, and the next request does."""
    lab = lab_with(tmp_path, kind())
    put(lab.root / "logs/rec" / lab.only("queued").stem)
    assert lab.drain() == 0
    assert lab.request("deferred")["attempts"][0]["code"] == "logs-unreadable"
    assert lab.recorder.calls == []


def test_what_was_shown_last_makes_room_for_the_end(tmp_path):
    """A report that just fits leaves no request whose end cannot be written."""
    lab = lab_with(tmp_path, Recorder())
    found = request.parse(lab.only("queued").read_bytes())
    attempts = begun(found, lab.clock())
    size = MAX_BYTES // 4 * 3 - len(found.to_bytes()) - 900
    found = found.with_(attempts=[replace(attempts[0], progress={"x": "x" * size})])
    readable_bytes(found)
    ended = judge(found, Result("x", "y" * 3000), Retry(), lab.clock()).request
    assert ended.status == "done"
    assert ended.attempts[0].progress is None


def test_what_is_reported_between_attempts_changes_no_attempt_that_has_ended(lab):
    """Only an attempt without an end shows how far it has come."""
    found = request.parse(queue(lab, RECORD).read_bytes())
    found = found.with_(attempts=begun(found, lab.clock()))
    for is_open in (True, False):
        job = Job(found, lambda: None)
        job.report({"step": 1})
        assert bool(job.with_progress()) == is_open
        found = judge(found, Transient("busy", "Busy."), Retry(), lab.clock()).request


def test_where_a_kind_leaves_what_it_is_found_by_is_there_before_its_attempt(tmp_path, monkeypatch):
    """So that a folder that is gone never means that nothing had begun yet."""
    lab = lab_with(tmp_path, Stayer())
    begun_in = []
    real = Spool.overwrite

    def overwrite(self, draft, place, name):
        begun_in.append((lab.root / "logs/rec" / lab.only("running").stem).is_dir())
        return real(self, draft, place, name)

    monkeypatch.setattr(Spool, "overwrite", overwrite)
    assert lab.drain() == 0
    assert begun_in[0]
