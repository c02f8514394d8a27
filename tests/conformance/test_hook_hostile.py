"""Receivers that send without end or hang up in the middle, a person's cancel, and the doctor."""

import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import hook
from tests.conformance.hooks import ends_with, reset

_CHUNK = b"x" * (1 << 20)
_HUGE = 10 << 30


def _config(url: str, **more: Any) -> hook.Config:
    return hook.Config.model_validate({"url": url, "dialect": "plain", **more})


def _run(context: Any, timeout: str = "9s", body: Any = "b") -> Any:
    given = {"url": context.config.url, "body": body, "timeout": timeout}
    return hook.run(hook.Params.model_validate(given), context)


def _memory(what: str) -> int:
    """Bytes of memory of this process: `VmRSS` now, `VmHWM` at most since `_forget_peak`."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def _growth(call: Callable[[], Any]) -> int:
    """How much memory a call needs at its worst moment."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    call()
    return _memory("VmHWM") - before


def _without_end(head: bytes, piece: bytes) -> Callable[[socket.socket, Any], None]:
    def flood(connection: socket.socket, stop: threading.Event) -> None:
        connection.recv(65536)
        connection.sendall(head)
        while not stop.is_set():
            connection.sendall(piece)

    return flood


# Answers without end

_HEAD = b"HTTP/1.1 200 OK\r\n"
_ENDLESS = {
    "length": (_HEAD + b"Content-Length: %d\r\n\r\n" % _HUGE, _CHUNK),
    "chunked": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"100000\r\n" + _CHUNK + b"\r\n"),
    "one chunk": (_HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % _HUGE, _CHUNK),
    "until the end": (_HEAD + b"\r\n", _CHUNK),
    "packed": (_HEAD + b"Content-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n", _CHUNK),
}


@pytest.mark.parametrize("kind", _ENDLESS)
def test_ten_gigabytes_cost_no_memory(stage, raw_server, kind):
    """Of an answer without end as much is kept as the table says, and the rest never read."""
    context = stage.context(_config(raw_server(_without_end(*_ENDLESS[kind])), max_answer=10_000))
    results: list[Any] = []
    assert _growth(lambda: results.append(_run(context, "60s"))) < 20_000_000
    assert results[0].details["truncated"] is True
    assert results[0].details["body"] == "x" * 10_000


_NEVER_BEGINS = {
    "long line": (_HEAD + b"X-Long: ", _CHUNK, "disconnected"),
    "many lines": (_HEAD, b"X-More: 1\r\n" * 10_000, "disconnected"),
    "no line": (b"", _CHUNK, "disconnected"),
    "go on": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "timeout"),
}


@pytest.mark.parametrize("kind", _NEVER_BEGINS)
def test_a_head_without_end_costs_no_memory_and_ends_in_time(stage, raw_server, kind):
    """An answer that never gets to the point is given up, and nobody knows what was done."""
    head, piece, code = _NEVER_BEGINS[kind]
    context = stage.context(_config(raw_server(_without_end(head, piece))))
    errors: list[OutcomeUnknown] = []

    def call() -> None:
        with pytest.raises(OutcomeUnknown) as raised:
            _run(context, timeout="2s")
        errors.append(raised.value)

    assert _growth(call) < 20_000_000
    assert errors[0].code == code


