"""The one table: which moves there are, and what no chain of moves can do."""

import os
import re
from itertools import product
from pathlib import Path

import pytest

from spoold.errors import ADVICE
from spoold.spool.spool import Place, Spool
from spoold.states import (
    FINAL,
    FOLDERS,
    MOVES,
    REASON_SUFFIX,
    STATES,
    Per,
    Role,
    allowed,
    targets,
)

CHECKOUT = Path(__file__).resolve().parents[2]

#: The folders of the contract, with what they have one subfolder for.
CONTRACT = {
    "inbox": Per.SOURCE, "archive": Per.SOURCE, "quarantine": Per.SOURCE,
    "awaiting-approval": Per.NOTHING, "approvals": Per.NOTHING, "approved": Per.NOTHING,
    "pre-approved": Per.NOTHING, "checking": Per.NOTHING, "rejected": Per.NOTHING,
    "expired": Per.NOTHING, "held": Per.NOTHING, "queued": Per.EXECUTOR,
    "deferred": Per.EXECUTOR, "running": Per.EXECUTOR, "unknown": Per.NOTHING,
    "done": Per.NOTHING, "failed": Per.NOTHING, "logs": Per.NOTHING, "journal": Per.NOTHING,
    "tmp": Per.NOTHING,
}  # fmt: skip

#: How a drop becomes a request: its original and the request are two files, and both are intake's.
RENDERED = [("taking", "tmp")]

#: Where the gate checks.
CHECKING = ["checking", "checking-pre-approved"]


def arrows(who=None):
    """The moves of a role, or of all, as pairs."""
    return {(m.source, m.target) for m in MOVES if who in (None, m.who)}


def reachable(start, pairs, without=()):
    """All folders that a file can come to from `start`, avoiding some."""
    found, waiting = set(), [start]
    while waiting:
        here = waiting.pop()
        for source, target in pairs:
            if source == here and target not in found and target not in without:
                found.add(target)
                waiting.append(target)
    return found


def test_every_move_is_between_folders_of_the_table():
    """Both ends of every move exist, differ, and say whose hands and why."""
    for move in MOVES:
        assert {move.source, move.target} <= FOLDERS.keys()
        assert move.source != move.target
        assert move.who in Role
        assert move.why


def test_the_folders_are_those_of_the_contract():
    """The table has the contract's folders, some inside of them, and three to look at."""
    assert {name: FOLDERS[name].per for name in CONTRACT} == CONTRACT
    assert FOLDERS.keys() - CONTRACT.keys() == {
        "taking", "checking-pre-approved", "cancel", "health", "reports", "status",
    }  # fmt: skip
    assert FOLDERS["cancel"].path("x") == "approvals/cancel/x"
    assert FOLDERS["taking"].path("x") == "archive/x/.taking"
    assert FOLDERS["checking-pre-approved"].path() == "checking/pre-approved"


def test_the_readme_explains_every_folder():
    """Every folder of the contract has its line in the README, with its meaning word by word."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+)/[^`]*` \| ([^|]+) \|", text, re.MULTILINE))
    assert rows.keys() == {*CONTRACT, "health", "reports", "status"}
    for name, meaning in rows.items():
        assert meaning.startswith(FOLDERS[name].meaning.partition(";")[0]), name


def test_the_states_are_the_folders_with_requests_in_the_order_of_a_life():
    """A request waits before it is approved, is queued before it runs, and runs before it ends."""
    assert set(STATES) == {name for name, f in FOLDERS.items() if f.holds_requests}
    life = ["awaiting-approval", "approved", "checking", "queued", "running", "done"]
    assert [state for state in STATES if state in life] == life


def test_no_two_folders_share_a_path():
    """Whatever a source and an executor are called, each folder has a path of its own."""
    paths = [folder.path("x" if folder.per else "") for folder in FOLDERS.values()]
    assert len(set(paths)) == len(paths)
    assert not any(path.startswith(("/", "../")) for path in paths)


def test_no_folder_is_open_to_everybody():
    """Others have no right anywhere, claims are private, and producers cannot list."""
    for folder in FOLDERS.values():
        assert folder.mode & 0o007 == 0, folder.name
    assert FOLDERS["taking"].mode & 0o077 == 0
    assert FOLDERS["inbox"].mode & 0o040 == 0, "producers cannot list"
    for claimed in (*CHECKING, "running"):
        assert not FOLDERS[claimed].mode & 0o020, "nobody takes away what a stage has claimed"


# What no chain of moves can do


def test_nothing_runs_unchecked():
    """Every way from an inbox to running/ leads through the gate's hands."""
    every = arrows() | set(RENDERED)
    assert "running" in reachable("inbox", every)
    assert "running" not in reachable("inbox", every, without=CHECKING)
    assert "queued" not in reachable("inbox", every, without=CHECKING)


