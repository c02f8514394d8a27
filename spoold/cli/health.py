"""`spoold health`: one look at all managed containers, for a timer."""

import logging
import os
import sys
from dataclasses import asdict

import click

from spoold.cli.app import App, pass_app
from spoold.errors import ExecutionError, SpooldError
from spoold.health.check import check_containers, container_executors, health_spool
from spoold.health.container import Container
from spoold.service.log_format import log_to_stderr
from spoold.spool.spool import Place
from spoold.stages.stage import StageContext
from spoold.text import printable


class Unhealthy(SpooldError):
    """Something does not work; the lines on stdout say what."""

    exit_code = os.EX_UNAVAILABLE


@click.command
@pass_app
def command(app: App) -> None:
    """Check all managed containers, and ask for a restart of those that fail again and again.

    The restart is asked for by a record in the inbox named in [health]. Exit 69 if a container, or
    an engine, does not answer as it should; a container that a request has stopped is shown, and no
    failure.
    """
    log_to_stderr(as_json=app.as_json or not sys.stderr.isatty())
    context = StageContext(app.routing)
    spool = health_spool(context)
    spool.lay_out()
    lock = spool.lock(Place("health"))
    lock.acquire()
    failed = 0
    try:
        for instance in container_executors(context):
            try:
                found = check_containers(context, instance)
            except ExecutionError as error:
                failed += 1
                row = {"executor": instance.name, "error": error.code, "message": error.summary}
                text = f"executor {instance.name}: {printable(error.summary)}"
                app.row(row, app.styled(" ".join(text.split()), fg="red"), logging.ERROR)
                continue
            for one in found:
                failed += not one.passed and not one.stopped
                _say(app, instance.name, one)
    finally:
        lock.release()
    if failed:
        raise Unhealthy(f"{failed} of what was looked at does not work")


def _say(app: App, executor: str, one: Container) -> None:
    row = {"executor": executor, **asdict(one)}
    if one.passed:
        app.row(row, f"ok       {one.name}")
        return
    if one.stopped:
        app.row(row, f"stopped  {one.name}")
        return
    asked = f", restarts asked for: {len(one.asked)}" if one.asked else ""
    note = f" ({one.note})" if one.note else ""
    how = "unknown" if one.passed is None else "failed"
    text = f"{how} {one.name}: {printable(one.message)}{asked}{note}"
    app.row(row, app.styled(" ".join(text.split()), fg="red"), logging.WARNING)
