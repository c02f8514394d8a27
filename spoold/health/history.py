"""Finished requests → what was done last for each customer of each executor."""

from typing import NamedTuple

from spoold import request
from spoold.disk.reading import json_object
from spoold.spool.spool import Place, Spool

DONE, UNKNOWN = Place("done"), Place("unknown")
#: So many finished requests are read to find out who stopped a container.
_READ = 5000


class Ended(NamedTuple):
    """What was done for a customer: the later it ended, the greater."""

    at: str = ""
    action: str = ""
    place: Place = DONE
    container: str = ""


NEVER = Ended()


def ended(spool: Spool) -> dict[str, dict[str, Ended]]:
    """What ended last, by executor and customer; not in the order in which it was asked for.

    A stop of which nobody knows how it ended counts: it may have had its effect.
    """
    by_executor: dict[str, dict[str, Ended]] = {}
    for place in (DONE, UNKNOWN):
        for name in sorted(spool.scan(place), reverse=True)[:_READ]:
            found = json_object(spool.path(place, name), request.MAX_BYTES) or {}
            params, result = found.get("params"), found.get("result")
            if not isinstance(params, dict):
                continue
            action, customer = str(params.get("action")), str(params.get("customer"))
            if action == "health-check" or (place == UNKNOWN and action != "stop"):
                continue
            at = str(result.get("ended_at") or "") if isinstance(result, dict) else ""
            this = Ended(at, action, place, str(params.get("name") or ""))
            last = by_executor.setdefault(str(found.get("executor")), {})
            last[customer] = max(this, last.get(customer, NEVER))
    return by_executor
