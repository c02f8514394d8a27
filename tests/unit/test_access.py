"""Who may do what follows from the table of moves, and nobody may do more."""

import errno
import os
import stat
from pathlib import Path

import pytest

from spoold import rights as access
from spoold.disk import fs, reading
from spoold.errors import ConfigError
from spoold.host import acl, one_user, permissions
from spoold.rights import ENTER, GROUPS, READ, USERS, WRITE, may
from spoold.spool.spool import Spool
from spoold.states import FOLDERS, MOVES, Per, Role
from tests.unit.test_cli import spoold as spoold  # noqa: PLC0414 - a fixture

SPOOL = access.of_spool(["src"], ["exe"])
AT = {entry.path: entry for entry in SPOOL}


def key(folder):
    """A source or an executor, where a folder is for one."""
    return {Per.SOURCE: "src", Per.EXECUTOR: "exe", Per.NOTHING: ""}[folder.per]


def test_whoever_makes_a_move_may_write_at_both_ends():
    """A rename needs write on both folders: each role has it for its own moves."""
    for move in MOVES:
        for end in (move.source, move.target):
            assert may(move.who, FOLDERS[end]) & (WRITE | ENTER) == WRITE | ENTER, (move, end)


def test_nobody_may_write_who_has_no_move_there():
    """A role without a move, and that is not said to write there, cannot write into a folder."""
    for folder in FOLDERS.values():
        here = {move.who for move in MOVES if folder.name in (move.source, move.target)}
        for role in Role:
            said = role in folder.writers or role == folder.owner
            drops = (role, folder.name) == (Role.SUBMITTER, "inbox")
            if not (role in here or said or drops):
                assert not may(role, folder) & WRITE, (role, folder.name)


@pytest.mark.parametrize(
    ("role", "folder"),
    [
        (Role.INTAKE, "approved"), (Role.INTAKE, "queued"), (Role.INTAKE, "checking"),
        (Role.SWEEP, "approved"), (Role.SWEEP, "pre-approved"), (Role.REPORT, "approved"),
        (Role.EXECUTE, "approved"), (Role.EXECUTE, "pre-approved"), (Role.EXECUTE, "checking"),
        (Role.EXECUTE, "awaiting-approval"), (Role.EXECUTE, "approvals"), (Role.PERSON, "running"),
        (Role.PERSON, "checking"), (Role.PERSON, "taking"), (Role.PERSON, "archive"),
        (Role.SUBMITTER, "archive"), (Role.SUBMITTER, "quarantine"), (Role.HEALTH, "approved"),
    ],
)  # fmt: skip
def test_what_must_not_be_is_not(role, folder):
    """Intake cannot approve, executors can neither approve nor forge, people cannot alter."""
    assert not may(role, FOLDERS[folder]) & WRITE


def test_the_mode_shows_the_most_that_any_of_the_others_has():
    """The group bits of each mode are what chmod and ls show where there is a list: its mask."""
    for entry in SPOOL:
        most = entry.group_may
        for rights in (*entry.users.values(), *entry.groups.values()):
            most |= rights
        assert entry.mode >> 3 & 7 == most, entry
        assert entry.mode & 7 == (5 if entry.path == "" else 0), entry
        assert entry.mode >> 6 & 7 == 7, entry


def test_an_inbox_is_postfixs_maildrop():
    """Submitters may enter and write, and cannot list; a file belongs to who dropped it."""
    inbox = AT["inbox/src"]
    assert (inbox.mode, inbox.group, inbox.group_may) == (0o1730, "spoold-submit", WRITE | ENTER)


def test_an_executor_has_no_right_in_anothers_queue():
    """The users of two executors share folders of results, and no queue."""
    both = {entry.path: entry for entry in access.of_spool([], ["one", "two"])}
    for folder in ("queued", "running", "deferred", "approvals/cancel"):
        entry = both[f"{folder}/one"]
        assert "spoold-x-two" not in (entry.owner, *entry.users)
        assert GROUPS[Role.EXECUTE] not in (entry.group, *entry.groups)


def test_the_seals_key_is_for_two():
    """Intake owns it, the gate may read it, nobody may write it."""
    entry = access.of_seal_key(".seal.key")
    assert (entry.owner, entry.mode, entry.group_may) == (USERS[Role.INTAKE], 0o440, 0)
    assert (entry.users, entry.groups) == ({USERS[Role.GATE]: READ}, {})


def test_every_user_of_the_table_has_an_account():
    """What folders are given to is created, and executors are in the group of what they share."""
    lines = access.accounts({"exe": "command", "box": "container"})
    made = {line.split()[1] for line in lines if line[0] in "ug"}
    for entry in SPOOL:
        assert {entry.owner, entry.group, *entry.users, *entry.groups} <= made | {"root"}
    assert "m spoold-x-exe spoold-execute" in lines
    assert [line for line in lines if "spoold-health" in line] == [
        "g spoold-health -", "m spoold-x-box spoold-health",
    ]  # fmt: skip


def test_a_name_that_is_too_long_for_a_user_is_an_error():
    """An executor whose user could not be created is named, with how long a name may be."""
    assert access.user_of("x" * 22)
    with pytest.raises(ValueError, match="at most 22 characters"):
        access.user_of("x" * 23)


# A spool of one user


