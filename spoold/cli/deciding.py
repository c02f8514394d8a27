"""What the deciding verbs share: ids and a reason are read, and what was done is printed."""

import os
import sys
from collections.abc import Callable, Iterable

import click

from spoold.cli.app import App
from spoold.deciding.carry_out import Decided, Decision
from spoold.deciding.decide import decide as carry_out
from spoold.errors import SpooldError, StorageError
from spoold.spool.decisions import user_name
from spoold.text import shown


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
            for_each(ids, lambda part: decide(app, verb, part, why))

    return click.Command(
        verb, callback=run, params=[ids_argument(), reason_option()], help=summary,
        short_help=summary.partition(".")[0],
    )  # fmt: skip


def for_each(ids: Iterable[str], act: Callable[[str], None]) -> None:
    """Act on each id; an error about one does not keep the others back.

    Raises:
        SpooldError: the last error, after all were tried; a failed sync ends it at once.
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
    """Carry out a verb for one request, and print what was done."""
    said = Decision(verb, caller(), why)
    show(app, carry_out(app.spool, app.config.settings.executors, said, part, outcome))


def caller() -> str:
    """The login name of who uses the command line."""
    return user_name(os.getuid())


def show(app: App, done: Decided) -> None:
    """Print what was done."""
    found, moved = done.found, {"from": str(done.found.place), "to": str(done.target)}
    if done.told:
        text = f"{found.shown}: executor {found.place.key} {done.told}; see `spoold show`"
    elif done.target.folder == "inbox":
        file = shown(found.name)
        text = f"{file}: {found.place} → {app.styled(str(done.target), bold=True)}"
        app.row({"file": file, **moved}, text)
        return
    else:
        text = f"{found.shown}: {found.place} → {app.styled(str(done.target), bold=True)}"
    app.row({"dispatch_id": found.shown, **moved, "by": done.by}, text)
