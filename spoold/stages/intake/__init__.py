"""inbox/SOURCE → awaiting-approval, pre-approved or quarantine/SOURCE; the original → archive.

Security: trusts nobody. Names and bytes come from strangers: a file is claimed by a rename before
it counts, opened only if it is a regular file, read only up to the limit, parsed strictly, and
turned into a request by routes alone. Intake can seal a request; it cannot approve one.

The way of a drop: `claimer` claims it, `render` says what its route makes of it, `lookup` whether
it was dealt with before, `plan` what becomes of it, and `commit` does that.
"""

import logging
import os
from collections.abc import Iterator
from functools import partial
from itertools import islice

from spoold.disk import fs
from spoold.disk.free_space import Floor
from spoold.sources.inbox import Inbox
from spoold.spool.index import Index, IndexDamaged
from spoold.spool.spool import Place
from spoold.stages.intake.claim import Claim
from spoold.stages.intake.claimer import Claimer
from spoold.stages.intake.commit import Committer
from spoold.stages.intake.lookup import (
    CrashLookup,
    ImportLookup,
    IndexLookup,
    Lookup,
    waiting_request,
)
from spoold.stages.intake.plan import Plan, Planner
from spoold.stages.intake.reindex import reindex
from spoold.stages.intake.same import Judge
from spoold.stages.stage import BATCH, StageContext, Step
from spoold.states import Role

log = logging.getLogger("spoold.intake")

#: A group also ends when it holds this many bytes, so that memory stays bounded.
_BATCH_BYTES = 1 << 20


class Intake:
    """Turns drops into requests."""

    name = "intake"

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.spool = context.spool(Role.INTAKE)
        self.spool.lay_out()
        self.lock = self.spool.lock(Place("archive"))
        self._key = self.spool.seal_key()
        self._claimer = Claimer(context, self.spool)
        self._index: Index | None = None
        self.adopt()

    def adopt(self) -> None:
        """Take on the formats, the routes, and how much space to leave free."""
        routing = self.context.routing
        self._inboxes = routing.inboxes
        self._floor = Floor(self.spool.root, routing.config.settings.min_free)

    def inputs(self) -> list[Place]:
        """Every inbox."""
        return self.spool.places("inbox")

    def unfinished(self) -> list[Place]:
        """Every inbox, and what it has claimed."""
        return self.spool.places("inbox", "taking")

    def recover(self) -> None:
        """Answer for what was claimed before a crash; its requests may be published already."""
        self.spool.remove_drafts()
        self._index = self._open_index()
        inboxes = self._inboxes.values()
        claims = [claim for inbox in inboxes for claim in self._claimer.left_by_crash(inbox)]
        if claims:
            log.warning("%d claimed files were left by a crash; finishing them", len(claims))
            # That run may have died before its own sync; what follows builds on what it published.
            fs.sync_file_system(self.spool.root)
            self._answer_for(claims, after_crash=True)
            self.spool.sync()

    def step(self) -> Step:
        """Take every drop that is whole."""
        moved, stop = 0, self.context.stop
        self._claimer.due = self._claimer.look_again = None
        since = self.context.arrivals.scanning(map(self.spool.path, self.inputs()))
        for claims in self._turns(since):
            moved += len(claims)
            # Where its originals went becomes durable with the next group, or with the last.
            self._answer_for(claims)
            if stop.is_set():
                break
        self.spool.sync()
        return Step(moved, due=self._claimer.due, look_again=self._claimer.look_again)

    def close(self) -> None:
        """Close the index."""
        if self._index is not None:
            self._index.close()
            self._index = None

    def _turns(self, since: float) -> Iterator[list[Claim]]:
        """A group of each inbox in turn, so that a flood in one does not keep the others waiting.

        It ends with what was there when it began. Until then an inbox that has run out is looked
        at again when something comes to it.
        """
        inboxes = self._inboxes.values()
        at_first = {inbox.name: self._claims(inbox, since) for inbox in inboxes}
        while at_first:
            for inbox in inboxes:
                groups = at_first.get(inbox.name)
                if groups is None and self._claimer.has_news(inbox):
                    yield from islice(self._claims(inbox, since), 1)
                elif groups is not None:
                    yield from (one := list(islice(groups, 1)))
                    if not one:
                        del at_first[inbox.name]

    def _claims(self, inbox: Inbox, since: float) -> Iterator[list[Claim]]:
        """Groups of claimed files, oldest drop first."""
        group: list[Claim] = []
        for name, is_regular in self._claimer.drops(inbox, since):
            if not group:
                self._floor.check()
            if claim := self._claimer.take(inbox, name, is_regular=is_regular):
                group.append(claim)
                if len(group) >= BATCH or sum(one.size for one in group) >= _BATCH_BYTES:
                    yield group
                    group = []
        if group:
            yield group

    def _answer_for(self, claims: list[Claim], *, after_crash: bool = False) -> None:
        """Turn claims into requests; those whose plan came to nothing are planned again."""
        while claims:
            index = self._index = self._index or self._open_index()
            try:
                plan = self._plan(claims, index, after_crash=after_crash)
                claims = Committer(self.context, self.spool, index).commit(plan)
            except IndexDamaged:
                log.warning("the index is damaged; building it anew from the files")
                index.delete()
                self._index, after_crash = None, True

    def _plan(self, claims: list[Claim], index: Index, *, after_crash: bool) -> Plan:
        lookups: list[Lookup] = [IndexLookup(index), ImportLookup(index)]
        if after_crash:
            lookups.insert(0, CrashLookup(self.spool, index, self._key))
        now, routing = self.context.clock(), self.context.routing
        waiting = partial(waiting_request, self.spool, self._key, now)
        judge = Judge(self.spool, self._key, routing, now)
        planner = Planner(routing, lookups, judge, index.intent, waiting, self._key)
        return planner.plan(claims)

    def _open_index(self) -> Index:
        """The index, built from the files when it is not complete."""
        index = Index(index_path(self.spool.root))
        if not index.complete:
            log.info("no index yet, or an old one: building it from the files")
            log.info("index built: %d deliveries known", reindex(self.spool, index))
        return index


def index_path(root: str) -> str:
    """Where the index of a spool lies."""
    return os.path.join(root, "archive", ".index.sqlite3")
