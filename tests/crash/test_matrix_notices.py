"""The matrix is worth what it notices: with a law broken on purpose it must say so."""

import pytest

from tests.crash.matrix_laws import unsynced
from tests.crash.matrix_run import workshop
from tests.crash.matrix_scenarios import STAGES

pytestmark = pytest.mark.timeout(600)


def scenario(name):
    """One of the scenarios."""
    (found,) = (scenario for scenario in STAGES if scenario.name == name)
    return found


@pytest.mark.parametrize(
    ("law", "name", "says"),
    [
        ("unlink_and_rename", "gate", "in no state"),
        ("link_and_unlink", "sweep", "is in "),
        ("copy_and_unlink", "sweep", "is in |is no request|half-written"),
        ("the_original_goes_first", "intake-copies", "made no request"),
        ("the_index_is_first", "intake-copies", "made no request"),
        ("what_is_in_doubt_is_repeated", "execute-command", "was carried out 2 times"),
        ("the_attempt_is_not_recorded", "execute-command", "was carried out 2 times"),
    ],
)
def test_kills_find_a_broken_law(strace, law, name, says):
    """A law that only a kill at the wrong moment breaks is found broken, and named."""
    with workshop(strace, law) as matrix:
        made = matrix(scenario(name))
        assert made.judge() == [], "nothing is wrong as long as nothing is killed"
        report = made.first_problem(made.kill)
    print(report)
    assert report is not None
    assert any(words in str(report) for words in says.split("|")), report


def test_faults_find_a_sync_that_is_tried_again(strace):
    """A failed sync that is repeated until it succeeds is found in the trace."""
    with workshop(strace, "a_failed_sync_is_tried_again") as matrix:
        made = matrix(scenario("gate"))
        report = made.first_problem(lambda points: made.fail((point, "EIO") for point in points))
    assert "synced again after a failure" in str(report)


def test_a_trace_shows_that_nothing_was_synced(strace):
    """A draft that gets its name with its content still in memory is found in the trace."""
    with workshop(strace, "data_is_not_synced") as matrix:
        made = matrix(scenario("gate"))
        assert [*unsynced(made.clean.calls, str(made.site.root))]
