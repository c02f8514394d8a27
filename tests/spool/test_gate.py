"""The gate: what was approved is what was sealed, or it is held and nothing runs."""

import os
import shutil
from dataclasses import replace

import orjson
import pytest
from click.testing import CliRunner

from spoold import executors
from spoold.cli import cli
from spoold.request import parse, parse_time
from spoold.service.drain import drain
from spoold.spool.decisions import user_name
from spoold.spool.spool import Spool
from spoold.stages.execute import Execute
from spoold.stages.gate import _APPROVED, Gate, _Claim
from spoold.stages.intake import Intake
from spoold.testing import Lab
from tests.conftest import route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}


@pytest.fixture
def waiting(lab):
    """One waiting request."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    return lab.only("awaiting-approval")


def held_with(lab, code):
    """Whether the gate itself has held the one file with that code, and nothing ran."""
    drain(lab.stages()[:3], lab.context)
    assert lab.reason(lab.only("held"))["code"] == code
    lab.drain()
    assert lab.recorder.calls == []
    assert lab.files("done") == lab.files("queued") == lab.files("approved") == []


def test_any_changed_byte_is_held(lab, waiting):
    """Whichever single byte of a waiting request changes, it is held and nothing runs."""
    original, places = waiting.read_bytes(), range(0, len(waiting.read_bytes()), 37)
    waiting.unlink()
    for place in places:
        changed = bytearray(original)
        changed[place] ^= 1
        (lab.root / "approved" / waiting.name).write_bytes(changed)
        lab.drain()
    assert lab.recorder.calls == []
    assert {lab.reason(p)["code"] for p in lab.files("held")} <= {
        "altered", "not-a-request", "renamed", "unknown-executor",
    }  # fmt: skip
    assert len(lab.files("held")) == len(places)


def edited(data, **changes):
    """A request file with some fields changed, spelled as spoold would."""
    made = orjson.loads(data) | changes
    return orjson.dumps(made, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


LATER = {"policy": "move", "quorum": 1, "approvers": [],
         "expires_at": "2099-01-01T00:00:00.000000+00:00"}  # fmt: skip
FORGED = {"policy": "move", "at": LATER["expires_at"], "by": "root", "note": None,
          "checked_at": LATER["expires_at"], "seal": "hmac-sha256:00"}  # fmt: skip


@pytest.mark.parametrize(
    "edit",
    [
        *({field: "evil"} for field in ("executor", "target_ref", "route", "lane")),
        {"params": {"say": "evil"}}, {"approval": LATER}, {"approvals": [FORGED]},
        {"status": "queued"}, "white space",
    ],
    ids=str,
)  # fmt: skip
def test_what_was_edited_after_it_was_sealed_is_held(lab, waiting, edit):
    """No field of the action, no approval and no spelling can be changed, however tidily."""
    data = waiting.read_bytes()
    waiting.write_bytes(data + b"\n" if edit == "white space" else edited(data, **edit))
    lab.approve()
    held_with(lab, "altered")


def test_an_empty_file_approves_nothing(lab, waiting):
    """An empty file of the right name is held; the request itself goes on waiting."""
    (lab.root / "approved" / waiting.name).touch()
    lab.drain()
    held_with(lab, "empty")
    assert waiting.exists()


def test_a_renamed_request_is_held(lab, waiting):
    """A request under another request's name does not run."""
    waiting.rename(lab.root / "approved" / "dispatch-20260101T000000Z-any-00000000.json")
    held_with(lab, "renamed")


@pytest.mark.parametrize(
    "elsewhere",
    ["awaiting-approval", "pre-approved", "rejected", "expired", "queued/rec", "deferred/rec",
     "running/rec", "unknown/rec", "done/rec", "failed/rec", "held/rec", "held",
     "rejected reason", "expired reason", "status running", "status done"],
)  # fmt: skip
def test_a_request_that_is_or_was_elsewhere_does_not_pass(lab, waiting, elsewhere):
    """A copy is held as replayed, wherever the other one lies, or if only its reason still does."""
    folder, _, what = elsewhere.partition(" ")
    (approved := lab.root / "approved" / waiting.name).write_bytes(waiting.read_bytes())
    waiting.unlink()
    if folder == "status":
        yes = lab.stages()[2]._with_approval(
            _Claim(waiting.name, _APPROVED), parse(approved.read_bytes())
        )
        approved.write_bytes(yes.with_(status=what).to_bytes())
    elif what:
        (lab.root / folder / f"{waiting.name}.reason.json").write_bytes(b"{}")
    else:
        shutil.copy(approved, lab.root / folder / waiting.name)
    assert drain([Gate(lab.context)], lab.context) == 0
    reasons = [
        orjson.loads(file.read_bytes()) for file in (lab.root / "held").rglob("*.reason.json")
    ]
    (why,) = (one for one in reasons if one["came_from"] == "approved")
    assert why["code"] == "replayed"
    assert lab.files("approved") == lab.files("checking") == []
    assert len(lab.files("queued")) == (folder == "queued/rec")


