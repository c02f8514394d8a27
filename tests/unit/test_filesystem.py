"""`spoold check` on file systems that refuse something, each played by a call that fails."""

import errno
import io
import os
import sys

import pytest

from spoold import cli
from spoold.disk import fs
from spoold.errors import ConfigError
from spoold.host import filesystem
from spoold.host.filesystem import must_be_usable
from spoold.states import Role
from spoold.testing import Lab
from tests.conftest import route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}


@pytest.fixture
def check(lab, monkeypatch, capsys):
    """Runs `spoold check` on a spool that is laid out; returns its code, stdout and stderr."""
    lab.drain()

    def run():
        monkeypatch.setattr(sys, "argv", ["spoold", "--config", str(lab.file), "check"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return run


def refusing(monkeypatch, name, when, error):
    """Let a function of `fs` fail where `when` is true of its arguments."""
    real = getattr(fs, name)

    def call(*arguments, **more):
        if when(*arguments):
            raise OSError(error, os.strerror(error), *(str(a) for a in arguments[:1]))
        return real(*arguments, **more)

    monkeypatch.setattr(fs, name, call)


def test_a_good_spool_is_left_as_it_was(check, lab):
    """Nothing of what was tried stays, and no file of anybody is touched."""
    lab.drop("decisions", "c.json", CUTOVER)
    before = {path: path.lstat().st_mtime_ns for path in lab.root.rglob("*") if path.is_file()}
    code, out, err = check()
    assert (code, err) == (0, "")
    assert out.endswith(f"ok       spool {lab.root}\n")
    after = {path: path.lstat().st_mtime_ns for path in lab.root.rglob("*") if path.is_file()}
    assert after == before


def no_noreplace(monkeypatch):
    """The file system does not know it; of a name that is taken, the kernel knows by itself."""
    refusing(monkeypatch, "rename_new", lambda _, new: not os.path.exists(new), errno.EINVAL)
    return "RENAME_NOREPLACE"


def careless(monkeypatch):
    """The file system takes the flag, and overwrites."""
    monkeypatch.setattr(fs, "rename_new", fs.replace)
    return "RENAME_NOREPLACE"


def no_exchange(monkeypatch):
    """The file system does not know it."""
    refusing(monkeypatch, "exchange", lambda *_: True, errno.EINVAL)
    return "RENAME_EXCHANGE"


def half_exchange(monkeypatch):
    """The file system takes the flag, and does nothing."""
    monkeypatch.setattr(fs, "exchange", lambda *_: None)
    return "RENAME_EXCHANGE"


@pytest.mark.parametrize("lack", [no_noreplace, careless, no_exchange, half_exchange])
def test_each_rename_is_tried_for_what_it_does(check, lab, monkeypatch, lack):
    """A file system that refuses a rename, or does something else, is refused; nothing stays."""
    name = lack(monkeypatch)
    code, _, err = check()
    assert code == os.EX_CONFIG
    assert name in err
    assert "ext4, xfs, btrfs or tmpfs" in err
    assert [path for path in lab.root.rglob("*") if ".check" in path.name] == []
    assert list((lab.root / "tmp").iterdir()) == []


def apart(*folders):
    """Whether a rename goes from or to one of them, but not inside it."""
    return lambda old, new: any(
        (f"spool/{folder}/" in old) != (f"spool/{folder}/" in new) for folder in folders
    )


@pytest.mark.parametrize("folders", [["queued/rec"], ["done/rec", "expired"], ["tmp"]])
def test_folders_that_cannot_be_renamed_into_are_all_named(check, lab, monkeypatch, folders):
    """Each is tried, also when one has failed; if nothing gets out of tmp, it is tmp that is."""
    refusing(monkeypatch, "rename_new", apart(*folders), errno.EXDEV)
    code, _, err = check()
    assert code == os.EX_CONFIG
    assert err.startswith(f"spoold: {', '.join(f'{lab.root}/{name}' for name in folders)}: ")
    assert "one mount" in err


def test_a_folder_that_may_not_be_written_to_is_named(check, lab, monkeypatch):
    """No permission ends with 77 and the folder's name, not that of the file that was tried."""
    refusing(monkeypatch, "rename_new", lambda _, new: "/held/" in new, errno.EACCES)
    code, _, err = check()
    assert code == os.EX_NOPERM
    assert err.startswith(f"spoold: {lab.root}/held: Permission denied")


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (errno.ENOSPC, os.EX_TEMPFAIL, "df -i"),
        (errno.EDQUOT, os.EX_TEMPFAIL, "Make room"),
        (errno.EROFS, os.EX_IOERR, "read-only"),
        (errno.EIO, os.EX_IOERR, "Input/output error"),
    ],
)
def test_what_cannot_be_written_is_told_with_what_to_do(check, lab, monkeypatch, error, code, word):
    """Full is 75, read-only and broken are 74, and the folder is named."""
    refusing(monkeypatch, "sync_folder", lambda _: True, error)
    found, _, err = check()
    assert found == code
    assert word in err
    assert f"{lab.root}/tmp" in err


def test_a_sync_that_fails_ends_with_an_input_output_error(check, monkeypatch):
    """A disk that cannot sync is found by check, not by the first drop."""

    def broken(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fs.os, "fsync", broken)
    code, _, err = check()
    assert code == os.EX_IOERR
    assert "durable" in err


def test_little_room_is_a_warning(check, lab):
    """Check says what intake would say to the next drop, and does not fail."""
    lab.configure('min_free = "99999TiB"\n' + Lab.SETTINGS, {"10.toml": route()})
    code, out, _ = check()
    assert code == 0
    assert "min_free" in out


@pytest.fixture
def mounted(monkeypatch):
    """Lets the kernel list these mount points."""

    def list_them(*points):
        lines = "".join(f"36 35 98:0 / {point} rw - ext4 /dev/x rw\n" for point in points)
        monkeypatch.setattr(filesystem, "open", lambda *_, **__: io.StringIO(lines), raising=False)

    return list_them


def test_a_mount_inside_is_refused_only_if_a_rename_into_it_fails(lab, mounted, monkeypatch):
    """The list of mounts says where to try; it also lists what lies hidden below another mount."""
    lab.drain()
    spool = lab.context.spool(Role.GATE)
    mounted("/", lab.root, f"{lab.root}/queued/rec", f"{lab.root}/elsewhere", f"{lab.root}-2/done")
    must_be_usable(spool)
    refusing(monkeypatch, "rename_new", apart("queued/rec"), errno.EXDEV)
    with pytest.raises(ConfigError, match=f"^{lab.root}/queued/rec is a mount inside the spool"):
        must_be_usable(spool)


def test_mount_points_with_odd_names_are_read(mounted, lab):
    """The kernel writes blanks and backslashes in octal."""
    mounted("/", rf"{lab.root}/a\040b\134c")
    assert set(filesystem._mounts()) == {"/", f"{lab.root}/a b\\c"}
    assert filesystem._inside(str(lab.root)) == [f"{lab.root}/a b\\c"]


@pytest.mark.parametrize(("kind", "warned"), [("btrfs", True), ("ext4", False)])
def test_check_warns_of_power_cuts_on_btrfs(check, monkeypatch, kind, warned):
    """On btrfs, where a power cut may leave a file two names, check says so and ends with 0."""
    monkeypatch.setattr(filesystem, "_kind", lambda _: kind)
    code, out, _ = check()
    assert code == 0
    assert ("power cut" in out) == warned
