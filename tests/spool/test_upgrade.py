"""A spool of version 0.1.0 → folders of executors: each file is moved once, whatever happens."""

import json
import os
from pathlib import Path

import pytest

from spoold.disk import fs
from spoold.errors import ConfigError
from spoold.spool.upgrade import is_due, set_foreign_aside, upgrade
from spoold.states import FOLDERS, Role

ONE, OTHER, HELD, RAN = (f"dispatch-20260101T00000{n}Z-r-0000000{n}" for n in range(4))


def put(path, **fields):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(fields))


@pytest.fixture
def old(tmp_path):
    """What the earlier version had left."""
    root = tmp_path / "spool"
    for folder in FOLDERS.values():
        (root / folder.path("*").removesuffix("/*").replace("/*/", "/x/")).mkdir(
            parents=True, exist_ok=True
        )
    put(root / f"done/{ONE}.json", dispatch_id=ONE, executor="a")
    put(root / f"failed/{OTHER}.json", dispatch_id=OTHER, executor="b")
    put(root / f"failed/{OTHER}.json.reason.json", code="cancelled")
    put(root / f"unknown/{RAN}.json", dispatch_id="another", executor="b")
    put(root / "done/notes.json", executor="../../etc")
    put(root / f"held/{HELD}.json", dispatch_id=HELD, executor="b")
    put(root / f"running/a/{RAN}.json", dispatch_id=RAN, executor="a")
    for name in (ONE, OTHER, HELD, RAN, "dispatch-20260101T000009Z-r-00000009"):
        (root / "logs" / name).mkdir()
        (root / "logs" / name / "attempt-1.out").write_text(name)
    return root


def contents(root):
    """Every file's content, by its path."""
    return {str(p.relative_to(root)): p.read_text() for p in root.rglob("*") if p.is_file()}


def places(root):
    """Where everything is, without what the upgrade says of it."""
    said = {f"held/{name}.json.reason.json" for name in ("notes", f"{RAN}.misplaced")}
    return {path for path in contents(root) if path not in said}


AFTER = {
    f"done/a/{ONE}.json", f"failed/b/{OTHER}.json", f"failed/b/{OTHER}.json.reason.json",
    f"held/{HELD}.json", "held/notes.json", f"held/{RAN}.misplaced.json", f"running/a/{RAN}.json",
    f"logs/a/{ONE}/attempt-1.out", f"logs/b/{OTHER}/attempt-1.out", f"logs/b/{HELD}/attempt-1.out",
    f"logs/a/{RAN}/attempt-1.out", f"logs/{RAN}/attempt-1.out",
    "logs/dispatch-20260101T000009Z-r-00000009/attempt-1.out",
}  # fmt: skip


def test_everything_comes_to_the_folder_of_its_executor(old):
    """What names its executor goes there with its reason and output; what is no request is held."""
    upgrade(str(old))
    assert places(old) - {f"logs/{RAN}/attempt-1.out"} == AFTER - {f"logs/{RAN}/attempt-1.out"}
    for name in ("notes", f"{RAN}.misplaced"):
        assert (
            json.loads((old / f"held/{name}.json.reason.json").read_text())["code"] == "misplaced"
        )
    seen = contents(old)
    upgrade(str(old))
    assert contents(old) == seen, "a second time changes nothing"


def test_what_watches_an_agent_finds_its_folder_where_it_was(old):
    """Of a request that runs, the old path leads to the new one."""
    upgrade(str(old))
    (old / "logs" / RAN / "attempt-1.end").write_text("0")
    assert (old / "logs/a" / RAN / "attempt-1.end").read_text() == "0"


