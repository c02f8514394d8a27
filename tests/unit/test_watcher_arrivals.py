"""What events announce and what scans find: how many events were missed."""

import time
from types import SimpleNamespace

import pytest

from spoold.stages import arrivals as _arrivals
from spoold.stages.arrivals import Arrivals
from spoold.stages.intake import Intake

INBOX, OTHER = "/spool/inbox/decisions", "/spool/inbox/tasks"


@pytest.fixture
def fresh(monkeypatch):
    """Arrivals that are watched, and that wait for no event; no scan has been yet."""
    monkeypatch.setattr(_arrivals, "_GRACE", 0.0)
    made = Arrivals()
    made.begin()
    return made


@pytest.fixture
def arrivals(fresh):
    """The same after a scan."""
    scan(fresh)
    return fresh


def stopped_clock(monkeypatch):
    """A clock that goes on only when it is told to."""
    clock = SimpleNamespace(now=1000.0, time=time.time)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr(_arrivals, "time", clock)
    return clock


def scan(arrivals, *names, folder=INBOX):
    """A scan of two inboxes that finds some new files in one of them."""
    since = arrivals.scanning([INBOX, OTHER])
    arrivals.found(folder, names)
    return since


def missed(arrivals):
    """How many were missed, once all events have come that will."""
    arrivals.settle()
    return arrivals.missed


def test_a_file_that_no_event_announced_is_missed_once(arrivals):
    """It counts when a scan finds it, and not again."""
    scan(arrivals, "a", "b")
    assert missed(arrivals) == 2
    scan(arrivals)
    assert missed(arrivals) == 2


def test_a_file_that_was_announced_is_not_missed(arrivals):
    """Announced once is enough, however many names there are."""
    arrivals.announced(INBOX, ["a"])
    arrivals.announced(INBOX, ["b", "c"])
    scan(arrivals, "a", "b", "d")
    assert missed(arrivals) == 1


def test_an_event_may_come_after_the_scan(arrivals, monkeypatch):
    """A scan can be faster than the event; only what is not announced a while later is missed."""
    clock = stopped_clock(monkeypatch)
    monkeypatch.setattr(_arrivals, "_GRACE", 2.0)
    scan(arrivals, "a", "b")
    assert missed(arrivals) == 0
    arrivals.announced(INBOX, ["a"])
    clock.now += 3.0
    assert missed(arrivals) == 1


def test_what_is_announced_while_a_scan_looks_counts_for_the_next_one(arrivals):
    """A name that a scan did not see yet, though it was announced, is no surprise afterwards."""
    arrivals.scanning([INBOX])
    arrivals.announced(INBOX, ["late"])
    arrivals.found(INBOX, [])
    scan(arrivals, "late")
    assert missed(arrivals) == 0


def test_names_are_forgotten_after_the_next_scan(arrivals):
    """What was announced and never found costs memory only for a while."""
    arrivals.announced(INBOX, [f"{n}" for n in range(1000)])
    scan(arrivals)
    scan(arrivals, "7")
    assert missed(arrivals) == 1


def test_more_names_than_can_be_remembered_are_not_counted(arrivals, monkeypatch):
    """Memory has a bound; beyond it nothing is said to be missed that may not have been."""
    monkeypatch.setattr(_arrivals, "_MOST", 100)
    arrivals.announced(INBOX, [f"{n}" for n in range(1000)])
    assert len(arrivals._announced) == 100
    scan(arrivals, *(f"{n}" for n in range(500, 1000)))
    assert missed(arrivals) == 0
    scan(arrivals)
    scan(arrivals, "new")
    assert missed(arrivals) == 1


def test_two_inboxes_are_kept_apart(arrivals):
    """The same name in another inbox is another file; a folder that is no inbox costs nothing."""
    arrivals.announced(OTHER, ["a"])
    arrivals.announced("/spool/queued/x", ["a"])
    assert len(arrivals._announced) == 1
    scan(arrivals, "a")
    arrivals.found(OTHER, ["a"])
    assert missed(arrivals) == 1


def test_where_nobody_watches_nothing_is_missed(monkeypatch):
    """A drain has no watcher, so no scan of it is compared with anything."""
    monkeypatch.setattr(_arrivals, "_GRACE", 0.0)
    arrivals = Arrivals()
    assert scan(arrivals, "a") == float("inf")
    scan(arrivals, "a")
    assert missed(arrivals) == 0


def test_a_scan_names_what_came_since_the_one_before():
    """The first one names nothing; the next what came since the first one began."""
    arrivals = Arrivals()
    arrivals.begin()
    assert arrivals.scanning([INBOX]) == float("inf")
    before = time.time()
    assert arrivals.scanning([INBOX]) <= before
    assert arrivals.scanning([INBOX]) >= before


def test_a_line_a_second_says_how_many_in_all(arrivals, said, monkeypatch):
    """Each line has what is new in its text and the sum as a field; in between there is silence."""
    clock = stopped_clock(monkeypatch)
    for number in range(5):
        scan(arrivals, f"{number}")
        arrivals.settle()
    assert [record.events_missed for record in said] == [1]
    clock.now += 2.0
    arrivals.settle()
    arrivals.settle()
    assert [record.events_missed for record in said] == [1, 5]
    assert {record.levelname for record in said} == {"WARNING"}
    assert "4 files" in said[1].getMessage()


def test_intake_says_what_is_new_and_nothing_of_a_backlog(lab, fresh):
    """However many drops lay there before it started, only those that came later are compared."""
    made = lab.context.for_stage()
    object.__setattr__(made, "arrivals", fresh)
    for number in range(20):
        lab.drop("decisions", f"{number}.json", {"decision_id": f"{number}"})
    intake = Intake(made)
    intake.recover()
    assert intake.step().moved == 20
    lab.drop("decisions", "missed.json", {"decision_id": "missed"})
    lab.drop("decisions", "seen.json", {"decision_id": "seen"})
    lab.drop("decisions", "not-taken", {})
    fresh.announced(str(lab.root / "inbox/decisions"), ["seen.json"])
    assert intake.step().moved == 2
    assert missed(fresh) == 1
    intake.step()
    assert missed(fresh) == 1
    intake.close()


def test_a_half_written_drop_that_waits_is_missed_at_most_once(lab, arrivals):
    """A file that many scans find before it is taken is compared when it is new, not later."""
    made = lab.context.for_stage()
    object.__setattr__(made, "arrivals", arrivals)
    intake = Intake(made)
    intake.recover()
    intake.step()
    lab.drop("decisions", "announced.json", b'{"half": ')
    arrivals.announced(str(lab.root / "inbox/decisions"), ["announced.json"])
    lab.drop("decisions", "missed.json", b'{"half": ')
    for _ in range(6):
        assert intake.step().moved == 0
    assert missed(arrivals) == 1
    intake.close()
