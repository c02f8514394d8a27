"""How calls to a destination ended → whether it is called now, or not for a while (it rests).

A circuit breaker: some failures in a row open it, and after a rest one call, the probe, decides.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from spoold.errors import Transient

#: The longest rest in seconds, however often a destination was still ill.
LONGEST = 900.0


@dataclass(slots=True)
class _Condition:
    """What is known of a destination whose last call failed; times are of the monotonic clock.

    Attributes:
        failures: in a row.
        rest: seconds of the last rest.
        rests_until: when the next probe may be made.
        tried_until: when the probe that is on its way must have ended; 0 if there is none.
    """

    failures: int = 0
    rest: float = 0.0
    rests_until: float = 0.0
    tried_until: float = 0.0


@dataclass(slots=True)
class Visit:
    """One call.

    Attributes:
        is_probe: after a rest, this call finds out whether the destination is well again.
        found_ill: what it found; None if the call says nothing about the destination.
        rests_for: seconds of the rest that this call has begun; 0 for none.
    """

    is_probe: bool
    found_ill: bool | None = None
    rests_for: float = 0.0


@dataclass(slots=True)
class Health:
    """The destinations of one executor, each by itself, for as long as the process lives.

    Args:
        after: how many failures in a row begin a rest; 0 for never.
        rest: seconds of the first rest; each failed probe doubles it.
    """

    after: int
    rest: float
    _ill: dict[str, _Condition] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def visit(self, destination: str, seconds: float) -> Iterator[Visit]:
        """The context of a call that takes at most `seconds`.

        Raises:
            Transient: `resting`: the destination is not called now.
        """
        visit = Visit(self._enter(destination, seconds))
        try:
            yield visit
        finally:
            self._leave(destination, visit)

    def _enter(self, destination: str, seconds: float) -> bool:
        with self._lock:
            now, known = time.monotonic(), self._ill.get(destination)
            if known is None or not self._rests(known):
                return False
            left = known.rests_until - now
            if left <= 0:
                # While a probe is on its way, other calls would only find out the same.
                left = known.tried_until - now
            if left <= 0:
                known.tried_until = now + seconds
                return True
            failures = known.failures
        raise Transient(
            "resting",
            f"Nothing was sent: {destination} failed {failures} times in a row and is rested.",
            {"destination": destination, "resting_s": round(left, 1)},
            retry_after=left,
            counts=False,
        )

    def _leave(self, destination: str, visit: Visit) -> None:
        with self._lock:
            known = self._ill.setdefault(destination, _Condition())
            if visit.is_probe:
                known.tried_until = 0.0
            if visit.found_ill is False:
                del self._ill[destination]
            elif visit.found_ill:
                self._note_failure(known, visit)

    def _note_failure(self, known: _Condition, visit: Visit) -> None:
        if self._rests(known):
            if not visit.is_probe:
                return  # this call was on its way when the rest began
            known.rest = min(2 * known.rest, max(LONGEST, self.rest))
        else:
            known.rest = self.rest
        known.failures += 1
        if self._rests(known):
            known.rests_until = time.monotonic() + known.rest
            visit.rests_for = known.rest

    def _rests(self, known: _Condition) -> bool:
        return 0 < self.after <= known.failures
