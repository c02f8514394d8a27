"""Heartbeats, folders and health/ → the Prometheus text format: a file, and an address on request.

Source: the exposition format, https://prometheus.io/docs/instrumenting/exposition_formats/.

Security: it only reads, and listens on this machine alone. Labels are names of folders, routes'
executors and codes; nothing of a request.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from spoold.config.configuration import Configuration
from spoold.disk import fs, private, reading
from spoold.health.metrics import STATE_BYTES, ContainerMetrics
from spoold.record import JsonObject
from spoold.service.stage_status import StageStatus, read_stages
from spoold.spool import filenames
from spoold.spool.counters import BUCKETS
from spoold.spool.spool import Place, Spool
from spoold.states import FINAL, STATES, Role
from spoold.view.counts import arrivals

#: Each metric: what it counts, its labels, and what it means. Docs and alerts are checked with it.
COUNTERS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "moves": ("spoold_moves", ("source", "target"), "Moves of files from folder to folder."),
    "errors": ("spoold_errors", ("code",), "Files set aside, and attempts that did not work."),
    "retries": ("spoold_retries", ("executor",), "Attempts that were not the first."),
    "events-missed": ("spoold_events_missed", (), "Drops that no event announced."),
}
GAUGES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "files": ("spoold_files", ("folder",), "Files in a folder."),
    "unfinished": ("spoold_unfinished_files", ("folder",), "Half-written files in an inbox."),
    "oldest": ("spoold_oldest_seconds", ("folder",), "Age of the oldest file in a folder."),
    "swept": ("spoold_last_sweep_timestamp_seconds", (), "When the sweep last looked at all."),
    "up": ("spoold_stage_up", ("stage",), "Whether a stage runs and gets on."),
    "ready": ("spoold_stage_ready", ("stage",), "Whether a stage does its work."),
    "heard": ("spoold_stage_heard_seconds", ("stage",), "Seconds since a stage was heard of."),
    "busy": ("spoold_stage_busy", ("stage",), "Actions that a stage has running."),
    "hold": ("spoold_hold", (), "Whether HOLD is set."),
}
DURATIONS: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "attempt": (
        "spoold_attempt_duration_seconds", ("executor", "outcome"), "How long attempts took.",
    ),
}  # fmt: skip
_FILE = "spoold.prom"
#: A look at a large folder is followed by a pause of this many times what it took.
_REST = 50.0


class Metrics:
    """Collects what there is to say; also a collector of the Prometheus library.

    Args:
        config: where the spool and the heartbeats are.
    """

    def __init__(self, config: Configuration) -> None:
        settings = config.settings
        self._config = config
        self._spool = Spool(str(config.root), Role.REPORT, settings.sources, settings.executors)
        self._counted: dict[Place, tuple[float, int, float | None]] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def text(self) -> bytes:
        """The text format."""
        return generate_latest(self.registry)

    def write(self) -> None:
        """Write the text file, whole, where the configuration wants it."""
        wanted = self._config.settings.metrics.textfile
        path = wanted or os.path.join(self._config.runtime, "metrics", _FILE)
        fs.make_folder(os.path.dirname(path), 0o755, durable=False)
        fs.publish(path, self.text())

    def collect(self) -> Iterator[Metric]:
        """Every family, once."""
        families: dict[str, Any] = {
            **{key: CounterMetricFamily(name, text, labels=["stage", *labels])
               for key, (name, labels, text) in COUNTERS.items()},
            **{key: GaugeMetricFamily(name, text, labels=labels)
               for key, (name, labels, text) in GAUGES.items()},
            **{key: HistogramMetricFamily(name, text, labels=labels)
               for key, (name, labels, text) in DURATIONS.items()},
        }  # fmt: skip
        for seen in read_stages(self._config):
            self._add_stage(families, seen)
        for place in self._spool.places(*STATES, "quarantine"):
            self._add_folder(families, place)
        families["hold"].add_metric([], float(self._spool.on_hold))
        yield from families.values()
        yield from ContainerMetrics(self._health()).collect()

    def _add_stage(self, families: Mapping[str, Any], seen: StageStatus) -> None:
        label = [seen.stage]
        families["up"].add_metric(label, float(seen.healthy))
        families["ready"].add_metric(label, float(seen.ready))
        if seen.silent_s is not None:
            families["heard"].add_metric(label, seen.silent_s)
            families["busy"].add_metric(label, float(seen.busy or 0))
        for key, labels, number in _known(seen.counts.get("sums"), COUNTERS):
            families[key].add_metric([seen.stage, *labels], number)
        for key, labels, number in _known(seen.counts.get("values"), GAUGES):
            # A time is an age by the time that it is read.
            value = time.time() - number if key == "oldest" else number
            families[key].add_metric(labels, value)
        for key, labels, found in _known(seen.counts.get("durations"), DURATIONS, list):
            *classes, total = found
            sums, most = 0.0, [*map(str, BUCKETS), "+Inf"]
            buckets = [(limit, sums := sums + count)
                       for limit, count in zip(most, classes, strict=True)]  # fmt: skip
            families[key].add_metric(labels, buckets, total)

    def _add_folder(self, families: Mapping[str, Any], place: Place) -> None:
        until, files, oldest = self._counted.get(place, (0.0, 0, None))
        if time.monotonic() >= until:
            begun = time.monotonic()
            try:
                files, oldest = self._count(place)
            except (FileNotFoundError, PermissionError):
                return
            took = time.monotonic() - begun
            self._counted[place] = (begun + _REST * took, files, oldest)
        families["files"].add_metric([str(place)], files)
        if oldest is not None:
            families["oldest"].add_metric([str(place)], time.time() - oldest)

    def _count(self, place: Place) -> tuple[int, float | None]:
        """How many files, and since when the oldest lies there; not for folders that only grow."""
        if place.folder in FINAL:
            return sum(1 for _ in self._spool.scan(place)), None
        came = list(arrivals(self._spool, place))
        return len(came), min(came, default=None)

    def _health(self) -> Iterator[JsonObject]:
        """What `spoold health` has found, by executor."""
        place = Place("health")
        try:
            names = sorted(name for name in self._spool.scan(place) if filenames.is_candidate(name))
        except (FileNotFoundError, PermissionError):
            return
        for name in names:
            if found := reading.json_object(self._spool.path(place, name), STATE_BYTES):
                yield found


def _known(
    raw: object, table: Mapping[str, tuple[str, tuple[str, ...], str]], kind: Any = (int, float)
) -> Iterator[tuple[str, list[str], Any]]:
    """What a heartbeat counts that this version knows; it may have been written by another one."""
    for entry in raw if isinstance(raw, list) else ():
        match entry:
            case [str(key), *labels, value] if key in table and isinstance(value, kind):
                fits = not isinstance(value, list) or len(value) == len(BUCKETS) + 2
                if fits and len(labels) == len(table[key][1]):
                    yield key, [str(label) for label in labels], value


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: a scrape every few seconds is not worth a line."""

    def address_string(self) -> str:
        """Who asks; a Unix socket has no address."""
        return "local"


class _Server6(WSGIServer):
    address_family = socket.AF_INET6


class _UnixServer(WSGIServer, UnixStreamServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """As for TCP, without looking for a name of the host."""
        UnixStreamServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> Any:
        """A connection, with an address that the handler can take."""
        connection, _ = self.socket.accept()
        return connection, ("local", 0)


def listen(metrics: Metrics, address: str) -> None:
    """Serve the text at `127.0.0.1:9464` or `unix:/run/spoold/metrics.sock`, in a thread.

    Raises:
        OSError: the address is taken, or may not be used.
    """
    app = make_wsgi_app(metrics.registry)
    server: WSGIServer
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        # Left by a run that was killed.
        if Path(path).is_socket():
            fs.remove(path)
        server = _UnixServer(path, _Quiet)
        server.set_app(app)
        # What it says is no secret, but a spool of one user is that user's alone.
        os.chmod(path, private.mode_in(os.path.dirname(path), 0o666))
    else:
        host, _, port = address.rpartition(":")
        kind = _Server6 if host.startswith("[") else WSGIServer
        server = make_server(host.strip("[]"), int(port), app, kind, _Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
