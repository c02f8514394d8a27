"""A spool as version 0.1.0 laid it out → each executor's files in folders of its own.

There, `done/`, `failed/` and `unknown/` had the requests of all executors side by side, and `logs/`
their output. Each file moves by one rename. After a crash the next start goes on with what is left.

Security: any executor could write there. A file of another user than its executor's is parked in
`held/`, no name in it is followed out of the spool, and no link is followed.
"""

import errno
import fcntl
import logging
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import suppress

from spoold import request
from spoold.disk import fs, reading
from spoold.errors import ADVICE
from spoold.identity import NAME, id_of
from spoold.rights import user_of
from spoold.spool.filenames import another, readable_name
from spoold.states import FOLDERS, REASON_SUFFIX, STATES, Per

log = logging.getLogger("spoold.upgrade")

_SHARED = ("done", "failed", "unknown")
_EXECUTOR = re.compile(NAME)


def upgrade(root: str) -> None:
    """Move what lies where version 0.1.0 left it; nothing to do takes a look at four folders.

    Args:
        root: the spool's path. The user must be allowed to move everything in it.
    """
    with suppress(FileNotFoundError), fs.opened(root) as descriptor:
        # Stages of one user may start at the same time; the lock goes with the descriptor.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        moved = [name for folder in _SHARED for name in _requests(f"{root}/{folder}")]
        moved += list(_output(root))
        if moved:
            log.warning("moved %d files of an earlier version to where they belong", len(moved))
            fs.sync_file_system(root)


def is_due(root: str) -> bool:
    """Whether requests lie where version 0.1.0 left them; no, where this user may not look."""
    return any(_left(f"{root}/{folder}") for folder in _SHARED)


def set_foreign_aside(root: str) -> None:
    """Park what another user has put where only an executor's results and output may lie.

    Args:
        root: the spool's path. Each stage has a user of its own, and each folder its owner.
    """
    for top in (*_SHARED, "logs"):
        for name in _entries(f"{root}/{top}", folders=True):
            folder, what = f"{root}/{top}/{name}", f"It lay in {top}/{name}/, made by another user."
            if _executor(name):
                of = reading.owner(folder)
                is_own = not _is_not_of(of, name)
                for one in reading.entries(folder):
                    allowed = (of, 0, None) if is_own else ()
                    if reading.owner(one.path) not in allowed and not _is_reason(one.name):
                        _hold(root, one.path, what)
                if not is_own:
                    fs.remove_if_empty(folder)
            elif not (top == "logs" and id_of(name)):
                _hold(root, folder, f"It lay in {top}/, and is no executor's.")


def _requests(folder: str) -> Iterator[str]:
    """Move the requests in a folder, each after its reason, and park all else that is no folder."""
    root = os.path.dirname(folder)
    for name in [name for name in _left(folder) if not _is_reason(name)]:
        path, beside = f"{folder}/{name}", name + REASON_SUFFIX
        own = _folder_for(folder, name)
        if own and not reading.exists(f"{own}/{name}"):
            _moved(f"{folder}/{beside}", f"{own}/{beside}")
            if _moved(path, f"{own}/{name}"):
                if reading.owner(own) == 0:
                    # Of an executor that is there no more: root keeps what it left.
                    fs.give_to_owner(own, f"{own}/{name}")
                yield name
                continue
        _hold(root, path, f"It lay in {os.path.basename(folder)}/, and is no request of the "
                          "executor that it names.")  # fmt: skip
        yield name
    for name in _left(folder):
        _hold(root, f"{folder}/{name}", "It lay there without the file that it is about.")
        yield name


def _folder_for(folder: str, name: str) -> str | None:
    """The folder of the executor whose request it is; None if it is nobody's."""
    path = f"{folder}/{name}"
    found = reading.json_object(path, request.MAX_BYTES) or {}
    executor = _executor(found.get("executor"))
    if not executor or found.get("dispatch_id") != id_of(name):
        return None
    own = _own(folder, executor)
    return own if own and not _is_strangers(path, own, executor) else None


