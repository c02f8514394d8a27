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
    "deferred": Per.EXECUTOR, "running": Per.EXECUTOR, "unknown": Per.EXECUTOR,
    "done": Per.EXECUTOR, "failed": Per.EXECUTOR, "logs": Per.EXECUTOR, "journal": Per.NOTHING,
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
        "taking", "checking-pre-approved", "cancel", "held-by-executor", "health", "reports",
        "status",
    }  # fmt: skip
    assert FOLDERS["cancel"].path("x") == "approvals/cancel/x"
    assert FOLDERS["held-by-executor"].path("x") == "held/x"
    assert FOLDERS["taking"].path("x") == "archive/x/.taking"
    assert FOLDERS["checking-pre-approved"].path() == "checking/pre-approved"


def test_the_readme_explains_every_folder():
    """Every folder of the contract has its line in the README, with its meaning word by word."""
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z-]+/[A-Z]*)/?[^`]*` \| ([^|]+) \|", text, re.MULTILINE))
    for name in {*CONTRACT, "held-by-executor", "health", "reports", "status"}:
        path = FOLDERS[name].path(FOLDERS[name].per.upper())
        meaning = rows.pop(path if FOLDERS[name].per else f"{path}/")
        assert meaning.startswith(FOLDERS[name].meaning.partition(";")[0]), name
    assert rows == {}


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


@pytest.mark.parametrize(
    ("start", "target", "through"),
    [
        ("inbox", "running", CHECKING),  # nothing runs unchecked
        ("inbox", "queued", CHECKING),
        ("inbox", "checking", ["approved"]),  # each door leads to its own folder of the gate
        ("inbox", "checking-pre-approved", ["pre-approved"]),
        ("inbox", "running", ["queued"]),  # what goes back to the queue was queued before
        ("inbox", "deferred", ["queued"]),
        ("held", "running", ["awaiting-approval"]),  # after a no only a new yes helps
        ("failed", "running", ["awaiting-approval"]),
        ("unknown", "running", ["awaiting-approval"]),
    ],
)
def test_there_is_no_way_round(start, target, through):
    """There is a way from `start` to `target`, and every one leads through these folders."""
    every = arrows() | set(RENDERED)
    assert target in reachable(start, every)
    assert target not in reachable(start, every, without=through)


@pytest.mark.parametrize(
    ("target", "into"),
    [
        ("queued", {("checking", Role.GATE), ("checking-pre-approved", Role.GATE),
                    ("running", Role.EXECUTE), ("deferred", Role.SWEEP),
                    ("deferred", Role.PERSON)}),
        ("running", {("queued", Role.EXECUTE)}),
        ("approved", {("awaiting-approval", Role.PERSON)}),
    ],
)  # fmt: skip
def test_who_may_queue_start_and_approve(target, into):
    """The gate queues, executors start what was queued, and only a person approves."""
    assert {(m.source, m.who) for m in MOVES if m.target == target} == into


@pytest.mark.parametrize("who", sorted(set(Role) - {Role.PERSON}))
def test_no_stage_can_approve(who):
    """Whatever a stage moves, in any order, no file of any folder gets to approved/."""
    assert not any("approved" in reachable(start, arrows(who)) for start in FOLDERS)


def test_what_each_role_can_reach_by_its_own_moves():
    """Intake gets nothing past a person, a person queues only what was, an executor its queue."""
    assert reachable("inbox", arrows(Role.INTAKE) | set(RENDERED)) == {
        "taking", "tmp", "archive", "quarantine", "awaiting-approval", "pre-approved", "expired",
        "held",
    }  # fmt: skip
    person = {start: reachable(start, arrows(Role.PERSON)) for start in FOLDERS}
    assert {start for start, found in person.items() if "queued" in found} == {"deferred"}
    assert not any("running" in found for found in person.values())
    assert {m.source for m in MOVES if m.who is Role.EXECUTE} == {"queued", "running", "cancel"}
    assert {m.target for m in MOVES if m.source == "cancel"} == {"held-by-executor"}
    doors = {"approved", "pre-approved", "awaiting-approval", *CHECKING}
    assert reachable("queued", arrows(Role.EXECUTE)).isdisjoint(doors)


def test_what_is_over_stays_over_and_everything_ends():
    """From each state a request can come to a final one; only a failure can be tried again."""
    for state in STATES:
        assert state in FINAL or reachable(state, arrows()) & FINAL, state
    out = {(m.source, m.target, m.who) for m in MOVES if m.source in FINAL}
    assert out == {("failed", "awaiting-approval", Role.PERSON)}


def test_originals_are_never_lost():
    """A claimed original goes to archive/ or quarantine/, and nothing leaves archive/."""
    assert reachable("taking", arrows(Role.INTAKE)) == {"archive", "quarantine"}
    out = {(m.source, m.target, m.who) for m in MOVES if m.source in ("archive", "quarantine")}
    assert out == {("quarantine", "inbox", Role.PERSON)}


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


def test_a_verb_has_one_meaning_in_each_folder():
    """A person's verb leads from a folder to at most one other; only `resolve` asks which."""
    for verb in ("approve", "reject", "hold", "release", "cancel", "retry"):
        assert {len(targets(folder, verb)) for folder in FOLDERS} == {0, 1}, verb
    assert {folder: found for folder in FOLDERS if (found := targets(folder, "resolve"))} == {
        "unknown": ["done", "failed", "awaiting-approval"], "held": ["done", "failed"],
        "held-by-executor": ["done", "failed"],
    }  # fmt: skip
    assert targets("approved", "claim") == [], "a stage's reason is no verb"


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


@pytest.mark.parametrize("way", ["move", "publish"])
def test_nothing_is_overwritten(spool, way):
    """If the name is taken, a move and a publication change nothing at either end."""
    mine = spool(Role.PERSON if way == "move" else Role.INTAKE)
    source = Place("awaiting-approval")
    target = Place("approved") if way == "move" else source
    (there := Path(mine.path(target, "x.json"))).write_bytes(b"old")
    if way == "move":
        (here := Path(mine.path(source, "x.json"))).write_bytes(b"new")
        asked = (source, target, "x.json")
    else:
        here = Path(mine.draft(b"new"))
        mine.sync()
        asked = (str(here), target, "x.json")
    with pytest.raises(FileExistsError):
        getattr(mine, way)(*asked)
    assert (here.read_bytes(), there.read_bytes()) == (b"new", b"old")


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


def test_a_missing_file_is_no_error_and_a_missing_folder_is(spool):
    """Whoever comes second is told; a folder that is gone is not taken for a file that is."""
    mine, ends = spool(Role.PERSON), (Place("awaiting-approval"), Place("approved"))
    assert mine.move(*ends, "gone.json") is False
    Path(mine.path(ends[0], "x.json")).write_bytes(b"{}")
    Path(mine.path(ends[1])).rmdir()
    with pytest.raises(FileNotFoundError):
        mine.move(*ends, "x.json")


@pytest.mark.parametrize("umask", [0o000, 0o027, 0o077])
def test_laying_out_makes_every_folder_with_its_permissions(spool, umask):
    """Each folder has its owner's bits of the table and no others, whatever the umask."""
    os.umask(umask)
    mine = spool(Role.INTAKE)
    mine.lay_out()
    for name, folder in FOLDERS.items():
        mode = Path(mine.path(place(name))).stat().st_mode
        assert mode & 0o1777 == folder.mode & 0o1700, name


def test_every_reason_has_its_own_suffix():
    """No request can be taken for a reason: a dispatch id does not end like one."""
    assert REASON_SUFFIX.startswith(".")
    assert all("." not in code for code in ADVICE)
