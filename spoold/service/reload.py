"""SIGHUP: read the configuration again, for every stage; if it is wrong, keep the old one."""

import logging
import signal
import threading
from collections.abc import Callable, Sequence

from spoold.errors import ConfigError
from spoold.routing import Routing
from spoold.service.heartbeat import Board
from spoold.stages.stage import Stage, StageContext

log = logging.getLogger("spoold.service")


class Reload:
    """Reads the configuration again, and hands it to every stage between two of its steps."""

    def __init__(
        self,
        stages: Sequence[Stage],
        context: StageContext,
        board: Board,
        load: Callable[[], Routing] | None,
    ) -> None:
        self._stages = stages
        self._context = context
        self._board = board
        self._load = load
        self._wanted = threading.Event()
        self._offered = False
        if load:
            signal.signal(signal.SIGHUP, lambda *_: self._wanted.set())

    def advance(self) -> None:
        """Begin a reload that was asked for; end it when every stage works by the new files."""
        if self._offered:
            if not any(stage.context.offered for stage in self._stages):
                self._offered = False
                self._board.reloaded()
                log.info("the configuration was read again")
        elif self._load and self._wanted.is_set():
            self._wanted.clear()
            self._board.reloading()
            self._offer(self._load)

    def _offer(self, load: Callable[[], Routing]) -> None:
        try:
            fresh = load()
            _must_fit(self._context.routing, fresh)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old one stays
            log.error("the old configuration stays, for the new one is refused: %s", error)  # noqa: TRY400
            first = str(error).partition("\n")[0]
            self._board.reloaded(f"the old configuration stays: {first}")
            return
        for stage in self._stages:
            stage.context.offered = fresh
            stage.context.wake.set()
        self._offered = True


def _must_fit(old: Routing, new: Routing) -> None:
    """Folders, locks and services are there for what the process was started with.

    Raises:
        ConfigError: what only a restart can change.
    """

    def shape(routing: Routing) -> dict[str, object]:
        kinds = {name: one.kind_name for name, one in routing.executors.items()}
        return {
            "root": routing.config.root,
            "runtime": routing.config.runtime,
            "the sources": set(routing.inboxes),
            "the executors": kinds,
        }

    for what, was in shape(old).items():
        if shape(new)[what] != was:
            raise ConfigError(f"{what} can be changed by a restart only")
