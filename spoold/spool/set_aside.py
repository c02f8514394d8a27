"""A file that may not go on → held/, held/EXECUTOR or quarantine/, with the reason beside it.

The reason is durable before the file gets there, so that no file lies there without one.
"""

from datetime import datetime

from spoold import request
from spoold.disk import fs
from spoold.errors import BadInput
from spoold.identity import named
from spoold.spool.filenames import another
from spoold.spool.reader import Place
from spoold.spool.writer import SpoolWriter
from spoold.states import REASON_SUFFIX
from spoold.text import shown


def held_by(spool: SpoolWriter) -> Place:
    """Where a stage parks what may not go on: no executor can write where people park things."""
    return Place("held-by-executor", spool.executor) if spool.executor else Place("held")


def move_beside_reason(
    spool: SpoolWriter, source: Place, target: Place, name: str, kept: str, reason: bytes
) -> None:
    """Move a file beside its reason; if its name is taken by now, both get another one."""
    try:
        spool.move(source, target, name, kept)
    except FileExistsError:
        fs.remove(spool.path(target, kept + REASON_SUFFIX))
        kept, draft = another(kept), spool.draft(reason)
        spool.sync()
        spool.add_reason(draft, target, kept)
        spool.sync()
        move_beside_reason(spool, source, target, name, kept, reason)


class SetAside:
    """One file on its way, in steps, so that many files share their syncs.

    Make it, `sync` the spool, `explain`, `sync`, `move`, `sync`.

    Args:
        spool: of the role that moves the file.
        source: where it lies.
        name: its name.
        target: where it goes.
        reason: the content of its reason file.
    """

    def __init__(
        self, spool: SpoolWriter, source: Place, name: str, target: Place, reason: bytes
    ) -> None:
        self._spool = spool
        self._source = source
        self._name = name
        self._target = target
        self._reason = reason
        self._kept = spool.free_name(name, target)
        self._draft = spool.draft(reason)

    def explain(self) -> None:
        """Put the reason where the file will lie."""
        self._spool.add_reason(self._draft, self._target, self._kept)

    def move(self) -> None:
        """Move the file beside its reason."""
        move_beside_reason(
            self._spool, self._source, self._target, self._name, self._kept, self._reason
        )


class Holding(SetAside):
    """A file that is parked, and what is logged and counted of that.

    Args:
        spool: of the role that moves the file.
        source: where it lies.
        name: its name.
        problem: why it may not go on.
        when: the time.
        came_from: where it was before the stage claimed it; `source` if it was not claimed.
    """

    def __init__(
        self,
        spool: SpoolWriter,
        source: Place,
        name: str,
        problem: BadInput,
        when: datetime,
        came_from: Place | None = None,
    ) -> None:
        self._problem = problem.to_keep()
        reason = request.reason(
            problem.code, problem.what, problem.advice, when, came_from=str(came_from or source)
        )
        super().__init__(spool, source, name, held_by(spool), reason)

    def move(self) -> None:
        """Move the file, count it and log it."""
        super().move()
        self._spool.counts.add("errors", self._problem.code)
        about = {**named(self._name), "code": self._problem.code}
        self._spool.log.error("held %s: %s", shown(self._name), self._problem, extra=about)
