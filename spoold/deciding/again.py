"""`retry`: failed → awaiting-approval, deferred → queued, quarantine → inbox."""

from collections.abc import Iterator, Mapping

from spoold.config.settings import ExecutorTable
from spoold.deciding.carry_out import Decided, Decision, ReasonBeside
from spoold.deciding.decide import decide
from spoold.errors import Ambiguous, NotPossible, UsageError
from spoold.spool.filenames import as_new as marked_as_new
from spoold.spool.spool import Place, Spool
from spoold.text import shown
from spoold.view.find import Found, find


def retry(
    spool: Spool,
    configured: Mapping[str, ExecutorTable],
    by: str,
    why: str | None,
    part: str,
    *,
    as_new: bool = False,
) -> Iterator[Decided]:
    """Try a request again, or put a drop that was set aside back into its inbox.

    A request whose route asks for no yes is approved at once: who may approve has just said that it
    shall run. Yields each step that was made; raises what `decide` raises.

    Args:
        spool: where it is.
        configured: the executors.
        by: who wants it.
        why: the reason given, if any.
        part: names it.
        as_new: take a drop for an event of its own, whatever its key; its name says so from then
            on, so that neither a crash nor `reindex` forgets it.
    """
    if quarantined := _quarantined(spool, part):
        yield _drop_again(spool, quarantined, by, as_new=as_new)
        return
    if as_new:
        raise UsageError(f"--as-new is for a file in quarantine/, and {shown(part)!r} names none")
    yield decide(spool, configured, Decision("retry", by, why), part)
    if not _asks_for_a_yes(spool, part):
        yield decide(spool, configured, Decision("approve", by, why), part)


def _asks_for_a_yes(spool: Spool, part: str) -> bool:
    """Whether a request waits under that name now, or goes on, by what its route says."""
    try:
        found = find(spool, part, ["awaiting-approval"])
        return spool.request(found.place, found.name).requires_approval
    except (UsageError, FileNotFoundError):
        return True


def _quarantined(spool: Spool, part: str) -> Found | None:
    """The quarantined file that is meant, if it is not a request.

    Raises:
        UsageError: it could be either.
    """
    try:
        found = find(spool, part, ["quarantine"])
    except Ambiguous:
        raise
    except UsageError:
        if "quarantine/" in part:
            raise
        return None
    try:
        request = find(spool, part)
    except UsageError:
        return found
    raise Ambiguous(f"{shown(part)!r} matches {found} and {request}; say which, with its folder")


def _drop_again(spool: Spool, found: Found, by: str, *, as_new: bool) -> Decided:
    inbox, reason = Place("inbox", found.place.key), ReasonBeside(spool, found)
    name = marked_as_new(found.name) if as_new else found.name
    try:
        moved = spool.move(found.place, inbox, found.name, name)
    except FileExistsError:
        raise NotPossible(
            f"{inbox}/ has a {shown(found.name)} already; wait, or rename one"
        ) from None
    if not moved:
        raise NotPossible(f"{shown(found.name)} has just been moved by somebody else; look again")
    spool.sync()
    reason.remove()
    return Decided(found, inbox, by)
