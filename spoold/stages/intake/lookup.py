"""What the files themselves say, for the moments when an index cannot be trusted to know."""

from spoold.errors import BadInput
from spoold.request import Request
from spoold.spool.spool import Place, Spool
from spoold.states import STATES

#: Other stages go on while intake looks; a file that moved meanwhile is looked for again.
_LOOKS = 20


def load(spool: Spool, place: Place, name: str) -> Request | None:
    """A request file; None if it is gone or is none."""
    try:
        return spool.request(place, name)
    except (FileNotFoundError, BadInput):
        return None


def load_anywhere(spool: Spool, name: str) -> Request | None:
    """A request file in whatever state it is now, also while it moves on; None if it is none."""
    for _ in range(_LOOKS):
        place = spool.find(name)
        if place is None:
            continue
        try:
            return spool.request(place, name)
        except FileNotFoundError:
            continue
        except BadInput:
            return None
    return None


class Truth:
    """All requests that intake sealed, found by the event digits in their names."""

    def __init__(self, spool: Spool, key: bytes) -> None:
        self._spool = spool
        self._key = key
        self._names: dict[str, set[str]] = {}
        # The folders are read in the order of a request's life, so that what moves on is seen at
        # least once; the second look is for what moved back.
        for place in [*spool.places(*STATES), *spool.places(*STATES)]:
            for name in spool.scan(place):
                digits = name.removesuffix(".json")[-8:]
                self._names.setdefault(digits, set()).add(name)

    def named(self, event: bytes) -> set[str]:
        """The names that end in the digits of an event."""
        return self._names.get(event.hex()[:8], set())

    def made_from(self, source: str, event_key: str, event: bytes) -> Request | None:
        """The request that this delivery made, in whatever state it is."""
        for name in self.named(event):
            found = load_anywhere(self._spool, name)
            same = found and (found.source.inbox, found.event_key) == (source, event_key)
            # Else whoever can write to a state could say where the original goes.
            if found and same and found.seal_holds(self._key):
                return found
        return None
