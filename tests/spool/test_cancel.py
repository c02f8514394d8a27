"""`spoold cancel` of what waits for another try: what is said of the tries before is true."""

import os
import time

import orjson
import pytest
from click.testing import CliRunner

from spoold.cli import deciding
from spoold.cli.app import App
from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.stages.execute.lanes import Lanes
from spoold.testing import Lab, Recorder
from tests.conftest import queue, route

RECORD = {"decision_id": "c-1", "decision_type": "x"}


class Maker(Recorder):
    """Makes something at each try, and can take it back.

    Attributes:
        taken_back: the ids of the requests that were taken back.
        left: how that ends.
    """

    def __init__(self) -> None:
        super().__init__()
        self.taken_back: list[str] = []
        self.left: Exception = Permanent("cancelled", "A person cancelled it. Removed again: it.")

    def take_back(self, params, context):
        del params
        assert context.dispatch_id
        self.taken_back.append(context.dispatch_id)
        raise self.left


def later(**details) -> Transient:
    return Transient("later", "Not now.", details, retry_after=3600)


def make(folder, recorder=None, *outcomes) -> Lab:
    """A lab with one request that was approved, and tried."""
    lab = Lab(folder, routes={"10.toml": route()}, recorder=recorder)
    lab.recorder.outcomes = list(outcomes)
    queue(lab, RECORD)
    lab.drain()
    return lab


@pytest.fixture
def doubtful(tmp_path) -> Lab:
    """A request in deferred/, of which nobody knows whether it worked."""
    return make(tmp_path, None, later(in_doubt=True))


def decide(lab, verb, *folders):
    """What `spoold VERB` does to the only request in these folders."""
    (found,) = [file for folder in folders or ("deferred", "queued") for file in lab.files(folder)]
    command = deciding.decision(verb, "Test.")
    asked = CliRunner().invoke(command, [found.stem], obj=App(str(lab.file)))
    assert asked.exit_code == 0, asked.exception
    return asked.output


def cancellations(lab):
    """The files in approvals/cancel/rec."""
    return list((lab.root / "approvals/cancel/rec").iterdir())


def make_due(lab):
    """Let the time of a deferred request come."""
    os.utime(lab.only("deferred"), (time.time() - 9, time.time() - 9))


def cancel_deferred(lab, monkeypatch):
    """It waits for its next try, and a person is told what happens."""
    del monkeypatch
    assert "executor rec is told to end it" in decide(lab, "cancel")
    assert lab.files("rejected") == []


def cancel_queued(lab, monkeypatch):
    """It was queued again, between its time and its next try."""
    del monkeypatch
    make_due(lab)
    file = lab.only("deferred")
    file.rename(lab.root / "queued" / "rec" / file.name)
    decide(lab, "cancel")


def cancel_by_hand(lab, monkeypatch):
    """A file of that name is not forgotten while the request is deferred."""
    del monkeypatch
    (lab.root / "approvals/cancel/rec" / lab.only("deferred").name).touch()
    lab.drain()
    assert len(lab.files("deferred")) == len(cancellations(lab)) == 1
    make_due(lab)


def cancel_at_the_last_moment(lab, monkeypatch):
    """The executor had looked at the cancellations before."""
    order = Lanes.next

    def cancelled_meanwhile(self, *args):
        if lab.files("deferred"):
            decide(lab, "cancel")
        return order(self, *args)

    monkeypatch.setattr(Lanes, "next", cancelled_meanwhile)


@pytest.mark.parametrize(
    "cancel", [cancel_deferred, cancel_queued, cancel_by_hand, cancel_at_the_last_moment]
)
def test_what_may_have_worked_is_not_said_never_to_have_run(doubtful, monkeypatch, cancel):
    """However it is cancelled, it is not tried again, and what `spoold cancel` wrote is kept."""
    cancel(doubtful, monkeypatch)
    doubtful.drain()
    ended = doubtful.request("unknown")
    assert "an earlier try may have worked" in ended["result"]["summary"]
    assert [tried["code"] for tried in ended["attempts"]] == ["later", "cancelled"]
    assert len(doubtful.recorder.calls) == 1
    assert cancellations(doubtful) == []
    kept = [orjson.loads(file.read_bytes()) for file in doubtful.files("approvals")]
    by_spoold = [("cancel", "approvals/cancel/rec")] * (cancel is not cancel_by_hand)
    assert [(one["decision"], one["to"]) for one in kept] == by_spoold


def test_what_had_no_effect_is_rejected_at_once(tmp_path):
    """Tries that were certainly refused leave nothing to look at."""
    lab = make(tmp_path, None, later())
    decide(lab, "cancel")
    assert lab.reason(lab.only("rejected"))["code"] == "cancelled"
    lab.drain()
    assert cancellations(lab) == []


