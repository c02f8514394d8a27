"""A half-written file is left alone as long as somebody may finish it, and not for ever."""

import pytest

from spoold.stages.intake import Intake
from spoold.testing import Lab
from tests.conftest import route

CONTENT = b'{"decision_id": "half'


@pytest.fixture
def lab(tmp_path):
    """A lab whose source gives half-written files an hour."""
    toml = Lab.SETTINGS.replace('"decision"', '"decision"\nabandoned_after = "1h"', 1)
    made = Lab(tmp_path, routes={"10.toml": route()}, toml=toml)
    made.stages()
    return made


def put(lab, name=".draft.json"):
    path = lab.root / "inbox/decisions" / name
    path.write_bytes(CONTENT)
    return path


def step(lab):
    intake = Intake(lab.context)
    intake.recover()
    intake.step()
    intake.close()
    return intake


def test_what_is_being_written_is_counted_and_stays(lab):
    """A young dot-file lies where it was, whatever its name, and is counted."""
    path, other = put(lab), put(lab, ".draft.tmp")
    intake = step(lab)
    assert path.exists()
    assert other.exists()
    assert ["unfinished", "inbox/decisions", 2] in intake.spool.counts.as_json()["values"]


@pytest.mark.parametrize("name", [".draft.json", ".draft.tmp", ".x", "..json", ". \n"])
def test_what_nobody_writes_any_more_is_set_aside_whole(lab, name):
    """After `abandoned_after` it is in quarantine under a name that is seen, with its bytes."""
    put(lab, name)
    lab.clock.advance(3700)
    step(lab)
    (kept,) = lab.files("quarantine")
    assert not kept.name.startswith(".")
    assert kept.read_bytes() == CONTENT
    assert lab.reason(kept)["code"] == "abandoned"
    assert list((lab.root / "inbox/decisions").iterdir()) == []


def test_what_somebody_has_open_is_left_alone(lab):
    """However old it is: a writer that still has it open may go on."""
    path = put(lab)
    lab.clock.advance(3700)
    with path.open("ab"):
        step(lab)
        assert path.exists()


def test_a_crash_after_its_claim_forgets_nothing(lab):
    """What was claimed and not answered for is set aside by the next run, and is no drop."""
    put(lab).rename(lab.root / "archive/decisions/.taking/.draft.json")
    step(lab)
    (kept,) = lab.files("quarantine")
    assert lab.reason(kept)["code"] == "abandoned"
    assert kept.read_bytes() == CONTENT
