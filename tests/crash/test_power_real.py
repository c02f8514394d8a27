"""The power goes while records flow, on a real file system: a copy of its disk at some moment."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.crash import FULL
from tests.crash.power_mounts import Cuttable, missing
from tests.e2e.conftest import PRE_APPROVED, Site, argv, command, decision, route, until
from tests.invariants import picture, requests, violations

CUTS = int(os.environ.get("SPOOLD_POWER_CUTS", "20" if FULL else "6"))
#: What was seen this long (seconds) before a cut was acknowledged: no group of syncs takes longer.
ACKNOWLEDGED = 1.0
#: What needs no person; all else waits for one.
CUTOVER = """'record.facts.decision_type == "cutover"'"""
#: Starts the service with a law broken on purpose.
BREAKING = """
import sys
from tests.crash.broken_laws import BREAKS
BREAKS[sys.argv.pop(1)]()
from spoold.cli import main
main()
"""


@dataclass
class Flow:
    """Records that flow through a service, and what the world outside sees of them."""

    site: Site
    notes: Path
    chance: random.Random
    tried: list[bytes] = field(default_factory=list)
    dropped: list[bytes] = field(default_factory=list)
    seen: dict[str, float] = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)

    def produce(self) -> None:
        """Drop groups of records, each durable before it counts as dropped, with pauses between."""
        while not self.stop.is_set():
            for _ in range(self.chance.choice((1, 2, 5, 20, 40))):
                number = len(self.tried)
                kind = self.chance.choice(("cutover", "cutover", "failback"))
                data = json.dumps(decision(number, decision_type=kind)).encode()
                self.tried.append(data)
                self._drop(f"d-{len(self.tried):05}.json", data)
                self.dropped.append(data)
            self.stop.wait(self.chance.random() ** 2 * 2)

    def _drop(self, name: str, data: bytes) -> None:
        inbox = self.site.root / "inbox/decisions"
        draft = self.site.folder / name
        draft.write_bytes(data)
        _sync(draft)
        draft.rename(inbox / name)
        _sync(inbox)

    def watch(self) -> None:
        """Note when an original was first seen archived, or a request waiting or done."""
        root = self.site.root
        while not self.stop.wait(0.02):
            for pattern in ("archive/*/2*/*", "awaiting-approval/*", "done/*/*"):
                for path in root.glob(pattern):
                    self.seen.setdefault(str(path.relative_to(root)), time.monotonic())

    def noted(self) -> list[str]:
        """The actions that took effect: `key attempt argument`."""
        return self.notes.read_text().splitlines()


@dataclass(frozen=True)
class Moment:
    """What had to be on the disk when the power went."""

    dropped: list[bytes]
    noted: list[str]
    promised: list[str]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    getattr(os, "fsync")(descriptor)  # noqa: B009 - a producer syncs what it drops
    os.close(descriptor)


@pytest.fixture
def undo():
    """Unmounts and detaches at the end, whatever happened."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def folder(undo, tmp_path):
    """Where the disks lie: in memory, if there is room."""
    roomy = os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 << 30
    memory = "/dev/shm" if roomy else tmp_path
    return Path(undo.enter_context(tempfile.TemporaryDirectory(dir=memory)))


def cut_while_it_runs(disk, notes, chance, cuts, law=""):
    """Let records flow, and cut the power again and again: the disks, with what they must have."""
    notes.touch()
    program = notes.with_name("act")
    program.write_text(
        f'#!/bin/sh\necho "$SPOOLD_DISPATCH_ID $SPOOLD_ATTEMPT $1" >> {notes}\n', encoding="utf-8"
    )
    program.chmod(0o755)
    site = Site(disk.mount)
    act = argv(program, "=record.id")
    auto = route("runner", PRE_APPROVED, params=act).replace('"true"', CUTOVER)
    asks = route("runner", params=act).replace('"cutover"', '"asks"')
    site.configure(command(program, "concurrency = 4"), auto, asks)
    site.drain()
    subprocess.run(["sync", "-f", disk.mount], check=True)
    flow = Flow(site, notes, chance)
    words = site.words("run")
    if law:
        words = [sys.executable, "-c", BREAKING, law, *words[3:]]
    log = notes.with_name("service.log").open("wb")
    service = subprocess.Popen(words, env=site.env, cwd="/", stdout=log, stderr=log)
    threads = [threading.Thread(target=work) for work in (flow.produce, flow.watch)]
    moments = []
    try:
        for thread in threads:
            thread.start()
        until(lambda: len(flow.noted()) > 20, "records flow", seconds=60)
        for number in range(cuts):
            time.sleep(0.3 + chance.random())
            now = time.monotonic()
            promised = [name for name, at in list(flow.seen.items()) if now - at > ACKNOWLEDGED]
            moment = Moment(list(flow.dropped), flow.noted(), promised)
            moments.append((disk.cut(number), moment, list(flow.tried)))
        assert service.poll() is None, log.name
    finally:
        flow.stop.set()
        service.kill()
        service.wait()
        log.close()
        for thread in threads:
            thread.join()
    time.sleep(0.2)  # what the service had started ends by itself
    disk.close()
    return moments


