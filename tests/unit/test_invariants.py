"""The judge of crashes is itself judged: each law that is broken by hand is found broken."""

import json

import pytest

from spoold.testing import Lab
from tests.conftest import route
from tests.invariants import violations

RECORDS = [
    json.dumps({"decision_id": f"d-{n}", "decision_type": "cutover"}).encode() for n in range(3)
]


@pytest.fixture
def spool(tmp_path):
    """A spool on which every law holds: one request waits, one is done, one drop is bad."""
    lab = Lab(tmp_path, routes={"10.toml": route()})
    for number, record in enumerate([*RECORDS, b"[]"]):
        lab.drop("decisions", f"{number}.json", record)
    lab.drain()
    first = lab.files("awaiting-approval")[0]
    first.rename(lab.root / "approved" / first.name)
    lab.drain()
    return lab


def test_a_good_spool_breaks_no_law(spool):
    """Where nothing went wrong nothing is found."""
    assert violations(spool.root, [*RECORDS, b"[]"], {"a": [b"1", b"1"]}) == []


def lose_an_original(lab):
    next(lab.root.glob("archive/decisions/*/0.json")).unlink()


def copy_a_request(lab):
    one = lab.files("awaiting-approval")[0]
    (lab.root / "failed/rec" / one.name).write_bytes(one.read_bytes())


def lose_a_request(lab):
    lab.files("awaiting-approval")[0].unlink()


def cut_a_request(lab):
    one = lab.files("awaiting-approval")[0]
    one.write_bytes(one.read_bytes()[:-20])


def alter_a_request(lab):
    one = lab.files("awaiting-approval")[0]
    one.write_bytes(one.read_bytes().replace(b'"asked": 1', b'"asked": 2'))


def leave_a_drop(lab):
    lab.drop("decisions", "late.json", RECORDS[0])


def lose_a_reason(lab):
    next(lab.root.glob("quarantine/decisions/*.reason.json")).unlink()


def leave_rubbish(lab):
    (lab.root / "tmp" / "x").write_bytes(b"")


@pytest.mark.parametrize(
    "harm",
    [lose_an_original, copy_a_request, lose_a_request, cut_a_request, alter_a_request,
     leave_a_drop, lose_a_reason, leave_rubbish],
)  # fmt: skip
def test_each_harm_is_found(spool, harm):
    """A spool that somebody harmed breaks a law."""
    harm(spool)
    assert violations(spool.root, [*RECORDS, b"[]"])


def test_two_bodies_under_one_key_are_found(spool):
    """A key that the far side saw with two bodies is a broken law."""
    assert violations(spool.root, [*RECORDS, b"[]"], {"k": [b"1", b"2"]})
