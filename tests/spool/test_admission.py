"""What comes out of a queue runs only if it is what the gate put there, and has not run yet."""

import orjson
import pytest

from spoold.service.drain import drain
from spoold.stages.execute import Execute
from spoold.testing import Lab
from tests.conftest import queue, route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}
OTHER = "dispatch-20260101T000000Z-any-00000000.json"
TWO = Lab.SETTINGS + '[executors.other]\nkind = "recorder"\n'


@pytest.mark.parametrize(
    "status",
    ["awaiting-approval", "pre-approved", "running", "held", "unknown", "done", "failed"],
)
def test_what_says_that_it_is_not_queued_does_not_run(lab, status):
    """A request in a queue that says of itself to be elsewhere in its life is held as replayed."""
    assert held(lab, changed(queue(lab, CUTOVER), status=status)) == "replayed"


def changed(path, **fields):
    """Change fields of a request in its file, spelled as spoold would."""
    made = orjson.loads(path.read_bytes()) | fields
    path.write_bytes(orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


def held(lab, path):
    """The code with which its executor holds the one request in a queue; nothing runs."""
    assert drain([Execute(lab.context, path.parent.name)], lab.context) == 0
    assert lab.recorder.calls == []
    return lab.reason(lab.only("held"))["code"]


@pytest.mark.parametrize("where", [f"rec/{OTHER}", "other/{name}"])
def test_a_request_runs_under_its_own_name_by_its_own_executor(make_lab, where):
    """A request that was renamed within the queues, or moved to another one, is held."""
    lab = make_lab(route(), toml=TWO)
    queued = queue(lab, CUTOVER)
    moved = queued.rename(lab.root / "queued" / where.format(name=queued.name))
    assert held(lab, moved) == "not-a-request"


@pytest.mark.parametrize("field", ["params", "approvals"])
def test_neither_the_action_nor_a_yes_can_be_changed_in_the_queue(lab, field):
    """Where the executor can read the key, it checks both seals once more."""
    queued = queue(lab, CUTOVER)
    now = orjson.loads(queued.read_bytes())
    to = {"params": {"say": "evil"}, "approvals": [{**now["approvals"][0], "by": "root"}]}
    assert held(lab, changed(queued, **{field: to[field]})) == "altered"


def test_an_executor_that_is_to_stop_starts_nothing(lab):
    """Once it is told to stop, what is queued stays where it is for the next start."""
    queued = queue(lab, CUTOVER)
    execute = Execute(lab.context, "rec")
    lab.context.stop.set()
    execute.step()
    assert queued.exists()
    assert execute.jobs.running == {}