def judge(root, notes, moment, tried):
    """Recover a disk; what is wrong then."""
    site = Site(root.parent)
    found = Counter(path.read_bytes() for path in root.rglob("d-*.json") if path.is_file())
    unsure = [data for data in tried if data not in moment.dropped and found[data]]
    before = notes.read_text().splitlines()
    ended = site.spoold("run", "--drain", ok=False)
    if ended.returncode:
        return [f"the restart ended with {ended.returncode}: {ended.stderr}"]
    again = notes.read_text().splitlines()[len(before) :]
    calls = {line.split()[0]: [] for line in [*moment.noted, *again]}
    for line in [*moment.noted, *again]:
        calls[line.split()[0]].append(line.partition(" ")[2].encode())
    wrong = violations(root, [*moment.dropped, *unsure], calls)
    wrong += [f"{line} took effect twice" for line in {*moment.noted} & {*again}]
    wrong += [f"{name} was acknowledged" for name in moment.promised if not (root / name).exists()]
    known = {path.stem for state, path in requests(root) if state in ("done", "unknown")}
    wrong += [
        f"{line} took effect, and no request knows" for line in moment.noted
        if line.split()[0] not in known
    ]  # fmt: skip
    seen = picture(root)
    site.drain()
    changed = sorted(path for path, _ in seen.items() ^ picture(root).items())
    return [*wrong, *(f"a second restart changed {path}" for path in changed)]


def cut_and_judge(kind, folder, undo, notes, chance, cuts, law=""):
    """All that is wrong after any of the cuts, and what was acknowledged in all of them."""
    disk = Cuttable(kind, folder, undo)
    wrong, checked = [], Counter()
    for copy, moment, tried in cut_while_it_runs(disk, notes, chance, cuts, law):
        with ExitStack() as mounted:
            root = disk.open_cut(copy, mounted) / "spool"
            checked.update(
                dropped=len(moment.dropped), noted=len(moment.noted), promised=len(moment.promised)
            )
            wrong += [(copy.name, what) for what in judge(root, notes, moment, tried)]
        if law and wrong:
            break
    print(dict(checked))
    return wrong, checked


#: What btrfs may leave, which does not always log the end of a file's old name with its new one.
TWO_NAMES = re.compile(r"(\d+) drops with digest \w+ are (\d+) files now|dispatch-\S+ is in \[")


def is_second_name(problem):
    """Whether a file came back under two names, and none is missing."""
    found = TWO_NAMES.match(problem)
    return bool(found) and int(found[1] or 0) <= int(found[2] or 0)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_a_real_file_system_keeps_what_was_acknowledged(
    kind, require, folder, undo, tmp_path, chance
):
    """Whenever the power goes, a restart on what the disk has keeps every promise.

    On btrfs all of them but one: a file may be under two names then. It is not lost, nothing runs
    twice, and what was acknowledged is there.
    """
    require(not missing(kind), missing(kind))
    wrong, checked = cut_and_judge(kind, folder, undo, tmp_path / "notes", chance, CUTS)
    if kind == "btrfs":
        print("two names:", [problem for _, problem in wrong if is_second_name(problem)])
        wrong = [one for one in wrong if not is_second_name(one[1])]
    assert wrong == []
    assert min(checked["dropped"], checked["noted"], checked["promised"]) > 20, checked


def test_a_container_that_starts_meanwhile_does_not_hold_the_disk(require, folder, undo):
    """What copies all mounts while a disk is mounted, as containers do, loses them with ours."""
    require(not missing("ext4"), missing("ext4"))
    with ExitStack() as mounted:
        Cuttable("ext4", folder, mounted)
        container = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo; exec cat"]
        process = subprocess.Popen(container, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        undo.enter_context(process)
        assert process.stdout.readline()
    assert process.poll() is None


@pytest.mark.timeout(300)
def test_a_real_file_system_shows_a_broken_law(require, folder, undo, tmp_path, chance):
    """A spoold that does not sync what it writes loses requests on a real disk as well."""
    require(not missing("ext4"), missing("ext4"))
    wrong, _ = cut_and_judge(
        "ext4", folder, undo, tmp_path / "notes", chance, 3, "data_is_not_synced"
    )
    assert wrong
