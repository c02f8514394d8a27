"""What all stages share: wake-up and rescan, signals, reload, one instance of each.

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

from spoold.disk.free_space import ran_out
from spoold.errors import NoRoom, SpooldError, StorageError, TryLater, explained
from spoold.routing import Routing
from spoold.service.heartbeat import Board, Pulse
from spoold.service.reload import Reload
from spoold.service.watcher import Watcher
from spoold.spool.spool import Place
from spoold.stages.stage import Stage, StageContext, Step, earliest, seconds_until

log = logging.getLogger("spoold.service")

#: A step that moved nothing is followed by a pause of this many times what it took, so that a
#: producer that keeps touching files cannot keep a processor busy.
_REST = 2.0
#: Seconds until a stage that ran out of room, or of anything else that may come back, tries again.
_SCARCE_PAUSE = 1.0
#: Seconds between two updates of the heartbeats.
_TICK = 0.5


def serve(
    stages: Sequence[Stage], context: StageContext, load: Callable[[], Routing] | None = None
) -> int:
    """Run stages until told to stop, each in a thread of its own.

    Args:
        stages: the stages.
        context: what they share.
        load: reads the configuration again, on SIGHUP.

    Returns:
        The exit code: that of the first stage that failed, else 0.
    """
    failed: list[int] = []
    watcher, neighbours = _watcher(stages, context), _Neighbours(stages)
    board = Board(stages, context.routing.config)
    reload = Reload(stages, context, board, load)

    def run(pulse: Pulse) -> None:
        stage = pulse.stage
        try:
            guard(stage.name, lambda: _serve_one(pulse, watcher, neighbours), failed)
        finally:
            if failed:
                context.stop.set()
                for other in stages:
                    other.context.wake.set()

    threads = [threading.Thread(target=run, args=(p,), name=p.stage.name) for p in board.pulses]
    for thread in threads:
        thread.start()
    while alive := [thread for thread in threads if thread.is_alive()]:
        board.publish(stopping=context.stop.is_set())
        reload.advance()
        alive[0].join(_TICK)
    board.publish(stopping=True)
    board.close()
    watcher.close()
    return failed[0] if failed else os.EX_OK


def guard(name: str, run: Callable[[], None], failed: list[int]) -> None:
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


def _watcher(stages: Sequence[Stage], context: StageContext) -> Watcher:
    """Watches the folders that each stage takes files from, and the root for HOLD."""
    watched: dict[str, list[threading.Event]] = {}
    for stage in stages:
        for folder in [*map(stage.spool.path, stage.inputs()), stage.spool.root]:
            watched.setdefault(folder, []).append(stage.context.wake)
    return Watcher(watched, context.arrivals)


class _Neighbours:
    """Wakes stages of this process when another one has put a file into their folders.

    The kernel would wake them too, some milliseconds later.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._wake: dict[Place, list[threading.Event]] = {}
        for stage in stages:
            for place in stage.inputs():
                self._wake.setdefault(place, []).append(stage.context.wake)

    def wake_after(self, stage: Stage) -> None:
        touched, stage.spool.touched = stage.spool.touched, set()
        for place in touched:
            for event in self._wake.get(place, ()):
                event.set()


def _serve_one(pulse: Pulse, watcher: Watcher, neighbours: _Neighbours) -> None:
    stage = pulse.stage
    context = stage.context
    if not _stand_by(pulse):
        return
    folders = [stage.spool.path(place) for place in stage.inputs()]
    with ExitStack() as closing:
        closing.callback(stage.lock.release)
        closing.callback(stage.close)
        watcher.check()
        work = _Work(pulse)
        while not context.stop.is_set():
            context.wake.clear()
            pulse.beat()
            _adopt_configuration(stage)
            _check_folders(stage, folders)
            watcher.check()
            begun = time.monotonic()
            step = work.step()
            neighbours.wake_after(stage)
            if step is None:
                context.stop.wait(_SCARCE_PAUSE)
                continue
            if step.moved:
                continue
            context.stop.wait(_REST * (time.monotonic() - begun))
            rescan = context.routing.config.settings.rescan
            pulse.wait(context.wake, seconds_until(earliest(step.due, step.look_again), rescan))


class _Work:
    """A stage's steps. One that ran out of room is followed by a pause, and a new beginning."""

    def __init__(self, pulse: Pulse) -> None:
        self._pulse = pulse
        self._stage = pulse.stage
        self._is_ready = self._was_ready = False

    def step(self) -> Step | None:
        """One step, after `recover` where that is due; None if there is no room for it."""
        stage = self._stage
        try:
            if not self._is_ready:
                stage.recover()
                self._is_ready = True
            step = stage.step()
        except (OSError, SpooldError) as error:
            if not ran_out(error):
                raise
            self._wait(error)
            return None
        self._pulse.moved += step.moved
        self._pulse.busy = step.busy
        if self._pulse.state == "waits":
            log.warning("%s goes on", stage.name)
        if not self._was_ready:
            log.info("%s is ready", stage.name)
        if self._pulse.state != "ready":
            self._pulse.say("ready")
        self._was_ready = True
        return step

    def _wait(self, error: Exception) -> None:
        self._stage.spool.abandon()
        self._is_ready = False
        if self._pulse.state != "waits":
            self._pulse.say("waits", str(error))
            log.error("%s waits: %s", self._stage.name, error)


def _adopt_configuration(stage: Stage) -> None:
    """Work by the configuration that was read again, if one was."""
    context = stage.context
    if context.offered:
        context.routing, context.offered = context.offered, None
        stage.adopt()


def _check_folders(stage: Stage, folders: Sequence[str]) -> None:
    """Make a removed folder again; stop the stage if the folder that it has locked was replaced."""
    if not stage.lock.in_place:
        raise StorageError(
            f"the folder that {stage.name} has locked was moved or removed, so that another "
            "instance could work beside this one. Its next start locks the new one"
        )
    if not all(os.path.isdir(folder) for folder in folders):
        log.error("a folder of the spool is gone; laying it out anew")
        stage.spool.lay_out()


def _stand_by(pulse: Pulse) -> bool:
    """Wait for the lock; False if told to stop first."""
    stage = pulse.stage
    while not stage.context.stop.is_set():
        try:
            stage.lock.acquire()
        except TryLater:
            if pulse.state != "standing-by":
                pulse.say("standing-by", "another process runs it")
                log.warning("%s runs here already; standing by", stage.name)
            pulse.beat()
            _adopt_configuration(stage)
            stage.context.stop.wait(0.2)
        else:
            pulse.say("starting")
            return True
    return False


def handle_signals(context: StageContext, wake: Sequence[threading.Event]) -> None:
    """SIGTERM and SIGINT stop claiming and let what runs finish; the second one stops that too."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        if context.stop.is_set():
            context.stop_now.set()
        context.stop.set()
        for event in wake:
            event.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    # A producer that opens the file while it is asked about breaks the lease, which signals this.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
