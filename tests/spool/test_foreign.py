"""A result is believed only from the user whose executor it is, in its own folder."""

import json
import os

import pytest

from spoold import request
from spoold.service.drain import drain
from spoold.spool.spool import Place
from spoold.stages.gate import Gate
from spoold.testing import Lab
from spoold.view import listing
from spoold.view.find import find
from tests.conftest import route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}
STRANGER = 54321


@pytest.fixture
def approved(lab: Lab):
    """A request that a person has approved, and the bytes of it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    lab.drop("decisions", "a.json", CUTOVER)
    lab.drain()
    (waiting,) = lab.files("awaiting-approval")
    data = waiting.read_bytes()
    lab.approve()
    return waiting.name, data


def plant(lab, folder, name, data, owner):
    path = lab.root / folder / name
    path.write_bytes(data)
    os.chown(path, owner, -1)
    return path


@pytest.mark.parametrize("folder", ["done/rec", "failed/rec", "unknown/rec"])
def test_a_result_of_somebody_elses_stops_nothing(lab, approved, folder):
    """What another user put into the executor's folder is no result: the request goes on."""
    name, data = approved
    plant(lab, folder, name, data, STRANGER)
    assert drain([Gate(lab.context)], lab.context) == 0
    assert [path.name for path in lab.files("queued")] == [name]


@pytest.mark.parametrize("folder", ["done/other", "failed/other", "unknown/other", "held/other"])
def test_what_lies_with_another_executor_says_nothing(lab, approved, folder):
    """Another executor's folders cannot keep a request from running, whoever writes there."""
    name, data = approved
    (lab.root / folder).mkdir(exist_ok=True)
    plant(lab, folder, name, data, os.geteuid())
    lab.drain()
    assert [path.name for path in (lab.root / "done/rec").glob("*.json")] == [name]


def test_a_list_says_of_a_foreign_or_misplaced_file_that_it_is_one(lab, approved):
    """A row never tells the story of a file that is not its executor's, or has another's name."""
    name, data = approved
    plant(lab, "done/rec", name, data, STRANGER)
    plant(lab, "done/rec", name.replace("dispatch-", "dispatch-1"), data, os.geteuid())
    other = json.dumps({**json.loads(data), "executor": "other"}).encode()
    plant(lab, "failed/rec", name, other, os.geteuid())
    reader = Gate(lab.context).spool
    rows = [row for folder in ("done", "failed")
            for row in listing.rows(reader, Place(folder, "rec"))]  # fmt: skip
    assert sorted(row["code"] for row in rows) == ["foreign", "misplaced", "misplaced"]
    assert not any("route" in row for row in rows)


def test_what_another_executor_says_of_an_id_swallows_no_event(tmp_path):
    """A request is open only where its seal holds, whatever lies under its name elsewhere."""
    lab = Lab(tmp_path, routes={"10.toml": route(more='repeats = "while-open"')})
    lab.drop("decisions", "a.json", CUTOVER)
    lab.drain()
    (waiting,) = lab.files("awaiting-approval")
    lab.approve()
    lab.drain()
    (done,) = (lab.root / "done/rec").glob("*.json")
    forged = request.parse(done.read_bytes()).with_(executor="other", status="running").to_bytes()
    for folder in ("running/other", "held/other"):
        (lab.root / folder).mkdir(exist_ok=True)
        (lab.root / folder / waiting.name).write_bytes(forged)
    lab.drop("decisions", "b.json", CUTOVER)
    lab.drain()
    assert len(lab.files("awaiting-approval")) == 1, "it asks anew, as the first has ended"


def test_an_id_is_not_made_ambiguous_by_what_does_not_carry_it(lab, approved):
    """A file renamed within an executor's folder, or of another user's, is not what is meant."""
    name, data = approved
    reader = Gate(lab.context).spool
    other = name.replace("dispatch-2", "dispatch-1")
    renamed = data.replace(name[:-5].encode(), other[:-5].encode())
    plant(lab, "failed/rec", name, renamed, os.geteuid())
    plant(lab, "done/rec", name, data, STRANGER)
    assert find(reader, name[:-5]).place == Place("approved")
    assert find(reader, name[-13:-5]).place == Place("approved")
    assert drain([Gate(lab.context)], lab.context) == 0
    assert [path.name for path in lab.files("queued")] == [name]
