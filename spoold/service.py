"""What all stages share: wake-up and rescan, drain, signals, one instance of each, log lines.

An event only says "look now". Every look is a scan of the folders, so a lost event costs at most
one `rescan` interval, and an event too many costs one scan of what is usually an empty folder.
"""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import FrameType

import watchfiles
from pythonjsonlogger.json import JsonFormatter

from spoold import fs
from spoold.errors import SpooldError, TryLater
from spoold.stages import Stage, Step, Surroundings, seconds_until

log = logging.getLogger("spoold.service")

#: How long (seconds) a drain waits for another instance that does not get on.
_PATIENCE = 10.0
_POLL = 0.02


class Watcher:
    """Sets an event when one of some folders may have changed; starts over when watching fails."""

    def __init__(self, folders: Sequence[str], wake: threading.Event) -> None:
        self._folders = list(folders)
        self._wake = wake
        self._stop = threading.Event()
        self._armed: list[tuple[int, int]] = []
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Start watching, or start over if a folder is not the one that is being watched."""
        now = _identities(self._folders)
        if self._thread is not None and self._thread.is_alive() and now == self._armed:
            return
        if self._thread is not None:
            log.warning("watching %s anew", ", ".join(self._folders))
            self.close()
        self._armed = now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(self._stop,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def _watch(self, stop: threading.Event) -> None:
        present = [folder for folder in self._folders if os.path.isdir(folder)]
        try:
            for _ in watchfiles.watch(
                *present, watch_filter=None, debounce=1, step=1, stop_event=stop,
                rust_timeout=1000, recursive=False, raise_interrupt=False,
            ):  # fmt: skip
                self._wake.set()
        except Exception as error:  # noqa: BLE001 - a name that is not UTF-8 is enough to end it
            log.warning("the watcher stopped (%s); scanning, then watching anew", error)
        self._wake.set()


def _identities(folders: Sequence[str]) -> list[tuple[int, int]]:
    found = []
    for folder in folders:
        try:
            status = fs.status(folder)
            found.append((status.st_dev, status.st_ino))
        except FileNotFoundError:
            found.append((0, 0))
    return found


def serve(stages: Sequence[Stage], around: Surroundings) -> int:
    """Run stages until told to stop, each in a thread of its own.

    Returns:
        The exit code: that of the first stage that failed, else 0.
    """
    failed: list[int] = []
    threads = [
        threading.Thread(target=_guard, args=(_serve_one, stage, around, failed), name=stage.name)
        for stage in stages
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.5)
    return failed[0] if failed else os.EX_OK


def _guard(
    run: Callable[[Stage], None], stage: Stage, around: Surroundings, failed: list[int]
) -> None:
    """A stage that fails stops the whole process loudly: half a service looks like a whole one."""
    try:
        run(stage)
    except SpooldError as error:
        log.critical("%s stops: %s", stage.name, error)
        failed.append(error.exit_code)
    except OSError as error:
        log.critical("%s stops: %s", stage.name, error, exc_info=True)
        failed.append(os.EX_IOERR)
    except Exception:
        log.critical("%s stops: a bug in spoold", stage.name, exc_info=True)
        failed.append(os.EX_SOFTWARE)
    finally:
        if failed:
            around.stop.set()


def _serve_one(stage: Stage) -> None:
    around = stage.around
    rescan = around.routing.config.settings.rescan
    if not _stand_by(stage):
        return
    folders = [stage.spool.path(place) for place in stage.inputs()]
    with ExitStack() as closing:
        closing.callback(stage.lock.release)
        closing.callback(stage.close)
        watcher = Watcher([*folders, stage.spool.root], around.wake)
        closing.callback(watcher.close)
        watcher.check()
        stage.recover()
        log.info("%s is ready", stage.name)
        while not around.stop.is_set():
            around.wake.clear()
            watcher.check()
            _mend(stage, folders)
            step = stage.step()
            if step.moved == 0 or step.busy:
                until = seconds_until(_first(step), rescan)
                around.wake.wait(until)


def _first(step: Step) -> float | None:
    times = [moment for moment in (step.due, step.look_again) if moment is not None]
    return min(times, default=None)


def _mend(stage: Stage, folders: Sequence[str]) -> None:
    """A folder that somebody removed is made again, and said."""
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

    What another instance has in its hands is waited for too, as long as it gets on.

    Returns:
        The exit code.
    """
    failed: list[int] = []

    def run(_: Stage) -> None:
        with ExitStack() as closing:
            _drain(stages, around, closing)

    _guard(run, stages[0], around, failed)
    return failed[0] if failed else os.EX_OK


def _drain(stages: Sequence[Stage], around: Surroundings, closing: ExitStack) -> None:
    own: list[Stage] = []
    seen, since = _picture(stages), time.monotonic()
    while not around.stop.is_set():
        for stage in stages:
            if stage not in own and _try_lock(stage):
                own.append(stage)
                closing.callback(stage.lock.release)
                closing.callback(stage.close)
                stage.recover()
        around.wake.clear()
        steps = [stage.step() for stage in own]
        if any(step.moved for step in steps):
            since = time.monotonic()
            continue
        foreign = [stage for stage in stages if stage not in own and _has_work(stage)]
        picture = _picture(stages)
        if picture != seen:
            seen, since = picture, time.monotonic()
        stuck = time.monotonic() - since > _PATIENCE
        if foreign and stuck:
            names = ", ".join(stage.name for stage in foreign)
            raise TryLater(f"another process runs {names} here and does not get on")
        due = [step.due for step in steps if step.due is not None]
        if due:
            around.wake.wait(seconds_until(min(due), 1.0))
        elif any(step.busy for step in steps):
            around.wake.wait(1.0)
        elif foreign:
            time.sleep(_POLL)
        else:
            return


def _try_lock(stage: Stage) -> bool:
    try:
        stage.lock.acquire()
    except TryLater:
        return False
    return True


def _has_work(stage: Stage) -> bool:
    """Whether files wait for a stage that another process runs; with HOLD none of them moves."""
    held = stage.spool.on_hold and stage.name != "intake"
    return not held and any(True for place in stage.inputs() for _ in stage.spool.scan(place))


def _picture(stages: Sequence[Stage]) -> list[set[str]]:
    return [set(stage.spool.scan(place)) for stage in stages for place in stage.inputs()]


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


def log_to_stderr(*, as_json: bool) -> None:
    """Log lines: JSON for machines, one short line for a person at a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    if as_json:
        fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
        names = {"asctime": "at", "levelname": "level", "name": "stage"}
        handler.setFormatter(JsonFormatter(fields, rename_fields=names, json_ensure_ascii=False))
    else:
        handler.setFormatter(_Line())
    root = logging.getLogger("spoold")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    root.propagate = False


class _Line(logging.Formatter):
    """`13:05:01 intake  dispatch-…: message`."""

    def format(self, record: logging.LogRecord) -> str:
        stage = record.name.rpartition(".")[2]
        about = record.__dict__.get("dispatch_id") or record.__dict__.get("file")
        message = record.getMessage()
        subject = f"{about}: " if about and str(about) not in message else ""
        level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
        line = f"{time.strftime('%H:%M:%S')} {stage:<8}{level}{subject}{message}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line.replace("\n", "\n  ")
