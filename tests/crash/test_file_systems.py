"""File systems that spoold runs on, and those that it refuses, with what it says then."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from spoold import cli
from tests.crash import refusing
from tests.crash.mounting import run
from tests.crash.wrapped import Wrapped, both, contents, settled, true
from tests.e2e import conftest as e2e
from tests.e2e.conftest import Site, reason, until
from tests.invariants import violations

#: Larger than the group from which one syncfs stands for many syncs.
MANY = 40
F_SETLEASE = 1024
NOBODY = 65534


@pytest.fixture
def site_at():
    """Makes sites; what runs on them is killed before anything is unmounted."""
    with ExitStack() as closing:

        def make(folder):
            site = Wrapped(folder)
            closing.callback(site.close)
            return site

        yield make


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A site with a request that waits, one that is approved, a drop, and no service."""
    site = true(Site(tmp_path_factory.mktemp("template")))
    site.drop_many(2)
    site.drain()
    site.approve(site.files("awaiting-approval")[0])
    site.drop_many(1, first=7)
    return site.folder


@pytest.fixture
def busy_at(template, site_at):
    """Makes copies of that."""
    return lambda folder: site_at(shutil.copytree(template, folder))


@pytest.fixture
def busy(busy_at, tmp_path):
    """One of them."""
    return busy_at(tmp_path / "site")


@pytest.fixture
def checked(monkeypatch, capsys):
    """`spoold check` in this process: starting one takes longer than all that is checked."""

    def check(site):
        words = ["spoold", "--config", str(site.config), "check"]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.setenv(e2e.SECRET, e2e.TOKEN)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return subprocess.CompletedProcess(words, end.value.code, *capsys.readouterr())

    return check


@pytest.fixture
def without(require):
    """Lets a call fail in a site's processes, until what it returns is called."""

    def refuse(site, *what):
        require(os.uname().machine in refusing.CALLS, "system call numbers")
        before = [sys.executable, "-m", "tests.crash.refusing", *map(str, what)]
        works = subprocess.run(
            [*before, "true"], cwd=e2e.CHECKOUT, check=False, capture_output=True
        )
        require(works.returncode == 0, "seccomp")
        site.before = before
        return lambda: setattr(site, "before", ())

    return refuse


@pytest.fixture
def counted(tmp_path):
    """A program that makes a file for each of its calls in the folder `calls`."""
    (tmp_path / "calls").mkdir()
    program = tmp_path / "count"
    program.write_text(f'#!/bin/sh\nexec mktemp "{tmp_path}/calls/$1.XXXXXX"\n')
    program.chmod(0o755)
    return program


# Those that spoold runs on


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs"])
def test_the_whole_path_on_every_file_system_that_we_name(
    mount, site_at, receiver, counted, checked, kind
):
    """Checked, dropped in a large group, approved by mv, killed, restarted: all laws hold."""
    site = both(site_at(mount.file_system(kind) / "site"), receiver, counted)
    service = site.start("run")
    warned = [line for line in checked(site).stdout.splitlines() if line.startswith("warning")]
    assert len(warned) == (kind == "btrfs"), warned
    assert all("power cut" in line for line in warned)
    service.send_signal(signal.SIGSTOP)
    site.drop_many(MANY, decision_type="call")
    site.drop_many(MANY, first=MANY)
    service.send_signal(signal.SIGCONT)
    waiting = site.wait_for("awaiting-approval", 2 * MANY)
    receiver.delay = 0.01
    site.approve(*waiting[: MANY + 10])
    until(lambda: settled(site) >= 5, "some of them are done")
    service.kill()
    service.wait(10)
    site.approve(*waiting[MANY + 10 :])
    again = site.start("run")
    until(lambda: settled(site) == 2 * MANY, site.where, 30)
    assert site.stop(again) == 0
    dropped = [path.read_bytes() for path in site.files("archive")]
    assert len(dropped) == 2 * MANY
    assert violations(site.root, dropped, receiver.bodies()) == []
    ran = [path.name.partition(".")[0] for path in counted.with_name("calls").iterdir()]
    assert len(ran) == len(set(ran))
    assert len(site.files("done")) >= 2 * MANY - 8


