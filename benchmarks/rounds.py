"""Contenders that take turns, so that what the machine does meanwhile happens to all of them."""

import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Contender:
    """Something that works through records.

    Attributes:
        key: its name in JSON.
        name: its name for people.
        count: records in one round.
        run: seconds for one round, in a fresh folder.
        note: what else is to be said.
        rates: records per second, one a round.
    """

    key: str
    name: str
    count: int
    run: Callable[[Path], float]
    note: str = ""
    rates: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


def take_turns(contenders: Sequence[Contender], rounds: int, base: Path) -> None:
    """Let each run once a round; every second round in the opposite order."""
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            folder = base / f"{contender.key}-{number}"
            folder.mkdir()
            seconds = contender.run(folder)
            contender.rates.append(contender.count / seconds)
            shutil.rmtree(folder)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
