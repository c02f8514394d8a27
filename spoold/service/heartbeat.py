"""How each stage of this process does → RUNTIME/STAGE/status.json, for `spoold status`; systemd.

A stage is heard of whenever it looks at a folder, moves a file or syncs, and at least every
`EVERY` seconds while it waits. Who writes the file is another thread: one that says of a stage that
it hangs.
"""

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from spoold import __version__, request
from spoold.config.configuration import Configuration
from spoold.disk import fs
from spoold.linux.systemd import Notifier
from spoold.stages.stage import Stage

#: Seconds between two signs of life of a stage that waits, and between two writings of its file.
EVERY = 5.0
#: A stage that nothing was heard of for this long (seconds) hangs.
HANGS = 60.0
#: What each extension of a start that gets on is worth (seconds).
_MORE = 30.0
#: What a stage needs after what ran was given time to end (seconds).
_TO_END = 15.0

FILE = "status.json"
STATES = ("starting", "standing-by", "ready", "waits", "stopping")


@dataclass(slots=True)
class Pulse:
    """One stage, as its service sees it.

    Attributes:
        stage: the stage.
        state: `starting`, `standing-by`, `ready`, `waits` or `stopping`.
        detail: why it waits.
        moved: files it has moved since it began.
        busy: how many actions run.
    """

    stage: Stage
    state: str = "starting"
    detail: str = ""
    moved: int = 0
    busy: int = 0
    _at: float = field(default_factory=time.monotonic)

    def beat(self) -> None:
        """It gets on."""
        self._at = time.monotonic()

    def say(self, state: str, detail: str = "") -> None:
        """It has come to another state."""
        self.state, self.detail = state, detail
        self.beat()

    @property
    def silent_for(self) -> float:
        """Seconds since it was last heard of."""
        return time.monotonic() - max(self._at, self.stage.spool.active_at)

    def counts(self) -> dict[str, Any]:
        """What it has done, in numbers."""
        counts, arrivals = self.stage.spool.counts, self.stage.context.arrivals
        if self.stage.name == "intake":
            counts.total("events-missed", arrivals.missed)
        return counts.as_json()

    def wait(self, event: threading.Event, seconds: float) -> None:
        """Wait for an event, and be heard of meanwhile."""
        until = time.monotonic() + seconds
        while not event.wait(max(0.0, min(EVERY, until - time.monotonic()))):
            self.beat()
            if time.monotonic() >= until:
                return


class Board:
    """Shows how the stages of this process do, to `spoold status` and to systemd.

    Args:
        stages: the stages.
        config: says where.
    """

    def __init__(self, stages: Sequence[Stage], config: Configuration) -> None:
        self.pulses = [Pulse(stage) for stage in stages]
        self.note = ""
        self._notifier = Notifier()
        self._runtime = config.runtime
        self._since = request.timestamp(datetime.now(UTC))
        self._next = 0.0
        self._is_ready = self._is_stopping = False
        self._shown: list[object] = []

    def publish(self, *, stopping: bool = False) -> None:
        """Say what has changed; call it about every second."""
        if stopping and not self._is_stopping:
            self._is_stopping = True
            self._notifier.stopping()
            # Which may be longer than what the unit says.
            grace = max(p.stage.context.routing.config.settings.stop_grace for p in self.pulses)
            self._notifier.more_time(grace + _TO_END)
        for pulse in self.pulses if stopping else ():
            pulse.state = "stopping"
        shown: list[object] = [self.note]
        shown += [(pulse.state, pulse.detail) for pulse in self.pulses]
        if shown != self._shown or time.monotonic() >= self._next:
            self._shown, self._next = shown, time.monotonic() + EVERY
            for pulse in self.pulses:
                self._write(pulse)
        self._notify()

    def reloading(self) -> None:
        """The configuration is read again."""
        self._notifier.reloading()

    def reloaded(self, note: str = "") -> None:
        """It was; `note` says what was wrong with it, if anything was."""
        self.note = note
        self._notifier.ready()

    def close(self) -> None:
        """Remove the files: what they say is over."""
        for pulse in self.pulses:
            with suppress(OSError):
                fs.remove(os.path.join(self._folder(pulse), FILE))

    def _notify(self) -> None:
        said = self._notifier
        hung = [pulse for pulse in self.pulses if pulse.silent_for > self._patience]
        if not self._is_ready:
            if all(pulse.state in ("ready", "waits") for pulse in self.pulses):
                self._is_ready = True
                said.ready()
            elif not hung:
                said.more_time(_MORE)
        said.status(self._line(hung))
        if not hung:
            said.alive()

    @property
    def _patience(self) -> float:
        return min(HANGS, (self._notifier.watchdog or HANGS) / 2)

    def _line(self, hung: Sequence[Pulse]) -> str:
        parts = [f"{pulse.stage.name} hangs" for pulse in hung]
        for pulse in self.pulses:
            if pulse.state != "ready":
                name = f"{pulse.stage.name}: " if len(self.pulses) > 1 else ""
                parts.append(f"{name}{pulse.state} {pulse.detail}".rstrip())
        if not parts:
            moved = sum(pulse.moved for pulse in self.pulses)
            running = sum(pulse.busy for pulse in self.pulses)
            parts = [f"ready; {moved} moved, {running} running"]
            if self.pulses[0].stage.spool.on_hold:
                parts.append("HOLD is set")
        return "; ".join([*parts, *([self.note] if self.note else [])]).replace("\n", " ")

    def _folder(self, pulse: Pulse) -> str:
        return os.path.join(self._runtime, folder_of(pulse.stage.name))

    def _write(self, pulse: Pulse) -> None:
        now = datetime.now(UTC)
        heard = datetime.fromtimestamp(now.timestamp() - pulse.silent_for, UTC)
        facts = {
            "stage": pulse.stage.name,
            "state": pulse.state,
            "detail": pulse.detail,
            "note": self.note,
            "heard_at": request.timestamp(heard),
            "written_at": request.timestamp(now),
            "since": self._since,
            "pid": os.getpid(),
            "moved": pulse.moved,
            "busy": pulse.busy,
            "version": __version__,
            "counts": pulse.counts(),
        }
        # It is worth nothing after a crash, and no reason to end a service.
        with suppress(OSError):
            folder = self._folder(pulse)
            fs.make_folder(folder, 0o755, durable=False)
            fs.publish(os.path.join(folder, FILE), orjson.dumps(facts, option=orjson.OPT_INDENT_2))


def folder_of(stage: str) -> str:
    """Its folder under the runtime folder: `execute runner` → `execute-runner`."""
    return stage.replace(" ", "-")
