"""What the verbs that run stages share."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from spoold.cli.app import App
from spoold.disk import fs, private
from spoold.errors import ConfigError, TryLater
from spoold.host.filesystem import must_be_usable
from spoold.service import loop
from spoold.service.drain import drain as drained
from spoold.service.log_format import log_to_stderr
from spoold.spool.reader import Place
from spoold.spool.spool import Spool
from spoold.stages.stage import Stage, StageContext
from spoold.states import Role

log = logging.getLogger("spoold.service")


def drain_option() -> click.Option:
    """`--drain`."""
    text = "Move what can move now, wait for what runs, then exit."
    return click.Option(["--drain"], is_flag=True, help=text)


def run(app: App, make: Callable[[StageContext], Sequence[Stage]], *, drain: bool) -> None:
    """Run stages as a service, or once; ends the process with their exit code."""
    log_to_stderr(as_json=app.as_json or not sys.stderr.isatty())
    if app.config.settings.separate_users and os.geteuid() == 0:
        raise ConfigError(
            "each stage has a user of its own here (`separate_users`), and none is root. Use "
            "`systemctl start spoold.target`"
        )
    fs.make_folder(str(app.config.root), 0o700)
    if not app.config.settings.separate_users:
        fs.make_folder(app.config.runtime, 0o700, durable=False)
        if wide := private.too_much(str(app.config.root)):
            log.warning(
                "other users may reach %s (%s). `spoold check --permissions --fix` closes it",
                app.config.root, wide,
            )  # fmt: skip
    context = StageContext(app.routing)
    if context.spool(Role.PERSON).on_hold:
        log.warning("HOLD is set: nothing passes the gate, and nothing starts, until it is removed")
    stages = make(context)
    must_be_usable(stages[0].spool)
    loop.handle_signals(context, [context.wake, *(stage.context.wake for stage in stages)])
    code = drained(stages, context) if drain else loop.serve(stages, context, app.load)
    click.get_current_context().exit(code)


@contextmanager
def stopped_intake(app: App) -> Iterator[Spool]:
    """The spool in intake's hands, while no drop is taken and no index rebuilt.

    Raises:
        TryLater: intake runs.
    """
    settings = app.config.settings
    spool = Spool(str(app.config.root), Role.INTAKE, settings.sources, settings.executors)
    spool.lay_out()
    lock = spool.lock(Place("archive"))
    try:
        lock.acquire()
    except TryLater:
        what = f"intake runs on {spool.root}, or a reindex, or an import; stop it first"
        raise TryLater(what) from None
    try:
        yield spool
    finally:
        lock.release()