def _own(folder: str, executor: str) -> str | None:
    """An executor's folder in this one, made if it is missing; None if something else is there."""
    own = f"{folder}/{executor}"
    if not reading.exists(own):
        fs.make_folder(own, 0o700)
    return own if stat.S_ISDIR(reading.status(own).st_mode) else None


def _is_strangers(path: str, own: str, executor: str) -> bool:
    """Whether another user than an executor's has made a file or folder of it."""
    by, owner = reading.owner(path), reading.owner(own)
    if by in (0, None) or owner != 0:
        return by not in (owner, 0, None)
    # That executor is in the configuration no more; its user may still be there.
    return _is_not_of(by, executor)


def _is_not_of(uid: int | None, executor: str) -> bool:
    """Whether it is a user of this machine that is neither root nor that executor's."""
    try:
        return bool(uid) and pwd.getpwuid(uid or 0).pw_name != user_of(executor)
    except KeyError:
        return False
    except ValueError:  # no user can have so long a name
        return True


def _hold(root: str, path: str, what: str) -> None:
    """Park a file where it can be seen, with a reason."""
    held, name = f"{root}/held", readable_name(os.path.basename(path))
    if id_of(name):
        # Under that name it would say that a person has put the request on hold.
        name = f"{name.removesuffix('.json')}.misplaced.json"
    kept = another(name) if reading.exists(f"{held}/{name}") else name
    with suppress(FileExistsError):
        why = request.reason("misplaced", what, ADVICE["misplaced"], request.now())
        fs.create(f"{held}/{kept}{REASON_SUFFIX}", why, 0o644)
    _moved(path, f"{held}/{kept}")


def _output(root: str) -> Iterator[str]:
    """Move the output of each request that is still there to its executor's folder."""
    for name in filter(id_of, _entries(f"{root}/logs", folders=True)):
        for executor in _executors_with(root, name):
            old, own = f"{root}/logs/{name}", _own(f"{root}/logs", executor)
            if not own or _is_strangers(old, own, executor) or not _moved(old, f"{own}/{name}"):
                continue
            yield name
            if reading.exists(f"{root}/running/{executor}/{name}.json"):
                # What watches an agent since before the upgrade goes on writing there.
                fs.make_link(old, f"{executor}/{name}")
            break


def _executors_with(root: str, dispatch_id: str) -> Iterator[str]:
    """Whose a request may be, by all that lies under its name."""
    name = f"{dispatch_id}.json"
    for state in STATES:
        folder = f"{root}/{FOLDERS[state].path('*').removesuffix('/*')}"
        if FOLDERS[state].per is Per.EXECUTOR:
            for one in filter(_executor, _entries(folder, folders=True)):
                if reading.exists(f"{folder}/{one}/{name}"):
                    yield one
        else:
            fields = reading.json_object(f"{folder}/{name}", request.MAX_BYTES) or {}
            executor = _executor(fields.get("executor"))
            if executor and fields.get("dispatch_id") == dispatch_id:
                yield executor


def _executor(name: object) -> str | None:
    return name if isinstance(name, str) and _EXECUTOR.fullmatch(name) else None


def _is_reason(name: str) -> bool:
    return name.endswith(REASON_SUFFIX)


def _left(folder: str) -> list[str]:
    """What lies in a folder beside the folders of executors."""
    return [name for name in _entries(folder, folders=False) if not name.startswith(".")]


def _entries(folder: str, *, folders: bool) -> list[str]:
    """The names of the folders in a folder, or of all else; none if this user may not look."""
    with suppress(FileNotFoundError, PermissionError):
        found = reading.entries(folder)
        return sorted(one.name for one in found if one.is_dir(follow_symlinks=False) == folders)
    return []


def _moved(old: str, new: str) -> bool:
    """Whether it was moved; what has the name already stays, and so does what is gone."""
    try:
        fs.rename_new(old, new)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EEXIST, errno.ENAMETOOLONG):
            raise
        return False
    return True
