"""The key of a spool's seals. Only intake and the gate may read it."""

import os
import secrets
from contextlib import suppress

from spoold.disk import fs, reading
from spoold.errors import StorageError

#: Its name in the spool root.
SEAL_KEY = ".seal.key"
_BYTES = 32
_MOST = 1 << 12
_INSTEAD = (
    "Restore the right one from a backup, or remove it: then a new one is made (as root, `spoold "
    "check --permissions --fix` does it), and what waits must be dropped again"
)


def ensure(root: str) -> str:
    """Make the key if there is none; its path."""
    path = os.path.join(root, SEAL_KEY)
    with suppress(FileExistsError):
        fs.create(path, secrets.token_hex(_BYTES).encode())
    return path


def made(root: str) -> bytes:
    """The key, made on first use.

    Raises:
        StorageError: it cannot be read, or is none.
    """
    path = os.path.join(root, SEAL_KEY)
    while True:
        try:
            found = reading.read_regular(path, _MOST)
        except FileNotFoundError:
            _make(root, path)
            continue
        except OSError as error:
            raise StorageError(f"cannot read the seal key {path}: {error}") from error
        if (uid := found.status.st_uid) not in _trusted(root):
            raise StorageError(
                f"the seal key {path} belongs to uid {uid}, who could seal what runs. {_INSTEAD}"
            )
        if len(found.data.strip()) < _BYTES:
            raise StorageError(f"the seal key {path} is too short to be one. {_INSTEAD}")
        return found.data


def _make(root: str, path: str) -> None:
    try:
        ensure(root)
    except PermissionError as error:
        raise StorageError(
            f"there is no seal key {path}, and this user cannot make it. Restore it from a backup, "
            "or as root: spoold check --permissions --fix, and what waits must be dropped again"
        ) from error


def _trusted(root: str) -> set[int]:
    """Users that may own the key: root, the owner of the spool, this process's own, and intake."""
    found = {0, os.geteuid(), os.stat(root).st_uid}
    with suppress(FileNotFoundError):
        found.add(os.stat(os.path.join(root, "archive")).st_uid)
    return found


def readable(root: str) -> bytes | None:
    """The key, if there is one and this user may read it.

    Raises:
        OSError: it could not be read for another reason, so nothing can be checked now.
    """
    try:
        return reading.read_regular(os.path.join(root, SEAL_KEY), _MOST).data
    except (FileNotFoundError, PermissionError):
        return None
