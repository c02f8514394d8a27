"""A site with real processes on it, and receivers on loopback that behave, or do not."""

import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pytest

from tests.warm import CHECKOUT, SPOOLD, Warm

TOKEN = "t0k3n-5f1d"
SECRET = "HOOK_TOKEN"

#: Folders in which a request can be, with the executors' subfolders below them.
STATES = (
    "awaiting-approval", "approved", "pre-approved", "checking", "rejected", "expired", "held",
    "queued", "deferred", "running", "unknown", "done", "failed",
)  # fmt: skip

DECISIONS = '[sources.decisions]\nformat = "decision"\n'

HOOK = """
[executors.gateway]
kind  = "hook"
url   = "{url}"
token = {{ env = "HOOK_TOKEN" }}
{more}
"""

COMMAND = """
[executors.runner]
kind     = "command"
programs = ["{program}"]
{more}
"""


def hook(url: str, more: str = "") -> str:
    """A configuration: decisions, and one hook with a token."""
    return f"{DECISIONS}{HOOK.format(url=url, more=more)}"


def command(program: Path, more: str = "") -> str:
    """A configuration: decisions, and one command."""
    return f"{DECISIONS}{COMMAND.format(program=program, more=more)}"


def route(executor: str = "gateway", *lines: str, params: str = "") -> str:
    """A route that takes every decision and counts its deliveries in the body."""
    params = params or '[params.body]\nmessage = "=record.id"\n'
    head = ['name = "cutover"', 'source = "decisions"', 'match = "true"']
    return "\n".join([*head, f'executor = "{executor}"', *lines, params])


PRE_APPROVED = "requires_approval = false"


def argv(*words: object) -> str:
    """The `params` of a route that runs a command."""
    return f"[params]\nargv = {json.dumps([str(word) for word in words])}\n"


def until(true: Callable[[], Any], what: object, seconds: float = 60.0) -> Any:
    """Look again and again until something is true; fail with `what` at the deadline.

    The deadline is far beyond what a loaded machine needs: it costs time only when a test fails.
    """
    deadline = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}")
        time.sleep(0.01)
    return found


def decision(number: int | str, **more: object) -> dict[str, object]:
    """A decision record."""
    return {"decision_id": f"d-{number}", "decision_type": "cutover", **more}


