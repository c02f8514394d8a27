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
from tests.conftest import route

TOML = """
[sources.decisions]
format = "decision"
[executors.rec]
kind = "recorder"
"""


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
    lab = Lab(folder, TOML, {"10.toml": route()}, recorder=recorder)
    lab.recorder.outcomes = list(outcomes)
    lab.drop("decisions", "c.json", {"decision_id": "c-1", "decision_type": "x"})
    lab.drain()
    lab.approve()
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


def wishes(lab):
    """What lies where people say what they do not want any more."""
    return list((lab.root / "approvals/cancel/rec").iterdir())


def make_due(lab):
    """Let the time of a deferred request come."""
    os.utime(lab.only("deferred"), (time.time() - 9, time.time() - 9))


def test_what_may_have_worked_is_not_said_never_to_have_run(doubtful):
    """It is not tried again, its wish is gone, and a person reads that a try may have worked."""
    said = decide(doubtful, "cancel")
    assert "executor rec is told to end it" in said
    assert doubtful.files("rejected") == []
    doubtful.drain()
    ended = doubtful.request("unknown")
    assert ended["result"]["code"] == "cancelled"
    assert "an earlier try may have worked" in ended["result"]["summary"]
    assert [tried["code"] for tried in ended["attempts"]] == ["later", "cancelled"]
    assert len(doubtful.recorder.calls) == 1
    assert wishes(doubtful) == []
    (slip,) = [orjson.loads(f.read_bytes()) for f in doubtful.files("approvals")]
    assert (slip["decision"], slip["to"]) == ("cancel", "approvals/cancel/rec")


def test_what_had_no_effect_is_taken_back_as_ever(tmp_path):
    """Tries that were certainly refused leave nothing to look at."""
    lab = make(tmp_path, None, later())
    decide(lab, "cancel")
    assert lab.reason(lab.only("rejected"))["code"] == "cancelled"
    lab.drain()
    assert wishes(lab) == []


def test_what_was_queued_again_is_cancelled_in_doubt_as_well(doubtful):
    """Between its time and its next try it is the same as before."""
    make_due(doubtful)
    file = doubtful.only("deferred")
    file.rename(doubtful.root / "queued" / "rec" / file.name)
    decide(doubtful, "cancel")
    doubtful.drain()
    assert doubtful.request("unknown")["result"]["code"] == "cancelled"
    assert len(doubtful.recorder.calls) == 1


def test_a_wish_that_is_left_by_hand_is_heeded_when_the_time_comes(doubtful):
    """A file of that name is not forgotten while the request is deferred."""
    (doubtful.root / "approvals/cancel/rec" / doubtful.only("deferred").name).touch()
    doubtful.drain()
    assert len(doubtful.files("deferred")) == len(wishes(doubtful)) == 1
    make_due(doubtful)
    doubtful.drain()
    assert doubtful.request("unknown")["result"]["code"] == "cancelled"
    assert len(doubtful.recorder.calls) == 1


def test_a_wish_that_comes_at_the_last_moment_is_heeded(doubtful, monkeypatch):
    """Said before the file was queued, it counts, although the executor had looked before."""
    order = Lanes.next
    moved = []

    def cancelled_meanwhile(self, *args):
        if doubtful.files("deferred"):
            moved.append(decide(doubtful, "cancel"))
        return order(self, *args)

    monkeypatch.setattr(Lanes, "next", cancelled_meanwhile)
    doubtful.drain()
    assert moved
    assert doubtful.request("unknown")["result"]["code"] == "cancelled"
    assert len(doubtful.recorder.calls) == 1


def test_a_person_may_still_move_it_away(doubtful):
    """`mv deferred/X rejected/` needs nobody's leave, and a wish about it is put away."""
    decide(doubtful, "cancel")
    (file,) = (doubtful.root / "queued/rec").iterdir()
    file.rename(doubtful.root / "rejected" / file.name)
    doubtful.drain()
    assert len(doubtful.files("rejected")) == 1
    assert wishes(doubtful) == []


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
    assert wishes(lab) == []


def test_what_was_never_tried_leaves_nothing_to_take_back(tmp_path):
    """Cancelled before its first try, it is rejected at once."""
    lab = Lab(tmp_path, TOML, {"10.toml": route()}, recorder=Maker())
    lab.drop("decisions", "c.json", {"decision_id": "c-1", "decision_type": "x"})
    lab.drain()
    (lab.root / "HOLD").touch()
    file = lab.approve()
    file.rename(lab.root / "queued/rec" / file.name)
    decide(lab, "cancel")
    assert lab.reason(lab.only("rejected"))["code"] == "cancelled"
    assert lab.recorder.taken_back == []


def test_an_executor_that_died_while_it_took_something_back_does_it_again(tmp_path):
    """The wish outlives it, and the request comes back to where it waited."""
    lab = make(tmp_path, Maker(), later())
    decide(lab, "cancel")
    (file,) = (lab.root / "queued/rec").iterdir()
    file.rename(lab.root / "running/rec" / file.name)
    lab.drain()
    assert lab.recorder.taken_back == []
    assert len(wishes(lab)) == 1
    make_due(lab)
    lab.drain()
    assert lab.request("failed")["result"]["code"] == "cancelled"
    assert len(lab.recorder.taken_back) == len(lab.recorder.calls) == 1
    assert wishes(lab) == []


def test_what_is_still_away_is_a_warning_once(tmp_path, caplog):
    """What was handed back for the same reason as before is no news; another reason is."""
    away = [Transient(code, "Away.", retry_after=0, counts=False)
            for code in ("resting", "resting", "resting", "engine-unreachable")]  # fmt: skip
    with caplog.at_level("INFO", "spoold.execute"):
        lab = make(tmp_path, None, *away)
    assert len(lab.files("done")) == 1
    said = [(r.levelname, r.getMessage().partition(":")[0]) for r in caplog.records
            if "Away" in r.getMessage()]  # fmt: skip
    assert said == [
        ("WARNING", "deferred/rec (resting)"),
        ("INFO", "deferred/rec (resting)"),
        ("INFO", "deferred/rec (resting)"),
        ("WARNING", "deferred/rec (engine-unreachable)"),
    ]
