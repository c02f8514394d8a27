"""inbox/SOURCE → awaiting-approval, pre-approved or quarantine/SOURCE; the original → archive.

Security: trusts nobody. Names and bytes come from strangers: a file is claimed by a rename before
it counts, opened only if it is a regular file, read only up to the limit, parsed strictly, and
turned into a request by routes alone. Intake can seal a request; it cannot approve one.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass

from spoold import fs, record
from spoold.errors import BadInput
from spoold.index import Index
from spoold.request import reason
from spoold.sources._inbox import Inbox
from spoold.spool import Place, is_candidate, is_odd
from spoold.stages import Step, Surroundings, earliest
from spoold.stages._batch import Batch
from spoold.stages._claim import Claim
from spoold.stages._reindex import reindex
from spoold.states import Role

log = logging.getLogger("spoold.intake")

#: A group also ends when it holds this many bytes, so that memory stays bounded.
_BATCH_BYTES = 4 << 20
_BATCH_FILES = 64


@dataclass(frozen=True, slots=True)
class _Peek:
    """A whole file as it lay in the inbox, or what is wrong with it."""

    read: fs.Read | None
    document: record.JsonObject | None
    problem: BadInput | None


class Intake:
    """Turns drops into requests."""

    name = "intake"

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.spool = around.spool(Role.INTAKE)
        self.spool.lay_out()
        self.lock = self.spool.lock(Place("archive"))
        self._inboxes = around.routing.inboxes
        self._key = self.spool.seal_key()
        self._index: Index | None = None
        self._stuck: set[tuple[str, str]] = set()
        self._due: float | None = None
        self._look_again: float | None = None

    def inputs(self) -> list[Place]:
        """Every inbox."""
        return self.spool.places("inbox")

    def _open_index(self) -> Index:
        """The index, built from the files when it is not complete."""
        index = Index(index_path(self.spool.root))
        if not index.complete:
            log.info("no index yet, or an old one: building it from the files")
            log.info("index built: %d deliveries known", reindex(self.spool, index))
        return index

    def recover(self) -> None:
        """Answer for what was claimed before a crash; its requests may be published already."""
        self._index = self._open_index()
        for inbox in self._inboxes.values():
            taking = Place("taking", inbox.name)
            names = [entry.name for entry in fs.entries(self.spool.path(taking))]
            claims = [self._reclaim(inbox, taking, name) for name in sorted(names)]
            if claims:
                log.warning("%d claimed files were left by a crash; finishing them", len(claims))
                self._answer_for(claims, after_crash=True)

    def step(self) -> Step:
        """Take every drop that is whole."""
        moved, due, look_again = 0, None, None
        for inbox in self._inboxes.values():
            for claims in self._claims(inbox):
                moved += len(claims)
                self._answer_for(claims)
                if self.around.stop.is_set():
                    return Step(moved)
            due = earliest(due, self._due)
            look_again = earliest(look_again, self._look_again)
        return Step(moved, due=due, look_again=look_again)

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _answer_for(self, claims: list[Claim], *, after_crash: bool = False) -> None:
        index = self._index = self._index or self._open_index()
        while claims:
            batch = Batch(self.around, self.spool, index, self._key, after_crash=after_crash)
            for claim in claims:
                batch.add(claim)
            claims = batch.commit()

    # Claiming

    def _claims(self, inbox: Inbox) -> Iterator[list[Claim]]:
        """Groups of claimed files, oldest drop first."""
        self._due = self._look_again = None
        group: list[Claim] = []
        size = 0
        for name in self._candidates(inbox):
            claim = self._claim(inbox, name)
            if claim is None:
                continue
            group.append(claim)
            size += len(claim.data)
            if len(group) >= _BATCH_FILES or size >= _BATCH_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _candidates(self, inbox: Inbox) -> list[str]:
        found = []
        for entry in fs.entries(self.spool.path(Place("inbox", inbox.name))):
            if is_candidate(entry.name) and (inbox.name, entry.name) not in self._stuck:
                try:
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, entry.name))
                except FileNotFoundError:
                    continue
        return [name for _, name in sorted(found)]

    def _claim(self, inbox: Inbox, name: str) -> Claim | None:
        place, taking = Place("inbox", inbox.name), Place("taking", inbox.name)
        peek = self._peek(inbox, self.spool.path(place, name))
        if peek is None:
            return None
        now = self.around.clock()
        today = Place("archive", inbox.name)
        taken = self.spool.free_name(name, taking)
        if self.spool.exists(today, f"{now:%Y-%m-%d}/{taken}"):
            taken = self.spool.free_name(taken, taking, place)
        try:
            if not self.spool.move(place, taking, name, taken):
                return None
        except PermissionError as error:
            self._give_up(inbox, name, error)
            return None
        path = self.spool.path(taking, taken)
        if peek.read and _changed(path, peek.read.status):
            peek = self._look(inbox, path)
        if is_odd(name) and not peek.problem:
            what = f"The name {name[:60]!r} holds characters that could mislead."
            peek = _Peek(peek.read, None, BadInput("odd-name", what))
        return Claim(
            inbox, name, taken, now, peek.read.data if peek.read else b"", peek.document,
            peek.problem,
        )  # fmt: skip

    def _reclaim(self, inbox: Inbox, taking: Place, name: str) -> Claim:
        peek = self._look(inbox, self.spool.path(taking, name))
        data = peek.read.data if peek.read else b""
        now = self.around.clock()
        return Claim(inbox, name, name, now, data, peek.document, peek.problem)

    def _peek(self, inbox: Inbox, path: str) -> _Peek | None:
        """What lies in the inbox; None if it is gone or may still be being written."""
        try:
            found = self._look(inbox, path)
        except FileNotFoundError:
            return None
        if found.problem is None or found.problem.code not in ("empty", "truncated"):
            return found
        changed = found.read.status.st_ctime if found.read else 0.0
        if fs.written_to_now(path):
            again = self.around.clock().timestamp() + inbox.table.settle
            self._look_again = earliest(self._look_again, again)
            return None
        if self.around.age(changed) < inbox.table.settle:
            self._due = earliest(self._due, changed + inbox.table.settle)
            return None
        return found

    def _look(self, inbox: Inbox, path: str) -> _Peek:
        try:
            read = fs.read_regular(path, inbox.table.max_bytes)
        except FileNotFoundError:
            raise
        except fs.NotRegular as error:
            return _Peek(None, None, BadInput(error.kind, f"It is a {error.kind}, not a file."))
        except fs.TooLarge as error:
            what = f"It has {error.size} bytes; {inbox.name} takes {inbox.table.max_bytes}."
            return _Peek(None, None, BadInput("too-large", what))
        except OSError as error:
            return _Peek(None, None, BadInput("unreadable", f"Cannot read it: {error.strerror}."))
        try:
            document = record.parse(read.data, max_depth=inbox.table.max_depth)
        except BadInput as problem:
            return _Peek(read, None, problem)
        return _Peek(read, document, None)

    def _give_up(self, inbox: Inbox, name: str, error: OSError) -> None:
        """A file that may not be moved stays where it is, said once, with a reason to be seen."""
        self._stuck.add((inbox.name, name))
        quarantine = Place("quarantine", inbox.name)
        problem = BadInput("unreadable", f"Cannot take it from the inbox: {error.strerror}.")
        text = reason(
            problem.code, problem.what, problem.advice, self.around.clock(), file=_shown(name)
        )
        draft = self.spool.draft(text)
        self.spool.sync()
        self.spool.add_reason(draft, quarantine, self.spool.free_name(name, quarantine))
        log.error("cannot take %s/%s: %s", inbox.name, _shown(name), error.strerror)


def index_path(root: str) -> str:
    """Where the index of a spool lies."""
    return os.path.join(root, "archive", ".index.sqlite3")


def _changed(path: str, before: os.stat_result) -> bool:
    now = os.lstat(path)
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns) != (
        before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns,
    )  # fmt: skip


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)
