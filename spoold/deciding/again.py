"""`retry`: failed → awaiting-approval, deferred → queued, quarantine → inbox."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from spoold.config.settings import ExecutorTable
from spoold.deciding.carry_out import Decided, Decision, ReasonBeside
from spoold.deciding.decide import decide
from spoold.errors import NotPossible, UsageError
from spoold.spool.filenames import as_new as marked_as_new
from spoold.spool.spool import Place, Spool
from spoold.states import Standing, standing_in
from spoold.text import shown
from spoold.view.find import Found, find, split_pin

_WAITS = standing_in(Standing.WAITS)


def retry(
    spool: Spool,
    configured: Mapping[str, ExecutorTable],
    decision: Decision,
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
        decision: who wants it, and why.
        part: names it.
        as_new: take a drop for an event of its own, whatever its key; its name says so from then
            on, so that neither a crash nor `reindex` forgets it.
    """
    if quarantined := set_aside(spool, part):
        yield _drop_again(spool, quarantined, decision.by, as_new=as_new)
        return
    if as_new:
        raise UsageError(f"--as-new is for a file in quarantine/, and {shown(part)!r} names none")
    done = decide(spool, configured, decision, part)
    yield done
    if done.request and not done.request.requires_approval and done.target.folder in _WAITS:
        path = f"{spool.path(done.target, done.found.name)}@{done.request.pin}"
        yield decide(spool, configured, replace(decision, verb="approve"), path)


def set_aside(spool: Spool, part: str) -> Found | None:
    """The quarantined file whose path is given; None if it is the path of something else, or none.

    Raises:
        UsageError: nothing has that path.
    """
    if "/" not in part:
        return None
    found = find(spool, split_pin(part)[0], ["quarantine"])
    return found if found.place.folder == "quarantine" else None


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
