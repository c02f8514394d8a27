"""The power goes at every moment of a run, and anything that was not synced is gone or torn.

Each scene is played once under strace; then every moment of it is a power cut, for each cut some
disks are laid out that it may have left, and for each disk a restart must make all well.

`SPOOLD_SEED` chooses what is left beyond the telling cases, and `SPOOLD_POWER_CHOICES` how many
choices there are at each moment (2; 20 in the full run).
"""

import logging
import os
import shutil
import tempfile
from pathlib import Path

import pytest

from tests.crash import FULL, MEMORY
from tests.crash.power_play import Recovery, run
from tests.crash.power_record import play
from tests.crash.power_scenes import SCENES

pytestmark = pytest.mark.timeout(600)
CHOICES = int(os.environ.get("SPOOLD_POWER_CHOICES", "20" if FULL else "2"))


@pytest.fixture
def recovery():
    """A spool in memory, to recover in."""
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Recovery(Path(folder))
    logging.disable(logging.NOTSET)


@pytest.fixture
def folder(tmp_path):
    """Where a scene is played."""
    made = tmp_path / "scene"
    made.mkdir()
    return made


@pytest.mark.parametrize("scene", SCENES)
def test_no_power_cut_breaks_a_law(scene, strace, folder, recovery, chance):
    """Whatever was not synced is lost: nothing promised is, nothing is doubled, no law broken."""
    record = play(strace, scene, folder)
    assert record.exit_code == 0, record.said
    tally = run(record, recovery, chance, CHOICES)
    print(f"{tally.cuts} cuts, {tally.states} disks")
    assert tally.wrong == []
    assert tally.missed == []
    assert tally.cuts > 20
    assert tally.states > 20


def test_what_may_be_repeated_is_the_same_and_counted(strace, folder, recovery, chance):
    """Where the probe allows a repeat, it is one more attempt with the same key and body."""
    recovery.may_repeat = True
    record = play(strace, "executing", folder)
    tally = run(record, recovery, chance, CHOICES)
    assert tally.wrong == []
    assert recovery.repeats > 5


@pytest.mark.parametrize(
    ("call", "scene"),
    [("fsync", "one"), ("fsync", "approval"), ("fsync", "executing"), ("syncfs", "twenty")],
)
def test_a_failed_sync_stops_the_stage(call, scene, strace, folder, recovery, chance):
    """A stage whose sync fails ends with 74, tries it no second time, and promises nothing more."""
    good = play(strace, scene, folder)
    number = chance.choice(good.syncs(call))
    shutil.rmtree(folder)
    folder.mkdir()
    record = play(strace, scene, folder, *failing(call, number))
    assert record.exit_code == os.EX_IOERR, (number, record.said)
    seen = list(record.calls())
    (place,) = (n for n, one in enumerate(seen) if one.name == call and one.result == -1)
    later = {one.args for one in seen[place + 1 :] if one.name in ("fsync", "fdatasync", "syncfs")}
    assert seen[place].args not in later, number
    assert run(record, recovery, chance, 0).wrong == [], number


#: Law → a scene in which it matters, and the kind of file whose sync fails.
BROKEN = [
    ("folders_are_not_synced", "one", ""),
    ("folders_are_not_synced", "three", ""),
    ("folders_are_not_synced", "twenty", ""),
    ("folders_are_not_synced", "executing", ""),
    ("data_is_not_synced", "one", ""),
    ("data_is_not_synced", "three", ""),
    ("data_is_not_synced", "twenty", ""),
    ("data_is_not_synced", "approval", ""),
    ("a_failed_sync_is_tried_again", "one", "/tmp/"),
    ("a_failed_sync_is_tried_again", "three", "/awaiting-approval"),
    ("a_failed_sync_is_ignored", "one", "/tmp/"),
    ("a_failed_sync_is_ignored", "one", "/awaiting-approval"),
    ("the_original_goes_first", "three", ""),
    ("the_original_is_removed_first", "three", ""),
    ("the_attempt_is_not_recorded", "executing", ""),
]


@pytest.mark.parametrize(("law", "scene", "fails"), BROKEN)
def test_a_broken_law_is_seen(law, scene, fails, strace, folder, recovery, chance):
    """A spoold in which a law is broken on purpose does not pass."""
    more = []
    if fails:
        more = failing("fsync", play(strace, scene, folder).syncs("fsync", fails)[0])
        shutil.rmtree(folder)
        folder.mkdir()
    record = play(strace, scene, folder, *more, law=law)
    wrong = run(record, recovery, chance, 0, enough=1).wrong
    print(wrong)
    assert wrong


def failing(call, number):
    """Options for strace: the so-manyth of a call fails."""
    return ["-e", f"inject={call}:error=EIO:when={number}"]