class Site:
    """A configuration and a spool in a folder, and the processes that were started on them.

    Args:
        folder: where all of it lies.
        popen: what starts a process: `subprocess.Popen`, or `Warm.popen`, which forks it.
    """

    def __init__(self, folder: Path, popen: Callable[..., Any] = subprocess.Popen) -> None:
        self.folder = folder
        self.popen = popen
        self.root = folder / "spool"
        self.config = folder / "config" / "spoold.toml"
        self.env = {
            **{k: v for k, v in os.environ.items() if k not in ("SPOOLD_CONFIG", "NO_COLOR")},
            "HOME": str(folder),
            "PYTHONPATH": str(CHECKOUT),
            "PYTHONUTF8": "1",
            SECRET: TOKEN,
            # Calls that listened to these would all fail.
            "http_proxy": "http://127.0.0.1:9",
            "ALL_PROXY": "http://127.0.0.1:9",
        }
        self.processes: list[Any] = []

    def configure(self, toml: str, *routes: str, **settings: str) -> "Site":
        """Write a configuration; `settings` are keys of its first part."""
        head = "".join(f'{key} = "{value}"\n' for key, value in settings.items())
        where = self.config.parent / "routes.d"
        where.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'root = "../spool"\n{head}{toml}', encoding="utf-8")
        for number, text in enumerate(routes, 10):
            (where / f"{number}.toml").write_text(text, encoding="utf-8")
        return self

    # Processes

    def words(self, *arguments: object) -> list[str]:
        """A command line for this site."""
        return [*SPOOLD, "--config", str(self.config), *(str(a) for a in arguments)]

    def spoold(
        self, *arguments: object, ok: bool = True, words: Sequence[str] = (),
        env: Mapping[str, str] | None = None, cwd: object = None, into: Any = None,
    ) -> "subprocess.CompletedProcess[str]":  # fmt: skip
        """Run a verb to its end; `into` is a file that gets all that it prints."""
        words = words or self.words(*arguments)
        with TemporaryFile() as out, TemporaryFile() as err:
            process = self.popen(
                words, env=env or self.env, cwd=cwd or self.folder, stdin=subprocess.DEVNULL,
                stdout=into or out, stderr=into or err,
            )  # fmt: skip
            try:
                code = process.wait(60)
            finally:
                process.kill()
            said = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
        ended = subprocess.CompletedProcess(words, code, *said)
        assert "Traceback" not in ended.stderr, ended.stderr
        assert not ok or code == 0, (words, code, ended.stderr)
        return ended

    def lines(self, *arguments: object, ok: bool = True) -> list[dict[str, Any]]:
        """What a verb prints with `--json`: one object a line, and nothing else."""
        printed = self.spoold("--json", *arguments, ok=ok).stdout
        return [json.loads(line) for line in printed.splitlines()]

    def start(self, *arguments: object, ready: int = -1) -> Any:
        """Start a service and wait until its stages (or `ready` of them) say that they are."""
        log = self.folder / f"service-{len(self.processes)}.log"
        with log.open("wb") as out:
            process = self.popen(
                self.words(*arguments), env=self.env, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=out, stderr=out,
            )  # fmt: skip
        self.processes.append(process)
        if ready < 0:
            settings = self.config.read_text()
            executors = len(re.findall(r"^\[executors\.\w+\]", settings, re.MULTILINE))
            ready = 3 + executors if arguments[0] == "run" else 1

        def is_ready() -> bool:
            if process.poll() is not None:
                pytest.fail(f"{arguments} ended with {process.returncode}: {log.read_text()}")
            return log.read_bytes().count(b" is ready") >= ready

        until(is_ready, f"{arguments} ready")
        return process

    def stop(self, process: Any) -> int:
        """End a service as systemd does; returns its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def drain(self) -> None:
        """Move all that can move now."""
        self.spoold("run", "--drain")

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            process.kill()
            process.wait(60)

    def log(self, number: int = -1) -> str:
        """What a service has said."""
        number %= len(self.processes)
        return (self.folder / f"service-{number}.log").read_text()

    # The spool

    def drop(self, source: str, name: str | bytes, content: object) -> Path:
        """Drop a file the way a careful producer does; bytes as they are, all else as JSON."""
        inbox = self.root / "inbox" / source
        inbox.mkdir(parents=True, exist_ok=True)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        target = Path(os.fsdecode(name))
        draft = inbox / f".draft.{threading.get_ident()}"
        draft.write_bytes(data)
        return draft.rename(inbox / target)

    def drop_many(self, count: int, first: int = 0, **more: object) -> None:
        """Drop decisions `d-<first>` and so on."""
        for number in range(first, first + count):
            self.drop("decisions", f"d-{number:05}.json", decision(number, **more))

    def files(self, *folders: str) -> list[Path]:
        """The requests or drops in folders and below, without reasons."""
        found = [
            path
            for folder in folders
            for path in (self.root / folder).rglob("*.json")
            if not path.name.endswith(".reason.json")
        ]
        return sorted(found)

    def count(self, folder: str) -> int:
        """How many entries, of whatever kind, a folder has."""
        return len(os.listdir(self.root / folder))

    def only(self, folder: str) -> Path:
        """The one file in a folder."""
        found = self.files(folder)
        assert len(found) == 1, (folder, self.where())
        return found[0]

    def wait_for(self, folder: str, count: int = 1, seconds: float = 60.0) -> list[Path]:
        """The files in a folder, once there are at least that many."""

        def there() -> list[Path]:
            found = self.files(folder)
            return found if len(found) >= count else []

        return until(there, _Missing(self, folder, count), seconds)

    def request(self, folder: str) -> dict[str, Any]:
        """The one request in a folder."""
        return read(self.only(folder))

    def where(self) -> dict[str, int]:
        """How many requests each state has."""
        counts = {state: len(self.files(state)) for state in STATES if (self.root / state).exists()}
        return {state: count for state, count in counts.items() if count}

    def approve(self, *files: Path) -> None:
        """`mv awaiting-approval/X approved/`."""
        for file in files or self.files("awaiting-approval"):
            file.rename(self.root / "approved" / file.name)

    def tree(self, folder: Path | None = None) -> dict[str, bytes | str]:
        """Every path below, with its bytes; the index is only a cache of what they say."""
        top = folder or self.root
        found: dict[str, bytes | str] = {}
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            # Neither is anybody's state: a cache of what the files say, and heartbeats.
            if path.name.startswith(".index.sqlite3") or name.startswith("status/"):
                continue
            if path.is_symlink() or not path.is_file():
                found[name] = os.readlink(path) if path.is_symlink() else "-"
            else:
                found[name] = path.read_bytes()
        return found


@dataclass
class _Missing:
    """What was waited for and what there is, as it is when it is printed."""

    site: Site
    folder: str
    count: int

    def __str__(self) -> str:
        said = self.site.log()[-2000:] if self.site.processes else ""
        return f"{self.count} in {self.folder}; there are {self.site.where()}\n{said}"


def read(file: Path) -> dict[str, Any]:
    """A JSON file."""
    fields: dict[str, Any] = json.loads(file.read_bytes())
    return fields


def reason(file: Path) -> dict[str, Any]:
    """The reason beside a file."""
    return read(file.with_name(file.name + ".reason.json"))


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What forks the command lines of all tests."""
    made = Warm()
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path, warm: Warm, request: pytest.FixtureRequest) -> Iterator[Site]:
    """A site without a configuration; what was started on it is killed at the end."""
    real = request.node.get_closest_marker("real")
    made = Site(tmp_path, subprocess.Popen if real else warm.popen)
    yield made
    made.close()


