"""No inbox keeps another one waiting, and nobody takes a name away from another's drop."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from spoold.disk import fs
from spoold.stages.intake import Intake
from spoold.stages.stage import BATCH
from tests.conftest import route

TWO = """
[sources.decisions]
format = "decision"
[sources.other]
format = "decision"
[executors.rec]
kind = "recorder"
"""
NOBODY = 65534


def record(name):
    return {"decision_id": name, "decision_type": "cutover"}


@pytest.fixture
def two(lab):
    """A spool with two sources."""
    lab.configure(TWO, {"10.toml": route(), "20.toml": route(name="second", source="other")})
    lab.stages()
    return lab


def test_a_drop_that_comes_during_a_flood_is_taken_before_it_ends(two, monkeypatch):
    """After each group of a full inbox the others are looked at, also for what has come since."""
    for number in range(4 * BATCH):
        two.drop("decisions", f"{number}.json", record(f"flood-{number}"))
    intake = Intake(two.context)
    intake.recover()
    groups = []
    original = Intake._answer_for

    def answer(self, claims, **more):
        groups.append([claim.inbox.name for claim in claims])
        if len(groups) == 1:
            two.drop("other", "late.json", record("late"))
        return original(self, claims, **more)

    monkeypatch.setattr(Intake, "_answer_for", answer)
    intake.step()
    assert [one[0] for one in groups[:2]] == ["decisions", "other"]
    assert [len(group) for group in groups] == [BATCH, 1, BATCH, BATCH, BATCH]


def test_two_floods_take_turns(two, monkeypatch):
    """Of two full inboxes each has a group in turn."""
    for source in ("decisions", "other"):
        for number in range(2 * BATCH):
            two.drop(source, f"{number}.json", record(f"{source}-{number}"))
    intake, order = Intake(two.context), []
    intake.recover()
    original = Intake._answer_for
    monkeypatch.setattr(
        Intake, "_answer_for",
        lambda self, claims, **more: (
            order.append(claims[0].inbox.name), original(self, claims, **more)
        ),
    )  # fmt: skip
    intake.step()
    assert order == ["decisions", "other"] * 2


def test_a_quiet_inbox_is_not_listed_again(two, monkeypatch):
    """Where nothing has come, a turn costs one look at the folder."""
    for number in range(3 * BATCH):
        two.drop("decisions", f"{number}.json", record(f"flood-{number}"))
    long_ago = time.time() - 60
    os.utime(two.root / "inbox/other", (long_ago, long_ago))
    intake, listed = Intake(two.context), []
    intake.recover()
    original = intake._claimer.drops
    monkeypatch.setattr(
        type(intake._claimer), "drops",
        lambda self, inbox, since: (listed.append(inbox.name), original(inbox, since))[1],
    )  # fmt: skip
    intake.step()
    assert listed.count("other") == 1


@pytest.fixture
def own(two, open_path):
    """The same, all of it another user's, where that user can get at it."""
    shutil.copytree(two.file.parents[1], open_path, dirs_exist_ok=True)
    open_path.chmod(0o755)
    for path in [open_path, *open_path.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    return open_path


def test_a_folder_with_a_drops_name_is_out_of_the_way_at_once(request, require):
    """Another user's folder is renamed in the inbox, with a reason, and the drop is then taken."""
    require(os.geteuid() == 0, "root")
    require(shutil.which("setpriv") is not None, "setpriv")
    site = request.getfixturevalue("own")
    planted = site / "spool/inbox/decisions/alarm.json"
    planted.mkdir()  # root's: intake may not write to it
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
             sys.executable, "-c", INTAKE, str(site / "config/spoold.toml")]  # fmt: skip

    def intake():
        ended = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stderr

    intake()
    assert not planted.exists()
    (kept,) = (path for path in planted.parent.iterdir() if path.is_dir())
    assert kept.name.startswith(".alarm.")
    (why,) = site.glob("spool/quarantine/decisions/alarm*.reason.json")
    assert json.loads(why.read_bytes())["code"] == "directory"
    draft = planted.with_name(".alarm")
    draft.write_text(json.dumps(record("alarm")))
    fs.rename_new(str(draft), str(planted))
    intake()
    (made,) = site.glob("spool/awaiting-approval/*.json")
    assert read(made)["source"]["id"] == "alarm"


def read(path):
    return json.loads(path.read_bytes())


INTAKE = """
import sys
from spoold import executors
from spoold.testing import Recorder
executors.register("recorder", Recorder())
sys.argv = ["spoold", "--config", sys.argv[1], "intake", "--drain"]
from spoold.cli import main
main()
"""
