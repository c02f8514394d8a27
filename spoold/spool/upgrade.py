"""A spool as version 0.1.0 laid it out → each executor's files in folders of its own.

There, `done/`, `failed/` and `unknown/` had the requests of all executors side by side, and `logs/`
their output. Each file moves by one rename. After a crash the next start goes on with what is left.
"""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress

from spoold import request
from spoold.disk import fs, reading
from spoold.errors import ADVICE
from spoold.identity import id_of
from spoold.spool.filenames import another
from spoold.states import FOLDERS, REASON_SUFFIX, STATES, Per

log = logging.getLogger("spoold.upgrade")

_SHARED = ("done", "failed", "unknown")
_EXECUTOR = re.compile(r"[a-z0-9][a-z0-9_-]*")


def upgrade(root: str) -> None:
    """Move what lies where version 0.1.0 left it; nothing to do takes a look at four folders.

    Args:
        root: the spool's path. The user must be allowed to move everything in it.
    """
    moved = [name for folder in _SHARED for name in _requests(f"{root}/{folder}")]
    moved += list(_output(root))
    if moved:
        log.warning("moved %d files of an earlier version to their executors' folders", len(moved))
        fs.sync_file_system(root)


def _requests(folder: str) -> Iterator[str]:
    """Move the requests in a folder, each after its reason."""
    for name in sorted(
        _entries(folder, folders=False), key=lambda name: not name.endswith(REASON_SUFFIX)
    ):
        of = name.removesuffix(REASON_SUFFIX)
        found = reading.json_object(f"{folder}/{of}", request.MAX_BYTES) or {}
        executor = _executor(found.get("executor"))
        if executor and found.get("dispatch_id") == id_of(of):
            fs.make_folder(f"{folder}/{executor}", 0o700)
            if _moved(f"{folder}/{name}", f"{folder}/{executor}/{name}"):
                yield name
        elif of == name or not reading.exists(f"{folder}/{of}"):
            _hold(folder, name)
            yield name


def _hold(folder: str, name: str) -> None:
    """Park what is no request where it can be seen, with a reason."""
    held = os.path.join(os.path.dirname(folder), "held")
    kept = another(name) if reading.exists(f"{held}/{name}") else name
    what = f"It lay in {os.path.basename(folder)}/, and is no request of an executor."
    now = request.now()
    with suppress(FileExistsError):
        why = request.reason("misplaced", what, ADVICE["misplaced"], now)
        fs.create(f"{held}/{kept}{REASON_SUFFIX}", why, 0o644)
    fs.give_to_owner(held, f"{held}/{kept}{REASON_SUFFIX}")
    _moved(f"{folder}/{name}", f"{held}/{kept}")


def _output(root: str) -> Iterator[str]:
    """Move the output of each request that is still there to its executor's folder."""
    for name in _entries(f"{root}/logs", folders=True):
        executor = _executor_in_spool(root, name) if id_of(name) else None
        if executor:
            old, new = f"{root}/logs/{name}", f"{executor}/{name}"
            fs.make_folder(f"{root}/logs/{executor}", 0o700)
            if _moved(old, f"{root}/logs/{new}"):
                yield name
                if reading.exists(f"{root}/running/{new}.json"):
                    # What watches an agent since before the upgrade goes on writing there.
                    fs.make_link(old, new)


def _executor_in_spool(root: str, dispatch_id: str) -> str | None:
    """Whose a request is, wherever it lies."""
    name = f"{dispatch_id}.json"
    for state in STATES:
        folder = f"{root}/{FOLDERS[state].path('*').removesuffix('/*')}"
        if FOLDERS[state].per is Per.EXECUTOR:
            for executor in _entries(folder, folders=True):
                if reading.exists(f"{folder}/{executor}/{name}"):
                    return _executor(executor)
        else:
            found = reading.json_object(f"{folder}/{name}", request.MAX_BYTES) or {}
            if found.get("dispatch_id") == dispatch_id:
                return _executor(found.get("executor"))
    return None


def _executor(name: object) -> str | None:
    return name if isinstance(name, str) and _EXECUTOR.fullmatch(name) else None


def _entries(folder: str, *, folders: bool) -> list[str]:
    """The names of the folders in a folder, or of all else."""
    with suppress(FileNotFoundError):
        found = reading.entries(folder)
        return [one.name for one in found if one.is_dir(follow_symlinks=False) == folders]
    return []


def _moved(old: str, new: str) -> bool:
    """Whether it was moved: another start may be at it, too; what has the name already stays."""
    try:
        fs.rename_new(old, new)
    except (FileNotFoundError, FileExistsError):
        return False
    return True
