"""What a service misses and notices: bursts, replaced folders, hostile names, no inotify at all."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.crash import MEMORY
from tests.e2e.conftest import Site, argv, command, decision, route, until

MANY = 30_000
#: How long (seconds) a drop may take that an event announced: it did not wait for a scan.
SOON = 30.0


@pytest.fixture
def site():
    """A site whose requests wait, in memory where that can be had: the disk is not the subject."""
    with TemporaryDirectory(dir=MEMORY) as folder:
        made = Site(Path(folder))
        true = Path("/bin/true")
        # A scan that nothing asked for comes too late for any of these tests.
        made.configure(command(true), route("runner", params=argv(true)), rescan="60s")
        yield made
        made.close()


@pytest.fixture
def queue_limit(require):
    """How many events the kernel keeps for one that does not look."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    require(limit < MANY - 10_000, "max_queued_events small enough to be exceeded")
    return limit


def lines(site, word):
    """The log lines that say something, as data."""
    return [json.loads(line) for line in site.log().splitlines() if word in line]


def missed(site):
    """How many events the service says that it missed, in all."""
    said = lines(site, "events_missed")
    return said[-1]["events_missed"] if said else 0


def stage_drops(site, count, prefix="n"):
    """Drops that lie ready beside the inbox, so that a rename each is all that is left to do."""
    ready = site.folder / f"ready-{prefix}"
    ready.mkdir()
    names = [f"{prefix}-{number:05}.json" for number in range(count)]
    for name in names:
        (ready / name).write_text(json.dumps(decision(name)))
    return [ready / name for name in names]


def drop_all(site, files):
    """Rename them into the inbox."""
    for file in files:
        file.rename(site.root / "inbox/decisions" / file.name)


def waiting(site):
    """How many requests wait."""
    return site.count("awaiting-approval")


# Missed events


@pytest.mark.timeout(300)
def test_a_burst_that_the_kernel_does_not_keep_is_taken_and_counted(site, queue_limit):
    """30,000 drops on a stopped service: all are taken, and the log says how many were missed."""
    service = site.start("intake")
    files = stage_drops(site, MANY)
    site.drop_many(1)
    until(lambda: waiting(site) == 1, "it listens")
    service.send_signal(signal.SIGSTOP)
    drop_all(site, files)
    service.send_signal(signal.SIGCONT)
    until(lambda: waiting(site) == MANY + 1, "all are taken", 250)
    # What the kernel kept and a busy machine reads too late counts as missed, too.
    until(lambda: missed(site) > MANY - queue_limit - 100, "it says what it missed")
    assert lines(site, "events_missed")[0]["level"] == "WARNING"
    # It still listens.
    site.drop_many(1, first=1)
    until(lambda: waiting(site) == MANY + 2, "one more", SOON)
    assert missed(site) <= MANY
    assert len(lines(site, "events_missed")) <= 10


def test_nothing_is_missed_when_nothing_is_missed(site):
    """What lay there before, a fast producer, one that rewrites, one that takes back: no count."""
    files = stage_drops(site, 3000)
    site.root.mkdir(mode=0o700)
    (site.root / "inbox/decisions").mkdir(parents=True)
    drop_all(site, files[:1000])
    site.start("intake")
    drop_all(site, files[1000:])
    inbox = site.root / "inbox/decisions"
    for number in range(100):
        draft = inbox / f".{number}"
        draft.write_text(json.dumps(decision(f"dot-{number}")))
        draft.rename(inbox / f"dot-{number}.json")
        with (inbox / f"slow-{number}.json").open("w") as out:
            text = json.dumps(decision(f"slow-{number}"))
            out.write(text[:10])
            out.flush()
            out.write(text[10:])
        (inbox / f"back-{number}.txt").touch()
        (inbox / f"back-{number}.txt").unlink()
    until(lambda: waiting(site) == 3200, "all are taken", 60)
    time.sleep(3)
    assert missed(site) == 0
    assert lines(site, "WARNING") == []


# Another folder of that name


def remove(inbox):
    """`rm -r` and `mkdir`, or the service is faster with that."""
    shutil.rmtree(inbox)
    inbox.mkdir(exist_ok=True)


def move_away(inbox):
    """`mv` to another name, and `mkdir`."""
    inbox.rename(inbox.with_name(f"old-{time.monotonic_ns()}"))
    inbox.mkdir(exist_ok=True)


def move_over(inbox):
    """A new folder, with a drop in it, is moved over the old one that is empty."""
    fresh = inbox.with_name(".fresh")
    fresh.mkdir()
    name = f"inside-{time.monotonic_ns()}"
    (fresh / f"{name}.json").write_text(json.dumps(decision(name)))
    fresh.rename(inbox)


