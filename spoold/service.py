"""What all stages share: wake-up and rescan, drain, signals, one instance of each.

An event only says "look now". Every look is a scan of the folders, so a lost event costs at most
one `rescan` interval, and an event too many costs one scan of what is usually an empty folder.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType

from spoold.errors import NoRoom, SpooldError, StorageError, TryLater, explained
from spoold.room import ran_out
from spoold.spool import Place
from spoold.stages import Stage, Step, Surroundings, earliest, seconds_until
from spoold.watcher import Watcher

log = logging.getLogger("spoold.service")

#: How long (seconds) a drain waits for another instance that does not get on.
_PATIENCE = 10.0
_POLL = 0.02
#: A look that found nothing is followed by a pause of this many times what it took, so that
#: somebody who keeps touching files cannot keep a processor busy.
_REST = 2.0
#: Seconds until a stage that ran out of room, or of anything else that may come back, tries again.
_SCARCE_PAUSE = 1.0


def serve(stages: Sequence[Stage], around: Surroundings) -> int:
    """Run stages until told to stop, each in a thread of its own.

    Returns:
        The exit code: that of the first stage that failed, else 0.
    """
    failed: list[int] = []
    watched: dict[str, list[threading.Event]] = {}
    for stage in stages:
        for folder in [*map(stage.spool.path, stage.inputs()), stage.spool.root]:
            watched.setdefault(folder, []).append(stage.around.wake)
    watcher = Watcher(watched, around.arrivals)
    tell = _Tell(stages)

    def run(stage: Stage) -> None:
        try:
            _guard(stage.name, lambda: _serve_one(stage, watcher, tell), failed)
        finally:
            if failed:
                around.stop.set()
                for other in stages:
                    other.around.wake.set()

    threads = [threading.Thread(target=run, args=(stage,), name=stage.name) for stage in stages]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    watcher.close()
    return failed[0] if failed else os.EX_OK


def _guard(name: str, run: Callable[[], None], failed: list[int]) -> None:
    """A stage that fails stops the whole process loudly: half a service looks like a whole one."""
    try:
        run()
    except SpooldError as error:
        log.critical("%s stops: %s", name, error)
        failed.append(error.exit_code)
    except OSError as error:
        if ran_out(error):
            log.critical("%s stops: %s; what it has claimed is safe", name, error)
            failed.append(NoRoom.exit_code)
            return
        known = explained(error)
        log.critical("%s stops: %s", name, known or error)
        failed.append(known.exit_code if known else os.EX_IOERR)
    except Exception:
        log.critical("%s stops: a bug in spoold", name, exc_info=True)
        failed.append(os.EX_SOFTWARE)


class _Tell:
    """Wakes stages of this process for what another one has put into their folders.

    The kernel tells them too, some milliseconds later.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._wake: dict[Place, list[threading.Event]] = {}
        for stage in stages:
            for place in stage.inputs():
                self._wake.setdefault(place, []).append(stage.around.wake)

    def after(self, stage: Stage) -> None:
        touched, stage.spool.touched = stage.spool.touched, set()
        for place in touched:
            for event in self._wake.get(place, ()):
                event.set()


def _serve_one(stage: Stage, watcher: Watcher, tell: _Tell) -> None:
    around = stage.around
    rescan = around.routing.config.settings.rescan
    if not _stand_by(stage):
        return
    folders = [stage.spool.path(place) for place in stage.inputs()]
    with ExitStack() as closing:
        closing.callback(stage.lock.release)
        closing.callback(stage.close)
        watcher.check()
        work = _Work(stage)
        while not around.stop.is_set():
            around.wake.clear()
            _mend(stage, folders)
            watcher.check()
            begun = time.monotonic()
            step = work.step()
            tell.after(stage)
            if step is None:
                around.stop.wait(_SCARCE_PAUSE)
                continue
            if step.moved:
                continue
            around.stop.wait(_REST * (time.monotonic() - begun))
            around.wake.wait(seconds_until(earliest(step.due, step.look_again), rescan))


class _Work:
    """A stage's steps. One that ran out of room is followed by a pause, and a new beginning."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._is_ready = self._was_ready = False
        self._said = ""

    def step(self) -> Step | None:
        """One step, after `recover` where that is due; None if there is no room for it."""
        stage = self._stage
        try:
            if not self._is_ready:
                stage.recover()
                self._is_ready = True
                if not self._was_ready:
                    log.info("%s is ready", stage.name)
                    self._was_ready = True
            step = stage.step()
        except (OSError, SpooldError) as error:
            if not ran_out(error):
                raise
            self._wait(error)
            return None
        if self._said:
            log.warning("%s goes on", stage.name)
            self._said = ""
        return step

    def _wait(self, error: Exception) -> None:
        self._stage.spool.abandon()
        self._is_ready = False
        if not self._said:
            self._said = str(error)
            log.error("%s waits: %s", self._stage.name, self._said)


def _mend(stage: Stage, folders: Sequence[str]) -> None:
    """A folder that somebody removed is made again, and said; without its lock a stage stops."""
    if not stage.lock.in_place:
        raise StorageError(
            f"the folder that {stage.name} has locked was moved or removed, so that another "
            "instance could work beside this one. Start it again"
        )
    if not all(os.path.isdir(folder) for folder in folders):
        log.error("a folder of the spool is gone; laying it out anew")
        stage.spool.lay_out()


def _stand_by(stage: Stage) -> bool:
    """Wait for the lock; False if told to stop first."""
    said = False
    while not stage.around.stop.is_set():
        try:
            stage.lock.acquire()
        except TryLater:
            if not said:
                log.warning("%s runs here already; standing by", stage.name)
                said = True
            stage.around.stop.wait(0.2)
        else:
            return True
    return False


def drain(stages: Sequence[Stage], around: Surroundings) -> int:
    """Step through the stages until nothing more can move now; wait for what runs.

    What waits for a stage that another process runs is waited for too, as long as that gets on.

    Returns:
        The exit code.
    """
    failed: list[int] = []
    with ExitStack() as closing:
        waiting = _Drain(stages, around, closing)
        while not failed and not around.stop.is_set() and waiting.goes_on:
            for stage in stages:
                _guard(stage.name, lambda stage=stage: waiting.visit(stage), failed)  # type: ignore[misc]
                if failed:
                    break
            else:
                _guard("drain", waiting.rest, failed)
        if failed:
            around.stop.set()
    return failed[0] if failed else os.EX_OK


class _Drain:
    """What a drain has in its hands, and whether there is more to do."""

    def __init__(self, stages: Sequence[Stage], around: Surroundings, closing: ExitStack) -> None:
        self.goes_on = True
        self._stages = stages
        self._around = around
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
        wake = self._around.wake
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
        places = [(stage.spool, place) for stage in foreign for place in stage.hands()]
        picture = [set(spool.scan(place)) for spool, place in places]
        # Whoever has the lock is alive, so what it runs is running, however long that takes.
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
    return not held and any(True for place in stage.hands() for _ in stage.spool.scan(place))


def handle_signals(around: Surroundings, wake: Sequence[threading.Event]) -> None:
    """SIGTERM and SIGINT stop claiming and let what runs finish; the second one stops that too."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if around.stop.is_set():
            around.stop_now.set()
        around.stop.set()
        for event in wake:
            event.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # A producer that opens the file while it is asked about breaks the lease, which signals this.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
