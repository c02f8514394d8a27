"""Put, claim, move, replace, list: `states.py` carried out with `fs.py`.

Each stage has a `Spool` of its own, bound to its role, so that a move the table does not give that
role cannot be made by mistake. Nothing is durable before `sync` returns.
"""

import errno
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

from spoold import request
from spoold.disk import fs, reading
from spoold.disk.durable import Unsynced
from spoold.disk.locks import FolderLock
from spoold.errors import BadInput
from spoold.identity import named
from spoold.record import JsonObject
from spoold.request import Request
from spoold.spool import folders as layout
from spoold.spool import seal_key as sealkey
from spoold.spool.counters import Counts
from spoold.spool.filenames import another, is_candidate, readable_name
from spoold.states import FOLDERS, HOLD, REASON_SUFFIX, STATES, Per, Role, allowed
from spoold.text import shown


class Place(NamedTuple):
    """A folder, and the source or executor it is for."""

    folder: str
    key: str = ""

    def __str__(self) -> str:
        """The path from the spool root."""
        return FOLDERS[self.folder].path(self.key)


_TMP = "tmp"
_DRAFTS, _HELD, _CHECKING = Place(_TMP), Place("held"), Place("checking")
_QUEUES = ("queued", "deferred", "running")
_REASON_BYTES = 1 << 16