def test_nothing_is_checked_without_a_door():
    """What is checked as approved came through approved/, and a door never leads to the other."""
    every = arrows() | set(RENDERED)
    assert "checking" not in reachable("inbox", every, without=["approved"])
    assert "checking-pre-approved" not in reachable("inbox", every, without=["pre-approved"])


def test_who_may_queue():
    """Into queued/: the gate from checking, and only what was there before from anywhere else."""
    into = {(m.source, m.who) for m in MOVES if m.target == "queued"}
    assert into == {
        ("checking", Role.GATE),
        ("checking-pre-approved", Role.GATE),
        ("running", Role.EXECUTE),
        ("deferred", Role.SWEEP),
        ("deferred", Role.PERSON),
    }


def test_what_comes_back_to_queued_was_queued_before():
    """Every way to running/ or deferred/, whence one may re-queue, leads through queued/."""
    every = arrows() | set(RENDERED)
    for source in ("running", "deferred"):
        assert source not in reachable("inbox", every, without=["queued"])


def test_only_an_executor_starts_anything():
    """Into running/ goes only what an executor claims from its queue."""
    assert {(m.source, m.who) for m in MOVES if m.target == "running"} == {("queued", Role.EXECUTE)}


def test_only_a_person_approves_and_only_what_waits():
    """Into approved/ leads one move: a person's, from awaiting-approval."""
    assert {(m.source, m.who) for m in MOVES if m.target == "approved"} == {
        ("awaiting-approval", Role.PERSON)
    }


@pytest.mark.parametrize("who", [Role.INTAKE, Role.EXECUTE, Role.SWEEP, Role.GATE])
def test_no_stage_can_approve(who):
    """Whatever a stage moves, in any order, no file of any folder gets to approved/."""
    for start in FOLDERS:
        assert "approved" not in reachable(start, arrows(who))


def test_intake_cannot_get_past_a_person():
    """Intake alone brings nothing to a queue, however it combines its moves."""
    reach = reachable("inbox", arrows(Role.INTAKE) | set(RENDERED))
    assert reach == {
        "taking", "tmp", "archive", "quarantine", "awaiting-approval", "pre-approved", "expired",
        "held",
    }  # fmt: skip


def test_a_person_cannot_queue_what_was_not_deferred():
    """A person's moves reach queued/ from deferred/ only, and running/ never."""
    starts = {start for start in FOLDERS if "queued" in reachable(start, arrows(Role.PERSON))}
    assert starts == {"deferred"}
    assert not any("running" in reachable(start, arrows(Role.PERSON)) for start in FOLDERS)


def test_an_executor_cannot_touch_what_was_not_queued():
    """An executor moves only what lies in its queue or runs, and never to a door of the gate."""
    moved = {m.source for m in MOVES if m.who is Role.EXECUTE}
    # What lies among the wishes is set aside, and goes nowhere else.
    assert moved == {"queued", "running", "cancel"}
    assert {m.target for m in MOVES if m.source == "cancel"} == {"held"}
    reach = reachable("queued", arrows(Role.EXECUTE))
    assert reach.isdisjoint({"approved", "pre-approved", "awaiting-approval", *CHECKING})