def test_what_needs_a_yes_does_not_come_in_by_the_other_door(lab, waiting):
    """Moved to pre-approved/ instead of approved/, a request that waits for a person is held."""
    waiting.rename(lab.root / "pre-approved" / waiting.name)
    held_with(lab, "not-pre-approved")


def test_what_a_stage_has_held_does_not_keep_its_original_from_running(lab, waiting):
    """A copy is held while the original waits; approved itself, the original runs, once."""
    shutil.copy(waiting, lab.root / "approved" / waiting.name)
    held_with(lab, "replayed")
    lab.approve(waiting)
    lab.drain()
    (done,) = lab.files("done")
    done.rename(lab.root / "approved" / done.name)
    lab.drain()
    assert {lab.reason(path)["code"] for path in lab.files("held")} == {"replayed"}
    assert len(lab.recorder.calls) == 1


def test_a_request_sealed_elsewhere_is_foreign(lab, waiting, tmp_path_factory):
    """A request of another spool, perfect in itself, is not ours."""
    other = Lab(tmp_path_factory.mktemp("other"), routes={"10.toml": route()})
    other.drop("decisions", "x.json", {"decision_id": "x", "decision_type": "cutover"})
    other.drain()
    foreign = other.only("awaiting-approval")
    shutil.copy(foreign, lab.root / "approved" / foreign.name)
    executors.register("recorder", lab.recorder)
    held_with(lab, "altered")


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo"])
def test_what_is_no_file_is_held(lab, waiting, kind):
    """A directory, link or FIFO in approved/ is set aside, not followed, not waited for."""
    path = lab.root / "approved" / "x.json"
    {"directory": path.mkdir, "fifo": lambda: os.mkfifo(path)}.get(
        kind, lambda: path.symlink_to(waiting)
    )()
    lab.drain()
    assert lab.recorder.calls == []
    assert os.path.lexists(lab.root / "held" / "x.json")


def test_a_writer_that_keeps_the_file_open_changes_nothing(lab, waiting):
    """Bytes written after the move, through a descriptor from before, never run."""
    with waiting.open("r+b") as still_open:
        lab.approve(waiting)
        gate = lab.stages()[2]
        gate.lock.acquire()
        gate.step()
        gate.lock.release()
        still_open.write(b"X" * 200)
        still_open.flush()
        lab.drain()
    assert len(lab.recorder.calls) == 1
    assert b"XXX" not in lab.only("done").read_bytes()


@pytest.mark.parametrize("copied", [b"", b"{}", None])
def test_what_somebody_put_into_the_gates_hands_stops_nothing(lab, waiting, copied):
    """A file in checking/ that has the name of an approved one is answered for, and so is that."""
    (gate,) = (stage for stage in lab.stages() if stage.name == "gate")
    gate.recover()
    data = waiting.read_bytes() if copied is None else copied
    (lab.root / "checking" / waiting.name).write_bytes(data)
    lab.approve()
    gate.step()
    assert lab.files("approved") == lab.files("checking") == []
    assert len(lab.files("queued")) == len(lab.files("held")) == 1


@pytest.mark.parametrize("folder", ["archive/decisions/.taking", "checking", "running/rec"])
def test_a_file_that_is_taken_from_a_stage_stops_nothing(lab, waiting, monkeypatch, folder):
    """Where somebody takes a claimed file away before it is read, the stage goes on with others."""
    for number in range(2):
        lab.drop("decisions", f"{number}.json", {**CUTOVER, "decision_id": f"d-{number}"})
    is_late = not folder.startswith("archive")
    if is_late:
        lab.drain()
        for path in lab.files("awaiting-approval"):
            path.rename(lab.root / "approved" / path.name)
    take_one(monkeypatch, lab.root / folder)
    assert lab.drain() == 0
    assert len(lab.files("done" if is_late else "awaiting-approval")) == 2


def take_one(monkeypatch, folder):
    """Make the next file that is moved into a folder go out of sight."""
    original = Spool.move

    def move(self, source, target, name, new_name=None):
        moved = original(self, source, target, name, new_name)
        if self.path(target) == str(folder):
            monkeypatch.setattr(Spool, "move", original)
            (folder / name).rename(folder / f".{name}")
        return moved

    monkeypatch.setattr(Spool, "move", move)


def test_a_released_request_needs_a_new_yes_and_then_runs(lab, waiting):
    """What was parked goes back to waiting, and both decisions are in the file's story."""
    lab.approve()
    assert drain([Gate(lab.context)], lab.context) == 0
    for source, target in (("queued", "held"), ("held", "awaiting-approval")):
        file = lab.only(source)
        file.rename(lab.root / target / file.name)
        lab.drain()
    assert lab.recorder.calls == []
    lab.approve()
    lab.drain()
    assert len(lab.request("done")["approvals"]) == 2


