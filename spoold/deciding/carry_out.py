"""A decision → its file in approvals/, one rename, and the reason beside what was set aside."""

import os
from contextlib import suppress
from dataclasses import dataclass

from spoold import request
from spoold.disk import fs, reading
from spoold.errors import ADVICE, NotPossible
from spoold.record import JsonObject
from spoold.request import Request
from spoold.request.reasons import for_people
from spoold.spool.decisions import correct, publish
from spoold.spool.spool import Place, Spool
from spoold.states import REASON_SUFFIX
from spoold.text import printable
from spoold.view.find import Found

#: Characters of an id in the name of a decision; an odd name in held/ may have more than fit.
_LONGEST = 120
#: The code in the reason that a verb leaves beside the file.
_CODES = {"reject": "rejected", "hold": "held-by-person", "cancel": "cancelled",
          "resolve": "resolved"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says of a request.

    Attributes:
        verb: `approve`, `reject`, `hold`, `release`, `retry`, `cancel` or `resolve`.
        by: who says it, as a login name.
        why: the reason they give.
        pin: of what they have read, if they say so.
        on_behalf_of: who root says it for, by the word of sudo.
    """

    verb: str
    by: str
    why: str | None = None
    pin: str | None = None
    on_behalf_of: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """What was done.

    Attributes:
        found: the request, and where it was.
        target: where it lies now, or where its cancellation lies.
        by: who decided.
        told: what the executor is told instead of a move of the file; empty if the file moved.
        request: what it says, where that was read.
    """

    found: Found
    target: Place
    by: str
    told: str = ""
    request: Request | None = None


def carry_out(
    spool: Spool, found: Found, target: Place, decision: Decision, *, was_tried: bool
) -> Decided:
    """Keep the decision, make the move, and leave a reason where the file is set aside.

    Args:
        spool: with the moves of a person.
        found: the request.
        target: where it goes.
        decision: who decided what.
        was_tried: a try may have had its effect, which the reason then says.

    Raises:
        NotPossible: it has moved meanwhile, or is a copy of what lies there.
    """
    content = _content(found, target, decision)
    draft = spool.draft(for_people(content))
    reason = _reason(spool, target, decision, tried=was_tried)
    spool.sync()
    name = publish(spool, draft, found.shown[:_LONGEST])
    spool.sync()
    earlier = ReasonBeside(spool, found)
    try:
        _rename(spool, found, target)
    except NotPossible:
        if reason:
            spool.discard(reason)
        _note_too_late(spool, content, name)
        raise
    if reason:
        spool.add_reason(reason, target, found.name)
        if not spool.exists(target, found.name):
            # It has been moved on already, and the reason would lie there alone.
            fs.remove(spool.path(target, found.name + REASON_SUFFIX))
    spool.sync()
    earlier.remove()
    return Decided(found, target, decision.by)


def _note_too_late(spool: Spool, content: JsonObject, name: str) -> None:
    """The decision stays, and says that it was not carried out."""
    late = {**content, "decision": "too-late", "wanted": content["decision"]}
    draft = spool.draft(for_people(late))
    spool.sync()
    correct(spool, draft, name)
    spool.sync()


def tell_executor(spool: Spool, found: Found, decision: Decision) -> Decided:
    """Leave a cancellation for the executor: only it may touch what runs, and knows what was tried.

    Args:
        spool: with the moves of a person.
        found: the request, in work.
        decision: who cancels it.
    """
    place = Place("cancel", found.place.key)
    content = for_people(_content(found, place, decision))
    cancellation, draft = spool.draft(content), spool.draft(content)
    spool.sync()
    publish(spool, draft, found.shown[:_LONGEST])
    try:
        spool.publish(cancellation, place, found.name)
    except FileExistsError:
        spool.discard(cancellation)
    spool.sync()
    if found.place.folder == "deferred":
        # Executors look at what is queued. If it has left deferred/, the cancellation finds it.
        with suppress(FileExistsError):
            spool.move(found.place, Place("queued", found.place.key), found.name)
        spool.sync()
    told = "is told to stop it"
    if found.place.folder != "running":
        told = "is told to end it, because it was tried and a try may have had its effect"
    return Decided(found, place, decision.by, told)


def _content(found: Found, target: Place, decision: Decision) -> JsonObject:
    more = {"pin": decision.pin, "for": decision.on_behalf_of}
    return {
        "dispatch_id": found.shown, "decision": decision.verb, "by": decision.by,
        **{key: value for key, value in more.items() if value},
        "reason": decision.why and printable(decision.why),
        "at": request.timestamp(request.now()), "from": str(found.place), "to": str(target),
    }  # fmt: skip


def _reason(spool: Spool, target: Place, decision: Decision, *, tried: bool) -> str | None:
    """The draft of the reason beside the file; None where the file goes on."""
    code = None if target.folder == "awaiting-approval" else _CODES.get(decision.verb)
    if code is None:
        return None
    if code in ("cancelled", "rejected") and tried:
        code = "tried-before"
    why = f": {printable(decision.why)}" if decision.why else ", and gave no reason."
    what, now = f"{decision.by} said so{why}", request.now()
    return spool.draft(request.reason(code, what, ADVICE[code], now, by=decision.by))


def _rename(spool: Spool, found: Found, target: Place) -> None:
    try:
        moved = spool.move(found.place, target, found.name)
    except FileExistsError:
        raise NotPossible(
            f"{target}/ has a {found.shown}.json already, so this one is a copy; "
            "look at both, and reject or remove the one that should not be"
        ) from None
    if not moved:
        raise NotPossible(f"{found.shown} has just been moved by somebody else; look again")


class ReasonBeside:
    """The reason beside a file that is about to leave its folder."""

    def __init__(self, spool: Spool, found: Found) -> None:
        self._path = spool.path(found.place, found.name + REASON_SUFFIX)
        self._seen = self._inode()

    def _inode(self) -> int | None:
        try:
            return reading.status(self._path).st_ino
        except OSError:  # there is none; or the file's own name is too long for one
            return None

    def remove(self) -> None:
        """Remove it, once the file has durably left; not a newer one, if the file came back."""
        if self._seen is not None and self._inode() == self._seen:
            fs.remove(self._path)
            fs.sync_folder(os.path.dirname(self._path))