def test_after_a_no_only_a_new_yes_helps():
    """From held/, failed/ and unknown/ every way to running/ leads through awaiting-approval."""
    for start in ("held", "failed", "unknown"):
        assert "running" in reachable(start, arrows())
        assert "running" not in reachable(start, arrows(), without=["awaiting-approval"])


def test_what_is_over_stays_over():
    """Nothing leaves rejected/, expired/ and done/; only a person takes anything out of failed/."""
    for final in FINAL:
        out = {(m.target, m.who) for m in MOVES if m.source == final}
        assert out == ({("awaiting-approval", Role.PERSON)} if final == "failed" else set())


def test_no_file_gets_stuck():
    """From every state a request can come to one where it may stay."""
    for state in STATES:
        assert state in FINAL or reachable(state, arrows()) & FINAL, state


def test_originals_are_never_lost():
    """A claimed original goes to archive/ or quarantine/, and nothing leaves archive/."""
    assert reachable("taking", arrows(Role.INTAKE)) == {"archive", "quarantine"}
    assert {m.target for m in MOVES if m.source == "archive"} == set()
    assert {(m.target, m.who) for m in MOVES if m.source == "quarantine"} == {
        ("inbox", Role.PERSON)
    }


def test_each_stage_claims_into_a_folder_of_its_own():
    """What a stage claims into, it owns, and no other role moves anything into it or out of it."""
    for folder, who in (
        ("taking", "intake"),
        ("checking", "gate"),
        ("checking-pre-approved", "gate"),
        ("running", "execute"),
    ):
        assert FOLDERS[folder].owner == who
        assert {m.who for m in MOVES if folder in (m.source, m.target)} == {who}


def test_no_move_is_listed_twice():
    """One arrow, one line: folder, folder and role occur together once."""
    keys = [(m.source, m.target, m.who) for m in MOVES]
    assert len(set(keys)) == len(keys)


# The table in use


@pytest.mark.parametrize("verb", ["approve", "reject", "hold", "release", "cancel", "retry"])
def test_a_verb_has_one_meaning_in_each_folder(verb):
    """A person's verb leads from each folder to at most one other."""
    places = [targets(folder, verb) for folder in FOLDERS]
    assert all(len(found) <= 1 for found in places)
    assert any(places)


def test_resolving_is_the_only_verb_that_asks_which():
    """`resolve` offers done, failed, or waiting again; what is held waits again by `release`."""
    assert targets("unknown", "resolve") == ["done", "failed", "awaiting-approval"]
    assert targets("held", "resolve") == ["done", "failed"]
    assert all(not targets(f, "resolve") for f in FOLDERS if f not in ("unknown", "held"))


def test_a_stages_reason_is_no_persons_verb():
    """What only a stage does cannot be asked for by its name."""
    assert targets("approved", "claim") == []
    assert targets("awaiting-approval", "nobody decided in time") == []


@pytest.fixture
def spool(tmp_path):
    """Makes the spool of a role, with its folders there."""

    def make(who):
        made = Spool(str(tmp_path / "spool"), who, ["src"], ["exe"])
        Path(made.root).mkdir(exist_ok=True)
        made.lay_out()
        return made

    return make


def place(folder):
    """A place of that folder."""
    return Place(
        folder, {Per.SOURCE: "src", Per.EXECUTOR: "exe", Per.NOTHING: ""}[FOLDERS[folder].per]
    )


@pytest.mark.parametrize("who", Role)
def test_a_spool_makes_the_moves_of_its_role_and_no_other(spool, who):
    """For every two folders: the move happens if the table gives it to the role, else none."""
    mine = spool(who)
    for number, (source, target) in enumerate(product(FOLDERS, FOLDERS)):
        name = f"{number}.json"
        there, wanted = Path(mine.path(place(source), name)), Path(mine.path(place(target), name))
        there.write_bytes(b"{}")
        if (source, target) in arrows(who):
            assert mine.move(place(source), place(target), name)
            assert wanted.exists()
            assert not there.exists()
        else:
            with pytest.raises(RuntimeError, match="may not move"):
                mine.move(place(source), place(target), name)
            assert there.exists()


