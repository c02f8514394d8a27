"""`spoold init DIR`: a configuration and a spool to start from."""

from importlib.resources import files
from pathlib import Path

import click

import spoold
from spoold import config
from spoold.cli._app import App, pass_app
from spoold.errors import NotPossible
from spoold.spool import Spool
from spoold.states import Role


def example() -> Path:
    """The example configuration: inside an installed package, beside it in a checkout."""
    installed = Path(str(files(spoold))) / "example" / "config"
    return installed if installed.is_dir() else Path(spoold.__file__).parents[1] / "config"


@click.command(params=[click.Argument(["folder"], metavar="DIR")])
@pass_app
def command(app: App, folder: str) -> None:
    """Lay out DIR/config and DIR/spool, with routes that work and say what they do."""
    target = Path(folder)
    source = example()
    if (target / "config" / "spoold.toml").exists():
        raise NotPossible(f"{target / 'config'} holds a configuration already; it is left alone")
    for path in sorted(source.rglob("*.toml")):
        copy = target / "config" / path.relative_to(source)
        if copy.exists():
            app.row({"kept": str(copy)}, f"{copy} is there already, and kept")
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        app.row({"created": str(copy)}, f"{copy}")
    made = config.load(target / "config" / "spoold.toml")
    spool = Spool(str(made.root), Role.INTAKE, made.settings.sources, made.settings.executors)
    made.root.mkdir(parents=True, exist_ok=True)
    spool.lay_out()
    spool.seal_key()
    app.row({"created": str(made.root)}, f"{made.root}/")
    if not app.as_json:
        click.echo(f"\nNext: spoold --config {target / 'config' / 'spoold.toml'} run", err=True)