def test_where_the_kernel_does_not_tell_who_writes_a_half_written_file_is_known_by_its_age(
    without, site_at, tmp_path
):
    """Without leases check says so, whole records are taken, and half of one is, later."""
    site = true(site_at(tmp_path))
    site.config.write_text(site.config.read_text().replace("[exec", 'settle = "100ms"\n[exec', 1))
    without(site, "fcntl", 1, F_SETLEASE, "EINVAL")
    site.start("run")
    assert "F_SETLEASE" in site.spoold("check").stdout
    half, dropped = b'{"decision_id": "d-half", ', time.monotonic()
    site.drop("decisions", "half.json", half)
    site.drop_many(2)
    site.wait_for("awaiting-approval", 2)
    (found,) = site.wait_for("quarantine")
    assert time.monotonic() - dropped > 1
    assert found.read_bytes() == half
    assert reason(found)["code"] == "truncated"


# Those that it refuses


def refused(ended, *says, code=os.EX_CONFIG):
    """It ended with that code and one message that says all this; returns the message."""
    assert ended.returncode == code, ended
    assert "Traceback" not in ended.stderr
    for word in says:
        assert str(word) in ended.stderr
    return ended.stderr


def split_by(how, mount, site):
    """Put one folder of a spool on another mount; returns it."""
    folder = site.root / how.partition(" ")[2]
    if how.startswith("bind"):
        beside = mount.folder / "beside"
        shutil.copytree(folder, beside)
        mount(folder, "--bind", beside)
        assert folder.stat().st_dev == site.root.stat().st_dev
    else:
        mount(folder, "-t", "tmpfs", "tmpfs")
    return folder


SPLIT = ["bind approved", "bind inbox/decisions", "tmpfs archive", "tmpfs queued/runner",
         "tmpfs tmp"]  # fmt: skip


@pytest.mark.parametrize("how", SPLIT)
def test_a_spool_over_two_mounts_is_refused_before_anything_moves(mount, busy, checked, how):
    """Check and a service name the mount and end with 78; unmounted, check is content again."""
    folder = split_by(how, mount, busy)
    before = contents(busy)
    said = refused(checked(busy), f"{folder} is a mount", "on one mount")
    assert said.count(str(busy.root)) == 2
    refused(busy.ends("run"), f"{folder} is a mount", "on one mount")
    after = contents(busy)
    assert {path: after.get(path) for path in before} == before
    mount.off(folder)
    assert checked(busy).returncode == 0


@pytest.mark.parametrize("verb", ["gate", "run --drain"])
def test_no_service_starts_on_a_spool_over_two_mounts(mount, busy, verb):
    """A service ends with 78 also where the mount is none of its business, and so does a drain."""
    folder = split_by("bind done", mount, busy)
    refused(busy.ends(*verb.split()), f"{folder} is a mount", "on one mount")


def test_a_subvolume_inside_is_refused_although_it_is_no_mount(mount, site_at, checked):
    """A file is not renamed into a btrfs subvolume either, which only the rename itself tells."""
    site = true(site_at(mount.file_system("btrfs") / "site"))
    site.root.mkdir()
    run("btrfs", "subvolume", "create", site.root / "done")
    site.drop_many(1)
    site.drain()
    refused(checked(site), site.root / "done", "subvolume")
    site.approve()
    refused(site.ends("run"), "/done", "spoold check")
    assert site.where() == {"running": 1}
    run("btrfs", "subvolume", "delete", site.root / "done")
    site.drain()
    assert site.where() == {"done": 1}


def test_a_mount_that_comes_while_it_runs_stops_it_and_loses_nothing(mount, busy):
    """The service ends with 78 and says which rename failed; unmounted, the rest is done."""
    service = busy.start("run")
    busy.wait_for("done")
    folder = split_by("bind queued/runner", mount, busy)
    busy.approve()
    assert service.wait(20) == os.EX_CONFIG
    lines = [json.loads(line) for line in busy.log().splitlines()]
    (last,) = [line for line in lines if line["level"] == "CRITICAL"]
    assert "queued/runner" in last["message"]
    assert "spoold check" in last["message"]
    assert "exc_info" not in last
    mount.off(folder)
    busy.drain()
    assert busy.where() == {"done": 3}


