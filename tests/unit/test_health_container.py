"""What is known of a container after each check, and when a restart is asked for."""

import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from spoold.config.settings import HealthTable
from spoold.health.container import Check, Transition
from spoold.health.history import DONE, NEVER, UNKNOWN, Ended

#: When the first check is, and how long the next one waits.
BEGIN, PAUSE = datetime(2030, 1, 1, tzinfo=UTC), timedelta(seconds=30)
UP, DOWN, SILENT = {"passed": True}, {"passed": False}, {"passed": None}
STOPPED, NOT_STOPPED = {**DOWN, "stopped": True}, {**DOWN, "stopped": False}
#: When a container that fails was started: long ago, or after whatever was asked for.
OLD, NEW = (
    {**DOWN, "startedAt": "2020-01-01T00:00:00Z"},
    {**DOWN, "startedAt": "2040-01-01T00:00:00Z"},
)
#: The container is not there; an hour goes by.
GONE, HOUR = "gone", "hour"

STOP = Ended("2026-01-01", "stop", DONE)
PERHAPS = Ended("2026-01-01", "stop", UNKNOWN)
DELETE = Ended("2026-01-01", "delete", DONE)

#: What is seen check by check → what is known at the end; None is nothing.
STORIES = {
    "two failures are not three": ([DOWN] * 2, {"failures": 2, "wishes": 0}),
    "three in a row": ([DOWN] * 3, {"failures": 0, "wishes": 1}),
    "a pass begins the count anew": ([DOWN, DOWN, UP, DOWN, DOWN], {"failures": 2, "wishes": 0}),
    "nothing found out is no failure": ([SILENT] * 9, {"passed": None, "failures": 0, "wishes": 0}),
    "nothing found out ends no count": ([DOWN, DOWN, *[SILENT] * 5, DOWN], {"wishes": 1}),
    "too often": ([DOWN] * 12, {"wishes": 2, "note": "asked for too often; a person must look"}),
    "an hour closes the breaker": ([*[DOWN] * 12, HOUR, DOWN], {"wishes": 3, "asks": 1}),
    "what works for a moment after each restart": (
        [*[DOWN] * 3, UP] * 6,
        {"wishes": 2, "asks": 2, "passed": True, "failures": 0, "since": None},
    ),
    "only time closes the breaker": ([*[DOWN] * 3, UP, HOUR, UP], {"asks": 0, "wishes": 1}),
    "what was asked for waits": (
        [OLD] * 20,
        {"wishes": 1, "note": "asked for at 2030-01-01T00:01:00.000000+00:00, and not done yet"},
    ),
    "it was done and fails again": ([*[OLD] * 20, NEW], {"wishes": 2}),
    "a request stopped it, says the container": (
        [STOPPED] * 5,
        {"stopped": True, "failures": 0, "since": None, "wishes": 0},
    ),
    "failures before a stop are forgotten": (
        [NOT_STOPPED, NOT_STOPPED, STOPPED, NOT_STOPPED],
        {"failures": 1, "wishes": 0},
    ),
    "a stop is no failure of what comes after": (
        [UP, *[STOPPED] * 5, NOT_STOPPED],
        {"failures": 1, "wishes": 0},
    ),
    "gone for the first time is not known": (
        [UP, GONE],
        {"passed": None, "failures": 0, "since": None, "gone": True, "message": "it is gone"},
    ),
    "gone for the second time is a failure": ([UP, GONE, GONE], {"passed": False, "failures": 1}),
    "for what is gone nobody is asked": ([UP, *[GONE] * 9], {"failures": 8, "wishes": 0}),
    "gone is no failure of what comes after": (
        [UP, *[GONE] * 5, NOT_STOPPED],
        {"failures": 1, "wishes": 0, "gone": False},
    ),
    "made again": ([UP, GONE, UP], {"passed": True, "failures": 0, "message": "", "note": ""}),
    "what never worked goes with its create": ([DOWN, GONE], None),
}
#: The same, where requests have done something to it before.
AFTER_REQUESTS = {
    "the container's word counts before": (STOP, [NOT_STOPPED] * 3, {"wishes": 1}),
    "a request stopped it, says done/": (
        STOP,
        [DOWN] * 5,
        {"wishes": 0, "stopped": True, "note": "it was stopped by a request"},
    ),
    "a stop may have worked": (
        PERHAPS,
        [DOWN] * 5,
        {"wishes": 0, "stopped": False, "note": "a stop in unknown/ has stopped it, perhaps"},
    ),
    "what a request made is missed": (STOP, [DOWN, GONE], {"gone": True}),
    "what a request deleted is not missed": (DELETE, [UP, GONE], None),
}


def follow(checks, last=NEVER, *, inbox="tasks", deleted=False):
    """What is known after some checks, and how many restarts were asked for on the way."""
    table = HealthTable.model_validate(
        {"inbox": inbox, "breaker": {"restarts": 2, "within": "1h"}}, strict=False
    )
    history = SimpleNamespace(last=lambda _: last, is_deleted_elsewhere=lambda *_: deleted)
    now, known, asked = BEGIN, {}, 0
    for seen in checks:
        if seen == HOUR:
            now += timedelta(hours=1)
            continue
        found = [] if seen == GONE else [Check.of({"name": "n", "customer": "c", **seen})]
        after, due = Transition(table, history, now).after(known, found)
        known = {one.name: one for one in after}
        asked += len(due)
        now += PAUSE
    return known.get("n"), asked


@pytest.mark.parametrize(
    ("last", "checks", "wanted"),
    [(NEVER, *story) for story in STORIES.values()] + [*AFTER_REQUESTS.values()],
    ids=[*STORIES, *AFTER_REQUESTS],
)
def test_what_is_known_follows_from_what_was_seen(last, checks, wanted):
    """Each story ends as the table says, and every restart that is counted was asked for once."""
    known, asked = follow(checks, last)
    if wanted is None:
        assert known is None
        return
    found = {**dataclasses.asdict(known), "asks": len(known.asked)}
    assert {key: found[key] for key in wanted} == wanted
    assert asked == known.wishes


def test_without_an_inbox_nobody_is_asked():
    """`spoold health` may also only look."""
    known, asked = follow([DOWN] * 4, inbox=None)
    assert (asked, known.note) == (0, "no inbox is configured to ask for a restart")


def test_what_another_executor_has_deleted_is_not_missed():
    """Two executors may have one engine."""
    assert follow([UP, GONE], deleted=True)[0] is None