@pytest.fixture
def agents(site: Site) -> Iterator[Any]:
    """Agents on a site; whatever of them still runs at the end is killed."""
    from tests.e2e.agent_site import Agents

    made = Agents(site)
    yield made
    made.end()


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a shell script and says where it is."""

    def write(name: str, text: str) -> Path:
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        file.chmod(0o755)
        return file

    return write


# Receivers


@dataclass
class Call:
    """One request as the receiver got it."""

    at: float
    method: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        """What says which action it is."""
        return self.headers["idempotency-key"]


@dataclass
class Receiver:
    """An HTTP server. Each call takes the next of `answers`; when they are used up, 200.

    An answer is a status, headers and a body; the status 0 resets the connection instead.
    """

    url: str = ""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    delay: float = 0.0
    calls: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keys(self) -> Counter[str]:
        """How often each action was called."""
        with self.lock:
            return Counter(call.key for call in self.calls)

    def bodies(self) -> dict[str, set[bytes]]:
        """Each action's different bodies."""
        found: dict[str, set[bytes]] = {}
        with self.lock:
            for call in self.calls:
                found.setdefault(call.key, set()).add(call.body)
        return found

    def next(self, call: Call) -> tuple[int, dict[str, str], bytes]:
        """Remember a call; how to answer it."""
        with self.lock:
            self.calls.append(call)
            return self.answers.pop(0) if self.answers else (200, {}, b'{"ok": true}')


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                return
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(time.time(), self.command, headers, body)
            status, more, answer = receiver.next(call)
            time.sleep(receiver.delay)
            if not status:
                self._reset()
                return
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer)

        def _reset(self) -> None:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        """Only close, so that a reset stays one."""
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller may be killed in the middle of a call."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver on loopback."""
    made = Receiver()
    with _Server(("127.0.0.1", 0), _handler(made)) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}/hooks/agent"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def refusing() -> Iterator[str]:
    """An address that refuses connections for as long as the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/hooks/agent"