@pytest.mark.parametrize("who", Role)
def test_only_what_may_be_published_is(spool, who):
    """A draft gets its name only in a folder that the table lets the role publish to."""
    mine = spool(who)
    for folder in FOLDERS:
        draft = mine.draft(b"{}")
        mine.sync()
        if allowed("tmp", folder, who):
            mine.publish(draft, place(folder), "new.json")
            assert mine.exists(place(folder), "new.json")
        else:
            with pytest.raises(RuntimeError, match="may not move"):
                mine.publish(draft, place(folder), "new.json")
            assert Path(draft).exists()


def test_a_move_never_overwrites(spool):
    """If the name is taken there, both files stay as they are."""
    mine = spool(Role.PERSON)
    here, there = (Path(mine.path(Place(f), "x.json")) for f in ("awaiting-approval", "approved"))
    here.write_bytes(b"new")
    there.write_bytes(b"old")
    with pytest.raises(FileExistsError):
        mine.move(Place("awaiting-approval"), Place("approved"), "x.json")
    assert (here.read_bytes(), there.read_bytes()) == (b"new", b"old")


def test_a_draft_never_overwrites(spool):
    """If its name is taken there, the draft stays one, and the file stays as it is."""
    mine = spool(Role.INTAKE)
    there = Path(mine.path(Place("awaiting-approval"), "x.json"))
    there.write_bytes(b"old")
    draft = mine.draft(b"new")
    mine.sync()
    with pytest.raises(FileExistsError):
        mine.publish(draft, Place("awaiting-approval"), "x.json")
    assert (Path(draft).read_bytes(), there.read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("way", ["publish", "overwrite", "swap"])
def test_a_draft_that_is_not_durable_gets_no_name(spool, way):
    """Before `sync` no draft may become a file of the spool: a power cut would leave it empty."""
    mine = spool(Role.INTAKE)
    if way != "publish":
        Path(mine.path(Place("awaiting-approval"), "x.json")).write_bytes(b"old")
    draft = mine.draft(b"new")
    with pytest.raises(RuntimeError, match="before its data was synced"):
        getattr(mine, way)(draft, Place("awaiting-approval"), "x.json")
    mine.sync()


def test_a_swap_brings_nothing_back(spool):
    """What a person has just moved away stays away; what is there is replaced; no draft is left."""
    mine = spool(Role.INTAKE)
    there = Path(mine.path(Place("awaiting-approval"), "x.json"))
    for present in (False, True):
        if present:
            there.write_bytes(b"old")
        draft = mine.draft(b"new")
        mine.sync()
        assert mine.swap(draft, Place("awaiting-approval"), "x.json") is present
        assert there.exists() is present
        assert not Path(draft).exists()
    assert there.read_bytes() == b"new"


def test_a_move_that_somebody_else_made_is_no_error(spool):
    """The one who comes second is told, and nothing else happens."""
    mine = spool(Role.PERSON)
    assert mine.move(Place("awaiting-approval"), Place("approved"), "gone.json") is False


def test_a_missing_folder_is_not_taken_for_a_missing_file(spool):
    """If the target folder is gone, that is an error: the file would be reported as taken."""
    mine = spool(Role.PERSON)
    Path(mine.path(Place("awaiting-approval"), "x.json")).write_bytes(b"{}")
    Path(mine.path(Place("approved"))).rmdir()
    with pytest.raises(FileNotFoundError):
        mine.move(Place("awaiting-approval"), Place("approved"), "x.json")


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_laying_out_makes_every_folder_with_its_permissions(spool, umask):
    """Each folder has the table's permission bits, whatever the umask; again is fine."""
    os.umask(umask)
    mine = spool(Role.INTAKE)
    mine.lay_out()
    for name, folder in FOLDERS.items():
        mode = Path(mine.path(place(name))).stat().st_mode
        assert mode & 0o1777 == folder.mode & 0o1777, name


def test_every_reason_has_its_own_suffix():
    """No request can be taken for a reason: a dispatch id does not end like one."""
    assert REASON_SUFFIX.startswith(".")
    assert all("." not in code for code in ADVICE)
