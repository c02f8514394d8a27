"""`spoold VERB`: one module a verb, loaded when it is used."""

import importlib
import logging
import os
import sys
import traceback

import click
import orjson
from click.shell_completion import shell_complete

from spoold import __version__
from spoold.cli.app import App
from spoold.errors import SpooldError, StorageError, explained
from spoold.linux.systemd import is_journal
from spoold.text import escaped, printable

#: By which a shell asks for completions.
_COMPLETE = "_SPOOLD_COMPLETE"
#: Every verb, in the order of a day's work. Each has a module of its name in this package.
VERBS = (
    *("init", "check", "doctor", "health", "run", "intake", "gate", "execute", "sweep", "report"),
    *("ls", "show", "stats", "status", "metrics", "explain"),
    *("approve", "reject", "hold", "release", "retry", "cancel", "resolve", "reindex", "import"),
)


class _Verbs(click.Group):
    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        if not any(option.name == "as_json" for option in command.params):
            command.params.append(
                click.Option(
                    ["--json", "as_json"], is_flag=True, expose_value=False,
                    callback=_json_here, help="Print JSON Lines.",
                )
            )  # fmt: skip
        return command


def _json_here(ctx: click.Context, _option: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if value:
        ctx.ensure_object(App).as_json = True


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--config", "config", metavar="FILE", help="The configuration (spoold.toml).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
@click.version_option(__version__, prog_name="spoold")
@click.pass_context
def cli(ctx: click.Context, config: str | None, as_json: bool) -> None:  # noqa: FBT001
    """Put a person between the event and the action.

    Drop JSON files into inbox/, approve by moving files to approved/, audit by looking into
    folders.
    """
    ctx.obj = App(config, as_json)


def main() -> None:
    """Run the command line; every error is one message on stderr and an exit code of `sysexits`."""
    try:
        if asked := os.environ.get(_COMPLETE):
            sys.exit(shell_complete(cli, {}, "spoold", _COMPLETE, asked))
        with cli.make_context("spoold", sys.argv[1:]) as context:
            code = cli.invoke(context)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - each has an exit code
        message, code = _ending(error)
        _say_why(error, message, code)
    sys.exit(code if isinstance(code, int) else os.EX_OK)


def _ending(error: BaseException) -> tuple[str, int]:
    """The message (empty if there is nothing to say) and the exit code for each error."""
    match error:
        case click.exceptions.Exit():
            return "", error.exit_code
        case click.exceptions.Abort() | KeyboardInterrupt():
            return "", 130
        case click.ClickException():
            return error.format_message(), os.EX_USAGE
        case SpooldError():
            return str(error), error.exit_code
        case BrokenPipeError():
            return "", os.EX_OK
        case PermissionError():
            hint = "Your user has no right to that; see the folder's owner and mode."
            return f"{error.filename or ''}: {error.strerror}. {hint}", os.EX_NOPERM
        case OSError():
            known = explained(error) or StorageError(f"{error.filename or ''}: {error.strerror}")
            return str(known), known.exit_code
        case _:
            return f"a bug in spoold: {type(error).__name__}: {error}", os.EX_SOFTWARE


def _say_why(error: BaseException, message: str, code: int) -> None:
    as_json, for_journal = "--json" in sys.argv, is_journal(sys.stderr)
    if isinstance(error, BrokenPipeError):
        # The reader (head, less) has seen enough; keep the interpreter from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    elif isinstance(error, click.ClickException) and not as_json and not for_journal:
        error.show()
    elif message:
        if code == os.EX_SOFTWARE and not for_journal:
            traceback.print_exception(error)
        _say(message, code, error, as_json=as_json)


def _say(message: str, code: int, error: BaseException, *, as_json: bool) -> None:
    if is_journal(sys.stderr):
        from spoold.service import log_format  # noqa: PLC0415

        verb = next((word for word in sys.argv[1:] if word in VERBS), "cli")
        bug = error if code == os.EX_SOFTWARE else None
        log_format.say(verb, logging.CRITICAL, printable(message), bug, exit_code=code)
    elif as_json:
        line = orjson.dumps({"error": printable(message), "exit_code": code}).decode()
        click.echo(escaped(line), err=True)
    else:
        for line in printable(message).splitlines():
            click.echo(f"spoold: {line}", err=True)
