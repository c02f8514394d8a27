"""A scene, played and recorded: every moment at which the power can go."""

import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.crash.power_disk import WHOLE, Disk, Image, Step
from tests.crash.power_trace import Call, Recorder, calls, strace

CHECKOUT = Path(__file__).resolve().parents[2]
#: It has only drafts: a name need not be durably gone from there.
SCRATCH = frozenset({b"tmp"})


@dataclass(slots=True)
class World:
    """What the world outside has seen so far.

    Attributes:
        dropped: what producers dropped.
        effects: the actions that the far side saw: key, attempt, body.
        promised: what could be seen when it was last acknowledged.
        promises: how often something was.
        now: the time.
    """

    dropped: list[bytes] = field(default_factory=list)
    effects: list[tuple[str, int, bytes]] = field(default_factory=list)
    promised: Image = field(default_factory=dict)
    promises: int = 0
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A scene as it was played, in a folder that is still there.

    Attributes:
        root: the spool.
        log: what strace saw.
        exit_code: how it ended.
        said: what it logged.
    """

    root: Path
    log: Path
    exit_code: int
    said: str

    def calls(self) -> Iterator[Call]:
        """What touched the spool or the marks."""
        return calls(self.log, self.root, self.root.parent / "marks")

    def cuts(self) -> Iterator[tuple[Disk, World]]:
        """Every moment after which something is different, from where the scene begins."""
        return _Playing(self.root).cuts(self.calls())

    def syncs(self, name: str, place: str = "") -> list[int]:
        """Which of the main thread's calls of that name, from 1, the scene made in such a place."""
        found, number, begun, main = [], 0, False, 0
        for call in self.calls():
            main = main or call.thread
            begun = begun or b'"settled"' in call.written
            if (call.name, call.thread) == (name, main) and call.result is not None:
                number += 1
                if begun and place in os.fsdecode(call.first).removeprefix(str(self.root)):
                    found.append(number)
        return found


class _Playing:
    """The record, while it is read from its beginning to its end."""

    def __init__(self, root: Path) -> None:
        self.disk = Disk(SCRATCH)
        self.world = World()
        self.recorder = Recorder(root, root.parent / "marks", Path("/"), self.disk, self._mark)
        self._begun = False
        self._hands = "durable"
        self._by_person: set[Step] = set()

    def cuts(self, seen: Iterator[Call]) -> Iterator[tuple[Disk, World]]:
        for call in seen:
            before = len(self.disk.steps)
            changed = self.recorder.add(call)
            if self._hands == "durable":
                self.disk.make_sure(self.disk.steps[before:])
                continue
            if self._hands == "person":
                self._by_person.update(self.disk.steps[before:])
            if changed:
                yield self.disk, self.world

    def _mark(self, mark: Mapping[str, Any]) -> None:
        what = mark["mark"]
        if what == "drop":
            self.world.dropped.append(mark["data"].encode())
        elif what == "effect":
            self.world.effects.append((mark["key"], mark["number"], mark["body"].encode()))
        elif what == "clock":
            self.world.now = datetime.fromisoformat(mark["at"])
        elif what == "acknowledged":
            kept = dict.fromkeys(self.disk.unsure.keys() - self._by_person, WHOLE)
            self.world.promised = self.disk.image(kept)
            self.world.promises += 1
        elif what == "deciding":
            about, promised = mark["about"].encode(), self.world.promised
            self.world.promised = {k: v for k, v in promised.items() if about not in k}
            self.world.promises += 1
        elif what == "settled":
            self.disk.sync()
            self._begun = True
        if what in ("settled", "ordinary", "durable", "person"):
            self._hands = "durable" if not self._begun else what


def play(program: str, scene: str, folder: Path, *more: str, law: str = "") -> Record:
    """Play a scene under strace.

    Args:
        program: strace.
        scene: its name.
        folder: an empty folder.
        more: options for strace.
        law: what to break on purpose.
    """
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1"}
    words = [sys.executable, "-m", "tests.crash.power_scenes", scene, str(folder), law]
    log = folder.with_name(folder.name + ".strace")
    ended = strace(program, words, log, *more, env=env, cwd="/")
    return Record(folder / "spool", log, ended.returncode, ended.stderr)
