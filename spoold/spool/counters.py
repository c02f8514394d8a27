"""What one stage has done since its process began, in numbers; see `metrics.py` for what they are.

It costs a dictionary's update each. Only the stage's thread writes; the heartbeat reads.
"""

from bisect import bisect_left
from collections import defaultdict
from typing import Any

#: Seconds; the upper ends of the classes that durations fall into.
BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


class Counts:
    """Sums, values and durations, each under a name and labels."""

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._values: dict[tuple[str, ...], float] = {}
        self._durations: dict[tuple[str, ...], list[float]] = {}

    def add(self, name: str, *labels: str, count: float = 1) -> None:
        """It happened once more, or `count` times."""
        self._sums[name, *labels] += count

    def total(self, name: str, count: float) -> None:
        """It has happened so often."""
        self._sums[name,] = count

    def set(self, name: str, *labels: str, value: float | None) -> None:
        """It is so much now; None if there is nothing to say any more."""
        if value is None:
            self._values.pop((name, *labels), None)
        else:
            self._values[name, *labels] = value

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        """It took so long."""
        found = self._durations.setdefault((name, *labels), [0.0] * (len(BUCKETS) + 2))
        found[bisect_left(BUCKETS, seconds)] += 1
        found[-1] += seconds

    def as_json(self) -> dict[str, Any]:
        """All of it: lists of name, labels and number, or numbers for each class and the sum."""
        return {
            "sums": [[*key, number] for key, number in list(self._sums.items())],
            "values": [[*key, number] for key, number in list(self._values.items())],
            "durations": [[*key, list(found)] for key, found in list(self._durations.items())],
        }
