"""Calls that break off: when nothing happened, when it is in doubt, and what may be repeated."""

import socket
import threading
import time
import traceback
from pathlib import Path

import pytest

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import hook
from tests.conformance.conftest import TOKEN
from tests.conformance.hooks import (
    WINDOW,
    call,
    config_of,
    error_of,
    params_of,
    read_request,
    reset,
)

#: More than the kernel takes from a receiver that reads nothing.
_LARGE = {"body": "x" * 30_000_000, "config": {"max_body": 40_000_000}}


def test_a_refused_connection_had_no_effect(stage, unused_url):
    """Where nobody listens, nothing happened, so it may be repeated whatever the key's age."""
    error = error_of(stage, unused_url, Transient, age=9999, body={})
    assert "Connect call failed" in error.summary
    assert error.details["sent"] == "nothing"
    assert "in_doubt" not in error.details


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "x" * 70 + ".invalid"])
def test_a_name_that_does_not_resolve_had_no_effect(stage, host):
    """A failing resolver, or an impossible name, is a failure before anything was sent."""
    error_of(stage, f"http://{host}/hooks/agent", Transient, body={}, timeout="5s")


def test_a_resolver_that_hangs_does_not_stretch_the_deadline(stage, monkeypatch, time_passes):
    """The call ends while the resolver's thread, which cannot be stopped, still hangs."""
    hangs, returned = threading.Event(), threading.Event()

    def resolve(*_, **__):
        time_passes()
        hangs.wait(60)
        returned.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error_of(stage, "http://slow.invalid/", Transient, body={})
    assert not returned.is_set()
    hangs.set()


def test_a_failed_handshake_had_no_effect(stage, receiver):
    """Where TLS fails, the request was never sent."""
    error = error_of(stage, receiver.url.replace("http:", "https:"), Transient, body={})
    assert error.details["sent"] == "nothing"
    assert not receiver.seen


def _silence_from_the_first_byte(time_passes):
    def handle(connection, stop):
        connection.recv(1)
        time_passes()
        stop.wait()

    return handle


def test_a_connection_that_is_never_answered_had_no_effect(stage, raw_server, time_passes):
    """A TLS handshake that hangs ends at the deadline, before anything was sent."""
    url = raw_server(_silence_from_the_first_byte(time_passes)).replace("http:", "https:")
    before = len(list(Path("/proc/self/fd").iterdir()))
    error = error_of(stage, url, Transient, body={})
    assert error.code == "connect-timeout"
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # the server's end


def test_a_reset_in_the_middle_of_the_request_had_no_effect(stage, raw_server):
    """A receiver that went away before it had the whole request cannot have acted on it."""

    def rude(connection, _):
        connection.recv(1000)
        time.sleep(0.2)
        reset(connection)

    url = raw_server(rude, SO_RCVBUF=4096)
    error = error_of(stage, url, Transient, **_LARGE)
    assert (error.code, error.details["sent"]) == ("not-sent", "part")


def test_a_deadline_in_the_middle_of_the_request_is_in_doubt(stage, raw_server, time_passes):
    """What the kernel still delivers of a request that we gave up is not known."""
    url = raw_server(_silence_from_the_first_byte(time_passes), SO_RCVBUF=4096)
    error = error_of(stage, url, OutcomeUnknown, **_LARGE)
    assert (error.code, error.details["sent"]) == ("timeout", "part")


# Each does something rude once it has the whole request; those that wait let the deadline pass.


def _then_reset(connection, *_):
    read_request(connection)
    reset(connection)


def _then_close(connection, *_):
    read_request(connection)


def _then_silence(connection, stop, time_passes):
    read_request(connection)
    time_passes()
    stop.wait()


def _then_echo(connection, *_):
    lines = read_request(connection).split(b"\r\n")
    connection.sendall(b"".join(line for line in lines if b"Bearer" in line) + b"\r\n\r\n")


def _then_cut_answer(connection, *_):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")


def _then_drip_head(connection, stop, time_passes):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    time_passes()
    while not stop.wait(0.05):
        connection.sendall(b"X-More: 1\r\n")


def _then_drip_body(connection, stop, time_passes):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    time_passes()
    while not stop.wait(0.05):
        connection.sendall(b" ")


