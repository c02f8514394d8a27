"""An HTTP server that counts what came in whole, and answers as the record's id says."""

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """An HTTP server that answers as the record's id says: `ok`, `later`, `lost`; else 400.

    Attributes:
        url: where it is.
        calls: idempotency key and body of each call that came in whole.
    """

    url: str = ""
    calls: list[tuple[str, bytes]] = field(default_factory=list)
    _busy: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def settled(self) -> list[tuple[str, bytes]]:
        """The calls, once nothing is being answered any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, timeout=10)
            return list(self.calls)

    def begin(self) -> None:
        """A connection is there."""
        with self._changed:
            self._busy += 1

    def end(self) -> None:
        """It is gone."""
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()

    def note(self, key: str, body: bytes) -> int:
        """Remember a call; the status to answer with, 0 to break the connection off."""
        with self._changed:
            self.calls.append((key, body))
        kind = str(json.loads(body)["message"]).partition("-")[0]
        return {"ok": 200, "later": 503, "lost": 0}.get(kind, 400)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver

    def process_request(self, request: Any, client_address: Any) -> None:
        self.receiver.begin()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Only close, so that a reset stays one."""
        self.close_request(request)
        self.receiver.end()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller may be killed in the middle of a call."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        size = int(self.headers["content-length"])
        body = self.rfile.read(size)
        if len(body) < size:
            return
        status = self.server.receiver.note(self.headers["idempotency-key"], body)
        if not status:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True
            return
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.receiver = receiver
        receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
