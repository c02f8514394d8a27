"""Numbers that a stage counts since its process began; `service/metrics.py` says what they mean.

Only the stage's thread writes them; the heartbeat reads them.
"""

from bisect import bisect_left
from collections import defaultdict
from typing import Any

#: The upper ends of the classes of durations, in seconds.
BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)


class Counts:
    """Sums, values and durations, each under a name and labels."""

    def __init__(self) -> None:
        self._sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        self._values: dict[tuple[str, ...], float] = {}
        self._durations: dict[tuple[str, ...], list[float]] = {}

    def add(self, name: str, *labels: str, count: float = 1) -> None:
        """Add to a sum."""
        self._sums[name, *labels] += count

    def total(self, name: str, count: float) -> None:
        """Set a sum that is counted elsewhere."""
        self._sums[name,] = count

    def set(self, name: str, *labels: str, value: float | None) -> None:
        """Set a value, or remove it if None."""
        if value is None:
            self._values.pop((name, *labels), None)
        else:
            self._values[name, *labels] = value

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        """Add one duration to its class."""
        found = self._durations.setdefault((name, *labels), [0.0] * (len(BUCKETS) + 2))
        found[bisect_left(BUCKETS, seconds)] += 1
        found[-1] += seconds

    def as_json(self) -> dict[str, Any]:
        """Lists of name, labels and number; of durations the number in each class, and the sum."""
        return {
            "sums": [[*key, number] for key, number in list(self._sums.items())],
            "values": [[*key, number] for key, number in list(self._values.items())],
            "durations": [[*key, list(found)] for key, found in list(self._durations.items())],
        }
