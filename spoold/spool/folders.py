"""The folders of a spool, made where they are missing."""

import errno
import os
from collections.abc import Iterable

from spoold.disk import fs, reading
from spoold.errors import ConfigError
from spoold.rights import uses
from spoold.states import FOLDERS, Role


def make(role: Role, folders: Iterable[tuple[str, str]], gates: str) -> None:
    """Create what is missing.

    Args:
        role: the one that makes them.
        folders: names in the table, and paths.
        gates: the path of the gate's folder; its owner tells whether stages have own users.

    Raises:
        ConfigError: one that this role needs is missing, and it may not create it.
    """
    # Where stages have users of their own, a folder of root's would shut them out.
    shared = os.geteuid() == 0 and reading.owner(gates) not in (0, None)
    for name, path in folders:
        try:
            if shared and not os.path.isdir(path):
                raise PermissionError(errno.EPERM, "it would be root's", path)  # noqa: TRY301
            fs.make_folder(path, FOLDERS[name].mode & 0o1777)
        except PermissionError as error:
            # Folders of other roles may be out of sight.
            if uses(role, name):
                raise ConfigError(
                    f"{path} is missing, and cannot be made: {error.strerror}. As root, "
                    "`spoold check --permissions --fix` lays the spool out"
                ) from error
