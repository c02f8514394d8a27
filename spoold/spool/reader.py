"""What is where in a spool: places, paths, names, requests. Changes nothing."""

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from spoold import request
from spoold.disk import reading
from spoold.errors import BadInput
from spoold.record import JsonObject
from spoold.request import Request
from spoold.spool.filenames import another, is_candidate, readable_name
from spoold.states import FOLDERS, HOLD, REASON_SUFFIX, STATES, Per, Standing

_OF_EXECUTORS = ("queued", "deferred", "running", "unknown", "done", "failed")
_REASON_BYTES = 1 << 16


class Place(NamedTuple):
    """A folder, and the source or executor it is for."""

    folder: str
    key: str = ""

    def __str__(self) -> str:
        """The path from the spool root."""
        return FOLDERS[self.folder].path(self.key)


class SpoolReader:
    """A spool directory, to look at.

    Args:
        root: its path.
        sources: names of the configured inboxes.
        executors: names of the configured executors.
        executor: the only one whose folders it knows; all if empty.
    """

    def __init__(
        self,
        root: str,
        sources: Iterable[str] = (),
        executors: Iterable[str] = (),
        executor: str = "",
    ) -> None:
        self.root = os.path.abspath(root)
        self.executor = executor
        # Folders of sources and executors that were removed may still hold files.
        self._keys = {
            Per.NOTHING: [""],
            Per.SOURCE: self._known(sources, "inbox", "archive", "quarantine"),
            Per.EXECUTOR: [executor] if executor else self._known(executors, *_OF_EXECUTORS),
        }
        self._paths: dict[Place, str] = {}
        self._searched: dict[tuple[str, ...], list[tuple[str, Place]]] = {}
        #: When (monotonic seconds) it last did something; a stage that uses it does not hang.
        self.active_at = time.monotonic()

    def _known(self, configured: Iterable[str], *folders: str) -> list[str]:
        names = dict.fromkeys(configured)
        for folder in folders:
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                found = reading.entries(os.path.join(self.root, folder))
                here = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
                names |= dict.fromkeys(sorted(filter(str.isprintable, here)))
        return list(names)

    def places(self, *folders: str) -> list[Place]:
        """All places of the folders named, in that order; of all folders if none is named."""
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
        """Whether that name is taken there, by any kind of file."""
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

    def find(self, name: str, folders: Iterable[str] = STATES, executor: str = "") -> Place | None:
        """The first place, in the order of the folders given, that has a file of this name.

        Args:
            name: of the file.
            folders: names in the table.
            executor: look into no other executor's folders; into those of all if empty.
        """
        return next(self.find_all(name, folders, executor), None)

    def find_all(
        self, name: str, folders: Iterable[str] = STATES, executor: str = ""
    ) -> Iterator[Place]:
        """The same for each place; without `executor` one of them may speak for another's."""
        order = (*folders, executor)
        searched = self._searched.get(order)
        if searched is None:
            searched = [
                (self.path(place) + "/", place) for place in self.places(*order[:-1])
                if not executor or FOLDERS[place.folder].per != Per.EXECUTOR
                or place.key == executor
            ]  # fmt: skip
            self._searched[order] = searched
        for folder, place in searched:
            if reading.exists(folder + name) and self.is_believed(place, name):
                yield place

    def is_believed(self, place: Place, name: str) -> bool:
        """Whether a file in an executor's folder is what its name and its owner say, or damaged."""
        if FOLDERS[place.folder].per != Per.EXECUTOR:
            return True
        if not self.is_genuine(place, name):
            return False
        found = reading.json_object(self.path(place, name), request.MAX_BYTES)
        return found is None or self.fits(place, name, found)

    def is_genuine(self, place: Place, name: str) -> bool:
        """Whether what ended was put there by its executor, or by root.

        Root restores a backup. Approvers may rename into such a folder, too; what they made
        themselves is no result.
        """
        if FOLDERS[place.folder].standing not in (Standing.ENDED, Standing.IN_DOUBT):
            return True
        executor = reading.owner(self.path(place))
        return reading.owner(self.path(place, name)) in (executor, 0, None)

    def fits(self, place: Place, name: str, fields: JsonObject) -> bool:
        """Whether what a request says goes with its name, and with its executor's folder."""
        ours = FOLDERS[place.folder].per != Per.EXECUTOR or fields.get("executor") == place.key
        return ours and fields.get("dispatch_id") == name.removesuffix(".json")

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

    def reason(self, place: Place, name: str) -> JsonObject | None:
        """What the reason beside a file says; None if there is none that can be read."""
        return reading.json_object(self.path(place, name + REASON_SUFFIX), _REASON_BYTES)

    def free_name(self, name: str, *places: Place) -> str:
        """`name`, or if one of the places has it already, one like it that none has."""
        name = readable_name(name)
        beside = name + REASON_SUFFIX
        if any(self.exists(p, name) or os.path.isdir(self.path(p, beside)) for p in places):
            return another(name)
        return name

    @property
    def on_hold(self) -> bool:
        """Whether `HOLD` forbids to start anything new."""
        return os.path.lexists(os.path.join(self.root, HOLD))
