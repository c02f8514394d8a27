"""An executor kind whose runs begin by themselves and end when, and as, the test says."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from spoold import executors
from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Model, Result
from tests.crash.machine_files import content

#: How a run or a probe can end.
OUTCOMES = {
    "done": Result("ok", "It was done."),
    "failed": Permanent("no", "It cannot be done."),
    "transient": Transient("later", "It had no effect."),
    "unknown": OutcomeUnknown("lost", "Nobody saw the end."),
    "bug": RuntimeError("a bug in the executor"),
}
_SECONDS = 10.0


@dataclass(eq=False)
class Call:
    """One effect: what ran, and whether its attempt was on disk before it."""

    id: str
    executor: str
    number: int
    say: JsonValue
    intended: bool
    worker: threading.Thread
    outcome: str = ""
    end: threading.Event = field(default_factory=threading.Event)


class Kind(executors.Kind):
    """Remembers every effect at the moment when it happens.

    Attributes:
        calls: every effect there ever was.
        inside: the runs that have not ended yet.
        probes: the ids that were asked about, in order.
        probed: how the next probes end; a key of `OUTCOMES`.
    """

    class Config(Model):
        """`name`: which executor it is."""

        name: str

    class Params(Model):
        """Anything."""

        say: JsonValue = None

    def __init__(self, root: Path) -> None:
        self._root = root
        self.calls: list[Call] = []
        self.inside: list[Call] = []
        self.probes: list[str] = []
        self.probed = "unknown"

    def check(self, params: Any, config: Any) -> None:
        """Refuse one parameter, so that something is refused."""
        if params.say == "no":
            raise ValueError("it does not take 'no'")

    def run(self, params: Any, context: Context) -> Result:
        """Have the effect; end when told."""
        intended = self._intended(context)
        call = Call(context.dispatch_id, context.config.name, context.number, params.say, intended,
                    threading.current_thread())  # fmt: skip
        self.calls.append(call)
        self.inside.append(call)
        call.end.wait(_SECONDS)
        return self._end(call.outcome or "unknown")

    def probe(self, params: Any, context: Context) -> Result:
        """Say how a run ended whose executor died."""
        self.probes.append(context.dispatch_id)
        return self._end(self.probed)

    def finish(self, call: Call, outcome: str) -> None:
        """Let a run end, and wait until its worker has reported it."""
        call.outcome = outcome
        self.inside.remove(call)
        call.end.set()
        call.worker.join(_SECONDS)
        assert not call.worker.is_alive(), "a worker does not end"

    def of(self, stage: str) -> list[Call]:
        """The runs of one executor."""
        return [call for call in self.inside if stage == f"execute {call.executor}"]

    def abandon(self, stage: str) -> None:
        """The process that they ran in is gone, and their end will not be seen."""
        for call in self.of(stage):
            self.finish(call, "unknown")

    def forget(self) -> None:
        """Begin anew."""
        self.calls, self.inside, self.probes, self.probed = [], [], [], "unknown"

    def _end(self, outcome: str) -> Result:
        ended = OUTCOMES[outcome]
        if isinstance(ended, Exception):
            raise ended
        return ended

    def _intended(self, context: Context) -> bool:
        for file in self._root.glob(f"running/*/{context.dispatch_id}.json"):
            tried = json.loads(content(str(file)))["attempts"][-1]
            if (tried["number"], tried["outcome"]) == (context.number, None):
                return True
        return False


class Workers:
    """A thread for each run; when `start` returns, the run has had its effect, or has ended.

    It stands in for the threads of an executor, which would outlive every stage that is killed.
    """

    def __init__(self, kind: Kind) -> None:
        self._kind = kind

    def start(self, job: Callable[[], None]) -> None:
        """Run a job until it is inside the kind."""
        before = len(self._kind.calls)
        worker = threading.Thread(target=job, daemon=True)
        worker.start()
        while worker.is_alive() and len(self._kind.calls) == before:
            time.sleep(0.00005)
