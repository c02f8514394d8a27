"""inbox/SOURCE → awaiting-approval, pre-approved or quarantine/SOURCE; the original → archive.

Security: trusts nobody. Names and bytes come from strangers: a file is claimed by a rename before
it counts, opened only if it is a regular file, read only up to the limit, parsed strictly, and
turned into a request by routes alone. Intake can seal a request; it cannot approve one.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from spoold.disk import reading
from spoold.disk.free_space import Floor, ran_out
from spoold.disk.locks import written_to_now
from spoold.errors import BadInput
from spoold.request import reason
from spoold.sources.inbox import Inbox
from spoold.spool.filenames import another, is_candidate, readable_name
from spoold.spool.index import Index, IndexDamaged
from spoold.spool.spool import Place
from spoold.stages.intake.batch import Batch
from spoold.stages.intake.claim import Claim, Drop, claimed, look
from spoold.stages.intake.reindex import reindex
from spoold.stages.stage import BATCH, StageContext, Step, earliest
from spoold.states import Role
from spoold.text import shown

log = logging.getLogger("spoold.intake")

#: A group also ends when it holds this many bytes, so that memory stays bounded.
_BATCH_BYTES = 1 << 20
#: Where only time can tell whether a writer is done, it gets this many times `settle`.
_UNASKABLE = 15


class Intake:
    """Turns drops into requests."""

    name = "intake"

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.spool = context.spool(Role.INTAKE)
        self.spool.lay_out()
        self.lock = self.spool.lock(Place("archive"))
        self._key = self.spool.seal_key()
        self._index: Index | None = None
        self._stuck: dict[tuple[str, str], int] = {}
        self._due: float | None = None
        self._look_again: float | None = None
        self.adopt()

    def adopt(self) -> None:
        """Take on the formats, the routes and the room to leave."""
        routing = self.context.routing
        self._inboxes = routing.inboxes
        self._floor = Floor(self.spool.root, routing.config.settings.min_free)

    def inputs(self) -> list[Place]:
        """Every inbox."""
        return self.spool.places("inbox")

    def unfinished(self) -> list[Place]:
        """Every inbox, and what it has claimed."""
        return self.spool.places("inbox", "taking")

    def _open_index(self) -> Index:
        """The index, built from the files when it is not complete."""
        index = Index(index_path(self.spool.root))
        if not index.complete:
            log.info("no index yet, or an old one: building it from the files")
            log.info("index built: %d deliveries known", reindex(self.spool, index))
        return index

    def recover(self) -> None:
        """Answer for what was claimed before a crash; its requests may be published already."""
        self.spool.remove_drafts()
        self._index = self._open_index()
        claims = [
            claim
            for inbox in self._inboxes.values()
            for name, _ in self._by_age(Place("taking", inbox.name))
            if (claim := self._reclaim(inbox, name))
        ]
        if claims:
            log.warning("%d claimed files were left by a crash; finishing them", len(claims))
            self._answer_for(claims, after_crash=True)
            self.spool.sync()

    def step(self) -> Step:
        """Take every drop that is whole."""
        moved, due, look_again = 0, None, None
        for inbox in self._inboxes.values():
            for claims in self._claims(inbox):
                moved += len(claims)
                # Where its originals went becomes durable with the next group, or with the last.
                self._answer_for(claims)
                if self.context.stop.is_set():
                    break
            due = earliest(due, self._due)
            look_again = earliest(look_again, self._look_again)
            if self.context.stop.is_set():
                break
        self.spool.sync()
        return Step(moved, due=due, look_again=look_again)

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _answer_for(self, claims: list[Claim], *, after_crash: bool = False) -> None:
        while claims:
            index = self._index = self._index or self._open_index()
            try:
                batch = Batch(self.context, self.spool, index, self._key, after_crash=after_crash)
                batch.add(claims)
                claims = batch.commit()
            except IndexDamaged:
                log.warning("the index is damaged; building it anew from the files")
                index.delete()
                self._index, after_crash = None, True

    # Claiming

    def _claims(self, inbox: Inbox) -> Iterator[list[Claim]]:
        """Groups of claimed files, oldest drop first."""
        self._due = self._look_again = None
        group: list[Claim] = []
        size = 0
        for name, is_regular in self._candidates(inbox):
            if not group:
                self._floor.check()
            claim = self._claim(inbox, name, is_regular=is_regular)
            if claim is None:
                continue
            group.append(claim)
            size += len(claim.data)
            if len(group) >= BATCH or size >= _BATCH_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _candidates(self, inbox: Inbox) -> list[tuple[str, bool]]:
        place = Place("inbox", inbox.name)
        names = self._by_age(place, is_candidate)
        if self._stuck:
            here = {(inbox.name, name) for name, _ in names}
            gone = {key for key in self._stuck if key[0] == inbox.name and key not in here}
            for key in gone:
                del self._stuck[key]
        return names

    def _by_age(self, place: Place, wanted: Callable[[str], bool] = bool) -> list[tuple[str, bool]]:
        """Names, oldest first, and whether they are regular files."""
        folder, arrivals = self.spool.path(place), self.context.arrivals
        since = arrivals.scanning(folder)
        found, news, oldest = [], [], math.inf
        for entry in reading.entries(folder):
            if not wanted(entry.name):
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, entry.name, reading.kind_of(status) == "file"))
            oldest = min(oldest, status.st_ctime)
            if status.st_ctime >= since:
                news.append(entry.name)
        arrivals.found(folder, news)
        found.sort()
        self.spool.counts.set("files", str(place), value=len(found))
        self.spool.counts.set("oldest", str(place), value=oldest if found else None)
        return [(name, is_regular) for _, name, is_regular in found]

    def _claim(self, inbox: Inbox, name: str, *, is_regular: bool) -> Claim | None:
        place, taking = Place("inbox", inbox.name), Place("taking", inbox.name)
        path = self.spool.path(place, name)
        peek = self._peek(inbox, path, is_regular=is_regular)
        if peek is None or self._is_stuck(inbox, name, path):
            return None
        try:
            if not self.spool.move(place, taking, name):
                return None
        except FileExistsError:
            log.warning("%s waits: one of that name is being taken", shown(name))
            return None
        except PermissionError as error:
            self._give_up(inbox, name, path, error)
            return None
        path = self.spool.path(taking, name)
        try:
            if peek.read and _changed(path, peek.read.status):
                peek = self._look(inbox, path)
        except FileNotFoundError:
            _say_gone(taking, name)
            return None
        return self._claimed(inbox, name, peek)

    def _reclaim(self, inbox: Inbox, name: str) -> Claim | None:
        taking = Place("taking", inbox.name)
        try:
            found = self._look(inbox, self.spool.path(taking, name), published=True)
        except FileNotFoundError:
            _say_gone(taking, name)
            return None
        return self._claimed(inbox, name, found)

    def _claimed(self, inbox: Inbox, name: str, drop: Drop) -> Claim:
        kept, now = readable_name(name), self.context.clock()
        claim = claimed(inbox, name, kept, now, drop)
        if reading.exists(f"{self.spool.root}/{claim.archived}"):
            return claimed(inbox, name, another(kept), now, drop)
        return claim

    def _peek(self, inbox: Inbox, path: str, *, is_regular: bool) -> Drop | None:
        """What lies in the inbox; None if it is gone or may still be being written."""
        try:
            found = self._look(inbox, path, is_regular=is_regular)
        except FileNotFoundError:
            return None
        if found.problem is None or found.problem.code not in ("empty", "truncated"):
            return found
        changed = found.read.status.st_ctime if found.read else 0.0
        settle = inbox.table.settle
        written_to = written_to_now(path)
        if written_to is None:
            settle *= _UNASKABLE
        if written_to:
            again = self.context.clock().timestamp() + settle
            self._look_again = earliest(self._look_again, again)
            return None
        if self.context.age(changed) < settle:
            self._due = earliest(self._due, changed + settle)
            return None
        return found

    def _look(
        self, inbox: Inbox, path: str, *, is_regular: bool = False, published: bool = False
    ) -> Drop:
        """Read a drop; `published` if a dead run may have, so that it must not be set aside."""
        try:
            return look(inbox, path, seen_regular=is_regular)
        except FileNotFoundError:
            raise
        except OSError as error:
            if ran_out(error) or (published and not isinstance(error, PermissionError)):
                raise
            return Drop(None, None, BadInput("unreadable", f"Cannot read it: {error.strerror}."))

    def _is_stuck(self, inbox: Inbox, name: str, path: str) -> bool:
        if not self._stuck:
            return False
        with suppress(FileNotFoundError):
            return self._stuck.get((inbox.name, name)) == reading.status(path).st_ino
        return True

    def _give_up(self, inbox: Inbox, name: str, path: str, error: OSError) -> None:
        """A file that may not be moved stays where it is, said once, with a reason to be seen."""
        with suppress(FileNotFoundError):
            self._stuck[inbox.name, name] = reading.status(path).st_ino
        quarantine, now = Place("quarantine", inbox.name), self.context.clock()
        problem = BadInput("unreadable", f"Cannot take it from the inbox: {error.strerror}.")
        text = reason(problem.code, problem.what, problem.advice, now, file=shown(name))
        draft = self.spool.draft(text)
        self.spool.sync()
        self.spool.add_reason(draft, quarantine, self.spool.free_name(name, quarantine))
        log.error("cannot take %s/%s: %s", inbox.name, shown(name), error.strerror)


def index_path(root: str) -> str:
    """Where the index of a spool lies."""
    return os.path.join(root, "archive", ".index.sqlite3")


def _say_gone(taking: Place, name: str) -> None:
    log.error("%s/%s was taken away", taking, shown(name))


def _changed(path: str, before: os.stat_result) -> bool:
    now = os.lstat(path)
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (
        before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns,
    )  # fmt: skip