def test_the_person_who_used_the_command_is_named(lab, waiting):
    """A decision in approvals/ puts its owner's name and note next to the yes and its time."""
    args = ["--config", str(lab.file), "approve", "--yes", waiting.stem[-8:], "--reason", "CHG-1"]
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.output
    moved_at = lab.only("approved").stat().st_ctime
    lab.drain()
    (yes,) = lab.request("done")["approvals"]
    assert parse_time(yes["at"]).timestamp() == pytest.approx(moved_at, abs=0.001)
    assert yes["note"] == "CHG-1"
    assert yes["by"] == user_name(os.getuid())


@pytest.mark.parametrize("path", ["queued/rec", "checking"])
def test_an_executor_takes_only_what_the_gate_or_itself_has_written(lab, waiting, path):
    """A file of another user's in its queue is held; nor is its own a yes, if the gate is another.

    `path` is given away: the request in the queue, or the folder whose owner is the gate's user.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    lab.approve()
    assert drain([Gate(lab.context)], lab.context) == 0
    queued = lab.only("queued")
    os.chown(queued if path == "queued/rec" else lab.root / path, 54321, -1)
    assert drain([Execute(lab.context, "rec")], lab.context) == 0
    user = "uid-54321" if path == "queued/rec" else user_name(os.getuid())
    assert f"user {user}" in lab.reason(lab.only("held"))["what"]
    assert lab.recorder.calls == []


def test_output_is_not_written_into_a_folder_of_somebody_elses(lab):
    """A folder under logs/ that another user has prepared is not used, and nothing runs."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    lab.drop("decisions", "a.json", CUTOVER)
    lab.drain()
    folder = lab.root / "logs/rec" / lab.only("awaiting-approval").stem
    folder.mkdir()
    os.chown(folder, 54321, -1)
    lab.approve()
    lab.drain()
    deferred = orjson.loads(lab.only("deferred").read_bytes())
    assert deferred["attempts"][-1]["code"] == "foreign-logs"
    assert lab.recorder.calls == []
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"executor": "other"}, "not-pre-approved"),
        ({"executor": "removed"}, "unknown-executor"),
        ({"route": "removed"}, "not-pre-approved"),
        ({"source": {"inbox": "tasks"}}, "not-pre-approved"),
        ({"approval": {"policy": "move"}}, "unknown-policy"),
    ],
    ids=str,
)
def test_a_pre_approved_request_is_what_its_route_is_about(make_lab, changes, code):
    """What intake has sealed passes only by a route, an executor and a policy that are so now."""
    two = '[executors.other]\nkind = "recorder"\n'
    lab = make_lab(route(more="requires_approval = false"), toml=Lab.SETTINGS + two)
    lab.drop("decisions", "a.json", CUTOVER)
    assert drain([Intake(lab.context)], lab.context) == 0
    path = lab.only("pre-approved")
    found = parse(path.read_bytes())
    changed = {key: replace(getattr(found, key), **to) if isinstance(to, dict) else to
               for key, to in changes.items()}  # fmt: skip
    key = Intake(lab.context).spool.seal_key()
    path.write_bytes(found.with_(**changed).sealed(key).to_bytes())
    lab.drain()
    assert lab.reason(lab.only("held"))["code"] == code
    assert lab.recorder.calls == []


@pytest.mark.parametrize("copied", [False, True])
def test_a_crash_forgets_nothing_that_came_through_the_other_door(make_lab, copied):
    """What was being checked without a yes is checked again and runs once; its copy is held."""
    lab = make_lab(route(more="requires_approval = false"))
    lab.drop("decisions", "a.json", CUTOVER)
    assert drain([Intake(lab.context)], lab.context) == 0
    path = lab.only("pre-approved")
    shutil.copy(path, lab.root / "checking" / "pre-approved" / path.name)
    if not copied:
        path.unlink()
    assert drain([Gate(lab.context)], lab.context) == 0
    assert (len(lab.files("queued")), len(lab.files("held"))) == (1, copied)


def test_a_gate_that_is_to_stop_claims_nothing_more(lab, waiting):
    """Once it is told to stop, what is approved stays where it is for the next start."""
    lab.approve()
    gate = Gate(lab.context)
    lab.context.stop.set()
    assert gate.step().moved == 0
    lab.only("approved")


def test_a_file_that_the_gate_may_not_move_keeps_no_other_back(lab, waiting, monkeypatch):
    """Where the system refuses one rename, the other requests pass."""
    lab.drop("decisions", "d.json", {**CUTOVER, "decision_id": "c-2"})
    lab.drain()
    approved = sorted(lab.approve(path).name for path in lab.files("awaiting-approval"))
    move = Spool.move

    def refused(self, source, target, name, new_name=None):
        if name == approved[0]:
            raise PermissionError(13, "refused")
        return move(self, source, target, name, new_name)

    monkeypatch.setattr(Spool, "move", refused)
    Gate(lab.context).step()
    assert [path.name for path in lab.files("queued")] == approved[1:]
