"""`spoold retry`: failed → awaiting-approval, deferred → queued now, quarantine → inbox."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.deciding import Beside, decide, for_each, ids_argument, reason_option
from spoold.errors import Ambiguous, NotPossible, UsageError
from spoold.spool.spool import Place
from spoold.text import shown
from spoold.view.find import Found, find


@click.command(params=[ids_argument(), reason_option()])
@pass_app
def command(app: App, ids: tuple[str, ...], why: str | None) -> None:
    """Try again: failed → awaiting-approval, deferred → queued now, quarantine → inbox.

    A request that failed needs a yes again, if its route asks for one. A quarantined file is named
    by its name.
    """
    for_each(ids, lambda part: _retry(app, part, why))


def _retry(app: App, part: str, why: str | None) -> None:
    if quarantined := _quarantined(app, part):
        _drop_again(app, quarantined)
        return
    decide(app, "retry", part, why)
    # Whoever may approve has just said that it shall run; its route asks for no more.
    if not _asks_for_a_yes(app, part):
        decide(app, "approve", part, why)


def _asks_for_a_yes(app: App, part: str) -> bool:
    """Whether what waits now under that name waits for a person by its route's wish."""
    try:
        found = find(app.spool, part, ["awaiting-approval"])
        return app.spool.request(found.place, found.name).requires_approval
    except (UsageError, FileNotFoundError):
        return True


def _quarantined(app: App, part: str) -> Found | None:
    """The quarantined file that is meant, if it is not a request.

    Raises:
        UsageError: it could be either.
    """
    try:
        found = find(app.spool, part, ["quarantine"])
    except Ambiguous:
        raise
    except UsageError:
        if "quarantine/" in part:
            raise
        return None
    try:
        request = find(app.spool, part)
    except UsageError:
        return found
    raise Ambiguous(f"{shown(part)!r} matches {found} and {request}; say which, with its folder")


def _drop_again(app: App, found: Found) -> None:
    inbox = Place("inbox", found.place.key)
    beside = Beside(app.spool, found)
    try:
        moved = app.spool.move(found.place, inbox, found.name)
    except FileExistsError:
        raise NotPossible(
            f"{inbox}/ has a {shown(found.name)} already; wait, or rename one"
        ) from None
    if not moved:
        raise NotPossible(f"{shown(found.name)} has just been moved by somebody else; look again")
    app.spool.sync()
    beside.remove()
    row = {"file": shown(found.name), "from": str(found.place), "to": str(inbox)}
    app.row(row, f"{shown(found.name)}: {found.place} → {app.styled(str(inbox), bold=True)}")
