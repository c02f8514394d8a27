"""What the benchmarks compare, how they compare it, and what they make of it."""

import json
import os
from pathlib import Path

import pytest

from benchmarks import bare, crowd, records, report, site, volume
from benchmarks.report import Survival, Target
from benchmarks.rounds import Contender, percentile, ratio, take_turns


def contender(key, *rates):
    """One that has run already."""
    return Contender(key, key.upper(), 10, lambda _: 1.0, rates=list(rates))


# Numbers


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3, 1, 2], 0.5, 2), ([1, 2, 3, 4], 0.5, 2), (range(1, 101), 0.99, 99), ([7], 0.5, 7),
     (range(1, 101), 1.0, 100), ([1, 2], 0.99, 2)],
)  # fmt: skip
def test_a_percentile_is_a_value_that_was_measured(values, share, expected):
    """The p-th percentile is the smallest value that p percent of the values do not exceed."""
    assert percentile(list(values), share) == expected


def test_a_ratio_pairs_what_ran_in_the_same_round():
    """A round in which the machine is slow counts as one round, whoever it hurts otherwise."""
    quick = contender("quick", 200.0, 40.0, 60.0)
    slow = contender("slow", 100.0, 10.0, 120.0)
    assert ratio(quick, slow) == 2.0


def test_contenders_take_turns(tmp_path):
    """Each runs once a round in a fresh folder, and no order is kept for two rounds."""
    order = []

    def runs(key):
        def run(folder):
            assert os.listdir(folder) == []
            order.append(key)
            return 0.5

        return run

    found = [Contender(key, key, 10, runs(key)) for key in "ab"]
    take_turns(found, 3, tmp_path)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found[0].rates == [20.0, 20.0, 20.0]
    assert len(os.listdir(tmp_path)) == 6  # all stay: a removed inode slows down the next


def test_three_rounds_are_run_however_long_they_take(tmp_path):
    """When time is up no further round begins, but a median of fewer than three is none."""
    found = [Contender("a", "a", 10, lambda _: 0.5)]
    take_turns(found, 9, tmp_path, seconds=0.0)
    assert len(found[0].rates) == 3


@pytest.mark.parametrize(
    ("value", "at_most", "verdict"),
    [(0.4, False, "MISSED"), (0.5, False, "pass"), (0.8, False, "aim reached"),
     (5.1, True, "MISSED"), (5.0, True, "pass"), (2.0, True, "aim reached")],
)  # fmt: skip
def test_a_target_is_missed_passed_or_aimed_at(value, at_most, verdict):
    """A limit counts as reached by the very value; for a duration less is better."""
    limits = (5.0, 2.0) if at_most else (0.5, 0.8)
    target = Target("speed", value, *limits, at_most=at_most)
    assert target.verdict == verdict
    assert target.passed == (verdict != "MISSED")


# Tables


def test_the_table_of_rates_has_a_line_for_each_contender():
    """Each line has the median, the lowest and the highest rate, and what a job survives."""
    survivals = {
        "quick": Survival("yes", survives_kill=True, syncs=3.0),
        "slow": Survival("no", survives_kill=False, syncs=0.0),
    }
    found = [contender("quick", 1234.4, 1000.0, 2000.0), contender("slow", 2.0, 1.0, 3.0)]
    lines = list(report.rates_table("RATES", found, survivals))
    assert lines[1].split() == ["QUICK", "1,234", "1,000", "2,000"]
    assert lines[2].split() == ["SLOW", "2", "1", "3"]
    assert "synced (3.0 a record)" in lines[4]
    assert "nothing is synced" in lines[5]


def test_what_could_not_be_tried_is_not_claimed():
    """Without strace nothing is said about a power cut, rather than that nothing is synced."""
    assert Survival("yes", survives_kill=True, syncs=None).power == "not tried: no strace"


def test_the_table_of_targets_says_which_is_missed():
    """Every target has a line with its value, both limits with their direction, and a verdict."""
    targets = [Target("fast", 0.4, 0.5, 0.8), Target("soon", 3.0, 5, 5, " ms", at_most=True)]
    lines = list(report.targets_table(targets))
    assert lines[1].split() == ["fast", "0.4", "≥", "0.5", "≥", "0.8", "MISSED"]
    assert lines[2].split() == ["soon", "3", "ms", "≤", "5", "ms", "≤", "5", "ms", "aim", "reached"]


