"""Root rebuilds the index of a spool whose intake is another user, who may wish root ill."""

import os
import shutil
import subprocess

import pytest
from click.testing import CliRunner

from spoold.cli import cli
from spoold.linux.users import as_owner_of

INTAKE = 1001


@pytest.fixture
def tmp_path(open_path):
    """Where other users can get at it."""
    return open_path


@pytest.fixture
def site(lab, require):
    """A spool with one known event, all of it intake's, and a file that only root may write."""
    require(os.geteuid() == 0, "root")
    lab.drop("decisions", "1.json", {"decision_id": "d", "decision_type": "c"})
    lab.drain()
    for path in [lab.root, *lab.root.rglob("*")]:
        os.chown(path, INTAKE, INTAKE)
    return lab


def spoold(lab, *words):
    return CliRunner().invoke(cli, ["--config", str(lab.file), *words])


@pytest.mark.parametrize("name", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("link", ["-s", "-P"])
def test_reindex_writes_through_no_link_of_intakes(site, tmp_path, name, link):
    """Whatever intake has put in the place of the index, no file of root's changes."""
    own = tmp_path / "roots"
    own.write_bytes(b"precious")
    own.chmod(0o600)
    shutil.rmtree(site.root / "archive/.index.sqlite3", ignore_errors=True)
    planted = site.root / f"archive/.index.sqlite3{name}"
    planted.unlink(missing_ok=True)
    subprocess.run(["ln", link, own, planted], check=True)
    spoold(site, "reindex")
    assert (own.read_bytes(), own.stat().st_uid) == (b"precious", 0)


def test_reindex_makes_nothing_where_a_link_of_intakes_leads(site, tmp_path):
    """A link to a file that is not there does not become a file of root's."""
    planted = site.root / "archive/.index.sqlite3"
    planted.unlink()
    planted.symlink_to(tmp_path / "etc-cron-d")
    spoold(site, "reindex")
    assert not (tmp_path / "etc-cron-d").exists()


def test_the_index_that_root_builds_is_intakes(site):
    """Without any trick the index is whole, and belongs to who works with it."""
    (site.root / "archive/.index.sqlite3").unlink()
    ended = spoold(site, "reindex")
    assert ended.output == "1 deliveries known\n", ended.output
    assert (site.root / "archive/.index.sqlite3").stat().st_uid == INTAKE
    assert os.geteuid() == 0


def test_root_has_its_rights_back_after_an_error(site):
    """Within, root may not do what the owner may not; afterwards it may, whatever happened."""
    groups = os.getgroups()
    with pytest.raises(PermissionError), as_owner_of(str(site.root / "archive")):
        (site.root.parent / "config" / "new").touch()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, 0, groups)
