"""Contenders that take turns, so that what the machine does meanwhile happens to all of them."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter


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


#: Below this number of rounds a median says nothing.
_ROUNDS = 3


def take_turns(
    contenders: Sequence[Contender], rounds: int, base: Path, seconds: float = 120.0
) -> None:
    """Let each run once a round; every second round in the opposite order.

    Args:
        contenders: who runs.
        rounds: how often, at most.
        base: where each gets a fresh folder, which stays there: ext4 without a journal does not use
            an inode again for a minute, but looks at each such inode whenever it needs a new one.
        seconds: after which no further round begins, once there were three.
    """
    enough = perf_counter() + seconds
    for number in range(rounds):
        if number >= _ROUNDS and perf_counter() > enough:
            return
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            folder = base / f"{contender.key}-{number}"
            folder.mkdir()
            seconds = contender.run(folder)
            contender.rates.append(contender.count / seconds)


def ratio(one: Contender, other: Contender) -> float:
    """How many times as fast: the median of what it was in each round.

    A machine that is slow for a while is slow for both of a round; a ratio of medians would compare
    a good moment of one with a bad one of the other.
    """
    pairs = zip(one.rates, other.rates, strict=True)
    return statistics.median(mine / theirs for mine, theirs in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]