def test_the_figures_are_json():
    """All that the tables say is in the JSON, with every single round."""
    figures = {
        "rates": report.rates_json([contender("quick", 2.0, 1.0, 3.0)]),
        "targets": report.targets_json([Target("fast", 0.4, 0.5, 0.8)]),
        "survival": report.survivals_json(
            {"quick": Survival("yes", survives_kill=True, syncs=3.0)}
        ),
    }
    read = json.loads(json.dumps(figures))
    assert read["rates"]["quick"]["rounds"] == [2.0, 1.0, 3.0]
    assert read["rates"]["quick"]["records_per_second"] == 2.0
    assert read["targets"][0]["passed"] is False
    assert read["survival"]["quick"]["power"] == "synced (3.0 a record)"


# Work


def test_records_are_as_large_as_real_ones_and_each_is_an_event_of_its_own():
    """Records have 0.5 to 1.6 KB, the same for the same seed, and never an id twice."""
    found = records.decisions(50, "run")
    assert all(500 <= len(record) <= 1600 for record in found)
    ids = {json.loads(r)["decision_id"] for r in [*found, *records.decisions(50, "other")]}
    assert len(ids) == 100
    assert found == records.decisions(50, "run")
    assert found != records.decisions(50, "run", seed=1)


@pytest.mark.parametrize(
    "work", [bare.intake_grouped(2), bare.intake_one_by_one], ids=["grouped", "one by one"]
)
def test_the_bare_calls_do_the_work_of_intake(tmp_path, work):
    """Without a thought every original gets to the archive, and every request waits."""
    drops, requests = [b"a", b"b", b"c"], [b"A", b"B", b"C"]
    bare.measure(work, bare.plant(tmp_path / "tree", drops, requests))
    assert contents(tmp_path / "tree") == {"archive": drops, "awaiting": requests}


def test_the_bare_calls_do_the_work_of_all_stages(tmp_path):
    """Without a thought every request goes through every folder, and ends in done."""
    drops, requests = [b"a", b"b"], [b"A", b"B"]
    bare.measure(bare.pipeline_one_by_one, bare.plant(tmp_path / "tree", drops, requests))
    assert contents(tmp_path / "tree") == {"archive": drops, "done": requests}


@pytest.mark.parametrize(
    "work", [bare.simple_unsynced, bare.simple_synced, bare.simple_grouped],
    ids=["unsynced", "synced", "grouped"],
)  # fmt: skip
def test_the_simple_loops_leave_one_file_for_each_drop(tmp_path, work):
    """Read, write, rename, unlink: what was dropped is gone, and what it became is there."""
    drops, requests = [b"a", b"b"], [b"A", b"B"]
    bare.measure(work, bare.plant(tmp_path / "tree", drops, requests))
    assert contents(tmp_path / "tree") == {"awaiting": requests}


def contents(root):
    """What each folder holds that holds anything, by the names of the files."""
    found = {
        folder.name: [file.read_bytes() for file in sorted(folder.iterdir())]
        for folder in root.iterdir()
        if folder.is_dir()
    }
    return {name: files for name, files in found.items() if files}


def test_a_fresh_file_system_is_gone_afterwards(tmp_path):
    """Where the bench works is empty, and what was mounted and written for it does not stay."""
    with volume.fresh(tmp_path) as folder:
        assert set(os.listdir(folder)) <= {"lost+found"}
        (folder / "file").write_bytes(b"x")
        assert tmp_path in folder.parents
    assert os.listdir(tmp_path) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_services_do_what_is_measured(tmp_path):
    """A process for each stage takes every drop to done, and all of them end."""
    made = site.Site(tmp_path / "site", site.RECORDER_64, approval=False)
    made.drop_all(records.names(3, "w"), records.decisions(3, "w"))
    measured = made.services(3)
    assert measured["calls"] == len(made.names(site.DONE)) == 3
    assert measured["seconds"] > 0


@pytest.mark.parametrize("how", ["drained", "served"])
def test_a_worker_does_what_is_measured(tmp_path, how):
    """The stages that are timed take every drop to done, with one action for each."""
    made = site.Site(tmp_path / "site", site.RECORDER_64, approval=False)
    made.drop_all(records.names(3, "w"), records.decisions(3, "w"))
    measured = made.worker(how, "3")
    assert measured["calls"] == len(made.names(site.DONE)) == 3
    assert measured["seconds"] > 0


def test_a_crowd_is_made_of_real_requests(tmp_path):
    """A request that was made in bulk is listed, is sealed, and runs when it is approved."""
    made = site.Site(tmp_path / "site")
    crowd.fill(made, waiting=3, done=2)
    assert (len(made.names("awaiting-approval")), len(made.names(site.DONE))) == (4, 3)
    for name in made.names("awaiting-approval"):
        (made.root / "awaiting-approval" / name).rename(made.root / "approved" / name)
    made.spoold("run", "--drain")
    assert (len(made.names("held")), len(made.names(site.DONE))) == (0, 7)
