"""Finished requests → what was done last for each customer of each executor."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from spoold import request
from spoold.disk.reading import json_object
from spoold.spool.spool import Spool

DONE, UNKNOWN = "done", "unknown"
#: So many finished requests are read, the latest first.
_READ = 5000


class Ended(NamedTuple):
    """What was done for a customer: the later it ended, the greater."""

    at: str = ""
    action: str = ""
    folder: str = DONE
    container: str = ""


NEVER = Ended()


class History:
    """What ended last, as one executor sees it; read when it is first asked for.

    Args:
        executor: its name.
        others: the names of all executors that have containers.
        spool: where finished requests lie.
    """

    def __init__(self, executor: str, others: Iterable[str], spool: Spool) -> None:
        self._executor = executor
        self._others = tuple(others)
        self._spool = spool

    @cached_property
    def _ended(self) -> Mapping[str, Mapping[str, Ended]]:
        return ended(self._spool)

    def last(self, customer: str) -> Ended:
        """What this executor has done last for a customer."""
        return self._ended.get(self._executor, {}).get(customer, NEVER)

    def is_deleted_elsewhere(self, customer: str, container: str) -> bool:
        """Whether another executor has since removed what it, too, has under that name."""
        mine = self.last(customer)
        lasts = (self._ended.get(name, {}).get(customer, NEVER) for name in self._others)
        return any(
            last.action == "delete" and last > mine and last.container in ("", container)
            for last in lasts
        )


def ended(spool: Spool) -> dict[str, dict[str, Ended]]:
    """What ended last, by executor and customer; not in the order in which it was asked for.

    A stop in unknown/ counts: it may have had its effect.
    """
    by_executor: dict[str, dict[str, Ended]] = {}
    for place in spool.places(DONE, UNKNOWN):
        for name in sorted(spool.scan(place), reverse=True)[:_READ]:
            found = json_object(spool.path(place, name), request.MAX_BYTES) or {}
            params, result = found.get("params"), found.get("result")
            if not isinstance(params, dict):
                continue
            action, customer = str(params.get("action")), str(params.get("customer"))
            if action == "health-check" or (place.folder == UNKNOWN and action != "stop"):
                continue
            at = str(result.get("ended_at") or "") if isinstance(result, dict) else ""
            this = Ended(at, action, place.folder, str(params.get("name") or ""))
            last = by_executor.setdefault(place.key, {})
            last[customer] = max(this, last.get(customer, NEVER))
    return by_executor
