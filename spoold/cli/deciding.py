"""What all deciding verbs do: one slip that says who and why, then one rename."""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

import click
import orjson

from spoold import executors, request
from spoold.cli.app import App
from spoold.disk import fs, reading
from spoold.errors import ADVICE, BadInput, NotPossible, SpooldError, StorageError
from spoold.record import JsonObject
from spoold.spool.decisions import correct_slip, publish_slip, user_name
from spoold.spool.spool import Place, Spool
from spoold.stages.execute.history import in_doubt
from spoold.states import REASON_SUFFIX, STATES, targets
from spoold.text import printable
from spoold.view.find import Found, find

#: Characters of an id in a slip's name; an odd name in held/ may have more than fit.
_SLIP_NAME = 120
#: The reason file that a verb leaves beside the file, by verb.
_CODES = {"reject": "rejected", "hold": "held-by-person", "cancel": "cancelled",
          "resolve": "resolved"}  # fmt: skip


def ids_argument() -> click.Argument:
    """`ID…`; `-` reads them from stdin, one a line."""
    return click.Argument(["ids"], nargs=-1, required=True, metavar="ID…")


def reason_option() -> click.Option:
    """`--reason TEXT`."""
    return click.Option(["--reason", "why"], metavar="TEXT", help="Why; kept in approvals/.")


def decision(verb: str, summary: str) -> click.Command:
    """The command of a verb that needs nothing but ids and perhaps a reason."""

    def run(ids: tuple[str, ...], why: str | None) -> None:
        app = click.get_current_context().find_object(App)
        if app is not None:
            decide_all(app, verb, ids, why)

    return click.Command(
        verb, callback=run, params=[ids_argument(), reason_option()], help=summary,
        short_help=summary.partition(".")[0],
    )  # fmt: skip


def decide_all(
    app: App, verb: str, ids: Iterable[str], why: str | None, outcome: str | None = None
) -> None:
    """Carry a verb out for each id."""
    for_each(ids, lambda part: decide(app, verb, part, why, outcome))


def for_each(ids: Iterable[str], act: Callable[[str], None]) -> None:
    """Act on each id; one that cannot be decided does not keep the others back.

    Raises:
        SpooldError: that of the last id that could not be decided, after trying all; a disk that
            fails ends it at once.
    """
    failed: SpooldError | OSError | None = None
    for part in _each(ids):
        try:
            act(part)
        except (SpooldError, OSError) as error:
            if failed:
                click.echo(f"spoold: {failed}", err=True)
            failed = error
            if isinstance(error, StorageError):
                break  # after a failed sync nothing more may count as durable
    if failed:
        raise failed


def _each(ids: Iterable[str]) -> Iterable[str]:
    for part in ids:
        if part == "-":
            yield from (line.strip() for line in sys.stdin if line.strip())
        else:
            yield part


def decide(app: App, verb: str, part: str, why: str | None, outcome: str | None = None) -> None:
    """Move one request the way a verb says."""
    found = find(app.spool, part, STATES, wants=lambda folder: bool(targets(folder, verb)))
    if verb == "cancel" and _is_for_its_executor(app, found):
        _ask_to_stop(app, found, why)
        return
    possible = targets(found.place.folder, verb)
    if not possible or (outcome and outcome not in possible):
        raise NotPossible(f"{found.shown} is in {found.place}/: {_why_not(verb, found)}")
    folder = outcome or possible[0]
    if found.place.folder == "held" and verb == "resolve":
        _must_have_run(app, found)
    if folder in ("approved", "awaiting-approval"):
        _must_be_in_time(app, found, verb, folder)
    key = found.place.key if folder in ("queued", "deferred", "running") else ""
    move(app, verb, found, Place(folder, key), why)


def move(app: App, verb: str, found: Found, target: Place, why: str | None) -> None:
    """Write the slip, make the move, and leave a reason where the file is set aside."""
    spool = app.spool
    who, now = user_name(os.getuid()), request.now()
    why = why and printable(why)
    slip = {
        "dispatch_id": found.shown, "decision": verb, "by": who, "reason": why,
        "at": request.timestamp(now), "from": str(found.place), "to": str(target),
    }  # fmt: skip
    # Beside what goes on it would stay behind, and be about nothing.
    code = None if target.folder == "awaiting-approval" else _CODES.get(verb)
    if code in ("cancelled", "rejected") and (known := _read(app, found)) and in_doubt(known):
        code = "tried-before"
    draft = spool.draft(_json(slip))
    what = f"{who} said so" + (f": {why}" if why else ", and gave no reason.")
    beside = spool.draft(request.reason(code, what, ADVICE[code], now, by=who)) if code else None
    spool.sync()
    name = publish_slip(spool, draft, found.shown[:_SLIP_NAME])
    spool.sync()
    earlier = Beside(spool, found)
    try:
        _rename(app, found, target)
    except NotPossible:
        if beside:
            spool.discard(beside)
        # It says who decided; a decision that came too late must not be found beside another's.
        late = spool.draft(_json({**slip, "decision": "too-late", "wanted": verb}))
        spool.sync()
        correct_slip(spool, late, name)
        spool.sync()
        raise
    if beside:
        spool.add_reason(beside, target, found.name)
        if not spool.exists(target, found.name):
            # Somebody has moved it on already, and would leave a reason that is about nothing.
            fs.remove(spool.path(target, found.name + REASON_SUFFIX))
    spool.sync()
    earlier.remove()
    row = {"dispatch_id": found.shown, "from": str(found.place), "to": str(target), "by": who}
    app.row(row, f"{found.shown}: {found.place} → {app.styled(str(target), bold=True)}")


