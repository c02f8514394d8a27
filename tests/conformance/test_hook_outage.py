"""Hooks through the stages: outages, restarts and kills, and what the receiver sees of them."""

import base64
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook

from spoold.executors import hook
from tests.conformance.conftest import Receiver, _handler
from tests.conftest import route
from tests.e2e.conftest import Site, until

_TOML = """
[sources.decisions]
format = "decision"
[executors.gateway]
kind = "hook"
url = "{url}"
concurrency = 4
timeout = "2s"
retry = {{ tries = 2, base = "1s", cap = "1s" }}
rest = "50ms"
"""


@pytest.fixture
def sleeping() -> Iterator[ThreadingHTTPServer]:
    """A server that refuses connections until its thread is started."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Receiver()), bind_and_activate=False)
    with server:
        server.server_bind()
        yield server


@contextmanager
def _awake(server: ThreadingHTTPServer, receiver: Receiver) -> Iterator[None]:
    server.RequestHandlerClass = _handler(receiver)
    server.server_activate()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield
    server.shutdown()
    thread.join()


def _attempts(lab: Any) -> list[list[str]]:
    """The outcomes of all attempts of what is deferred."""
    read = [orjson.loads(path.read_bytes()) for path in lab.files("deferred")]
    return [[tried["outcome"] for tried in one["attempts"]] for one in read]


def test_a_dead_destination_fails_no_request_and_gets_each_once_when_it_is_back(
    make_lab, sleeping, monkeypatch
):
    """Twenty requests with two tries each outlive an outage of many rests, and none is doubled."""
    url = f"http://127.0.0.1:{sleeping.server_port}/hooks/agent"
    more = '[params]\nbody = { message = "=record.id" }'
    lab = make_lab(route(executor="gateway", more=more), toml=_TOML.format(url=url))
    for number in range(20):
        record = {"decision_type": "x", "decision_id": f"d-{number}"}
        lab.drop("decisions", f"{number}.json", record)
    lab.drain()
    for file in lab.files("awaiting-approval"):
        lab.approve(file)
    calls: list[str] = []
    real = hook.Exchange.perform

    def perform(self: Any, *args: Any) -> None:
        calls.append(str(self.url))
        real(self, *args)

    monkeypatch.setattr(hook.Exchange, "perform", perform)
    for _ in range(6):
        lab.drain()
        lab.clock.advance(1000)
        time.sleep(0.1)
    # The first ones use up a try each, then one call a rest; without rests it were forty.
    attempts = _attempts(lab)
    assert len(attempts) == 20
    used = sum(outcomes.count("deferred") for outcomes in attempts)
    assert 5 <= used <= 8
    assert used + 2 <= len(calls) <= used + 6
    assert max(outcomes.count("deferred") for outcomes in attempts) == 1
    receiver = Receiver()
    with _awake(sleeping, receiver):
        until = time.monotonic() + 8
        while len(lab.files("done")) < 20 and time.monotonic() < until:
            time.sleep(0.1)
            lab.clock.advance(1000)
            lab.drain()
    assert (len(lab.files("done")), len(lab.files("failed"))) == (20, 0)
    bodies = [orjson.loads(seen.body)["message"] for seen in receiver.seen]
    assert sorted(bodies) == sorted(f"d-{number}" for number in range(20))


# Through services that are stopped and killed

_SIGNED = """
[sources.decisions]
format = "decision"
[executors.gateway]
kind = "hook"
url = "{url}"
token = {{ env = "HOOK_TOKEN" }}
signing = [{{ env = "SIGNING" }}]
wait_for_completion = true
idempotency_window = "5m"
retry = {{ tries = 9, base = "100ms", cap = "100ms" }}
"""
_CHANGING = (b"webhook-timestamp", b"webhook-signature")


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_every_repeat_is_the_same_to_the_byte_whatever_ended_the_attempt_before(site, raw_server):
    """After a refusal, a restart, a kill in the middle of a call, what is sent is the same."""
    seen: list[bytes] = []
    key = base64.b64encode(bytes(range(24))).decode()

    def answer(connection: socket.socket, stop: threading.Event) -> None:
        got = connection.recv(65536)
        if not got:
            return
        seen.append(got)
        if len(seen) == 1:
            connection.sendall(b"HTTP/1.1 503 No\r\nRetry-After: 9999\r\nContent-Length: 0\r\n\r\n")
        elif len(seen) == 2:
            while connection.recv(1):  # until its caller is dead
                pass
        else:
            text = b'{"ok":true,"completion":{"status":"ok"}}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)

    site.env["SIGNING"] = key
    body = '[params.body]\nz = 1\nmessage = "=record.body.rationale"\na = { y = [1.5, -0.0, 1e22] }'
    site.configure(
        _SIGNED.format(url=raw_server(answer)),
        route("anything", executor="gateway", more=f"requires_approval = false\n{body}"),
    )
    site.drop("decisions", "1.json", {"decision_type": "x", "rationale": "Grüße \u2028 €"})
    first = site.start("run")
    site.wait_for("deferred")
    site.stop(first)
    os.utime(site.only("deferred"), (0, 0))  # due now
    second = site.start("run")
    until(lambda: len(seen) == 2, "the second call")
    second.kill()
    second.wait()
    site.start("run")
    site.wait_for("done")
    heads, bodies = zip(*(got.split(b"\r\n\r\n", 1) for got in seen), strict=True)
    assert len(seen) == 3
    assert len(set(bodies)) == 1
    assert json.loads(bodies[0])["waitForCompletion"] is True
    lines = [head.split(b"\r\n") for head in heads]
    same = [[one for one in head if one.split(b":")[0] not in _CHANGING] for head in lines]
    assert same[0] == same[1] == same[2]
    for head, sent in zip(lines, bodies, strict=True):
        headers = dict(one.decode().split(": ", 1) for one in head[1:])
        assert headers["idempotency-key"] == headers["webhook-id"]
        Webhook(key).verify(sent, headers)
    done = site.request("done")
    assert done["result"]["code"] == "run-ok"
    assert [one["outcome"] for one in done["attempts"]] == ["deferred", "deferred", "done"]
