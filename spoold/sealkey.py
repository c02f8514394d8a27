"""The key of a spool's seals, which intake and the gate have and nobody else."""

import os
import secrets
from contextlib import suppress

from spoold import fs
from spoold.errors import StorageError
from spoold.states import SEAL_KEY

_BYTES = 32
_MOST = 1 << 12


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
            key = fs.read_regular(path, _MOST).data
        except FileNotFoundError:
            ensure(root)
            continue
        except OSError as error:
            raise StorageError(f"cannot read the seal key {path}: {error}") from error
        if len(key.strip()) < _BYTES:
            raise StorageError(
                f"the seal key {path} is too short to be one. Restore it from a backup, or "
                "remove it: then a new one is made, and what waits must be dropped again"
            )
        return key


def readable(root: str) -> bytes | None:
    """The key, if there is one and this user may read it.

    Raises:
        OSError: it could not be read for another reason, so nothing can be checked now.
    """
    try:
        return fs.read_regular(os.path.join(root, SEAL_KEY), _MOST).data
    except (FileNotFoundError, PermissionError):
        return None