def test_a_crash_at_any_rename_loses_nothing(old, monkeypatch):
    """Killed before each rename in turn and begun again, it ends where it ends undisturbed."""

    class Killed(BaseException):
        pass

    real, before = fs.rename_new, sorted(contents(old).values())
    for kill_at in range(1, 99):
        count = 0

        def rename(source: str, target: str, at: int = kill_at) -> None:
            nonlocal count
            count += 1
            if count == at:
                raise Killed
            real(source, target)

        monkeypatch.setattr(fs, "rename_new", rename)
        try:
            upgrade(str(old))
        except Killed:
            kept = [text for path, text in contents(old).items() if '"advice"' not in text]
            assert sorted(kept) == before
        else:
            break
    assert kill_at > 2
    assert {f"done/a/{ONE}.json", f"failed/b/{OTHER}.json", "held/notes.json"} <= places(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets what other users plant")
def test_no_link_of_a_stages_user_is_followed(old, tmp_path):
    """A link in the place of a request is parked as it is, and what it leads to stays."""
    secret = tmp_path / "secret.json"
    put(secret, dispatch_id=ONE.replace("r", "s"), executor="a")
    (old / f"done/{ONE.replace('r', 's')}.json").symlink_to(secret)
    upgrade(str(old))
    (link,) = (path for path in Path(old).rglob("*") if path.is_symlink() and path.suffix)
    assert link.parent == old / "held"
    assert secret.exists()


def rename_of(name, letter):
    """An id that is another's."""
    return name.replace("-r-", f"-{letter}-")


def held(root):
    """The names of what was parked as misplaced."""
    reasons = (root / "held").glob("*.reason.json")
    misplaced = [p for p in reasons if json.loads(p.read_text())["code"] == "misplaced"]
    return sorted(path.name.removesuffix(".reason.json") for path in misplaced)


def flat(root):
    """What still lies where the earlier version put it."""
    tops = (root / folder for folder in ("done", "failed", "unknown"))
    return [path.name for top in tops for path in top.iterdir() if not path.is_dir()]


def test_nothing_stays_where_no_stage_looks(old):
    """A copy, a reason without its file and a name that no folder can have are parked, not left."""
    copy, long = rename_of(ONE, "copy"), rename_of(ONE, "long")
    put(old / f"done/a/{copy}.json", dispatch_id=copy, executor="a")
    put(old / f"done/{copy}.json", dispatch_id=copy, executor="a")
    put(old / f"done/{long}.json", dispatch_id=long, executor="a" * 300)
    put(old / f"done/{long}.json.reason.json", code="cancelled")
    put(old / f"failed/{ONE}.json.reason.json", code="cancelled")
    assert is_due(str(old))
    upgrade(str(old))
    assert not is_due(str(old))
    assert flat(old) == []
    assert {f"{copy}.misplaced.json", f"{long}.misplaced.json"} <= set(held(old))
    assert (old / f"done/a/{copy}.json").exists()
    seen = contents(old)
    upgrade(str(old))
    assert contents(old) == seen


def test_no_folder_that_is_a_link_is_gone_through(old, tmp_path):
    """What names an executor whose folder is a link is parked, and nothing comes to lie beyond."""
    away, name = tmp_path / "away", rename_of(ONE, "away")
    away.mkdir()
    for top in ("done", "logs"):
        (old / top / "evil").symlink_to(away)
    put(old / f"done/{name}.json", dispatch_id=name, executor="evil")
    (old / "logs" / name).mkdir()
    upgrade(str(old))
    assert list(away.iterdir()) == []
    assert f"{name}.misplaced.json" in held(old)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets what other users plant")
class TestAsRoot:
    """What users of stages left in shared folders is not made an executor's word."""

    DAEMON, NOBODY = 1, 65534

    def test_what_another_user_wrote_is_no_result(self, old):
        """A result, an output, and a whole folder made by another user than its executor's."""
        forged, early = rename_of(ONE, "forged"), rename_of(ONE, "early")
        put(old / f"done/{forged}.json", dispatch_id=forged, executor="a")
        put(old / f"running/a/{forged}.json", dispatch_id=forged, executor="a")
        (old / "logs" / forged).mkdir()
        put(old / f"done/b/{early}.json", dispatch_id=early, executor="b")
        (old / "logs/b" / early).mkdir(parents=True)
        put(old / f"failed/evil/{early}.json", dispatch_id=early, executor="evil")
        (old / "done" / early).mkdir()
        owned = ("failed/evil", f"failed/evil/{early}.json", f"done/b/{early}.json")
        for path in (*owned, f"done/{forged}.json", f"logs/{forged}", f"logs/b/{early}"):
            os.chown(old / path, self.DAEMON, -1)
        for path in ("done/b", "logs/b"):
            os.chown(old / path, self.NOBODY, -1)
        upgrade(str(old))
        set_foreign_aside(str(old))
        for path in (*owned, f"done/a/{forged}.json", f"logs/a/{forged}", f"logs/b/{early}"):
            assert not (old / path).exists(), path
        assert f"{forged}.misplaced.json" in held(old)
        assert len([name for name in held(old) if early in name]) == 4

    def test_an_executors_own_results_stay_its_own(self, old):
        """What the user of an executor has written is moved, and goes on being its own."""
        os.chown(old / f"done/{ONE}.json", 54321, -1)
        (old / "done/a").mkdir()
        os.chown(old / "done/a", 54321, -1)
        upgrade(str(old))
        set_foreign_aside(str(old))
        assert (old / f"done/a/{ONE}.json").stat().st_uid == 54321

    def test_no_stage_starts_before_root_has_moved_what_was_left(self, lab):
        """Where each stage has a user, one that finds the earlier folders says what to do."""
        put(lab.root / f"done/{ONE}.json", dispatch_id=ONE, executor="rec")
        (lab.root / "checking").mkdir()
        os.chown(lab.root / "checking", self.NOBODY, -1)
        with pytest.raises(ConfigError, match="check --permissions --fix"):
            lab.context.spool(Role.GATE).lay_out()
        assert (lab.root / f"done/{ONE}.json").exists()
