"""The spool that a stage works with: it writes, moves, and sets aside what may not go on."""

import os
from datetime import datetime

from spoold.disk import private, reading
from spoold.disk.locks import FolderLock
from spoold.errors import BadInput, ConfigError
from spoold.spool import folders, seal_key
from spoold.spool.reader import Place, SpoolReader
from spoold.spool.set_aside import Holding
from spoold.spool.upgrade import is_due, upgrade
from spoold.spool.writer import SpoolWriter

__all__ = ["Place", "Spool", "SpoolReader"]

#: Where each stage has a user of its own, these have two owners.
_ONE_USERS = ("checking", "awaiting-approval")


class Spool(SpoolWriter):
    """A spool directory as one role works with it."""

    def lay_out(self) -> None:
        """Create the folders that are missing; raises `ConfigError` if this role may not.

        Where one user runs all, what an earlier version left is moved to where it belongs now.
        Where each stage has its own, only root can: `spoold check --permissions --fix`.
        A spool that is new is closed to all other users.
        """
        if reading.owner(self.root) == os.geteuid() and not os.path.lexists(
            self.path(Place("checking"))
        ):
            private.close(self.root)
        owners = {reading.owner(self.path(place)) for place in map(Place, _ONE_USERS)}
        if owners <= {os.geteuid(), None}:
            upgrade(self.root)
        elif is_due(self.root):
            raise ConfigError(
                f"{self.root} is as version 0.1.0 laid it out: requests of all executors lie side "
                "by side in done/, failed/ or unknown/. As root, `spoold check --permissions "
                "--fix` moves them to the executors' folders; nothing starts before that"
            )
        wanted = [(place.folder, self.path(place)) for place in self.places()]
        folders.make(self.role, wanted, self.path(Place("checking")))

    def lock(self, place: Place) -> FolderLock:
        """The lock that makes a stage the only one of its kind on this spool."""
        return FolderLock(self.path(place))

    def seal_key(self) -> bytes:
        """The key of this spool's seals, made on first use; raises `StorageError`."""
        return seal_key.made(self.root)

    def readable_seal_key(self) -> bytes | None:
        """The key, if there is one and this user may read it; it is not made."""
        return seal_key.readable(self.root)

    def move_or_hold(self, source: Place, target: Place, name: str, when: datetime) -> bool:
        """Move a file; if its name is taken there, it is a copy, and is held.

        Returns:
            Whether it was moved to `target`.
        """
        try:
            return self.move(source, target, name)
        except FileExistsError:
            self.hold(source, name, BadInput.copy_of(str(target)), when)
            return False

    def hold(self, source: Place, name: str, problem: BadInput, when: datetime) -> None:
        """Set one file aside in held/, with the reason beside it, durably."""
        if self.is_stuck(source, name):
            return
        holding = Holding(self, source, name, problem, when)
        self.sync()
        holding.explain()
        self.sync()
        holding.move()
        self.sync()