@pytest.mark.parametrize(("flag", "name"), [(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE")])
def test_a_file_system_that_lacks_a_rename_is_refused(without, busy, flag, name):
    """Check tries both, names the one that is lacking and the file systems that have it."""
    before = contents(busy)
    without(busy, "renameat2", 4, flag, "EINVAL")
    refused(busy.ends("check"), name, "ext4", busy.root)
    assert contents(busy) == before


def test_a_service_that_cannot_claim_ends_and_loses_nothing(without, busy):
    """Without NOREPLACE it ends with 78 and a pointer to check; nothing has moved."""
    before = contents(busy)
    again = without(busy, "renameat2", 4, 1, "EINVAL")
    refused(busy.ends("run"), "cannot rename without overwriting", "spoold check")
    assert contents(busy) == before
    again()
    busy.drain()
    assert busy.where() == {"awaiting-approval": 2, "done": 1}


def test_a_service_that_cannot_fold_ends_and_loses_nothing(without, site_at, tmp_path):
    """Without EXCHANGE the first repeat ends it with 78; elsewhere all is counted once."""
    site = true(site_at(tmp_path), 'intent_key = "record.facts.decision_type"')
    again = without(site, "renameat2", 4, 2, "EINVAL")
    site.drop_many(1)
    site.drain()
    site.drop_many(2, first=1)
    refused(site.ends("run"), "exchange", "spoold check")
    again()
    site.drain()
    assert site.request("awaiting-approval")["asked"] == 3
    assert len(site.files("archive")) == 3


def test_a_file_system_in_user_space_that_lacks_them_is_refused(mount, site_at, checked, tmp_path):
    """On bindfs, which knows neither, check refuses before and after run has tried."""
    (tmp_path / "below").mkdir()
    site = true(site_at(mount.bindfs(tmp_path / "below") / "site"))
    site.root.mkdir()
    refused(checked(site), "fuse", "RENAME_NOREPLACE")
    refused(site.ends("run"), "cannot rename without overwriting", "spoold check")
    refused(checked(site), "fuse", "RENAME_NOREPLACE")


# Those that cannot be written to


def test_a_read_only_mount_is_told_as_that(mount, busy_at, checked):
    """Check and run end with 74 and say that it is mounted read-only, and where to look."""
    top = mount.file_system("tmpfs")
    site = busy_at(top / "site")
    run("mount", "-o", "remount,ro", top)
    refused(checked(site), site.root / "tmp", "read-only", "dmesg", code=os.EX_IOERR)
    refused(site.ends("run"), site.root, "read-only", "dmesg", code=os.EX_IOERR)
    run("mount", "-o", "remount,rw", top)
    site.drain()
    assert site.where() == {"awaiting-approval": 2, "done": 1}


def test_a_full_file_system_is_told_as_that(mount, busy_at, checked):
    """Check ends with 74, says that there is no room, and leaves nothing of what it tried."""
    top = mount(mount.folder / "small", "-t", "tmpfs", "-o", "size=1M", "tmpfs")
    site = busy_at(top / "site")
    ballast = top / "ballast"
    with ballast.open("wb", buffering=0) as out, suppress(OSError):
        while out.write(b"x" * 4096):
            pass
    before = contents(site)
    refused(checked(site), site.root / "tmp", "No space left", "df", code=os.EX_TEMPFAIL)
    assert contents(site) == before
    ballast.unlink()
    assert checked(site).returncode == 0


@pytest.mark.parametrize("folder", ["done/runner", "tmp"])
def test_a_folder_of_another_user_is_told_as_that(require, busy_at, folder):
    """Where this user may not write, check ends with 77 and names the folder."""
    require(os.geteuid() == 0, "root")
    require(shutil.which("setpriv") is not None, "setpriv")
    with tempfile.TemporaryDirectory() as top:
        os.chmod(top, 0o755)
        site = busy_at(Path(top) / "site")
        for path in [site.folder, *site.folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        os.chown(site.root / folder, 0, 0)
        os.chmod(site.root / folder, 0o755)
        site.before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        said = refused(
            site.ends("check"), site.root / folder, "Permission denied", code=os.EX_NOPERM
        )
        assert len(said.splitlines()) == 1
