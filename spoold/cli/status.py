"""`spoold status`: which stages run, are ready, wait, hang or are gone."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import click

from spoold import heartbeat, request
from spoold.capture import printable
from spoold.cli._app import App, age, pass_app
from spoold.errors import NoRoom, SpooldError
from spoold.room import Floor
from spoold.spool import json_object

#: Which states are well, and how a monitor is told of the others.
_COLOURS = {"ready": None, "starting": "yellow", "standing-by": "yellow", "waits": "yellow",
            "stopping": "yellow"}  # fmt: skip


class Down(SpooldError):
    """A stage is gone, or hangs."""

    exit_code = os.EX_UNAVAILABLE


class NotReady(SpooldError):
    """Every stage runs, and one of them does nothing now."""

    exit_code = os.EX_TEMPFAIL


@dataclass(frozen=True, slots=True)
class Seen:
    """A stage, as its heartbeat shows it.

    Attributes:
        stage: its name.
        state: what it says of itself, or `hung` or `gone`.
        healthy: it runs and gets on.
        ready: it does its work.
        detail: why it does not; and what is wrong with a configuration that was read again.
        silent_s: seconds since it was last heard of.
        since: when its process began.
        pid: the number of its process.
        moved: files it has moved since.
        busy: actions that run.
    """

    stage: str
    state: str
    healthy: bool
    ready: bool
    detail: str = ""
    silent_s: float | None = None
    since: str | None = None
    pid: int | None = None
    moved: int | None = None
    busy: int | None = None


@click.command
@pass_app
def command(app: App) -> None:
    """Show how every stage does, from its own heartbeat.

    Exit 0 if all are ready, 75 if one is not (it starts, waits, or another process does its work),
    69 if one is gone or hangs.
    """
    form = "{:<24} {:<12} {:>7}  {}"
    if not app.as_json:
        click.echo(app.styled(form.format("STAGE", "STATE", "HEARD", "ABOUT"), bold=True))
    found = list(_look(app))
    for seen in found:
        heard = "-" if seen.silent_s is None else age(seen.silent_s)
        text = form.format(seen.stage, seen.state, heard, printable(seen.detail)).rstrip()
        app.row(asdict(seen), app.styled(text, fg=_COLOURS.get(seen.state, "red")))
    if app.spool.on_hold:
        click.echo("HOLD is set: nothing passes the gate, and nothing starts", err=True)
    _say_room(app)
    if down := [seen.stage for seen in found if not seen.healthy]:
        raise Down(f"not running as it should: {', '.join(down)}")
    if idle := [seen.stage for seen in found if not seen.ready]:
        raise NotReady(f"not ready: {', '.join(idle)}")


def _look(app: App) -> Iterator[Seen]:
    settings = app.config.settings
    stages = ["intake", "gate", *(f"execute {name}" for name in settings.executors), "sweep"]
    if any(table.format == "report" for table in settings.sources.values()):
        stages.append("report")
    for stage in stages:
        yield _seen(app.config.runtime, stage)


def _seen(runtime: str, stage: str) -> Seen:
    path = os.path.join(runtime, heartbeat.folder_of(stage), heartbeat.FILE)
    facts = json_object(path, 1 << 16) or {}
    try:
        written, heard = (_seconds_since(facts.get(key)) for key in ("written_at", "heard_at"))
    except (TypeError, ValueError):
        return Seen(stage, "gone", healthy=False, ready=False, detail="it does not run")
    state, detail = str(facts.get("state")), str(facts.get("detail") or facts.get("note") or "")
    if written > heartbeat.GONE:
        state, detail = "gone", "its process has ended, or was stopped"
    elif heard > heartbeat.HANGS:
        state, detail = "hung", "it does not get on; its service restarts it"
    healthy = state not in ("gone", "hung")
    return Seen(
        stage, state, healthy, state == "ready", detail, round(heard, 3),
        *(facts.get(key) for key in ("since", "pid", "moved", "busy")),
    )  # fmt: skip


def _seconds_since(stamp: object) -> float:
    return (datetime.now(UTC) - request.moment(str(stamp))).total_seconds()


def _say_room(app: App) -> None:
    try:
        Floor(str(app.config.root), app.config.settings.min_free).check()
    except (NoRoom, FileNotFoundError) as problem:
        click.echo(str(problem), err=True)
