"""Real receivers on loopback, and the context that an executor stage would pass."""

import contextlib
import itertools
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from spoold.disk.capped_file import Capture
from spoold.errors import Transient
from spoold.executors import Context

TOKEN = "tok-3f9a'\"\\71c0"
#: What an engine says of itself.
VERSION = {"ApiVersion": "1.41", "Version": "20.10.24"}


@dataclass
class Seen:
    """One request as the receiver got it."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        values = [v for k, v in self.headers if k.lower() == name]
        assert len(values) <= 1, f"{name} was sent twice"
        return values[0] if values else None


@dataclass
class Receiver:
    """An HTTP server that answers with `status`, `headers`, `body` and remembers every request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"ok": true}'
    seen: list[Seen] = field(default_factory=list)
    url: str = ""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            receiver.seen.append(Seen(self.command, self.path, self.headers.items(), body))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(receiver.body)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(receiver.body)

        def log_message(self, *args: Any) -> None: ...

    for method in ("POST", "PUT", "PATCH", "DELETE", "GET"):
        setattr(Handler, f"do_{method}", Handler._answer)
    return Handler


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(made)) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/hooks/agent"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def raw_server() -> Iterator[Callable[..., str]]:
    """Starts a server whose every connection is handled by a function, however rude."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start(handle: Callable[[socket.socket, threading.Event], None], **options: int) -> str:
        listener = socket.socket()
        for name, value in options.items():
            listener.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.05)

        def serve() -> None:
            with listener:
                while not stop.is_set():
                    try:
                        connection, _ = listener.accept()
                    except TimeoutError:
                        continue
                    with connection, contextlib.suppress(OSError):
                        connection.settimeout(60)
                        handle(connection, stop)

        thread = threading.Thread(target=serve)
        thread.start()
        threads.append(thread)
        return f"http://127.0.0.1:{listener.getsockname()[1]}/hooks/agent"

    yield start
    stop.set()
    for thread in threads:
        thread.join()


@pytest.fixture
def fake():
    """Starts a Docker Engine that answers everything but its version as a test says."""
    servers = []

    def start(answer: Callable[[str, str], tuple[int, Any]], version: Any = VERSION) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _reply(self) -> None:
                asked = self.path.partition("?")[0]
                status, body = (
                    (200, version) if asked == "/version" else answer(self.command, self.path)
                )
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    self.wfile.write(data)

            do_GET = do_POST = do_DELETE = _reply  # noqa: N815

            def log_message(self, *args: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        return f"tcp://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def time_passes(monkeypatch) -> Callable[[], None]:
    """A function after which every deadline is a minute nearer: tests need not wait for any."""
    passed, real = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])

    def pass_a_minute() -> None:
        passed[0] += 60

    return pass_a_minute


@pytest.fixture
def unused_url() -> Iterator[str]:
    """An address that refuses connections for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/hooks/agent"


@dataclass
class Stage:
    """Makes the context of attempts as the executor stage does, with output below a folder."""

    folder: Path
    secrets: dict[str, str] = field(default_factory=lambda: {"HOOK_TOKEN": TOKEN})
    dispatch_id: str = field(
        default_factory=lambda: f"dispatch-20261121T115016Z-example-{uuid.uuid4().hex[:8]}"
    )
    captures: list[Capture] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def context(self, config: Any, *, age: float = 0.0, in_doubt: bool = False) -> Context:
        number = next(self.numbers)

        def open_output(stream: str) -> Capture:
            path = self.folder / f"{number}.{stream}"
            capture = Capture(path, getattr(config, "max_output", 1_048_576))
            self.captures.append(capture)
            return capture

        def secret(reference: Any) -> str:
            if reference.env not in self.secrets:
                raise Transient("secret-missing", f"{reference.env} is not set.")
            return self.secrets[reference.env]

        return Context(
            dispatch_id=self.dispatch_id,
            number=number,
            first_started=datetime.now(UTC) - timedelta(seconds=age),
            started=datetime.now(UTC) - timedelta(seconds=age),
            config=config,
            open_output=open_output,
            secret=secret,
            files=str(self.folder / f"attempt-{number}"),
            stopping=threading.Event(),
            in_doubt=in_doubt,
        )


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    from tests.conformance.agents import end_supervisors

    made = Stage(tmp_path)
    yield made
    end_supervisors(tmp_path)
    for capture in made.captures:
        capture.close()