@pytest.mark.parametrize("replace", [remove, move_away, move_over])
def test_drops_into_a_replaced_inbox_are_taken_at_once(site, replace):
    """However the inbox is replaced, and however often, each drop before and after is taken soon.

    The last drop of each round comes at a moment of its own, from at once to half a second later.
    """
    site.start("intake")
    inbox, expected = site.root / "inbox/decisions", 0
    for number in range(6):
        site.drop_many(1, first=10 * number)
        expected += 1
        until(lambda n=expected: waiting(site) == n, "before", SOON)
        replace(inbox)
        expected += replace is move_over
        for more in range(1, 4):
            site.drop_many(1, first=10 * number + more)
        time.sleep(random.random() / 2)
        site.drop_many(1, first=10 * number + 9)
        expected += 4
        until(lambda n=expected: waiting(site) == n, f"after {replace.__name__}", SOON)
    assert len(lines(site, "gone")) <= 6


# Names that are no text


def test_names_that_are_not_utf8_hold_up_no_other(site):
    """100 at once, then one every 100 ms: all are set aside, nothing else waits for a scan."""
    site.start("run")
    inbox = os.fsencode(site.root / "inbox/decisions")
    ended = threading.Event()

    def hostile():
        for number in range(100):
            Path(os.fsdecode(inbox + b"/\xff%d.json" % number)).write_bytes(b"{}")
        number = 100
        while not ended.wait(0.1):
            Path(os.fsdecode(inbox + b"/\xfe%d.json" % number)).write_bytes(b"{}")
            number += 1
        return number

    thread = threading.Thread(target=hostile)
    thread.start()
    for number in range(40):
        time.sleep(0.08 + random.random() / 20)
        site.drop_many(1, first=number)
        until(lambda n=number: waiting(site) == n + 1, "taken all the same", SOON)
    ended.set()
    thread.join()
    until(lambda: not list(Path(os.fsdecode(inbox)).iterdir()), "all set aside", SOON)
    aside = site.files("quarantine")
    assert len(aside) >= 130
    for file in aside:
        assert json.loads(file.with_name(f"{file.name}.reason.json").read_bytes())["code"]
    other = [line for line in site.log().splitlines() if "quarantined" not in line]
    assert len([line for line in other if "WARNING" in line]) <= 5
    assert "Traceback" not in site.log()


# No inotify


class Poor(Site):
    """A site whose processes may watch nothing, until `enrich`."""

    LIMIT = "/proc/sys/user/max_inotify_instances"

    def words(self, *arguments):
        """A command line for this site."""
        poor = f'echo 0 >{self.LIMIT} && exec "$@"'
        return ["unshare", "-Ur", "sh", "-c", poor, "sh", *super().words(*arguments)]

    def enrich(self, process):
        """Let it watch."""
        inside = ["nsenter", f"--target={process.pid}", "--user", "--preserve-credentials"]
        subprocess.run([*inside, "sh", "-c", f"echo 99 >{self.LIMIT}"], check=True)


@pytest.fixture
def poor(require, tmp_path):
    """One that scans every half a second."""
    tried = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", f"echo 0 >{Poor.LIMIT}"], check=False, capture_output=True
    )
    require(tried.returncode == 0, "user namespaces with a limit on inotify")
    made = Poor(tmp_path)
    true = Path("/bin/true")
    made.configure(command(true), route("runner", params=argv(true)), rescan="500ms")
    yield made
    made.close()


def test_without_inotify_it_scans_and_says_so_once(poor):
    """With no inotify instance left, drops and yeses are found by scans; later by events again."""
    service = poor.start("run")
    for number in range(3):
        poor.drop_many(1, first=number)
        poor.approve(*poor.wait_for("awaiting-approval", seconds=SOON + 1))
        poor.wait_for("done", number + 1, seconds=SOON + 1)
    (said,) = lines(poor, "max_user_instances")
    assert said["level"] == "WARNING"
    assert "Too many open files" in said["message"]
    until(lambda: missed(poor) == 3, "the drops were all missed", 12)
    poor.enrich(service)
    until(lambda: lines(poor, "watching again"), "it watches", 15)
    before = missed(poor)
    poor.drop_many(20, first=100)
    poor.wait_for("awaiting-approval", 20)
    time.sleep(3)
    assert missed(poor) == before


# Cost


def test_an_idle_service_costs_next_to_nothing(site):
    """With thousands waiting and done: less than two hundredths of a processor, and no word."""
    service = site.start("run")
    site.drop_many(1)
    (one,) = site.wait_for("awaiting-approval")
    for number in range(5000):
        for folder in ("awaiting-approval", "done"):
            name = f"{one.stem[:-8]}{number:08x}.json"
            (site.root / folder / name).write_bytes(one.read_bytes())

    def used():
        fields = Path(f"/proc/{service.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_idle():
        before = used()
        time.sleep(1)
        return used() - before < 0.1

    until(is_idle, "it has read them", 60)
    said, before = site.log(), used()
    time.sleep(10)
    assert used() - before < 0.2
    assert site.log() == said