def _then_upgrade(connection, *_):
    read_request(connection)
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")


_DOUBTFUL = [
    (_then_reset, "disconnected"),
    (_then_close, "disconnected"),
    (_then_silence, "timeout"),
    (_then_echo, "disconnected"),
    (_then_cut_answer, "disconnected"),
    (_then_drip_head, "timeout"),
    (_then_drip_body, "timeout"),
    (_then_upgrade, "disconnected"),
]


@pytest.fixture
def rude_url(raw_server, time_passes):
    """Starts a server that is rude in a way."""
    return lambda rude: raw_server(lambda connection, stop: rude(connection, stop, time_passes))


@pytest.mark.parametrize(("rude", "code"), _DOUBTFUL)
def test_an_answer_that_does_not_come_is_left_to_a_person_or_repeated_within_the_window(
    stage, rude_url, rude, code
):
    """Silence, a reset or nonsense may hide that it was done: repeated if the key is known yet."""
    config = {"token": {"env": "HOOK_TOKEN"}}
    error = error_of(stage, rude_url(rude), OutcomeUnknown, body={}, config=config)
    assert error.code == code
    assert TOKEN[:7] not in "".join(traceback.format_exception(error))
    error = error_of(stage, rude_url(rude), Transient, body={}, age=2, config=WINDOW)
    assert error.code == code
    assert error.details["in_doubt"] is True


def test_an_error_status_counts_though_its_answer_is_cut(stage, raw_server):
    """A refusal is certain with its first line; the rest only explains it."""

    def refuse(connection, _):
        read_request(connection)
        connection.sendall(b"HTTP/1.1 422 No\r\nContent-Length: 99\r\n\r\nbad fie")

    error = error_of(stage, raw_server(refuse), Permanent, body={})
    assert (error.code, error.details["body"]) == ("http-422", "bad fie")


def test_a_stopping_service_does_not_wait_for_the_answer(stage, raw_server):
    """The attempt ends before its deadline, and what the receiver did is left to a person."""

    def stop_the_service(connection, stop):
        read_request(connection)
        context.stopping.set()
        stop.wait()

    url = raw_server(stop_the_service)
    context = stage.context(config_of(url))
    with pytest.raises(OutcomeUnknown) as raised:
        hook.run(params_of(url, body={}, timeout="600s"), context)
    assert raised.value.code == "interrupted"


# The age of the key


@pytest.mark.parametrize("age", [61, -5])
def test_outside_the_window_a_doubtful_end_is_not_repeated(stage, rude_url, age):
    """When the receiver may have forgotten, or the clock was set back, a person decides."""
    error_of(stage, rude_url(_then_close), OutcomeUnknown, body={}, age=age, config=WINDOW)


def test_a_repeat_is_sent_only_while_the_receiver_remembers(stage, receiver):
    """In doubt it goes out within the window only; without a doubt, at any age."""
    error = error_of(stage, receiver.url, OutcomeUnknown, age=61, in_doubt=True, config=WINDOW)
    assert "no longer promises" in error.summary
    assert not receiver.seen
    call(stage, receiver.url, age=5, in_doubt=True, config=WINDOW)
    call(stage, receiver.url, age=9999, config=WINDOW)
    assert len(receiver.seen) == 2


def test_a_repeat_is_over_before_the_receiver_forgets(stage, rude_url):
    """A retry that drags on past the window would arrive as a new call, so it is cut off."""
    more = {"age": 30, "in_doubt": True, "timeout": "90s"}
    error = error_of(stage, rude_url(_then_silence), Transient, body={}, config=WINDOW, **more)
    assert error.code == "timeout"
    assert error.details["duration_ms"] < 90_000


@pytest.mark.parametrize(
    ("age", "error"), [(5, Transient), (61, OutcomeUnknown), (-1, OutcomeUnknown)]
)
def test_a_crash_is_repeated_only_while_the_receiver_remembers(stage, unused_url, age, error):
    """After a crash no answer is known: only the receiver's memory makes a repeat safe."""
    config = config_of(unused_url, **WINDOW)
    with pytest.raises(error) as raised:
        hook.probe(params_of(unused_url), stage.context(config, age=age))
    assert raised.value.code == "interrupted"
