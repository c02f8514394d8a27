"""EIO, ENOSPC and EMFILE at every call that a stage makes: it stops in words, or it goes on.

Of a few hundred calls in one scenario a part is chosen at random. `SPOOLD_MATRIX=full` leaves none
out, which takes half an hour; `SPOOLD_MATRIX_SEED` chooses again what an earlier run chose.
"""

import os
import random
import secrets

import pytest

from spoold.states import Role
from tests.crash.matrix_run import workshop
from tests.crash.matrix_scenarios import STAGES, VERBS

pytestmark = pytest.mark.timeout(1800)

FULL = os.environ.get("SPOOLD_MATRIX") == "full"
SEED = os.environ.get("SPOOLD_MATRIX_SEED") or secrets.token_hex(4)
#: How many calls fail, of one scenario in one way: those that change something, of which a run
#: after a crash makes mostly the same again; and those that only read.
CHANGING, SECOND_RUN, READS = 80, 25, 8
#: Threads make their calls in another order each time, so that some points do not come up again.
MAY_MISS = 0.3


@pytest.fixture(scope="module")
def matrix(strace):
    """Makes the matrix of a scenario."""
    with workshop(strace) as make:
        yield make


def chosen(scenario, points, chance):
    """The points of this run."""
    changing = [point for point in points if point.changes]
    reading = [point for point in points if not point.changes]
    if FULL:
        return points
    limit = SECOND_RUN if scenario.left_at else CHANGING
    return [
        *chance.sample(changing, min(limit, len(changing))),
        *chance.sample(reading, min(READS, len(reading))),
    ]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EMFILE"])
@pytest.mark.parametrize("scenario", [*STAGES, *VERBS], ids=str)
def test_a_fault_at_any_call_breaks_no_law(matrix, scenario, error):
    """A call fails once: no law is broken, and the stage says what it met or simply goes on."""
    print(f"SPOOLD_MATRIX_SEED={SEED}")
    made = matrix(scenario)
    points = chosen(scenario, made.can_fail(error), random.Random(f"{SEED} {scenario} {error}"))
    report = made.fail(points, error)
    print(report)
    assert not report.problems, report
    may_miss = MAY_MISS if scenario.role is Role.EXECUTE else 0
    assert len(report.missed) <= max(may_miss * len(points), 1), report
