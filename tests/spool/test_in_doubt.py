"""Tries that may have worked: what follows is no failure, until a person has said so."""

from datetime import UTC, datetime

import pytest

from spoold import request
from spoold.config.settings import Retry
from spoold.errors import NeedsPerson, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.stages.execute.history import begun
from spoold.stages.execute.verdict import judge
from spoold.states import FOLDERS
from spoold.testing import Lab, Recorder
from tests.conftest import route

RECORD = {"decision_id": "c-1", "decision_type": "x"}
RETRY = 'retry = { tries = 3, base = "1s", cap = "1s" }'
NO = Permanent("no", "It was refused, and the first one too.")
LOST = Transient("lost", "The answer was lost.", {"in_doubt": True}, retry_after=0)
REFUSED = Transient("refused", "Nobody listens.", retry_after=0)


class Doubter(Recorder):
    """Remembers which of its runs were told that an earlier one may have worked."""

    def __init__(self) -> None:
        super().__init__()
        self.doubts: list[bool] = []

    def run(self, params, context: Context):
        self.doubts.append(context.in_doubt)
        return super().run(params, context)


@pytest.fixture
def lab(tmp_path) -> Lab:
    made = Lab(tmp_path, Lab.SETTINGS + RETRY, {"10.toml": route()}, recorder=Doubter())
    made.drop("decisions", "c.json", RECORD)
    made.drain()
    return made


def run(lab: Lab, *outcomes) -> None:
    lab.recorder.outcomes = list(outcomes)
    lab.approve()
    lab.drain()


@pytest.mark.parametrize(
    ("outcomes", "folder", "doubts"),
    [
        ([LOST, REFUSED, REFUSED], "unknown", [False, True, True]),
        ([REFUSED, REFUSED, REFUSED], "failed", [False, False, False]),
        ([LOST, NO], "failed", [False, True]),
    ],
    ids=["in-doubt", "no-doubt", "known-after-all"],
)
def test_giving_up_is_a_failure_only_if_no_try_may_have_worked(lab, outcomes, folder, doubts):
    """Each try is told of the doubt; a kind that knows the end all the same is believed."""
    run(lab, *outcomes)
    ended = lab.request(folder)["result"]
    assert ended["code"] == outcomes[-1].code
    assert ("may have worked" in ended["summary"]) == (folder == "unknown")
    assert lab.recorder.doubts == doubts


def test_a_person_who_says_that_it_had_no_effect_ends_the_doubt(lab):
    """`resolve --as again` makes a first try of the next one."""
    run(lab, LOST, REFUSED, REFUSED)
    unknown = lab.only("unknown")
    unknown.rename(lab.root / "awaiting-approval" / unknown.name)
    run(lab, REFUSED, REFUSED, REFUSED)
    assert lab.recorder.doubts[3:] == [False, False, False]
    assert lab.request("failed")["result"]["code"] == "refused"


@pytest.mark.parametrize(("first", "folder"), [(LOST, "unknown"), (REFUSED, "failed")])
def test_a_cancel_in_doubt_does_not_say_that_nothing_was_done(lab, monkeypatch, first, folder):
    """Cancelled before a repeat, what may have worked is for a person to find out."""
    lab.recorder.outcomes = [first]
    file = lab.approve()
    run_once = lab.recorder.run

    def run_and_cancel(params, context):
        (lab.root / "approvals/cancel/rec" / file.name).write_bytes(b"{}")
        return run_once(params, context)

    monkeypatch.setattr(lab.recorder, "run", run_and_cancel)
    lab.drain()
    assert lab.request(folder)["result"]["code"] == "cancelled"
    assert len(lab.recorder.calls) == 1


CANCELLED = Permanent("cancelled", "It was ended.")


@pytest.mark.parametrize(
    ("outcome", "cancelled", "in_doubt", "status"),
    [
        (Result("ok", "Done."), True, True, "done"),
        (NeedsPerson("no-evidence", "Look."), True, True, "held"),
        (OutcomeUnknown("x", "?"), True, False, "unknown"),
        (CANCELLED, True, True, "unknown"),
        (CANCELLED, True, False, "failed"),
        (CANCELLED, False, True, "failed"),
        (NO, True, True, "failed"),
        (REFUSED, True, True, "unknown"),
        (REFUSED, True, False, "failed"),
        (LOST, True, False, "unknown"),
        (REFUSED, False, True, "deferred"),
        (REFUSED, False, False, "deferred"),
    ],
)
def test_what_a_cancellation_and_a_doubt_make_of_an_outcome(
    lab, outcome, cancelled, in_doubt, status
):
    """Only what the kind knows for certain ends a doubt, and a cancelled request never repeats."""
    found = request.parse(lab.only("awaiting-approval").read_bytes())
    now = datetime.now(UTC)
    if in_doubt:
        tried = begun(found, now)
        found = judge(found.with_(attempts=tried), LOST, Retry(), now).request
    found = found.with_(attempts=begun(found, now))
    verdict = judge(found, outcome, Retry(), now, cancelled=cancelled)
    assert verdict.request.status == status
    assert FOLDERS[verdict.target.folder].top == status
    assert request.parse(verdict.data) == verdict.request
