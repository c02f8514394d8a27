"""`spoold import`: routes of an older dispatcher, and what it had already dealt with."""  # noqa: N999 - it is the verb

import os

import click

from spoold.cli.app import App, pass_app
from spoold.cli.importing import decision, files, infra
from spoold.cli.importing.plan import Plan
from spoold.errors import UsageError

_SYSTEMS = ("decision-dispatcher", "infra-dispatcher")


def _file(name: str, text: str) -> click.Option:
    return click.Option([f"--{name}"], metavar="FILE", help=text)


@click.command(params=[
    click.Argument(["system"], metavar="|".join(_SYSTEMS), type=click.Choice(_SYSTEMS),
                   required=False),
    click.Argument(["folder"], metavar="[DIR]", required=False),
    _file("config-json", "Its routes; by default DIR/config/config.json."),
    _file("environment", "The variables of an infra dispatcher."),
    _file("state", "What it has dealt with; by default DIR/state/state.json."),
    click.Option(["--approvals"], metavar="DIR", help="The consumer's markers; by default "
                 "DIR/../decision-consumer/state/approvals."),
    click.Option(["--source"], metavar="NAME", help="The inbox; by default decisions or webhooks."),
    click.Option(["--executor"], metavar="NAME", help="By default runner or openclaw."),
    click.Option(["--dry-run"], is_flag=True, help="Show all that it would write; write nothing."),
    _file("undo", "Take back the import that wrote archive/SOURCE/imported.….jsonl."),
])  # fmt: skip
@pass_app
def command(
    app: App, /, system: str | None, folder: str | None, *, undo: str | None, dry_run: bool,
    **given: str | None,
) -> None:  # fmt: skip
    """Take over from an older dispatcher: its routes, and what must make no second request.

    Stop it first, and intake too. Asks nothing, and never overwrites.
    """
    if undo and not system:
        files.undo(app, undo, dry_run=dry_run)
    elif system and not undo:
        read = _decision if system == _SYSTEMS[0] else _infra
        files.carry_out(app, read(folder, given), dry_run=dry_run)
    else:
        raise UsageError(f"say what to import, {' or '.join(_SYSTEMS)}, or --undo FILE")


def _decision(folder: str | None, given: dict[str, str | None]) -> Plan:
    if given["environment"]:
        raise UsageError("a decision dispatcher has no --environment, but --config-json")
    top = folder or ""
    config = given["config_json"] or (folder and os.path.join(top, "config", "config.json"))
    state = given["state"] or (folder and os.path.join(top, "state", "state.json"))
    if not config or not state:
        raise UsageError("say the dispatcher's DIR, or --config-json FILE and --state FILE")
    # DIR/state/state.json is three steps below the folder that the consumer's is in.
    beside = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(state))))
    approvals = os.path.join(beside, "decision-consumer", "state", "approvals")
    return decision.read(config, state, given["approvals"] or approvals,
                                 given["source"] or "decisions",
                                 given["executor"] or "runner")  # fmt: skip


def _infra(folder: str | None, given: dict[str, str | None]) -> Plan:
    if not given["environment"] or not given["state"] or folder or given["config_json"]:
        raise UsageError("an infra dispatcher needs --environment FILE and --state FILE")
    return infra.read(given["environment"], given["state"],
                              given["source"] or "webhooks",
                              given["executor"] or "openclaw")  # fmt: skip