@pytest.mark.parametrize(
    ("said", "error", "code"),
    [
        ("HTTP/1.1 202", OutcomeUnknown, "disconnected"),
        ("HTTP/1.1 200 OK\r\nContent-Le", OutcomeUnknown, "disconnected"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", OutcomeUnknown, "disconnected"),
        ("HTTP/1.1 400 No\r\nContent-Length: 99\r\n\r\nwhy", Permanent, "http-400"),
    ],
)
def test_a_reset_in_the_middle_of_an_answer(stage, raw_server, said, error, code):
    """Half a good answer leaves it to a person; the first line of a refusal is enough."""

    def rude(connection: socket.socket, _: Any) -> None:
        connection.recv(65536)
        connection.sendall(said.encode())
        time.sleep(0.05)
        reset(connection)

    with ends_with(error) as raised:
        _run(stage.context(_config(raw_server(rude))))
    assert raised.value.code == code


# A person's cancel


def _cancel(context: Any) -> None:
    context.cancelled.set()
    context.stopping.set()


def test_what_is_cancelled_before_it_is_sent_had_no_effect(stage, receiver):
    """Nothing goes out for a person who does not want it any more, and the attempt says so."""
    context = stage.context(_config(receiver.url))
    _cancel(context)
    with pytest.raises(Transient):
        _run(context)
    assert not receiver.seen


def test_what_is_cancelled_while_it_connects_had_no_effect(stage, raw_server):
    """A handshake that hangs ends at once, before anything was sent."""
    url = raw_server(lambda connection, stop: (_cancel(context), stop.wait()))
    context = stage.context(_config(url.replace("http:", "https:")))
    with pytest.raises(Transient) as raised:
        _run(context, "600s")
    assert raised.value.code == "interrupted"
    assert raised.value.details["sent"] == "nothing"


@pytest.mark.parametrize("window", ["0s", "5m"])
def test_what_is_cancelled_while_it_is_called_may_have_been_done(stage, raw_server, window):
    """Nobody waits for the answer, nothing is repeated, and a person is told what is known."""

    def slow(connection: socket.socket, stop: threading.Event) -> None:
        connection.recv(65536)
        _cancel(context)
        stop.wait()

    context = stage.context(_config(raw_server(slow), idempotency_window=window))
    with pytest.raises(OutcomeUnknown) as raised:
        _run(context, "600s")
    assert raised.value.code == "cancelled"
    assert "A person cancelled it while it was called" in raised.value.summary


def test_what_is_cancelled_before_a_repeat_may_have_been_done(stage, receiver):
    """A cancel in doubt stops the repeat, and does not say that nothing was done."""
    config = _config(receiver.url, idempotency_window="5m")
    context = stage.context(config, age=5, in_doubt=True)
    _cancel(context)
    with pytest.raises(OutcomeUnknown, match="earlier attempt") as raised:
        _run(context)
    assert raised.value.code == "cancelled"
    assert not receiver.seen


# The doctor


def _secret(reference: Any) -> str:
    values = {"GOOD": "s3cr-t", "BAD": "s3cr t", "KEY": "c2hvcnQ="}
    if reference.env not in values:
        raise Transient("credential-missing", f"{reference.env} is missing.")
    return values[reference.env]


def _doctor(**table: Any) -> dict[str, bool]:
    config = hook.Config.model_validate({"dialect": "plain", **table})
    found = list(hook.doctor(config, _secret))
    assert all(one.detail and "s3cr" not in one.detail for one in found)
    return {one.what: one.ok for one in found}


def test_the_doctor_connects_and_sends_nothing(receiver, raw_server):
    """A destination that can be reached is found well without a request that could do something."""
    got: queue.Queue[bytes] = queue.Queue()
    url = raw_server(lambda connection, _: got.put(connection.recv(100)))
    origin = url.removesuffix("/hooks/agent")
    more = f"{receiver.url}/more/"
    here = receiver.url.removesuffix("/hooks/agent")
    assert _doctor(url=url, urls=[receiver.url, more, url]) == {origin: True, here: True}
    assert got.get(timeout=60) == b""
    assert not receiver.seen


def test_the_doctor_finds_what_cannot_be_reached(unused_url, receiver):
    """A port without a listener, a name that is none, a server without TLS: each by itself."""
    tls = receiver.url.replace("http:", "https:")
    found = _doctor(url=unused_url, urls=["http://no-such-host.invalid/", tls])
    assert list(found.values()) == [False, False, False]


def test_the_doctor_does_not_wait_for_ever(raw_server, monkeypatch):
    """A server that does not answer a handshake is given up."""
    monkeypatch.setattr("spoold.executors.hook.reach._TIMEOUT", 0.2)
    url = raw_server(lambda _, stop: stop.wait())
    assert list(_doctor(url=url.replace("http:", "https:")).values()) == [False]


@pytest.mark.parametrize(
    ("table", "ok"),
    [
        ({}, None),
        ({"token": {"env": "GOOD"}}, True),
        ({"token": {"env": "NONE"}}, False),
        ({"token": {"env": "BAD"}}, False),
        ({"signing": [{"env": "KEY"}]}, False),
    ],
)
def test_the_doctor_tries_the_secrets(unused_url, table, ok):
    """A secret that is missing, or that no call could use, is found; its value is not shown."""
    assert _doctor(url=unused_url, **table).get("secrets") is ok
