"""`spoold init`: a configuration and a spool to start from."""

import os
import re
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import click
import orjson

import spoold
from spoold.cli.app import App, pass_app
from spoold.config import configuration, find
from spoold.disk import fs
from spoold.errors import NotPossible
from spoold.spool.spool import Spool
from spoold.states import Role

_PLAIN = r"[\w/.@:+,=-]+"
_UNIT = """\
# Written by `spoold init --user`: all stages in one process, as you.
[Unit]
Description=spoold: a person between the event and the action

[Service]
Type=notify
ExecStartPre=-{program} --config {config} check --quiet
ExecStart={program} --config {config} run
ExecReload=/bin/sh -c "kill -HUP $MAINPID && sleep 1"
WatchdogSec=2min
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=78
# Agents outlive a restart of this service.
KillMode=process
TimeoutStopSec=30

[Install]
WantedBy=default.target
"""


def example() -> Path:
    """The example configuration: inside an installed package, beside it in a checkout."""
    installed = Path(str(files(spoold))) / "example" / "config"
    return installed if installed.is_dir() else Path(spoold.__file__).parents[1] / "config"


@click.command
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--user", is_flag=True, help="In your home instead, with a service of yours.")
@pass_app
def command(app: App, folder: str | None, user: bool) -> None:  # noqa: FBT001
    """Lay out DIR/config and DIR/spool, with routes that work and say what they do.

    With --user the configuration goes to ~/.config/spoold, the spool to ~/.local/state/spoold, and
    `systemctl --user start spoold` runs it.
    """
    if user == bool(folder):
        raise click.UsageError("say DIR, or --user")
    target = find.user_folder("XDG_CONFIG_HOME", ".config") if user else Path(str(folder), "config")
    if (target / "spoold.toml").exists():
        raise NotPossible(f"{target} holds a configuration already; it is left alone")
    _copy(app, target)
    if user:
        _at_home(app, target / "spoold.toml")
    made = configuration.load(target / "spoold.toml")
    fs.make_folder(str(made.root), 0o700)
    spool = Spool(str(made.root), Role.INTAKE, made.settings.sources, made.settings.executors)
    spool.lay_out()
    spool.seal_key()
    app.row({"created": str(made.root)}, f"{made.root}/")
    if not app.as_json:
        run = f"spoold --config {target / 'spoold.toml'} run"
        start = "systemctl --user enable --now spoold"
        click.echo(f"\nNext: {start if user else run}", err=True)


def _copy(app: App, target: Path) -> None:
    source = example()
    for path in sorted(source.rglob("*.toml")):
        copy = target / path.relative_to(source)
        if copy.exists():
            app.row({"kept": str(copy)}, f"{copy} is there already, and kept")
            continue
        fs.make_folder(str(copy.parent), 0o700)
        fs.create(str(copy), path.read_bytes())
        app.row({"created": str(copy)}, f"{copy}")


def _at_home(app: App, file: Path) -> None:
    """Let the configuration name the folders of the XDG specification, and write a unit."""
    root = find.user_folder("XDG_STATE_HOME", ".local/state") / "spool"
    # What JSON makes of a text is also how TOML writes it.
    lines = f"root    = {orjson.dumps(str(root)).decode()}"
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        shown = orjson.dumps(f"{runtime}/spoold").decode()
        lines += f"\nruntime = {shown}  # how each stage does: `spoold status`"
    text = re.sub(
        r"^root .*$", lambda _: lines, file.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    fs.publish(str(file), text.encode())
    unit = file.parents[1] / "systemd/user/spoold.service"
    if unit.exists():
        app.row({"kept": str(unit)}, f"{unit} is there already, and kept")
        return
    fs.make_folder(str(unit.parent), 0o700)
    fs.create(str(unit), unit_for(program(), file).encode())
    app.row({"created": str(unit)}, f"{unit}")


def unit_for(command: Sequence[str], file: Path) -> str:
    """A user's own service: what `command` (its words) does with the configuration `file`."""
    # systemd takes fewer characters in the name of a program than in an argument.
    words = command if re.fullmatch(_PLAIN, command[0]) else ["/usr/bin/env", *command]
    return _UNIT.format(program=" ".join(map(_quoted, words)), config=_quoted(str(file)))


def program() -> list[str]:
    """What this was started with, as words that start it again."""
    script = os.path.abspath(sys.argv[0])
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "spoold"]


def _quoted(word: str) -> str:
    """A word of ExecStart=; see systemd.service(5), command lines, and systemd.unit(5), %."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return escaped if re.fullmatch(_PLAIN, word) else f'"{escaped}"'