def test_a_person_may_still_move_it_away(doubtful):
    """A request that was moved to rejected/ stays there, and its cancellation is removed."""
    decide(doubtful, "cancel")
    (file,) = (doubtful.root / "queued/rec").iterdir()
    file.rename(doubtful.root / "rejected" / file.name)
    doubtful.drain()
    assert len(doubtful.files("rejected")) == 1
    assert cancellations(doubtful) == []


@pytest.mark.parametrize("verb", ["reject", "cancel"])
def test_a_no_after_a_try_in_doubt_says_so(doubtful, verb):
    """Whoever parks it first, and says no then, is told that it may have worked."""
    file = doubtful.only("deferred")
    where = {"reject": "held", "cancel": "approved"}[verb]
    file.rename(doubtful.root / where / file.name)
    decide(doubtful, verb, where)
    reason = doubtful.reason(doubtful.only("rejected"))
    assert reason["code"] == "tried-before"
    assert "a try may have had its effect" in reason["advice"]


@pytest.mark.parametrize(
    ("left", "folder", "code"),
    [
        (Permanent("cancelled", "It was cancelled. Removed: it."), "failed", "cancelled"),
        (Transient("cancelled", "Nothing is left."), "failed", "cancelled"),
        (OutcomeUnknown("cancelled", "Nobody can look."), "unknown", "cancelled"),
        (ZeroDivisionError(), "unknown", "executor-bug"),
    ],
    ids=["removed", "nothing", "unknown", "bug"],
)  # fmt: skip
def test_a_kind_says_itself_what_is_left_of_its_tries(tmp_path, left, folder, code):
    """What it knows decides; and it is asked once, and not told to run."""
    lab = make(tmp_path, Maker(), later())
    lab.recorder.left = left
    decide(lab, "cancel")
    lab.drain()
    ended = lab.request(folder)
    assert ended["result"]["code"] == code
    if code == "cancelled":
        assert left.summary in ended["result"]["summary"]
    assert lab.recorder.taken_back == [ended["dispatch_id"]]
    assert len(lab.recorder.calls) == 1
    assert cancellations(lab) == []


def test_what_was_never_tried_leaves_nothing_to_take_back(tmp_path):
    """Cancelled before its first try, it is rejected at once."""
    lab = Lab(tmp_path, routes={"10.toml": route()}, recorder=Maker())
    queue(lab, RECORD)
    decide(lab, "cancel")
    assert lab.reason(lab.only("rejected"))["code"] == "cancelled"
    assert lab.recorder.taken_back == []


def test_an_executor_that_died_while_it_took_something_back_does_it_again(tmp_path):
    """The cancellation outlives it, and the request comes back to where it waited."""
    lab = make(tmp_path, Maker(), later())
    decide(lab, "cancel")
    (file,) = (lab.root / "queued/rec").iterdir()
    file.rename(lab.root / "running/rec" / file.name)
    lab.drain()
    assert lab.recorder.taken_back == []
    assert len(cancellations(lab)) == 1
    make_due(lab)
    lab.drain()
    assert lab.request("failed")["result"]["code"] == "cancelled"
    assert len(lab.recorder.taken_back) == len(lab.recorder.calls) == 1
    assert cancellations(lab) == []


def test_what_is_still_away_is_a_warning_once(tmp_path, caplog):
    """Handed back for the same reason is no news; and what was not tried is no attempt."""
    away = [Transient(code, "Away.", retry_after=0, counts=False)
            for code in ("resting", "resting", "resting", "engine-unreachable")]  # fmt: skip
    with caplog.at_level("INFO", "spoold.execute"):
        lab = make(tmp_path, None, *away)
    assert len(lab.request("done")["attempts"]) == 1
    said = [(r.levelname, r.getMessage().partition(":")[0]) for r in caplog.records
            if "Away" in r.getMessage()]  # fmt: skip
    assert said == [
        ("WARNING", "deferred/rec (resting)"),
        ("INFO", "deferred/rec (resting)"),
        ("INFO", "deferred/rec (resting)"),
        ("WARNING", "deferred/rec (engine-unreachable)"),
    ]


@pytest.mark.parametrize(
    ("content", "is_one"),
    [(b"", True), (b'{"decision": "cancel"}', True), (b'{"decision": "hold"}', False),
     (b"not JSON", False), (b"[]", False)],
)  # fmt: skip
def test_what_lies_among_the_cancellations_and_is_none_is_kept(lab, content, is_one):
    """A cancellation of nothing that is known goes; any other file is held, to the byte."""
    lab.drain()
    path = lab.root / "approvals/cancel/rec/dispatch-20260101T000000Z-any-0123abcd.json"
    path.write_bytes(content)
    lab.drain()
    assert not path.exists()
    assert [found.read_bytes() for found in lab.files("held")] == ([] if is_one else [content])
