"""For people who write executors and routes: a spool of your own, a clock, a recording executor."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from pydantic import JsonValue

from spoold import executors, routing
from spoold.config import configuration
from spoold.executors import Context, Model, Result
from spoold.service.drain import drain
from spoold.stages.execute import Execute
from spoold.stages.gate import Gate
from spoold.stages.intake import Intake
from spoold.stages.report import Report, inboxes_of
from spoold.stages.stage import Stage, StageContext
from spoold.stages.sweep import Sweep
from spoold.states import FOLDERS, REASON_SUFFIX


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self, start: datetime | None = None) -> None:
        self.now = start or datetime.now(UTC)

    def __call__(self) -> datetime:
        """The time it shows."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Move it on."""
        self.now += timedelta(seconds=seconds)


class Recorder(executors.Kind):
    """An executor kind that remembers its calls, and ends them as the test says.

    Attributes:
        calls: dispatch id and parameters of every run, in order.
        outcomes: what the next runs return or raise; when used up, they succeed.
        probed: what `probe` returns or raises.
    """

    class Config(Model):
        """No settings."""

    class Params(Model):
        """Anything."""

        say: JsonValue = None

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.outcomes: list[Result | Exception] = []
        self.probed: Result | Exception = Result("probed", "The probe saw that it was done.")
        self._lock = threading.Lock()

    def check(self, params: Any, config: Any) -> None:
        """Refuse the parameter `no`."""
        del config
        if params.say == "no":
            raise ValueError("it does not take 'no'")

    def run(self, params: Any, context: Context) -> Result:
        """Remember the call; end it as planned."""
        with self._lock:
            self.calls.append((context.dispatch_id, params.say))
            outcome = self.outcomes.pop(0) if self.outcomes else Result("ok", "Recorded.")
        return self._end(outcome)

    def probe(self, params: Any, context: Context) -> Result:
        """End a run whose executor died as planned."""
        del params, context
        return self._end(self.probed)

    def _end(self, outcome: Result | Exception) -> Result:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Lab:
    """A configuration and a spool in a folder.

    Args:
        folder: an empty folder.
        toml: `spoold.toml` without `root`; see `SETTINGS`.
        routes: file name in `routes.d/` → content.
        clock: the time, for all stages.
        recorder: the kind `recorder` of this lab.
    """

    SETTINGS = """
        [sources.decisions]
        format = "decision"
        [sources.webhooks]
        format = "webhook"
        [sources.tasks]
        format = "task"
        [executors.rec]
        kind = "recorder"
    """

    def __init__(
        self,
        folder: Path,
        toml: str = SETTINGS,
        routes: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.folder = folder
        self.root = folder / "spool"
        self.file = folder / "config" / "spoold.toml"
        self.clock = clock or Clock()
        self.recorder = recorder or Recorder()
        executors.register("recorder", self.recorder)
        self.configure(toml, routes or {})

    def configure(self, toml: str, routes: Mapping[str, str]) -> None:
        """Write the configuration and load it; raises `ConfigError`."""
        where = self.file.parent / "routes.d"
        where.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(exist_ok=True)
        self.file.write_text(f'root = "../spool"\n{toml}', encoding="utf-8")
        for name, text in routes.items():
            (where / name).write_text(text, encoding="utf-8")
        self.routing = routing.load(configuration.load(self.file))
        self.context = StageContext(self.routing, self.clock)

    def stages(self) -> list[Stage]:
        """Fresh instances of every stage, as after a restart."""
        self.context = StageContext(self.routing, self.clock)
        context = self.context
        running = [Execute(context, name) for name in self.routing.executors]
        reports = [Report(context)] if inboxes_of(context) else []
        return [Intake(context), Sweep(context), Gate(context), *running, *reports]

    def drain(self) -> int:
        """What `spoold run --drain` does; returns its exit code."""
        stages = self.stages()
        return drain(stages, self.context)

    def drop(self, source: str, name: str, content: object) -> Path:
        """Drop a file the way a careful producer does; bytes as they are, all else as JSON."""
        inbox = self.root / "inbox" / source
        inbox.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else orjson.dumps(content)
        draft = inbox / f".{name}"
        draft.write_bytes(data)
        return draft.rename(inbox / name)

    def files(self, folder: str) -> list[Path]:
        """The JSON files in a folder and its subfolders, without reasons, by name."""
        top = self.root / FOLDERS[folder].path("*").partition("/")[0]
        found = (p for p in top.rglob("*.json") if not p.name.endswith(REASON_SUFFIX))
        return sorted(p for p in found if not any(part.startswith(".") for part in p.parts))

    def only(self, folder: str) -> Path:
        """The one file in a folder; fails if there are more or none."""
        (found,) = self.files(folder)
        return found

    def request(self, folder: str) -> dict[str, Any]:
        """The one request in a folder."""
        fields: dict[str, Any] = orjson.loads(self.only(folder).read_bytes())
        return fields

    def reason(self, file: Path) -> dict[str, Any]:
        """The reason beside a file."""
        fields: dict[str, Any] = orjson.loads(
            file.with_name(file.name + REASON_SUFFIX).read_bytes()
        )
        return fields

    def approve(self, file: Path | None = None) -> Path:
        """What a person does: `mv awaiting-approval/X approved/`."""
        file = file or self.only("awaiting-approval")
        return file.rename(self.root / "approved" / file.name)
