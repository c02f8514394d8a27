"""`spoold run`: every stage in one process."""

from collections.abc import Sequence

import click

from spoold.cli.app import App, pass_app
from spoold.cli.stages import drain_option
from spoold.cli.stages import run as run_stages
from spoold.stages.execute import Execute
from spoold.stages.gate import Gate
from spoold.stages.intake import Intake
from spoold.stages.report import Report, inboxes_of
from spoold.stages.stage import Stage, StageContext
from spoold.stages.sweep import Sweep


@click.command(params=[drain_option()])
@pass_app
def command(app: App, drain: bool) -> None:  # noqa: FBT001
    """Run every stage with one command."""

    def make(context: StageContext) -> Sequence[Stage]:
        # A drain steps through the stages in turn, so they share one wake-up.
        def each() -> StageContext:
            return context if drain else context.for_stage()

        executors = [Execute(each(), name) for name in context.routing.executors]
        reports = [Report(each())] if inboxes_of(context) else []
        return [Intake(each()), Sweep(each()), Gate(each()), *executors, *reports]

    run_stages(app, make, drain=drain)