def test_a_spool_as_it_was_laid_out_is_right(lab):
    """What a service of one user lays out is what the check wants."""
    Spool(str(lab.root), Role.INTAKE, ["decisions"], ["rec"]).lay_out()
    config = str(lab.root.parent / "config/spoold.toml")
    assert [*one_user.compare(str(lab.root), config)] == []


def test_a_folder_that_is_too_open_is_found_and_mended(lab, spoold):
    """`check --permissions` names it and ends with 77; `--fix` takes away what is too much."""
    lab.drain()
    folder = lab.root / "approved"
    folder.chmod(0o777)
    ended = spoold("check", "--permissions")
    assert ended.code == os.EX_NOPERM
    assert f"{folder}: mode 0777" in ended.out
    assert spoold("check", "--permissions", "--fix").code == 0
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert spoold("check", "--permissions").code == 0


# What cannot be moved


def refuse(monkeypatch, stray):
    """Let the kernel refuse to move a folder, as it does where it belongs to somebody else."""
    rename = fs.rename_new

    def refusing(source, target):
        if Path(source) == stray:
            raise PermissionError(errno.EACCES, "Permission denied", source, None, target)
        rename(source, target)

    monkeypatch.setattr(fs, "rename_new", refusing)
    monkeypatch.setattr(reading, "is_fixed_folder", lambda path: Path(path) == stray)


@pytest.mark.parametrize(
    "folder", ["inbox/decisions", "approved", "checking", "queued/rec", "running/rec",
               "deferred/rec", "approvals/cancel/rec", "archive/decisions/.taking", "held"],
)  # fmt: skip
def test_a_folder_that_somebody_else_put_there_stops_no_stage(lab, monkeypatch, folder):
    """Whoever may write into a folder can leave one in it that a stage cannot rename: it stays."""
    lab.drain()
    stray = lab.root / folder / "x.json"
    stray.mkdir()
    os.utime(stray, (0, 0))
    refuse(monkeypatch, stray)
    lab.drop("decisions", "a.json", {"decision_id": "a", "decision_type": "cutover"})
    for _ in range(3):
        assert lab.drain() == 0
    assert stray.is_dir()
    assert len(lab.files("awaiting-approval")) == 1
    assert len(list(lab.root.rglob("*.reason.json"))) <= 1


def test_a_key_that_somebody_else_made_is_not_taken_on(tmp_path, monkeypatch):
    """`--fix` refuses a seal key of a user's who is none of those that may have it."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    monkeypatch.setattr(permissions, "_uid", lambda _: 0)
    monkeypatch.setattr(permissions, "_gid", lambda _: 0)
    monkeypatch.setattr(permissions, "_set", lambda *_: None)
    table = access.of_spool(["src"], ["exe"])
    permissions.mend(str(tmp_path), table)
    key = tmp_path / ".seal.key"
    assert len(key.read_bytes()) >= 32
    os.chown(key, 54321, -1)
    with pytest.raises(ConfigError, match="could seal what runs"):
        permissions.mend(str(tmp_path), table)
    key.unlink()
    os.mkfifo(key)
    with pytest.raises(ConfigError, match="could seal what runs"):
        permissions.mend(str(tmp_path), table)


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path, monkeypatch):
    """`--fix` makes and changes nothing outside of the spool."""
    monkeypatch.setattr(permissions, "_uid", lambda _: os.geteuid())
    monkeypatch.setattr(permissions, "_gid", lambda _: os.getegid())
    monkeypatch.setattr(permissions, "_set", lambda *_: None)
    outside = tmp_path / "outside"
    outside.mkdir()
    root = tmp_path / "spool"
    (root / "archive").mkdir(parents=True)
    (root / "archive/src").symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        permissions.mend(str(root), access.of_spool(["src"], []))
    assert list(outside.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
@pytest.mark.parametrize(("by", "handed_over"), [(54321, False), (54322, True)])
def test_what_a_stage_had_made_is_not_handed_to_another(tmp_path, monkeypatch, by, handed_over):
    """Only what was the one user's of a spool becomes its stages': not what a stranger planted."""
    monkeypatch.setattr(permissions, "_uid", lambda name: 60000 if name.endswith("exe") else 0)
    monkeypatch.setattr(permissions, "_gid", lambda _: 0)
    monkeypatch.setattr(acl, "write", lambda *_: None)
    planted = tmp_path / "done/exe/x.json"
    planted.parent.mkdir(parents=True)
    planted.write_text("{}")
    os.chown(tmp_path, 54322, -1)
    for path in (planted.parent, planted):
        os.chown(path, by, -1)
    permissions.mend(str(tmp_path), access.of_spool(["src"], ["exe"]))
    assert planted.exists() == handed_over
    assert (tmp_path / "done/exe").stat().st_uid == 60000
    assert handed_over == (handed_over and planted.stat().st_uid == 60000)


def test_each_folder_lies_in_one_that_only_its_owner_can_change():
    """Each folder above others is in the table, and no executor may write where others' are."""
    table = {entry.path: entry for entry in access.of_spool(["src"], ["exe"])}
    for path in filter(None, table):
        above = table[os.path.dirname(path)]
        executors = above.groups.get(GROUPS[Role.EXECUTE], 0)
        assert not executors & WRITE, path
        if above.path and os.path.basename(path) == "exe":
            assert executors & ENTER, path
