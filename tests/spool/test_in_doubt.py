"""Tries that may have worked: what follows is no failure, until a person has said so."""

import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import Context
from spoold.testing import Lab, Recorder
from tests.conftest import route

TOML = """
[sources.decisions]
format = "decision"
[executors.rec]
kind = "recorder"
retry = { tries = 3, base = "1s", cap = "1s" }
"""


class Doubter(Recorder):
    """Remembers which of its runs were told that an earlier one may have worked."""

    def __init__(self) -> None:
        super().__init__()
        self.doubts: list[bool] = []

    def run(self, params, context: Context):
        self.doubts.append(context.in_doubt)
        return super().run(params, context)


def lost() -> Transient:
    return Transient("lost", "The answer was lost.", {"in_doubt": True}, retry_after=0)


def refused() -> Transient:
    return Transient("refused", "Nobody listens.", retry_after=0)


@pytest.fixture
def lab(tmp_path) -> Lab:
    made = Lab(tmp_path, TOML, {"10.toml": route()}, recorder=Doubter())
    made.drop("decisions", "c.json", {"decision_id": "c-1", "decision_type": "x"})
    made.drain()
    return made


def run(lab: Lab, *outcomes) -> None:
    lab.recorder.outcomes = list(outcomes)
    lab.approve()
    lab.drain()


def test_giving_up_in_doubt_leaves_it_to_a_person(lab):
    """Tries that are used up are no failure if one of them may have worked."""
    run(lab, lost(), refused(), refused())
    ended = lab.request("unknown")["result"]
    assert ended["code"] == "refused"
    assert "may have worked" in ended["summary"]
    assert lab.recorder.doubts == [False, True, True]


def test_giving_up_without_doubt_is_a_failure(lab):
    """Tries that certainly had no effect end in failed/, as they always did."""
    run(lab, refused(), refused(), refused())
    assert lab.request("failed")["result"]["code"] == "refused"
    assert lab.recorder.doubts == [False, False, False]


def test_a_person_who_says_that_it_had_no_effect_ends_the_doubt(lab):
    """`resolve --as again` makes a first try of the next one."""
    run(lab, lost(), refused(), refused())
    unknown = lab.only("unknown")
    unknown.rename(lab.root / "awaiting-approval" / unknown.name)
    run(lab, refused(), refused(), refused())
    assert lab.recorder.doubts[3:] == [False, False, False]
    assert lab.request("failed")["result"]["code"] == "refused"


@pytest.mark.parametrize(
    ("first", "folder"), [(lost, "unknown"), (refused, "failed")], ids=["doubt", "none"]
)
def test_a_cancel_in_doubt_does_not_say_that_nothing_was_done(lab, first, folder):
    """Cancelled before a repeat, what may have worked is for a person to find out."""
    lab.recorder.outcomes = [first()]
    file = lab.approve()
    wishes = lab.root / "approvals" / "cancel" / "rec"
    original = lab.recorder.run

    def run_then_wish(params, context):
        (wishes / file.name).write_bytes(b"{}")
        lab.recorder.run = original
        return original(params, context)

    lab.recorder.run = run_then_wish
    lab.drain()
    assert lab.request(folder)["result"]["code"] == "cancelled"
    assert len(lab.recorder.calls) == 1


def test_what_ended_for_certain_stays_so(lab):
    """A kind that knows the end after a doubtful try is believed."""
    run(lab, lost(), Permanent("no", "It was refused, and the first one too."))
    assert lab.request("failed")["result"]["code"] == "no"
