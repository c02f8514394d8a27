"""SIGKILL at a call that a stage makes: nothing lost, nothing twice, nothing half done.

Each run takes a sample of the calls, chosen by `SPOOLD_SEED`; `SPOOLD_MATRIX=full` takes all.
"""

import pytest

from spoold.states import FOLDERS, MOVES, Role
from tests.crash import FULL, dice
from tests.crash.matrix_laws import moved, unsynced
from tests.crash.matrix_scenarios import STAGES, VERBS, some

pytestmark = pytest.mark.timeout(900)

#: How many kills a scenario gets.
KILLS = 24


def chosen(made, scenario):
    """The calls of this run."""
    limit = len(made.changing) if FULL else KILLS // scenario.again
    return dice("kill", scenario).sample(made.changing, min(limit, len(made.changing)))


@pytest.mark.parametrize("scenario", [*STAGES, *some(VERBS)], ids=str)
def test_a_kill_at_any_call_breaks_no_law(matrix, scenario):
    """Killed anywhere and restarted, each drop, request and effect is where it should be, once."""
    # What was recorded while the machine had a lot to do may be unlike any other run: once more.
    for _ in range(2):
        made = matrix(scenario)
        assert made.judge() == []
        points = chosen(made, scenario)
        report = made.kill(points)
        print(report)
        assert not report.problems, report
        if len(report.missed) <= scenario.may_miss * len(points):
            return
    pytest.fail(f"too few points came up again: {report}")


@pytest.fixture(scope="module")
def traces(matrix):
    """What strace saw of each scenario when nothing was disturbed."""
    return [
        (scenario.name, scenario.role, made.clean.calls, str(made.site.root))
        for scenario in (*STAGES, *VERBS)
        for made in [matrix(scenario)]
    ]


#: Arrows of moves that have their own tests: agents' ends, cancellations, reports.
ELSEWHERE = {
    (Role.PERSON, "tmp", "cancel"), (Role.EXECUTE, "cancel", "held-by-executor"),
    (Role.REPORT, "tmp", "inbox"), (Role.HEALTH, "tmp", "inbox"),
    (Role.PERSON, "held", "done"), (Role.PERSON, "held", "failed"),
    *((Role.PERSON, "held-by-executor", target)
      for target in ("awaiting-approval", "rejected", "done", "failed")),
}  # fmt: skip


def test_the_matrix_has_every_arrow_of_the_table(traces):
    """Together the scenarios make every move that the table gives to a stage or a person."""
    made = {(role, *arrow) for _, role, calls, root in traces for arrow in moved(calls, root)}
    for _, source, target in made:
        assert source in FOLDERS
        assert target in FOLDERS
    assert made == {(move.who, move.source, move.target) for move in MOVES} - ELSEWHERE


def test_nothing_gets_a_name_before_its_content_is_durable(traces):
    """In the trace of every stage each draft is synced between its last write and its rename."""
    assert {name: [*unsynced(calls, root)] for name, _, calls, root in traces} == {
        name: [] for name, *_ in traces
    }


def test_a_kill_comes_before_the_call_that_it_is_for(matrix):
    """A stage that is killed at a rename has made every call before it, and not that one."""
    (sweep,) = (scenario for scenario in STAGES if scenario.name == "sweep")
    made = matrix(sweep)
    (rename,) = (p for p in made.changing if p.signature.startswith("renameat2(~/deferred/"))
    assert made.kill([rename]).missed == []
    made.leave(rename)
    (path,) = made.site.find("later-1")
    assert path.parent.parent.name == "deferred"
    made.leave(made.changing[made.changing.index(rename) + 1])
    (path,) = made.site.find("later-1")
    assert path.parent.parent.name == "queued"