def _ask_to_stop(app: App, found: Found, why: str | None) -> None:
    """Leave word for the executor, which alone may touch what runs, and knows what was tried."""
    spool, place = app.spool, Place("cancel", found.place.key)
    who, now = user_name(os.getuid()), request.now()
    slip = {
        "dispatch_id": found.shown, "decision": "cancel", "by": who,
        "reason": why and printable(why), "at": request.timestamp(now),
        "from": str(found.place), "to": str(place),
    }  # fmt: skip
    wish, draft = spool.draft(_json(slip)), spool.draft(_json(slip))
    spool.sync()
    publish_slip(spool, draft, found.shown[:_SLIP_NAME])
    try:
        spool.publish(wish, place, found.name)
    except FileExistsError:
        spool.discard(wish)
    spool.sync()
    what = "is told to stop it"
    if found.place.folder != "running":
        what = "is told to end it, because it was tried and a try may have had its effect"
    if found.place.folder == "deferred":
        # Executors look at what is queued. If it is gone, or one is there, the wish is there too.
        with suppress(FileExistsError):
            spool.move(found.place, Place("queued", found.place.key), found.name)
        spool.sync()
    row = {"dispatch_id": found.shown, "from": str(found.place), "to": str(place), "by": who}
    app.row(row, f"{found.shown}: executor {found.place.key} {what}; see `spoold show`")


def _is_for_its_executor(app: App, found: Found) -> bool:
    """Whether it runs, or was tried and only its executor can say what came of that."""
    if found.place.folder not in ("queued", "deferred"):
        return found.place.folder == "running"
    table = app.config.settings.executors.get(found.place.key)
    known = _read(app, found)
    if table is None or known is None or not known.attempts:
        return False
    return in_doubt(known) or executors.load(table.kind).take_back is not None


def _read(app: App, found: Found) -> request.Request | None:
    try:
        return app.spool.request(found.place, found.name)
    except (BadInput, FileNotFoundError):
        return None


def _must_have_run(app: App, found: Found) -> None:
    """Only a person can say that it is done; but not of what was never begun."""
    attempts = app.spool.request(found.place, found.name).attempts
    if not attempts or attempts[-1].code != "no-evidence":
        raise NotPossible(
            f"{found.shown} is in held/, and not because it ended without evidence. "
            "`spoold release` or `spoold reject` it"
        )


def _json(fields: JsonObject) -> bytes:
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _rename(app: App, found: Found, target: Place) -> None:
    try:
        moved = app.spool.move(found.place, target, found.name)
    except FileExistsError:
        raise NotPossible(
            f"{target}/ has a {found.shown}.json already, so this one is a copy; "
            "look at both, and reject or remove the one that should not be"
        ) from None
    if not moved:
        raise NotPossible(f"{found.shown} has just been moved by somebody else; look again")


class Beside:
    """The reason beside a file that is about to leave its folder."""

    def __init__(self, spool: Spool, found: Found) -> None:
        self._path = spool.path(found.place, found.name + REASON_SUFFIX)
        self._seen = self._inode()

    def _inode(self) -> int | None:
        try:
            return reading.status(self._path).st_ino
        except OSError:  # also where the name of a stranger's file leaves no room for it
            return None

    def remove(self) -> None:
        """Remove it, once the file has durably left; not the next one, if that came back."""
        if self._seen is not None and self._inode() == self._seen:
            fs.remove(self._path)
            fs.sync_folder(os.path.dirname(self._path))


def _must_be_in_time(app: App, found: Found, verb: str, folder: str) -> None:
    """Say now what sweep or the gate would do to it anyway."""
    try:
        loaded = app.spool.request(found.place, found.name)
    except FileNotFoundError:
        raise NotPossible(f"{found.shown} has just been moved; look again") from None
    expires = request.parse_time(loaded.approval.expires_at)
    if expires <= request.now():
        raise NotPossible(
            f"{found.id} expired at {loaded.approval.expires_at}, so a {verb} would only take it "
            f"to {folder}/, and from there to expired/ or held/. If it is still wanted, drop the "
            "record again under a new id"
        )


def _why_not(verb: str, found: Found) -> str:
    where = found.place.folder
    hints = {
        ("approve", "approved"): "it is approved already",
        ("approve", "held"): "`spoold release` it first, so that it waits for a yes again",
        ("reject", "approved"): "use `spoold cancel`",
        ("reject", "queued"): "use `spoold cancel`",
        ("cancel", "awaiting-approval"): "use `spoold reject`",
        ("retry", "unknown"): "say how it ended with `spoold resolve`",
        ("retry", "held"): "use `spoold release`",
        ("retry", "awaiting-approval"): "it waits for a yes; use `spoold approve`",
    }
    ending = f"it cannot be put through {verb!r} from there"
    return hints.get((verb, where), ending)