class Spool:
    """A spool directory, as one role sees it.

    Args:
        root: its path.
        role: whose moves are allowed.
        sources: names of the configured inboxes.
        executors: names of the configured executors.
        executor: the one that it is confined to; the role `execute` sees no other's queue.
    """

    def __init__(
        self,
        root: str,
        role: Role,
        sources: Iterable[str] = (),
        executors: Iterable[str] = (),
        executor: str = "",
    ) -> None:
        self.root = os.path.abspath(root)
        self.role = role
        self._log = logging.getLogger(f"spoold.{role.value}")
        # What is no longer configured may still hold files.
        self._keys = {
            Per.NOTHING: [""],
            Per.SOURCE: self._known(sources, "inbox", "archive", "quarantine"),
            Per.EXECUTOR: [executor] if executor else self._known(executors, *_QUEUES),
        }
        self._paths: dict[Place, str] = {}
        self._looks: dict[tuple[str, ...], list[tuple[str, Place]]] = {}
        # Roles with several processes have drafts of several names.
        self._drafts = f"{role.value}-{executor}" if executor else role.value
        self._unsynced = Unsynced(self.root)
        #: Where it has put files since somebody last asked and cleared it.
        self.touched: set[Place] = set()
        self.counts = Counts()
        self._stuck: set[str] = set()
        #: When (monotonic seconds) it last did something: whoever uses it does not hang.
        self.active_at = time.monotonic()

    def _known(self, configured: Iterable[str], *folders: str) -> list[str]:
        names = dict.fromkeys(configured)
        for folder in folders:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                found = reading.entries(os.path.join(self.root, folder))
                here = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
                names |= dict.fromkeys(sorted(filter(str.isprintable, here)))
        return list(names)

    # Where things are

    def places(self, *folders: str) -> list[Place]:
        """All places of the folders named, in that order; all folders if none is named."""
        return [
            Place(name, key) for name in folders or FOLDERS for key in self._keys[FOLDERS[name].per]
        ]

    def path(self, place: Place, name: str = "") -> str:
        """The absolute path of a place, or of a file in it."""
        folder = self._paths.get(place)
        if folder is None:
            folder = self._paths[place] = f"{self.root}/{FOLDERS[place.folder].path(place.key)}"
        return f"{folder}/{name}" if name else folder

    def exists(self, place: Place, name: str) -> bool:
        """Whether that name is taken there, by whatever kind of file."""
        return reading.exists(self.path(place, name))

    def names(self, place: Place) -> list[str]:
        """Names of the requests in a place, oldest first: their ids begin with the time."""
        return sorted(self.scan(place))

    def scan(self, place: Place) -> Iterator[str]:
        """The same in no order, as they are found."""
        for entry in reading.entries(self.path(place)):
            self.active_at = time.monotonic()
            if is_candidate(entry.name) and not entry.name.endswith(REASON_SUFFIX):
                yield entry.name

    def find(self, name: str, folders: Iterable[str] = STATES) -> Place | None:
        """The first place, in the order of a request's life, that holds `name`."""
        order = tuple(folders)
        looks = self._looks.get(order)
        if looks is None:
            looks = self._looks[order] = [(self.path(p) + "/", p) for p in self.places(*order)]
        return next((place for folder, place in looks if reading.exists(folder + name)), None)

    def request(self, place: Place, name: str) -> Request:
        """Read a request.

        Raises:
            BadInput: it is none, or is not as spoold wrote it.
            FileNotFoundError: it is gone.
            OSError: it could not be read for a reason that says nothing about the file.
        """
        try:
            data = reading.read_regular(self.path(place, name), request.MAX_BYTES).data
        except reading.NotRegular as error:
            raise BadInput("not-a-request", f"It is a {error.kind}.") from None
        except reading.TooLarge as error:
            raise BadInput("not-a-request", f"It has {error.size} bytes.") from None
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP):
                raise
            raise BadInput("not-a-request", f"Cannot read it: {error.strerror}.") from None
        return request.parse(data)

    @property
    def on_hold(self) -> bool:
        """Whether `HOLD` forbids to start anything new."""
        return os.path.lexists(os.path.join(self.root, HOLD))

    def lay_out(self) -> None:
        """Create the folders that are missing; raises `ConfigError` if that is not ours to do."""
        folders = [(place.folder, self.path(place)) for place in self.places()]
        layout.make(self.role, folders, self.path(_CHECKING))

    def lock(self, place: Place) -> FolderLock:
        """The lock that makes a stage the only one of its kind on this spool."""
        return FolderLock(self.path(place))

    def seal_key(self) -> bytes:
        """The key of this spool's seals, made on first use; raises `StorageError`."""
        return sealkey.made(self.root)

    def readable_seal_key(self) -> bytes | None:
        """The key, if there is one and this user may read it; it is not made."""
        return sealkey.readable(self.root)

    # Writing

    def draft(self, data: bytes, mtime: float | None = None) -> str:
        """Write a file that has no name in the spool yet; `sync` before it gets one."""
        return self._unsynced.write(self.path(_DRAFTS), self._drafts, data, mtime)

    def remove_drafts(self) -> None:
        """Remove what a dead run of the same stage had begun to write; it was nobody's state."""
        for entry in reading.entries(self.path(_DRAFTS)):
            if entry.name.startswith(f"{self._drafts}.") and entry.is_file(follow_symlinks=False):
                # Whoever may write there may have given a file of his such a name.
                with suppress(PermissionError):
                    fs.remove(entry.path)

    @property
    def broken(self) -> bool:
        """Whether a sync has failed: then this process can move and write nothing any more."""
        return self._unsynced.broken is not None

    def sync(self) -> None:
        """Make all drafts and moves since the last `sync` durable."""
        self._unsynced.flush()
        self.active_at = time.monotonic()

    def abandon(self) -> None:
        """Forget the drafts that were not synced, so that a stage can begin anew after an error."""
        self._unsynced.discard_drafts()

    def publish(self, draft: str, place: Place, name: str) -> None:
        """Give a draft its name.

        Raises:
            FileExistsError: the name is taken.
        """
        self._must_be_allowed(_TMP, place.folder)
        target = self.path(place, name)
        fs.rename_new(draft, target)
        self._unsynced.note_rename(draft, target, temporary=True)
        self.touched.add(place)
        self.counts.add("moves", _TMP, place.folder)

    def overwrite(self, draft: str, place: Place, name: str) -> None:
        """Replace a file's content in a folder that only this role writes to."""
        target = self.path(place, name)
        fs.replace(draft, target)
        self._unsynced.note_rename(draft, target, temporary=True)

    def swap(self, draft: str, place: Place, name: str) -> bool:
        """Replace the content of a file that a person may move away at any moment.

        Returns:
            False if the file is gone; then nothing was changed.
        """
        target = self.path(place, name)
        try:
            fs.exchange(draft, target)
        except FileNotFoundError:
            fs.remove(draft)
            return False
        # What somebody else had put there is not ours to remove; the sweep does that.
        with suppress(PermissionError):
            fs.remove(draft)
        self._unsynced.note_rename(draft, target, temporary=True)
        return True

    def add_reason(self, draft: str, place: Place, name: str) -> None:
        """Put a reason beside a file, before or after the file itself gets there."""
        try:
            self.overwrite(draft, place, name + REASON_SUFFIX)
        except OSError as error:
            if error.errno not in (errno.EISDIR, errno.ENAMETOOLONG):
                raise
            # A folder is in its way, or a foreign name has no room for it: the file counts more.
            self.discard(draft)

    def discard(self, draft: str) -> None:
        """Throw a draft away."""
        fs.remove(draft)

    # Moving

    def move(self, source: Place, target: Place, name: str, new_name: str | None = None) -> bool:
        """Move a file to another state: one rename.

        Returns:
            False if it is no longer there: somebody else was faster.

        Raises:
            FileExistsError: the name is taken there; nothing was changed.
        """
        self._must_be_allowed(source.folder, target.folder)
        self._unsynced.raise_if_broken()
        old, new = self.path(source, name), self.path(target, new_name or name)
        try:
            fs.rename_new(old, new)
        except FileNotFoundError:
            if not os.path.isdir(os.path.dirname(new)):
                raise
            return False
        except PermissionError:
            if self._is_stuck(source, name):
                return False
            raise
        self._unsynced.note_rename(old, new)
        self.touched.add(target)
        self.counts.add("moves", source.folder, target.folder)
        return True

    def reason(self, place: Place, name: str) -> JsonObject | None:
        """What the reason beside a file says; None if there is none that can be read."""
        return reading.json_object(self.path(place, name + REASON_SUFFIX), _REASON_BYTES)

    def was_held_by_stage(self, name: str) -> bool:
        """Whether the file of that name in held/ was put there by a stage, not by a person."""
        return "came_from" in (self.reason(_HELD, name) or {})

    def move_or_hold(self, source: Place, target: Place, name: str, when: datetime) -> bool:
        """Move a file; if its name is taken there, it is a copy, and is held."""
        try:
            return self.move(source, target, name)
        except FileExistsError:
            problem = BadInput("replayed", f"There is one of that name in {target} already.")
            self.hold(source, name, problem, when)
            return False

    def hold(self, source: Place, name: str, problem: BadInput, when: datetime) -> None:
        """Set a file aside in held/, with the reason beside it."""
        if self._is_stuck(source, name):
            return
        self.counts.add("errors", problem.code)
        text = request.reason(
            problem.code, problem.what, problem.advice, when, came_from=str(source)
        )
        draft = self.draft(text)
        self.sync()
        kept = self.free_name(name, _HELD)
        self.add_reason(draft, _HELD, kept)
        self.sync()
        self.set_aside(source, _HELD, name, kept, text)
        self.sync()
        about = {**named(name), "code": problem.code}
        self._log.error("held %s: %s", shown(name), problem, extra=about)

    def _is_stuck(self, place: Place, name: str) -> bool:
        """Whether a folder of somebody else's lies there, which only they or root can take away."""
        path = self.path(place, name)
        if not reading.is_fixed_folder(path):
            return False
        if path not in self._stuck:
            self._stuck.add(path)
            self._log.error("%s is a folder of another user's and cannot be moved; remove it", path)
        return True

    def set_aside(self, source: Place, target: Place, name: str, kept: str, why: bytes) -> None:
        """Move a file beside its reason; if a person has put one of that name there since, on."""
        try:
            self.move(source, target, name, kept)
        except FileExistsError:
            fs.remove(self.path(target, kept + REASON_SUFFIX))
            kept, draft = another(kept), self.draft(why)
            self.sync()
            self.add_reason(draft, target, kept)
            self.sync()
            self.set_aside(source, target, name, kept, why)

    def free_name(self, name: str, *places: Place) -> str:
        """`name`, or if one of the places has it already, one like it that none has."""
        name = readable_name(name)
        beside = name + REASON_SUFFIX
        if any(self.exists(p, name) or os.path.isdir(self.path(p, beside)) for p in places):
            return another(name)
        return name

    def _must_be_allowed(self, source: str, target: str) -> None:
        if not allowed(source, target, self.role):
            raise RuntimeError(f"{self.role} may not move a file from {source} to {target}")
