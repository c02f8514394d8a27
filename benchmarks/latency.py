"""How long a person or a machine waits: a real `spoold run`, watched from outside."""

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter

from benchmarks import bare, records, site
from benchmarks.inotify import Arrivals
from benchmarks.scale import Scale

_RATE = 20.0
#: intake, sweep, gate and one executor
STAGES = 4


class Receiver:
    """An HTTP server on loopback that notes when each call came."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.came = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                now = perf_counter()
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.seen[json.loads(body)["message"]] = now
                receiver.came.set()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


def measure(scale: Scale, folder: Path) -> dict[str, list[float]]:
    """Seconds from drop to visible, and from `mv` to the effect, one number for each."""
    folder.mkdir()
    receiver = Receiver()
    made = site.Site(folder / "site", site.hook(receiver.url))
    try:
        with made.start("run") as service:
            service.ready(STAGES)
            time.sleep(0.5)
            visible = drop_to_visible(made, scale, "paced")
            effect = move_to_effect(made, receiver, scale.approvals)
    finally:
        receiver.close()
    return {"visible": visible, "effect": effect}


def drop_to_visible(made: site.Site, scale: Scale, run: str) -> list[float]:
    """Drop at 20 a second; seconds until each request appears."""
    count = int(scale.paced * _RATE)
    names = records.names(count, run)
    drops = [
        made.prepare(name, record)
        for name, record in zip(names, records.decisions(count, run, scale.seed), strict=True)
    ]
    bare.settle(made.root)
    arrivals = Arrivals(made.root / "awaiting-approval")
    dropped, came = _paced(drops, arrivals)
    arrivals.close()
    where = made.root / "awaiting-approval"
    seconds = []
    for name, at in came.items():
        file = json.loads((where / name).read_bytes())["source"]["file"]
        seconds.append(at - dropped[names.index(file)])
    return seconds


def _paced(
    drops: list[Callable[[], None]], arrivals: Arrivals
) -> tuple[list[float], dict[str, float]]:
    """When each was dropped, and when each name came."""
    dropped: list[float] = []
    came: dict[str, float] = {}
    begun = perf_counter()
    limit = begun + len(drops) / _RATE + 30.0
    while len(came) < len(drops):
        due = begun + len(dropped) / _RATE
        if len(dropped) < len(drops) and perf_counter() >= due:
            dropped.append(perf_counter())
            drops[len(dropped) - 1]()
            continue
        if perf_counter() > limit:
            raise RuntimeError(f"{len(came)} of {len(drops)} drops became visible in time")
        pause = due - perf_counter() if len(dropped) < len(drops) else 1.0
        for name, at in arrivals.wait(pause):
            if name.endswith(".json"):
                came.setdefault(name, at)
    return dropped, came


def move_to_effect(made: site.Site, receiver: Receiver, count: int) -> list[float]:
    """Approve one after the other with `mv`; seconds until the receiver has the call."""
    seconds = []
    for number, name in enumerate(sorted(made.names("awaiting-approval"))[:count]):
        waiting = made.root / "awaiting-approval" / name
        expected = json.loads(waiting.read_bytes())["params"]["body"]["message"]
        # Not in step with anything that looks at fixed times.
        time.sleep(0.02 + 0.007 * (number % 7))
        receiver.came.clear()
        moved = perf_counter()
        waiting.rename(made.root / "approved" / name)
        while expected not in receiver.seen:
            if not receiver.came.wait(20.0):
                raise RuntimeError(f"{name} was approved, and nothing happened")
            receiver.came.clear()
        seconds.append(receiver.seen[expected] - moved)
    return seconds
