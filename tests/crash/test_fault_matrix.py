"""EIO, ENOSPC or EMFILE at a call that a stage makes: it stops in words, or it goes on.

Each run takes a sample of the calls, and one error for each; `SPOOLD_MATRIX=full` takes all of
both. `SPOOLD_SEED` gives the same sample again.
"""

import pytest

from tests.crash import FULL, dice
from tests.crash.matrix_scenarios import STAGES, VERBS, some

pytestmark = pytest.mark.timeout(1800)

#: How many calls fail in a scenario: those that change something, and those that only read.
CHANGING, READS = 20, 6


def chosen(made, scenario):
    """The calls of this run, each with an error."""
    faults = [(point, error) for point in made.points for error in made.errors(point)]
    if FULL:
        return faults
    luck = dice("fault", scenario)
    one_each = dict(luck.sample(faults, len(faults)))
    changing = [fault for fault in one_each.items() if fault[0].changes]
    reading = [fault for fault in one_each.items() if not fault[0].changes]
    return changing[: CHANGING // scenario.again] + reading[: READS // scenario.again]


@pytest.mark.parametrize("scenario", [*STAGES, *some(VERBS)], ids=str)
def test_a_fault_at_any_call_breaks_no_law(matrix, scenario):
    """A call fails once: no law is broken, and the stage says what it met or simply goes on."""
    made = matrix(scenario)
    faults = chosen(made, scenario)
    report = made.fail(faults)
    print(report)
    assert not report.problems, report
    assert len(report.missed) <= max(scenario.may_miss * len(faults), 1), report
