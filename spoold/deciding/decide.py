"""A person's verb and a request → the move that it means, if it makes sense now."""

from collections.abc import Mapping
from dataclasses import replace

from spoold import executors, request
from spoold.config.settings import ExecutorTable
from spoold.deciding.carry_out import Decided, Decision, carry_out, tell_executor
from spoold.errors import BadInput, NotPossible
from spoold.request import Request
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.history import in_doubt
from spoold.states import FOLDERS, Standing, standing_in, targets
from spoold.text import shown
from spoold.view.find import Found, find, split_pin

_PARKED = standing_in(Standing.PARKED)
#: What to do instead, by verb and the outermost folder.
_INSTEAD = {
    ("approve", "approved"): "it is approved already",
    ("approve", "held"): "`spoold release` it first, so that it waits for a yes again",
    ("reject", "approved"): "use `spoold cancel`",
    ("reject", "queued"): "use `spoold cancel`",
    ("cancel", "awaiting-approval"): "use `spoold reject`",
    ("retry", "unknown"): "say how it ended with `spoold resolve`",
    ("retry", "held"): "use `spoold release`",
    ("retry", "awaiting-approval"): "it waits for a yes; use `spoold approve`",
}

#: Verbs after which something can run: whoever says them has read what.
LETS_RUN = frozenset({"approve", "release", "retry", "resolve"})


def meant(spool: Spool, part: str) -> tuple[Found, Request | None, str | None]:
    """What `ID` or `ID@PIN` means: the file, the request in it, and the pin that was given.

    Raises:
        UsageError: no request is meant, or more than one.
        NotPossible: it is not what the pin says any more.
    """
    given, pin = split_pin(part)
    found = find(spool, given)
    known = _read(spool, found)
    if pin and (known is None or known.pin != pin):
        now = f"it is @{known.pin} now" if known else "it is no request that could be read"
        raise NotPossible(f"{found.shown} is not what you have read as @{pin}: {now}. Look again")
    return found, known, pin


def decide(
    spool: Spool,
    configured: Mapping[str, ExecutorTable],
    decision: Decision,
    part: str,
    outcome: str | None = None,
) -> Decided:
    """Carry out what a person has decided about one request.

    Args:
        spool: with the moves of a person.
        configured: the executors of the configuration.
        decision: the verb, who says it, and why.
        part: the request, as `find` takes it, or that and `@PIN`.
        outcome: the folder that it shall come to, where the verb leaves a choice.

    Raises:
        UsageError: no request is meant, or more than one.
        NotPossible: the verb makes no sense where the request is, or the person came too late.
        BadInput: it is no request.
    """
    verb = decision.verb
    found, known, pin = meant(spool, part)
    decision = replace(decision, pin=pin or (known.pin if known and verb in LETS_RUN else None))
    if verb == "cancel" and _is_for_its_executor(configured, found, known):
        return tell_executor(spool, found, decision)
    possible = targets(found.place.folder, verb)
    if not possible or (outcome and outcome not in possible):
        ending = f"it cannot be put through {verb!r} from there"
        why_not = _INSTEAD.get((verb, FOLDERS[found.place.folder].top), ending)
        raise NotPossible(f"{found.shown} is in {found.place}/: {why_not}")
    folder = outcome or possible[0]
    if found.place.folder in _PARKED and verb == "resolve":
        _must_have_run(spool, found, known)
    if folder in ("approved", "awaiting-approval"):
        _must_be_in_time(spool, found, known, verb, folder)
    target = Place(folder, _executor_of(spool, found, known) if FOLDERS[folder].per else "")
    was_tried = verb in ("cancel", "reject") and known is not None and in_doubt(known)
    done = carry_out(spool, found, target, decision, was_tried=was_tried)
    return replace(done, request=known)


def _executor_of(spool: Spool, found: Found, known: Request | None) -> str:
    """Whose folder it comes to; what lies in flat held/ says so itself."""
    name = found.place.key or _must_be_read(spool, found, known).executor
    if Place("done", name) not in spool.places("done"):
        raise NotPossible(f"{found.shown} is for executor {shown(name)!r}, and there is none")
    return name


def _read(spool: Spool, found: Found) -> Request | None:
    try:
        return spool.request(found.place, found.name)
    except (BadInput, FileNotFoundError):
        return None


def _must_be_read(spool: Spool, found: Found, known: Request | None) -> Request:
    """What was read of it; else it is read once more, for the error that says why it cannot be."""
    return known or spool.request(found.place, found.name)


def _is_for_its_executor(
    configured: Mapping[str, ExecutorTable], found: Found, known: Request | None
) -> bool:
    """Whether it runs, or was tried and only its executor can say what came of that."""
    if found.place.folder not in ("queued", "deferred"):
        return found.place.folder == "running"
    table = configured.get(found.place.key)
    if table is None or known is None or not known.attempts:
        return False
    return in_doubt(known) or executors.load(table.kind).take_back is not None


def _must_have_run(spool: Spool, found: Found, known: Request | None) -> None:
    """What is held may be said to be done only if it ran, and left no evidence."""
    attempts = _must_be_read(spool, found, known).attempts
    if not attempts or attempts[-1].code != "no-evidence":
        raise NotPossible(
            f"{found.shown} is in {found.place}/, and not because it ended without evidence. "
            "`spoold release` or `spoold reject` it"
        )


def _must_be_in_time(
    spool: Spool, found: Found, known: Request | None, verb: str, folder: str
) -> None:
    """Say now what the sweep or the gate would do to it anyway."""
    try:
        loaded = _must_be_read(spool, found, known)
    except FileNotFoundError:
        raise NotPossible(f"{found.shown} has just been moved; look again") from None
    if loaded.has_expired(request.now()):
        raise NotPossible(
            f"{found.id} expired at {loaded.approval.expires_at}, so a {verb} would only take it "
            f"to {folder}/, and from there to expired/ or held/. If it is still wanted, drop the "
            "record again under a new id"
        )
