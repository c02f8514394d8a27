"""`health/EXECUTOR.json` → numbers for Prometheus: `health/EXECUTOR.prom`, and `spoold metrics`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import TypeAdapter, ValidationError

from spoold.health.container import Container
from spoold.record import JsonObject
from spoold.request import parse_time

#: No file in health/ is larger (bytes).
STATE_BYTES = 16 << 20
_CONTAINER = TypeAdapter(Container)

#: Each number: what it means, and how it is got; None is left out.
_OF_CONTAINERS: Mapping[str, tuple[str, Callable[[Container], float | None]]] = {
    "spoold_container_known": (
        "Whether the last look found out how a container is.",
        lambda one: one.passed is not None,
    ),
    "spoold_container_up": (
        "Whether it worked then; left out if that is not known.",
        lambda one: one.passed,
    ),
    "spoold_container_stopped": (
        "Whether it does not work because a request stopped it.",
        lambda one: one.stopped,
    ),
    "spoold_container_failures": (
        "Looks in a row that found it not working.",
        lambda one: one.failures,
    ),
    "spoold_container_restarts_asked": (
        "Restarts asked for that the breaker counts.",
        lambda one: len(one.asked),
    ),
}
_LAST_RUN = "spoold_health_last_run_timestamp_seconds"
NAMES = (*_OF_CONTAINERS, _LAST_RUN)


class ContainerMetrics(Collector):
    """A collector of the Prometheus library.

    Args:
        states: what each `health/EXECUTOR.json` has; a file of another version may lack some of it.
    """

    def __init__(self, states: Iterable[JsonObject]) -> None:
        self._states = list(states)

    def collect(self) -> Iterator[Metric]:
        """Every family once, over all executors."""
        for name, (text, number) in _OF_CONTAINERS.items():
            family = GaugeMetricFamily(name, text, labels=["executor", "customer"])
            for state in self._states:
                for one in read_containers(state):
                    if (value := number(one)) is not None:
                        family.add_metric([str(state.get("executor")), one.customer], float(value))
            yield family
        family = GaugeMetricFamily(_LAST_RUN, "When all were looked at.", labels=["executor"])
        for state in self._states:
            try:
                at = parse_time(str(state.get("checked_at"))).timestamp()
            except ValueError:
                continue
            family.add_metric([str(state.get("executor"))], at)
        yield family


def as_text(states: Iterable[JsonObject]) -> bytes:
    """The text format."""
    registry = CollectorRegistry()
    registry.register(ContainerMetrics(states))
    return generate_latest(registry)


def read_containers(state: JsonObject | None) -> list[Container]:
    """The containers in a file; what cannot be read is left out, and so forgotten."""
    found: Any = (state or {}).get("containers")
    known = []
    for fields in found if isinstance(found, list) else []:
        try:
            known.append(_CONTAINER.validate_python(fields))
        except ValidationError:
            continue
    return known
