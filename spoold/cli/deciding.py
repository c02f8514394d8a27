"""What the deciding verbs share: ids and a reason are read, and what was done is printed."""

import os
import sys
from collections.abc import Callable, Iterable

import click

from spoold.cli.app import App
from spoold.deciding.carry_out import Decided, Decision
from spoold.deciding.decide import LETS_RUN, meant
from spoold.deciding.decide import decide as carry_out
from spoold.errors import NotPossible, SpooldError, StorageError, UsageError
from spoold.spool.decisions import user_name
from spoold.states import targets
from spoold.text import shown
from spoold.view import lines
from spoold.view.find import split_pin
from spoold.view.plan import plan

#: From there it runs, with no other yes or with one more.
_GOES_ON = ("approved", "awaiting-approval", "queued")


def ids_argument() -> click.Argument:
    """`ID…`; `-` reads them from stdin, one a line."""
    return click.Argument(["ids"], nargs=-1, required=True, metavar="ID…")


def reason_option() -> click.Option:
    """`--reason TEXT`."""
    return click.Option(["--reason", "why"], metavar="TEXT", help="Why; kept in approvals/.")


def yes_option() -> click.Option:
    """`--yes`: for verbs after which something can run."""
    return click.Option(
        ["--yes"], is_flag=True,
        help="Do not ask. Without it, ID@PIN says what you have read; on a terminal you are asked.",
    )  # fmt: skip


def decision(verb: str, summary: str) -> click.Command:
    """The command of a verb that needs nothing but ids, perhaps a reason, and perhaps a yes."""

    def run(ids: tuple[str, ...], why: str | None, *, yes: bool = True) -> None:
        app = click.get_current_context().find_object(App)
        if app is not None:
            for_each(ids, lambda part: decide(app, verb, part, why, sure=yes))

    asks = [yes_option()] if verb in LETS_RUN else []
    return click.Command(
        verb, callback=run, params=[ids_argument(), reason_option(), *asks], help=summary,
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


def decide(
    app: App,
    verb: str,
    part: str,
    why: str | None,
    outcome: str | None = None,
    *,
    sure: bool = True,
) -> None:
    """Carry out a verb for one request, and print what was done."""
    if not sure:
        part = read_and_agreed(app, verb, part)
    executors = app.config.settings.executors
    show(app, carry_out(app.spool, executors, said(verb, why), part, outcome))


def read_and_agreed(app: App, verb: str, part: str) -> str:
    """The request with the pin of what the person has read: as given, or as shown to them now.

    Raises:
        UsageError: there is no terminal to ask on.
        NotPossible: they say no.
    """
    if split_pin(part)[1]:
        return part
    found, known, _ = meant(app.spool, part)
    if known is None or not targets(found.place.folder, verb):
        return part
    pinned = f"{app.spool.path(found.place, found.name)}@{known.pin}"
    if app.as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"{verb} what? Read it with `spoold show {found.shown}`, then say "
            f"`spoold {verb} ID@PIN` with the pin that was shown; or --yes to whatever it is"
        )
    click.echo(app.styled(f"{found} @{known.pin}", bold=True), err=True)
    for line in lines.fold("\n".join(plan(known)), lines.columns(sys.stderr)):
        click.echo(line, err=True)
    if not click.confirm(f"{verb} this?", err=True):
        raise NotPossible(f"{found.shown} stays in {found.place}/: you said no")
    return pinned


def said(verb: str, why: str | None) -> Decision:
    """What whoever uses the command line says."""
    # For whom root says it, by the word of sudo; nobody else's environment is asked.
    on_behalf_of = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    return Decision(verb, user_name(os.getuid()), why, on_behalf_of=on_behalf_of)


def show(app: App, done: Decided) -> None:
    """Print what was done, and what will run because of it."""
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
    row = {"dispatch_id": found.shown, **moved, "by": done.by}
    if done.request and done.target.folder in _GOES_ON:
        row["pin"] = done.request.pin
        text = "\n".join([text, *lines.fold("\n".join(plan(done.request)), lines.columns())])
    app.row(row, text)
