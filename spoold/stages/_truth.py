"""What the files themselves say, for the moments when an index cannot be trusted to know."""

from spoold import fs, request
from spoold.errors import BadInput
from spoold.request import Request
from spoold.spool import Place, Spool
from spoold.states import STATES


def load(spool: Spool, place: Place, name: str) -> Request | None:
    """A request file; None if it is gone or is none."""
    try:
        return request.parse(fs.read_regular(spool.path(place, name), request.MAX_BYTES).data)
    except (OSError, BadInput):
        return None


class Truth:
    """All requests there are, found by the event digits in their names: one look at each folder."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._names: dict[str, list[tuple[Place, str]]] = {}
        for place in spool.places(*STATES):
            for name in spool.scan(place):
                digits = name.removesuffix(".json")[-8:]
                self._names.setdefault(digits, []).append((place, name))

    def made_from(self, source: str, event_key: str, event: bytes) -> Request | None:
        """The request that this delivery made, in whatever state it is."""
        for place, name in self._names.get(event.hex()[:8], ()):
            found = load(self._spool, place, name)
            if found and (found.source.inbox, found.event_key) == (source, event_key):
                return found
        return None
