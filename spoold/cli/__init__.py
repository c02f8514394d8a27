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


def main() -> None:  # noqa: C901 - a few lines for each way to end
    """Run the command line; every error is one message on stderr and an exit code of `sysexits`."""
    as_json = "--json" in sys.argv
    try:
        if asked := os.environ.get(_COMPLETE):
            sys.exit(shell_complete(cli, {}, "spoold", _COMPLETE, asked))
        with cli.make_context("spoold", sys.argv[1:]) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as done:
        code = done.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        code = 130
    except click.ClickException as error:
        if as_json or is_journal(sys.stderr):
            _say(error.format_message(), os.EX_USAGE, as_json=as_json)
        else:
            error.show()
        code = os.EX_USAGE
    except SpooldError as error:
        _say(str(error), error.exit_code, as_json=as_json)
        code = error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep the interpreter from complaining about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = os.EX_OK
    except PermissionError as error:
        hint = "Your user has no right to that; see the folder's owner and mode."
        _say(f"{error.filename or ''}: {error.strerror}. {hint}", os.EX_NOPERM, as_json=as_json)
        code = os.EX_NOPERM
    except OSError as error:
        known = explained(error) or StorageError(f"{error.filename or ''}: {error.strerror}")
        _say(str(known), known.exit_code, as_json=as_json)
        code = known.exit_code
    except Exception as error:  # noqa: BLE001 - the last resort, and it says so
        if not is_journal(sys.stderr):
            traceback.print_exc()
        _say(f"a bug in spoold: {type(error).__name__}: {error}", os.EX_SOFTWARE, as_json=as_json)
        code = os.EX_SOFTWARE
    sys.exit(code if isinstance(code, int) else os.EX_OK)


def _say(message: str, code: int, *, as_json: bool) -> None:
    if is_journal(sys.stderr):
        from spoold.service import log_format  # noqa: PLC0415

        verb = next((word for word in sys.argv[1:] if word in VERBS), "cli")
        bug = sys.exc_info()[1] if code == os.EX_SOFTWARE else None
        log_format.say(verb, logging.CRITICAL, printable(message), bug, exit_code=code)
    elif as_json:
        line = orjson.dumps({"error": printable(message), "exit_code": code}).decode()
        click.echo(escaped(line), err=True)
    else:
        for line in printable(message).splitlines():
            click.echo(f"spoold: {line}", err=True)
