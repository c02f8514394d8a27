"""One id means one request, to every verb; and a yes is to what was read."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from spoold.errors import Ambiguous, NotPossible, UsageError
from spoold.request import parse
from spoold.service.drain import drain
from spoold.spool.spool import Spool
from spoold.stages.gate import Gate
from spoold.states import Role
from spoold.testing import Lab
from spoold.view.find import find, split_pin

UUIDS = ("3f2504e0-4f89-41d3-9a0c-0305e82c3301", "3f2504e0-aaaa-41d3-9a0c-0305e82c3301")


def ask(lab: Lab, own_id: str) -> Path:
    """A request that waits, which its producer calls `own_id`."""
    before = set(lab.files("awaiting-approval"))
    lab.drop(
        "decisions", f"{len(before)}.json", {"decision_id": own_id, "decision_type": "cutover"}
    )
    lab.drain()
    (made,) = set(lab.files("awaiting-approval")) - before
    return made


@pytest.fixture
def spool(lab):
    lab.stages()
    return Spool(str(lab.root), Role.PERSON, ["decisions"], ["rec", "other"])


def run(lab, *words, **more):
    return subprocess.run(
        [sys.executable, "-m", "spoold", "--config", str(lab.file), *map(str, words)],
        capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, **more,
    )  # fmt: skip


def test_whole_ids_digits_own_ids_and_paths_are_ids(lab, spool, monkeypatch):
    """Every spelling that is an id finds the request, wherever it lies."""
    made = ask(lab, UUIDS[0])
    for folder in ("awaiting-approval", "held", "held/rec", "queued/rec", "done/rec"):
        there = made.rename(lab.root / folder / made.name)
        monkeypatch.chdir(there.parent)
        for given in (
            made.stem, made.name, made.stem[-8:], made.stem[-5:], made.stem[-4:], UUIDS[0],
            UUIDS[0][:8], UUIDS[0][:13].upper(), f"{folder}/{made.name}", f"./{folder}/{made.stem}",
            str(there), made.name, f"../{there.parent.name}/{made.name}",
        ):  # fmt: skip
            assert spool.path(*find(spool, given)) == str(there), given
        made = there


@pytest.mark.parametrize(
    "given", ["", ".json", "/", "held/", "*", "d", "2", "dispatch", "cutover", "-", "..", "@",
              "/etc/passwd", "../../etc/passwd", "awaiting-approval/../../x"],
)  # fmt: skip
def test_nothing_else_is_an_id(lab, spool, given):
    """Words, parts of names, patterns and other paths mean no request, even if there is but one."""
    made = ask(lab, "ticket-1")
    for part in (given, given and made.stem[:20], made.stem[-3:], made.stem[9:], "ticket"):
        with pytest.raises(UsageError, match="no request"):
            find(spool, part)


def test_a_path_of_another_spool_means_nothing_here(lab, spool, tmp_path):
    """A file of the same name under another root is not taken for ours."""
    made = ask(lab, "a")
    elsewhere = tmp_path / "other/awaiting-approval"
    elsewhere.mkdir(parents=True)
    shutil.copy(made, elsewhere / made.name)
    with pytest.raises(UsageError):
        find(spool, str(elsewhere / made.name))


def test_what_is_quarantined_takes_no_ones_name(lab, spool):
    """A look-alike in quarantine/ or archive/, whatever its name, is found by its path alone."""
    made = ask(lab, "a")
    (lab.root / f"quarantine/decisions/{made.stem[-8:]}.json").write_bytes(b"{}")
    (lab.root / f"quarantine/decisions/{made.name}").write_bytes(b"{}")
    for given in (made.stem, made.stem[-8:], "a"):
        assert find(spool, given, ["quarantine", "archive"]).place.folder == "awaiting-approval"
    inside = f"quarantine/decisions/{made.name}"
    assert str(find(spool, inside, ["quarantine"])) == inside
    (original,) = (path for path in lab.files("archive"))
    assert find(spool, str(original), ["archive"]).place.folder == "archive"
    with pytest.raises(UsageError):
        find(spool, inside)


@pytest.mark.parametrize("folder", ["rejected", "done/rec", "held"])
def test_two_that_fit_are_an_error_wherever_they_lie(lab, spool, folder):
    """Also where only one of them could be decided: the message lists both, with folder and age."""
    one, other = ask(lab, UUIDS[0]), ask(lab, UUIDS[1])
    other = other.rename(lab.root / folder / other.name)
    with pytest.raises(Ambiguous) as error:
        find(spool, "3f2504e0")
    for path in (one, other):
        assert f"  {path.relative_to(lab.root)}, for " in str(error.value)
    shutil.copy(one, lab.root / folder / one.name)
    for given in (one.stem, one.stem[-8:], UUIDS[0]):
        with pytest.raises(Ambiguous, match="2 files"):
            find(spool, given)
        assert run(lab, "approve", "--yes", given).returncode == 64
    assert str(find(spool, f"{folder}/{one.name}")) == f"{folder}/{one.name}"
    assert lab.files("approved") == []


def test_nobody_speaks_for_another_by_calling_a_drop_like_it(lab, spool):
    """A producer's id of the form of another's digits is ambiguous; of a whole id it is none."""
    victim = ask(lab, "a")
    ask(lab, victim.stem[-8:])
    with pytest.raises(Ambiguous):
        find(spool, victim.stem[-8:])
    ask(lab, victim.stem)
    assert find(spool, victim.stem).name == victim.name


@pytest.mark.parametrize("own_id", ["team/ticket-1", "https://git.example/a/issues/7", "a@b/c"])
def test_a_producers_id_with_a_slash_is_an_id(lab, spool, own_id):
    """It finds its request, exactly as it is, alone and with a pin."""
    made = ask(lab, own_id)
    assert find(spool, own_id).name == made.name
    assert run(lab, "approve", f"{own_id}@{parse(made.read_bytes()).pin}").returncode == 0
    with pytest.raises(UsageError, match="no request"):
        find(spool, own_id[:-1])


@pytest.mark.parametrize("form", ["held/{}", "./{}", "/srv/spool/held/{}", "spool/held/{}", "x/{}"])
def test_no_producers_id_takes_the_place_of_a_path(lab, spool, form):
    """Where a file has moved on, a drop that is called like its path is not found in its place."""
    gone = ask(lab, "a")
    gone.unlink()
    for name in (gone.name, gone.stem):
        ask(lab, form.format(name))
        with pytest.raises(UsageError, match="no request"):
            find(spool, form.format(name))
    ask(lab, "quarantine/decisions/x.json")
    assert run(lab, "retry", "--yes", "quarantine/decisions/x.json").returncode == 64


def test_many_that_fit_are_counted(lab, spool):
    """The first of many are listed, and how many more there are is said."""
    made = ask(lab, "a")
    for number in range(30):
        (lab.root / "held" / f"dispatch-20260101T0000{number:02}Z-r-0000beef.json").write_bytes(b"")
    with pytest.raises(Ambiguous, match="30 files"):
        find(spool, "beef")
    with pytest.raises(Ambiguous, match="and 22 more"):
        find(spool, "0000beef")
    assert find(spool, made.stem[-8:]).name == made.name


def test_a_pin_is_of_what_would_run_and_nothing_else(lab):
    """It stays while a request is asked for again, and differs from that of every other content."""
    made = parse(ask(lab, "a").read_bytes())
    pins = {made.pin}
    assert made.with_(asked=7, status="held").pin == made.pin
    for changes in ({"params": {"say": 1}}, {"executor": "other"}, {"target_ref": "x"},
                    {"dispatch_id": made.dispatch_id[:-1]}, {"lane": "x"}):  # fmt: skip
        pins.add(made.with_(**changes).pin)
    assert len(pins) == 6
    assert split_pin(f"a@b@{made.pin}") == ("a@b", made.pin)
    assert split_pin("ann@example.org") == ("ann@example.org", None)


def test_a_yes_to_something_else_is_refused(lab):
    """With another pin nothing moves, and the message says what it is now."""
    made = ask(lab, "a")
    pin = parse(made.read_bytes()).pin
    said = run(lab, "approve", f"a@{'0' * 8 if pin != '0' * 8 else '1' * 8}")
    assert said.returncode == 65
    assert f"@{pin} now" in said.stderr
    assert lab.files("approved") == []
    row = json.loads(run(lab, "--json", "ls", "awaiting-approval").stdout)
    assert row["pin"] == pin
    assert f"@{pin}" in run(lab, "show", "a").stderr
    assert json.loads(run(lab, "--json", "show", "a").stdout)["pin"] == pin
    said = run(lab, "approve", f"{made.stem}@{row['pin']}", "--reason", "as read")
    assert said.returncode == 0, said.stderr
    assert "executor  rec" in said.stdout
    lab.drain()
    (yes,) = lab.request("done")["approvals"]
    assert (yes["pin"], yes["note"]) == (pin, "as read")


@pytest.mark.parametrize(
    ("verb", "folder"),
    [(["approve"], "awaiting-approval"), (["release"], "held"), (["retry"], "failed/rec"),
     (["resolve", "--as", "again"], "unknown/rec")],
)  # fmt: skip
def test_without_a_terminal_nothing_is_let_run_unread(lab, verb, folder):
    """A bare id is 64 and moves nothing; a pin or `--yes` does."""
    made = ask(lab, "a")
    there = made.rename(lab.root / folder / made.name)
    said = run(lab, *verb, "a")
    assert said.returncode == 64
    assert "ID@PIN" in said.stderr
    assert there.exists()
    for given in ("a", there.stem, f"{folder}/{there.name}", there):
        copy = there.read_bytes()
        said = run(lab, *verb, f"{given}@{parse(copy).pin}")
        assert said.returncode == 0, said.stderr
        assert not there.exists()
        (moved,) = lab.root.glob(f"*/{there.name}")
        moved.rename(there)


@pytest.mark.parametrize(("answer", "moved"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
@pytest.mark.parametrize(
    ("verb", "folder", "target"),
    [("approve", "awaiting-approval", "approved"), ("release", "held", "awaiting-approval"),
     ("retry", "failed/rec", "awaiting-approval")],
)  # fmt: skip
def test_on_a_terminal_the_plan_is_shown_and_asked_about(lab, verb, folder, target, answer, moved):
    """What would run is on the screen before the question; only a yes moves it."""
    made = ask(lab, "a")
    made = made.rename(lab.root / folder / made.name)
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "spoold", "--config", str(lab.file), verb, "a"]
    with subprocess.Popen(words, stdin=follower, stdout=follower, stderr=follower) as process:
        os.close(follower)
        said = b""
        while b"this?" not in said:
            said += os.read(leader, 4096)
        os.write(leader, answer)
        assert process.wait(60) == (0 if moved else 65)
    os.close(leader)
    assert b"executor  rec" in said
    assert f"@{parse((lab.root / target / made.name if moved else made).read_bytes()).pin}" in (
        said.decode()
    )


def test_the_gate_holds_what_is_not_what_the_yes_names(lab, spool):
    """A decision that names another pin than the request has approves nothing."""
    made = ask(lab, "a")
    decision = {"dispatch_id": made.stem, "decision": "approve", "pin": "00000000"}
    (lab.root / f"approvals/{made.stem}.1.json").write_bytes(orjson.dumps(decision))
    made.rename(lab.root / "approved" / made.name)
    assert drain([Gate(lab.context)], lab.context) == 0
    assert lab.reason(lab.only("held"))["code"] == "other-pin"


def test_under_sudo_the_decision_says_for_whom(lab):
    """Root's word about whom it acts for is kept; another user's environment is not asked."""
    if os.geteuid() != 0:
        pytest.skip("only root is somebody else under sudo")
    made = ask(lab, "a")
    assert run(lab, "reject", "a", env={**os.environ, "SUDO_USER": "ann"}).returncode == 0
    decision = json.loads((lab.root / f"approvals/{made.stem}.1.json").read_bytes())
    assert (decision["by"], decision["for"]) == ("root", "ann")


def test_a_request_that_was_superseded_after_the_look_is_not_approved(lab, spool):
    """The pin and the id are of what was read: what came instead needs a look of its own."""
    made = ask(lab, "a")
    pinned = f"{made.stem}@{parse(made.read_bytes()).pin}"
    made.rename(lab.root / "expired" / made.name)
    ask(lab, "b")
    said = run(lab, "approve", pinned)
    assert said.returncode == 65
    assert lab.files("approved") == []


def test_ids_that_mean_nothing_say_so(lab, spool):
    """The error says what an id is and where to look."""
    with pytest.raises(UsageError, match="spoold ls"):
        find(spool, "nobody")
    assert NotPossible.exit_code == 65
