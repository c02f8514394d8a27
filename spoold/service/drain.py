"""Step through stages until nothing more can move now: `--drain`."""

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack

from spoold.errors import TryLater
from spoold.service.loop import guard
from spoold.stages.stage import Stage, StageContext, Step, earliest, seconds_until

#: How long (seconds) a drain waits for another instance that does not get on.
_PATIENCE = 10.0
_POLL = 0.02


def drain(stages: Sequence[Stage], context: StageContext) -> int:
    """Step through the stages until nothing more can move now; wait for what runs.

    What waits for a stage that another process runs is waited for too, as long as that gets on.

    Returns:
        The exit code.
    """
    failed: list[int] = []
    with ExitStack() as closing:
        waiting = _Drain(stages, context, closing)
        while not failed and not context.stop.is_set() and waiting.goes_on:
            for stage in stages:
                guard(stage.name, lambda stage=stage: waiting.visit(stage), failed)  # type: ignore[misc]
                if failed:
                    break
            else:
                guard("drain", waiting.rest, failed)
        if failed:
            context.stop.set()
    return failed[0] if failed else os.EX_OK


class _Drain:
    """What a drain has in its hands, and whether there is more to do."""

    def __init__(self, stages: Sequence[Stage], context: StageContext, closing: ExitStack) -> None:
        self.goes_on = True
        self._stages = stages
        self._context = context
        self._closing = closing
        self._own: list[Stage] = []
        self._steps: list[Step] = []
        self._seen: list[set[str]] = []
        self._since = time.monotonic()

    def visit(self, stage: Stage) -> None:
        """Let a stage move what it can, if no other process runs it."""
        if stage not in self._own:
            try:
                stage.lock.acquire()
            except TryLater:
                return
            self._own.append(stage)
            self._closing.callback(stage.lock.release)
            self._closing.callback(stage.close)
            stage.recover()
            # What it finished may be due for a stage that was visited before.
            self._steps.append(Step(moved=1))
        self._steps.append(stage.step())

    def rest(self) -> None:
        """Wait for what is due soon, for what runs and for others; or end."""
        steps, self._steps = self._steps, []
        if any(step.moved for step in steps):
            self._since = time.monotonic()
            return
        due = earliest(*(step.due for step in steps))
        wake = self._context.wake
        if due is not None:
            wake.wait(seconds_until(due, 1.0))
        elif any(step.busy for step in steps):
            wake.wait(1.0)
        elif foreign := [s for s in self._stages if s not in self._own and _has_work(s)]:
            self._wait_for(foreign)
        else:
            self.goes_on = False
        wake.clear()

    def _wait_for(self, foreign: Sequence[Stage]) -> None:
        places = [(stage.spool, place) for stage in foreign for place in stage.unfinished()]
        picture = [set(spool.scan(place)) for spool, place in places]
        # The process that has the lock is alive, so what it runs is running, however long.
        runs = any(place.folder == "running" and names
                   for (_, place), names in zip(places, picture, strict=True))  # fmt: skip
        if runs or picture != self._seen:
            self._seen, self._since = picture, time.monotonic()
        if time.monotonic() - self._since > _PATIENCE:
            names = ", ".join(stage.name for stage in foreign)
            raise TryLater(f"another process runs {names} here and does not get on")
        time.sleep(_POLL)


def _has_work(stage: Stage) -> bool:
    """Whether files wait for a stage that another process runs; with HOLD none of them moves."""
    held = stage.spool.on_hold and stage.name != "intake"
    return not held and any(True for place in stage.unfinished() for _ in stage.spool.scan(place))
