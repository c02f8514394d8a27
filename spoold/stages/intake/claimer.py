"""inbox/SOURCE → archive/SOURCE/.taking: which drops are whole, and the rename that claims one."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from spoold.disk import fs, private, reading
from spoold.disk.free_space import ran_out
from spoold.disk.locks import written_to_now
from spoold.errors import BadInput
from spoold.request import reason
from spoold.sources.inbox import Inbox
from spoold.spool.filenames import another, is_candidate, readable_name
from spoold.spool.spool import Place, Spool
from spoold.stages.intake.claim import Claim, Drop, archive_path, claim_of, read_drop
from spoold.stages.stage import StageContext, earliest
from spoold.text import shown

log = logging.getLogger("spoold.intake")

#: Where only time can tell whether a writer is done, it gets this many times `settle`.
_UNASKABLE = 15
#: Seconds between two looks at what is still being written.
_SELDOM = 60.0
#: Nanoseconds by which the time stamp of a change may lag behind the clock.
_COARSE = 50_000_000


@dataclass(slots=True)
class Claimer:
    """Claims drops.

    Attributes:
        context: the clock, and who counts missed events.
        spool: the spool, as intake sees it.
        due: the earliest time at which a drop that seems unfinished is taken all the same.
        look_again: the earliest time at which to ask again whether a writer is done.
    """

    context: StageContext
    spool: Spool
    due: float | None = None
    look_again: float | None = None
    _is_closed: bool = False
    _stuck: dict[tuple[str, str], int] = field(default_factory=dict)
    _listed_at: dict[str, int] = field(default_factory=dict)
    _counted_at: dict[str, float] = field(default_factory=dict)

    def drops(self, inbox: Inbox, since: float) -> list[tuple[str, bool]]:
        """The names in an inbox, the oldest first, and whether each is a regular file.

        Args:
            inbox: which one.
            since: the time (seconds since the epoch) from which on a drop is news to `arrivals`.
        """
        place = Place("inbox", inbox.name)
        self._listed_at[inbox.name] = time.time_ns()
        self._is_closed = private.mode_in(self.spool.path(place), private.OTHERS) == 0
        found = self._listed(place, is_candidate)
        news = (name for _, name, status in found if status.st_ctime >= since)
        self.context.arrivals.found(self.spool.path(place), news)
        if self._stuck:
            here = {(inbox.name, name) for _, name, _ in found}
            self._stuck = {
                key: inode for key, inode in self._stuck.items()
                if key in here or key[0] != inbox.name
            }  # fmt: skip
        drops = [(name, reading.kind_of(status) == "file") for _, name, status in found]
        return drops + [(name, True) for name in self._abandoned(inbox, place)]

    def _abandoned(self, inbox: Inbox, place: Place) -> list[str]:
        """Names of half-written files (they begin with a dot) that nobody writes any more."""
        now = self.context.clock().timestamp()
        if abs(now - self._counted_at.get(inbox.name, 0.0)) < _SELDOM:
            return []
        self._counted_at[inbox.name] = now
        found = []
        for entry in reading.entries(self.spool.path(place)):
            with suppress(FileNotFoundError):
                if entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                    found.append((entry, entry.stat(follow_symlinks=False).st_ctime))
        self.spool.counts.set("unfinished", str(place), value=len(found))
        limit = inbox.table.abandoned_after
        return [
            entry.name for entry, changed in found
            if self.context.age(changed) > limit and not written_to_now(entry.path)
        ]  # fmt: skip

    def has_news(self, inbox: Inbox) -> bool:
        """Whether something may have come to an inbox since its names were listed."""
        changed = reading.status(self.spool.path(Place("inbox", inbox.name))).st_mtime_ns
        return changed > self._listed_at.get(inbox.name, 0) - _COARSE

    def left_by_crash(self, inbox: Inbox) -> Iterator[Claim]:
        """What an earlier run had claimed, the oldest first."""
        for _, name, _ in self._listed(Place("taking", inbox.name)):
            if claim := self._claim(inbox, name):
                yield claim

    def take(self, inbox: Inbox, name: str, *, is_regular: bool) -> Claim | None:
        """Claim a drop; None if it is gone, may still be being written, or cannot be moved."""
        place, taking = Place("inbox", inbox.name), Place("taking", inbox.name)
        path = self.spool.path(place, name)
        try:
            if not is_regular and self._put_aside(inbox, name, path):
                return None
            drop = self._read(inbox, path, is_regular=is_regular)
            waits = is_candidate(name) and self._must_wait(inbox, path, drop)
            if waits or self._is_stuck(inbox, name, path):
                return None
            if self._is_closed and drop.read and drop.read.status.st_mode & private.OTHERS:
                self._close(path, drop.read.status)
            if not self.spool.move(place, taking, name):
                return None
        except FileNotFoundError:
            return None
        except FileExistsError:
            log.warning("%s waits: one of that name is being taken", shown(name))
            return None
        except PermissionError as error:
            self._give_up(inbox, name, path, error)
            return None
        return self._claim(inbox, name, drop)

    def _close(self, path: str, status: os.stat_result) -> None:
        """In a spool of one user, take away what others may do with a file of that user's.

        Before the rename, whose time is that of the claim. A file with other names stays as it is.
        """
        if status.st_nlink == 1 and status.st_uid == os.geteuid():
            private.close(path, status)

    def _claim(self, inbox: Inbox, name: str, seen: Drop | None = None) -> Claim | None:
        """What is noted about a file in `taking`; None if it is gone.

        Args:
            inbox: where it was dropped.
            name: the name it came with.
            seen: what was read of it in the inbox. Until the rename its writer could change it or
                put another file there, so it counts only if the file is the same and unchanged.
                Without it, a run before may have published its request.
        """
        taking = Place("taking", inbox.name)
        path = self.spool.path(taking, name)
        drop: Drop | None = None
        with suppress(FileNotFoundError):
            status = reading.status(path)
            is_same = seen is not None and seen.is_still(status)
            drop = seen if is_same else self._read(inbox, path, may_be_published=seen is None)
        if drop is None:
            log.error("%s/%s was taken away", taking, shown(name))
            return None
        kept, now = readable_name(name), self.context.clock()
        if reading.exists(f"{self.spool.root}/{archive_path(inbox, now, kept)}"):
            kept = another(kept)
        archived = archive_path(inbox, now, kept)
        return claim_of(drop, inbox, name, now, archived, status)

    def _read(
        self, inbox: Inbox, path: str, *, is_regular: bool = False, may_be_published: bool = False
    ) -> Drop:
        """Read a drop. One that a run before may have published must not be quarantined."""
        try:
            return read_drop(inbox, path, seen_regular=is_regular)
        except FileNotFoundError:
            raise
        except OSError as error:
            if ran_out(error) or (may_be_published and not isinstance(error, PermissionError)):
                raise
            return Drop(None, None, BadInput("unreadable", f"Cannot read it: {error.strerror}."))

    def _must_wait(self, inbox: Inbox, path: str, drop: Drop) -> bool:
        """Whether its writer may still be at work; notes when to look again."""
        if not drop.looks_unfinished:
            return False
        changed = drop.read.status.st_ctime if drop.read else 0.0
        settle = inbox.table.settle
        written_to = written_to_now(path)
        if written_to is None:
            settle *= _UNASKABLE
        if written_to:
            again = self.context.clock().timestamp() + settle
            self.look_again = earliest(self.look_again, again)
            return True
        if self.context.age(changed) < settle:
            self.due = earliest(self.due, changed + settle)
            return True
        return False

    def _is_stuck(self, inbox: Inbox, name: str, path: str) -> bool:
        """Whether this very file could not be moved before; raises `FileNotFoundError`."""
        return (
            bool(self._stuck) and self._stuck.get((inbox.name, name)) == reading.status(path).st_ino
        )

    def _put_aside(self, inbox: Inbox, name: str, path: str) -> bool:
        """Free a name that a folder of another user's has taken; whether that was so.

        Such a folder cannot leave the inbox, but it can be renamed there. Else a producer's rename
        to that name would end inside it.
        """
        if not reading.is_fixed_folder(path):
            return False
        kept = another(f".{readable_name(name)}")
        fs.rename_new(path, os.path.join(os.path.dirname(path), kept))
        problem = BadInput("directory", f"It is a folder of another user's, {kept} by now.")
        self._explain(inbox, name, problem)
        log.error("put aside %s/%s: it is a folder", inbox.name, shown(name))
        return True

    def _give_up(self, inbox: Inbox, name: str, path: str, error: OSError) -> None:
        """Leave a file that may not be moved, and say so once, with a reason to be seen."""
        with suppress(FileNotFoundError):
            self._stuck[inbox.name, name] = reading.status(path).st_ino
        problem = BadInput("unreadable", f"Cannot take it from the inbox: {error.strerror}.")
        self._explain(inbox, name, problem)
        log.error("cannot take %s/%s: %s", inbox.name, shown(name), error.strerror)

    def _explain(self, inbox: Inbox, name: str, problem: BadInput) -> None:
        """Leave a reason in quarantine/ for what could not be moved there."""
        quarantine, now = Place("quarantine", inbox.name), self.context.clock()
        text = reason(problem.code, problem.what, problem.advice, now, file=shown(name))
        draft = self.spool.draft(text)
        self.spool.sync()
        self.spool.add_reason(draft, quarantine, self.spool.free_name(name, quarantine))

    def _listed(
        self, place: Place, wanted: Callable[[str], bool] = bool
    ) -> list[tuple[int, str, os.stat_result]]:
        """Modification time, name and status of what lies in a place, the oldest first."""
        found = []
        for entry in reading.entries(self.spool.path(place)):
            if wanted(entry.name):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    found.append((status.st_mtime_ns, entry.name, status))
        found.sort(key=lambda one: one[:2])
        oldest = min((status.st_ctime for _, _, status in found), default=None)
        self.spool.counts.set("files", str(place), value=len(found))
        self.spool.counts.set("oldest", str(place), value=oldest)
        return found
