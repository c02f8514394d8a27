"""RUNTIME/STAGE/status.json → how each stage does, for `spoold status` and the metrics."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from spoold import request
from spoold.config.configuration import Configuration
from spoold.disk.reading import json_object
from spoold.service.heartbeat import EVERY, FILE, HANGS, STATES, folder_of

#: A file that was not written for this long (seconds) was left by a process that is gone.
GONE = 3 * EVERY
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StageStatus:
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
        counts: what it has done, see `Counts.as_json`.
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
    counts: Mapping[str, Any] = field(default_factory=dict)


def read_stages(config: Configuration) -> Iterator[StageStatus]:
    """How each stage does that the configuration has."""
    settings = config.settings
    stages = ["intake", "gate", *(f"execute {name}" for name in settings.executors), "sweep"]
    if any(table.format == "report" for table in settings.sources.values()):
        stages.append("report")
    for stage in stages:
        yield _read_stage(config.runtime, stage)


def _read_stage(runtime: str, stage: str) -> StageStatus:
    path = os.path.join(runtime, folder_of(stage), FILE)
    facts = json_object(path, _MAX_BYTES) or {}
    try:
        written, heard = (_seconds_since(facts.get(key)) for key in ("written_at", "heard_at"))
    except (TypeError, ValueError):
        return StageStatus(stage, "gone", healthy=False, ready=False, detail="it does not run")
    state, detail = str(facts.get("state")), str(facts.get("detail") or facts.get("note") or "")
    if not -GONE < written <= GONE or state not in STATES:
        state, detail = "gone", "its process has ended, or was stopped"
    elif heard > HANGS:
        state, detail = "hung", "it does not get on; its service restarts it"
    healthy = state not in ("gone", "hung")
    known: dict[str, Any] = {
        key: value if isinstance(value := facts.get(key), kind) else None
        for key, kind in (("since", str), ("pid", int), ("moved", int), ("busy", int))
    }
    counts = found if isinstance(found := facts.get("counts"), dict) else {}
    silent, ready = round(heard, 3), state == "ready"
    return StageStatus(stage, state, healthy, ready, detail, silent, **known, counts=counts)


def _seconds_since(stamp: object) -> float:
    return (datetime.now(UTC) - request.parse_time(str(stamp))).total_seconds()
