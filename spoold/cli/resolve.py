"""`spoold resolve`: unknown → done, failed, or awaiting-approval."""

import click

from spoold.cli.app import App, pass_app
from spoold.cli.deciding import decide, for_each, ids_argument, reason_option, yes_option

_FOLDERS = {"done": "done", "failed": "failed", "again": "awaiting-approval"}


@click.command(params=[
    ids_argument(),
    click.Option(["--as", "outcome"], required=True, type=click.Choice(list(_FOLDERS)),
                 help="How it ended; `again` if it had no effect and should wait for a new yes."),
    reason_option(),
    yes_option(),
])  # fmt: skip
@pass_app
def command(app: App, ids: tuple[str, ...], outcome: str, why: str | None, *, yes: bool) -> None:
    """Say how it ended: unknown → done, failed or awaiting-approval (`again`)."""
    sure = yes or outcome != "again"
    for_each(ids, lambda part: decide(app, "resolve", part, why, _FOLDERS[outcome], sure=sure))
