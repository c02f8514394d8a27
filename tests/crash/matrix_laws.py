"""What a trace itself shows: who moved what, and that nothing unsynced was given a name."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import dropwhile

from spoold.states import FOLDERS
from tests.crash.matrix_trace import Call

_SYNCS = frozenset({"fsync", "fdatasync"})
_SYNCS_ALL = frozenset({"sync", "syncfs"})
_RENAMES = frozenset({"rename", "renameat", "renameat2"})


def moved(calls: Iterable[Call], root: str) -> set[tuple[str, str]]:
    """The arrows of the table that were made: folder names, from where to where."""
    return {
        (_folder(source, root), _folder(target, root))
        for call in calls
        if call.ours and call.succeeded and "RENAME_NOREPLACE" in call.text
        for source, target in [call.paths]
        if source.startswith(root) and not source.startswith(f"{root}/.")
    }


def _folder(path: str, root: str) -> str:
    """What the table calls the folder that a file is in."""
    inside = os.path.dirname(os.path.relpath(path, root))
    for folder in FOLDERS.values():
        key = "KEY" if folder.per or folder.under else ""
        pattern = re.escape(folder.path(key)).replace("KEY", "[^/]+")
        dated = r"/\d{4}-\d\d-\d\d" if folder.name == "archive" else ""
        if re.fullmatch(pattern + dated, inside):
            return folder.name
    return inside


def unsynced(calls: Iterable[Call], root: str) -> Iterator[str]:
    """Every draft that got a name before its content was durable."""
    dirty: set[str] = set()
    for call in filter(lambda call: call.ours, calls):
        drafts = [path for path in call.paths if path.startswith(f"{root}/tmp/")]
        if call.name in _SYNCS_ALL and call.succeeded:
            dirty.clear()
        elif call.name in _SYNCS and call.succeeded:
            dirty -= {*drafts}
        elif call.name in _RENAMES and dirty & {*drafts}:
            yield f"not synced: {call.signature(root)}"
        elif call.changes and call.name not in _RENAMES and not call.name.startswith("unlink"):
            dirty |= {*drafts}


def kept_on(calls: Iterable[Call], root: str) -> Iterator[str]:
    """What was done after a sync had failed that must not be done."""
    after = list(dropwhile(lambda call: not _failed_sync(call), calls))
    if not after or _is_of_index(after[0], root):
        return
    failed = after[0]
    for call in after[1:]:
        if call.name == failed.name and call.paths == failed.paths:
            yield f"synced again after a failure: {call.signature(root)}"
        if call.name in _RENAMES and any(p.startswith(f"{root}/tmp/") for p in call.paths):
            yield f"renamed after a failed sync: {call.signature(root)}"


def _is_of_index(call: Call, root: str) -> bool:
    """SQLite minds its own files and their folder, and what it keeps is only a cache of others."""
    return call.name == "fdatasync" and all(p.startswith(f"{root}/archive") for p in call.paths)


def _failed_sync(call: Call) -> bool:
    return call.injected and call.name in _SYNCS | _SYNCS_ALL
