"""What lies in a spool: every file, and which drop or request it is, wherever it lies."""

import hashlib
import json
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any

from spoold.states import FOLDERS, HOLD, REASON_SUFFIX, STATES, Per

#: Path from the spool root → bytes; a link's target and a FIFO's name stand for theirs.
Files = dict[str, bytes]

SOURCE, EXECUTORS = "decisions", ("rec", "other")
_REQUEST = re.compile(rb'\{\s*"schema": "spoold\.request/1",\s*"dispatch_id": "([^"]+)"')
_TOKEN = re.compile(rb"token-\d+")
_OURS = re.compile(rb'\{\n  "(code|dispatch_id)": ')
_DRAFT = re.compile(r"tmp/(intake|gate|sweep|person|execute-[a-z]+)\.\d+\.[0-9a-f]{12}")


def _paths() -> dict[str, str]:
    keys = {Per.NOTHING: ("",), Per.SOURCE: (SOURCE,), Per.EXECUTOR: EXECUTORS}
    return {f.path(key): f.name for f in FOLDERS.values() for key in keys[f.per]}


#: Path of every folder of this spool → its name in the table.
FOLDER_AT = _paths()
#: The paths of the folders whose files are requests.
STATE_PATHS = tuple(path for path, name in FOLDER_AT.items() if name in STATES)


def look(root: Path) -> Files:
    """Everything that lies in the spool now, but for the index and the key."""
    found: Files = {}
    folders = [os.fspath(root)]
    top = len(folders[0]) + 1
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not entry.name.startswith((".index", ".seal.key")):
                    found[entry.path[top:]] = content(entry.path)
    return found


def content(path: str) -> bytes:
    """A file's bytes; never waits for a FIFO."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return os.fsencode(os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return b"a FIFO"
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def identity(path: str, data: bytes) -> str:
    """Which request, drop or other thing a file is; empty for what spoold notes for itself."""
    if path == HOLD or _DRAFT.fullmatch(path):
        return ""
    if not data and split(path)[0] == "cancel":
        # A cancellation, whatever it was elsewhere: it is removed when it is carried out.
        return ""
    if found := _REQUEST.match(data):
        return found[1].decode()
    if _OURS.match(data):
        return ""
    found = _TOKEN.search(data)
    return found[0].decode() if found else f"bytes {sha(data)[:12]}"


def count(files: Files) -> Counter[str]:
    """How often each thing exists."""
    found = Counter(identity(path, data) for path, data in files.items())
    del found[""]
    return found


def sha(data: bytes) -> str:
    """The digest by which two files are the same."""
    return hashlib.sha256(data).hexdigest()


def split(path: str) -> tuple[str, str]:
    """The name in the table (or empty) of a file's folder, and the file's name."""
    folder, _, name = path.rpartition("/")
    day = "archive" if folder.startswith(f"archive/{SOURCE}/") else ""
    return FOLDER_AT.get(folder, day), name


def states_of(root: Path, name: str, executor: str) -> set[str]:
    """The states in which a request is; other executors' folders say nothing of it."""
    found = set()
    for state in STATES:
        key = executor if FOLDERS[state].per else ""
        path = f"{root}/{FOLDERS[state].path(key)}/{name}"
        if os.path.lexists(path) and (not key or _is_of(path, name, executor)):
            found.add(state)
    return found


def _is_of(path: str, name: str, executor: str) -> bool:
    """Whether it is that executor's request of that name, and not another one under it."""
    try:
        fields = request(content(path))
        return (f"{fields['dispatch_id']}.json", fields["executor"]) == (name, executor)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def executor_of(data: bytes) -> str:
    """Whose request it is; empty if it is none."""
    try:
        return str(request(data)["executor"])
    except (ValueError, KeyError, TypeError):
        return ""


def has_reason(root: Path, folder: str, name: str) -> bool:
    """Whether a reason for that name lies in a folder."""
    return os.path.lexists(root / folder / (name + REASON_SUFFIX))


def request(data: bytes) -> dict[str, Any]:
    """The fields of a request."""
    fields: dict[str, Any] = json.loads(data)
    return fields


def sealed(data: bytes) -> str:
    """A digest of what the seals of a request cover; empty if it is none."""
    try:
        fields = json.loads(data)
        rest = {k: v for k, v in fields.items() if k not in ("status", "attempts", "result")}
        return sha(json.dumps(rest, sort_keys=True).encode()) if "seal" in rest else ""
    except (ValueError, AttributeError):
        return ""


def is_candidate(name: str) -> bool:
    """Whether a stage looks at a file of this name."""
    return name.endswith(".json") and not name.startswith(".")
