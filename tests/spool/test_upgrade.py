"""A spool of version 0.1.0 → folders of executors: each file is moved once, whatever happens."""

import json
import os
from pathlib import Path

import pytest

from spoold.disk import fs
from spoold.spool.upgrade import upgrade
from spoold.states import FOLDERS

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
    said = {f"held/{name}.json.reason.json" for name in ("notes", RAN)}
    return {path for path in contents(root) if path not in said}


AFTER = {
    f"done/a/{ONE}.json", f"failed/b/{OTHER}.json", f"failed/b/{OTHER}.json.reason.json",
    f"held/{HELD}.json", "held/notes.json", f"held/{RAN}.json", f"running/a/{RAN}.json",
    f"logs/a/{ONE}/attempt-1.out", f"logs/b/{OTHER}/attempt-1.out", f"logs/b/{HELD}/attempt-1.out",
    f"logs/a/{RAN}/attempt-1.out", f"logs/{RAN}/attempt-1.out",
    "logs/dispatch-20260101T000009Z-r-00000009/attempt-1.out",
}  # fmt: skip


def test_everything_comes_to_the_folder_of_its_executor(old):
    """What names its executor goes there with its reason and output; what is no request is held."""
    upgrade(str(old))
    assert places(old) - {f"logs/{RAN}/attempt-1.out"} == AFTER - {f"logs/{RAN}/attempt-1.out"}
    for name in ("notes", RAN):
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
