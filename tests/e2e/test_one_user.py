"""Without `separate_users` all that spoold makes is its user's alone."""

import json
import os
import struct
import subprocess
import sys

import pytest

from spoold.disk import private

TOML = """
root = "../spool"
[sources.decisions]
format = "decision"
[sources.reports]
format = "report"
[executors.runner]
kind = "command"
programs = ["/bin/echo"]
"""
ROUTE = """
name = "say"
source = "decisions"
match = "record.body.decision_type == 'say'"
executor = "runner"
requires_approval = false
[params]
argv = ["/bin/echo", "=record.id"]
"""
DEFAULT = "system.posix_acl_default"
#: user:: rwx, user:65534 rwx, group:: rwx, mask:: rwx, other:: rwx.
OPEN = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, 7, who)
    for tag, who in ((1, 2**32 - 1), (2, 65534), (4, 2**32 - 1), (16, 2**32 - 1), (32, 2**32 - 1))
)


def spoold(folder, *words):
    """The command, as a process whose umask hides nothing."""
    words = [sys.executable, "-m", "spoold", "--config", folder / "config/spoold.toml", *words]
    return subprocess.run(words, check=False, capture_output=True, text=True, umask=0, timeout=60)


@pytest.fixture
def parent(tmp_path):
    """A folder that gives everybody all rights in what is made in it."""
    made = tmp_path / "shared"
    made.mkdir()
    made.chmod(0o2777)
    try:
        os.setxattr(made, DEFAULT, OPEN)
    except OSError:
        pytest.skip("this file system has no access control lists")
    return made


@pytest.fixture
def site(parent):
    """What `init` lays out there, with a route that needs no yes."""
    made = parent / "site"
    words = [sys.executable, "-m", "spoold", "init", made]
    subprocess.run(words, check=True, capture_output=True, umask=0)
    (made / "config/spoold.toml").write_text(TOML)
    for route in (made / "config/routes.d").iterdir():
        route.unlink()
    (made / "config/routes.d/10-say.toml").touch(0o600)
    (made / "config/routes.d/10-say.toml").write_text(ROUTE)
    return made


def open_to_others(folder):
    """What others may do with anything in a folder."""
    found = {folder: private.too_much(str(folder))}
    found |= {path: private.too_much(str(path)) for path in folder.rglob("*")}
    return {path: words for path, words in found.items() if words}


def drop(site, name, text):
    """Drop a file as a careless program does: with all rights for everybody."""
    path = site / "spool/inbox/decisions" / name
    path.write_text(text)
    path.chmod(0o666)


def test_all_that_a_run_makes_is_its_users_alone(site):
    """No umask and no list of a folder above gives others a right to anything in a spool."""
    drop(site, "good.json", json.dumps({"decision_id": "a", "decision_type": "say"}))
    drop(site, "bad.json", "{")
    os.utime(site / "spool/inbox/decisions/bad.json", (1, 1))
    ended = spoold(site, "run", "--drain")
    assert ended.returncode == 0, ended.stderr
    names = {path.relative_to(site / "spool").parts[0]
             for path in (site / "spool").rglob("*") if path.is_file()}  # fmt: skip
    assert names >= {"archive", "done", "quarantine", "logs", "reports"}, ended.stderr
    assert open_to_others(site) == {}
    checked = spoold(site, "check", "--permissions")
    assert checked.returncode == 0, checked.stdout


def test_an_older_spool_is_reported_and_mended(site):
    """`check --permissions` names each folder and file with bits or lists; `--fix` closes it."""
    spool = site / "spool"
    drop(site, "good.json", json.dumps({"decision_id": "a", "decision_type": "say"}))
    spoold(site, "run", "--drain")
    (done,) = spool.glob("done/*/*.json")
    done.chmod(0o640)
    (spool / "approved").chmod(0o2770)
    os.setxattr(spool / "held", DEFAULT, OPEN)
    os.setxattr(spool / "rejected", "system.posix_acl_access", OPEN)
    (site / "config/spoold.toml").chmod(0o664)
    ended = spoold(site, "--json", "check", "--permissions")
    assert ended.returncode == os.EX_NOPERM
    found = {os.path.relpath(row["path"], site)
             for row in map(json.loads, ended.stdout.splitlines()) if "path" in row}  # fmt: skip
    wanted = {"approved", "held", "rejected", str(done.relative_to(spool))}
    assert found == {f"spool/{name}" for name in wanted} | {"config/spoold.toml"}
    content = done.read_bytes()
    assert spoold(site, "check", "--permissions", "--fix").returncode == 0
    assert open_to_others(site / "spool") == {}
    assert done.read_bytes() == content


def test_mending_reaches_nothing_through_a_link(site, tmp_path):
    """A link in a spool does not make `--fix` change the file that it leads to."""
    other = tmp_path / "other"
    other.write_text("")
    other.chmod(0o644)
    (site / "spool/approved/a.json").symlink_to(other)
    spoold(site, "check", "--permissions", "--fix")
    assert other.stat().st_mode & 0o777 == 0o644


def test_a_start_says_that_a_spool_is_open_to_others(site):
    """A spool of an earlier version that others may enter is left, and a warning says so."""
    (site / "spool").chmod(0o750)
    ended = spoold(site, "run", "--drain")
    assert "check --permissions --fix" in ended.stderr
