"""The hook kind against real receivers: honest ones, and such as drip, reset, lie and repeat."""

import json
import socket
import struct
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpcore
import pytest
from pydantic import ValidationError

from spoold import __version__
from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import hook
from tests.conformance.conftest import TOKEN

_SECRET = {"env": "HOOK_TOKEN"}


def _config(url: str, **more: Any) -> hook.Config:
    return hook.Config.model_validate({"url": url, **more})


def _params(url: str, **more: Any) -> hook.Params:
    return hook.Params.model_validate({"url": url, "timeout": "9s", **more})


def _run(stage, url: str, *, age=0.0, in_doubt=False, config: Any = None, **params: Any):
    made = _config(url, **(config or {}))
    return hook.run(_params(url, **params), stage.context(made, age=age, in_doubt=in_doubt))


# What is sent


def test_a_call_carries_the_key_the_token_and_compact_json(stage, receiver):
    """The receiver gets what was approved, who sends it, and the key that marks a repeat."""
    body = {"message": "Grüße", "deliver": False, "n": 1.5}
    result = _run(stage, receiver.url, body=body, config={"token": _SECRET}, headers={"X-A": "b"})
    (seen,) = receiver.seen
    assert (seen.method, seen.path) == ("POST", "/hooks/agent")
    assert seen.body == '{"deliver":false,"message":"Grüße","n":1.5}'.encode()
    assert seen.header("authorization") == f"Bearer {TOKEN}"
    assert seen.header("idempotency-key") == stage.dispatch_id
    assert seen.header("content-type") == "application/json"
    assert seen.header("user-agent") == f"spoold/{__version__}"
    assert seen.header("x-a") == "b"
    assert result.code == "http-200"
    assert result.details["status"] == 200
    assert result.details["body"] == {"ok": True}


def test_a_call_leaves_in_one_piece(stage, receiver, monkeypatch):
    """One write carries head and body, so that no kill can send the one without the other."""
    writes = []
    real = httpcore.AnyIOBackend.connect_tcp

    async def connect(self, *args, **options):
        stream = await real(self, *args, **options)
        send = stream.write

        async def counted(data, *more):
            writes.append(data)
            await send(data, *more)

        stream.write = counted
        return stream

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
    _run(stage, receiver.url, body={"message": "m" * 200_000})
    (sent,) = writes
    assert sent.startswith(b"POST ")
    assert sent.endswith(b'mm"}')


def test_a_null_body_sends_no_bytes(stage, receiver):
    """No body means none: neither `null` nor a content type."""
    _run(stage, receiver.url, method="DELETE")
    (seen,) = receiver.seen
    assert (seen.method, seen.body, seen.header("content-type")) == ("DELETE", b"", None)


def test_a_repeat_is_the_same_to_the_byte(stage, receiver):
    """A receiver that compares the whole request recognises the retry, whatever the key order."""
    _run(stage, receiver.url, body={"a": 1, "b": {"c": 2, "d": 3}})
    _run(stage, receiver.url, body={"b": {"d": 3, "c": 2}, "a": 1})
    first, second = receiver.seen
    assert first == second


def test_the_environment_does_not_redirect_a_call(stage, receiver, unused_url, monkeypatch):
    """A proxy in the environment, which no approver saw, gets nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused_url)
    assert _run(stage, receiver.url).code == "http-200"
    assert len(receiver.seen) == 1


def test_netrc_adds_no_password(stage, receiver, tmp_path, monkeypatch):
    """A password in ~/.netrc is not sent along."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    _run(stage, receiver.url)
    assert receiver.seen[0].header("authorization") is None


@pytest.mark.parametrize("token", ["", "s3 cr3t", "s3\r\nX-Evil: 1", "s3cr3t\n", "s3crét"])
def test_a_token_that_no_header_can_carry_is_not_sent(stage, receiver, token):
    """A damaged secret ends before the call, can be mended, and is not shown."""
    stage.secrets["HOOK_TOKEN"] = token
    with pytest.raises(Transient) as raised:
        _run(stage, receiver.url, config={"token": _SECRET})
    assert raised.value.code == "secret-unusable"
    assert not receiver.seen
    assert not token or token.strip() not in str(raised.value)


# What the answer means


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_result_that_promises_no_more_than_it_knows(stage, receiver, status):
    """The receiver took it; a person is not told that it is done."""
    receiver.status, receiver.body = status, b""
    result = _run(stage, receiver.url)
    assert result.code == f"http-{status}"
    assert "took it" in result.summary
    assert "does not say that the work is done" in result.summary


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ok": False}, "ok=false"),
        ({"ok": True, "completion": {"status": "error"}}, "ended with 'error'"),
    ],
)
def test_a_good_status_does_not_hide_a_bad_answer(stage, receiver, body, words):
    """A 200 of whatever receiver whose body says that the work failed is reported so."""
    receiver.body = json.dumps(body).encode()
    assert words in _run(stage, receiver.url, config={"dialect": "plain"}).summary


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, Transient) for status in (408, 409, 425, 429, 500, 502, 503)),
        *((status, Transient) for status in (507, 521, 523, 525, 529, 530, 555)),
        *((status, Permanent) for status in (400, 401, 403, 404, 405, 413, 418, 422)),
        *((status, Permanent) for status in (300, 303, 304, 501, 505, 508, 511)),
        *((status, OutcomeUnknown) for status in (504, 520, 522, 524, 598, 599, 600, 999)),
    ],
)
def test_a_status_has_its_class(stage, receiver, status, error):
    """Only a refusal that may pass is repeated; a lost answer is left to a person."""
    receiver.status, receiver.body = status, b""
    with pytest.raises(ExecutionError) as raised:
        _run(stage, receiver.url)
    assert type(raised.value) is error
    assert raised.value.details["status"] == status


def test_a_lost_answer_is_repeated_while_the_receiver_remembers(stage, receiver):
    """Within the window a 504 may be repeated, and the attempt says that it is in doubt."""
    receiver.status = 504
    with pytest.raises(Transient) as raised:
        _run(stage, receiver.url, age=5, config={"idempotency_window": "5m"})
    assert raised.value.details["in_doubt"] is True


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("7", 7, 7),
        ("-7", 0, 0),
        ("0", 0, 0),
        ("999999999", 86400, 86400),
        (600, 500, 600),
        (-600, 0, 0),
        (9e6, 86400, 86400),
    ],
)
def test_retry_after_is_honoured_within_reason(stage, receiver, value, low, high):
    """The receiver's wish counts in either form, but it cannot park a request for years."""
    wish = value if isinstance(value, str) else _date(value)
    receiver.status, receiver.headers = 503, {"Retry-After": wish}
    with pytest.raises(Transient) as raised:
        _run(stage, receiver.url)
    assert low <= raised.value.retry_after <= high


@pytest.mark.parametrize(
    "value", ["soon", "nan", "1e9", "Fri, 99 Foo 2026", "", "9999999999 Jan 2026 00:00:00 GMT"]
)
def test_a_retry_after_that_is_none_leaves_the_wait_to_the_backoff(stage, receiver, value):
    """Nonsense in a header neither fails the attempt nor delays it."""
    receiver.status, receiver.headers = 429, {"Retry-After": value}
    with pytest.raises(Transient) as raised:
        _run(stage, receiver.url)
    assert raised.value.retry_after is None


def test_a_redirect_is_not_followed(stage, receiver):
    """An approved address is the only one called; where it wanted us to go is named, no more."""
    receiver.status = 307
    receiver.headers = {"Location": f"{receiver.url}/{'x' * 500}?token=theirs"}
    with pytest.raises(Permanent, match="redirects are not followed") as raised:
        _run(stage, receiver.url)
    assert len(receiver.seen) == 1
    assert receiver.url in raised.value.summary
    assert len(raised.value.summary) < 400
    assert "theirs" not in f"{raised.value} {raised.value.details}"


# What is kept


@pytest.mark.parametrize("status", [200, 400])
def test_a_huge_answer_is_cut_and_costs_no_time(stage, receiver, status):
    """At most `max_answer` bytes are read, whatever the receiver goes on to send."""
    receiver.status, receiver.body = status, b"y" * 30_000_000
    started = time.monotonic()
    try:
        data = _run(stage, receiver.url, config={"max_answer": 1000}, timeout="5s").details
    except Permanent as error:
        data = error.details
    assert (data["body"], data["truncated"]) == ("y" * 1000, True)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"", ""),
        (b'{"a": [1, "\\u001b"]}', {"a": [1, "\x1b"]}),
        (b"<p>\xff\x1b[31m\r\n", "<p>\ufffd\\x1b[31m\\r\n"),
        (b"[" * 60 + b"]" * 60, "[" * 60 + "]" * 60),
        (b'{"a": NaN}', '{"a": NaN}'),
    ],
)
def test_an_answer_is_kept_as_data_or_as_text_that_is_safe_to_show(stage, receiver, body, kept):
    """JSON stays JSON unless it nests absurdly; anything else becomes text without controls."""
    receiver.body = body
    assert _run(stage, receiver.url).details["body"] == kept


@pytest.mark.parametrize("status", [200, 307, 400, 503])
@pytest.mark.parametrize("shape", ["json", "text", "key", "cut"])
def test_the_token_is_in_nothing_that_is_kept(stage, receiver, status, shape):
    """A receiver that echoes the secret does not get it into a request file, a log or an error."""
    receiver.status = status
    receiver.headers = {
        "Content-Type": f"text/{TOKEN}",
        "Location": f"/{TOKEN}",
        "Retry-After": TOKEN,
    }
    receiver.body = {
        "json": json.dumps({"auth": [f"Bearer {TOKEN}"]}).encode(),
        "text": f"no such token: {TOKEN}".encode(),
        "key": json.dumps({TOKEN: 1}).encode(),
        "cut": b"1234567890" + TOKEN.encode() * 2,
    }[shape]
    config = {"token": _SECRET, "max_answer": 10 + len(TOKEN) + 7 if shape == "cut" else 65536}
    try:
        result = _run(stage, receiver.url, config=config)
        kept = f"{result} {result.summary}"
        data = result.details
    except ExecutionError as error:
        kept = "".join(traceback.format_exception(error)) + repr(error)
        data = error.details
    assert receiver.seen[0].header("authorization") == f"Bearer {TOKEN}"
    assert "[redacted]" in json.dumps(data)
    for form in (TOKEN, repr(TOKEN)[1:-1], json.dumps(TOKEN)[1:-1]):
        assert form not in kept + json.dumps(data)
    assert TOKEN[:7] not in kept + json.dumps(data)


# What goes wrong on the way


def _read_request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got or not got.endswith(b"}"):
        got += connection.recv(65536)
    return got


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_refused_connection_had_no_effect(stage, unused_url):
    """Where nobody listens, nothing happened, so it may be repeated whatever the key's age."""
    with pytest.raises(Transient, match="Connect call failed") as raised:
        _run(stage, unused_url, age=9999, body={})
    assert raised.value.details["sent"] == "nothing"
    assert "in_doubt" not in raised.value.details


@pytest.mark.parametrize("host", ["does-not-exist.invalid", "x" * 70 + ".invalid"])
def test_a_name_that_does_not_resolve_had_no_effect(stage, host):
    """A failing resolver, or an impossible name, is a failure before anything was sent."""
    with pytest.raises(Transient):
        _run(stage, f"http://{host}/hooks/agent", body={}, timeout="5s")


def test_a_resolver_that_hangs_does_not_stretch_the_deadline(stage, monkeypatch):
    """The deadline holds although the resolver's thread cannot be stopped."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(4) or [])
    started = time.monotonic()
    with pytest.raises(Transient):
        _run(stage, "http://slow.invalid/", body={}, timeout="300ms")
    assert time.monotonic() - started < 3


def test_a_failed_handshake_had_no_effect(stage, receiver):
    """Where TLS fails, the request was never sent."""
    with pytest.raises(Transient) as raised:
        _run(stage, receiver.url.replace("http:", "https:"), body={})
    assert raised.value.details["sent"] == "nothing"
    assert not receiver.seen


def test_a_connection_that_is_never_answered_had_no_effect(stage, raw_server):
    """A TLS handshake that hangs ends at the deadline, before anything was sent."""
    url = raw_server(lambda connection, stop: stop.wait(5))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(Transient) as raised:
        _run(stage, url.replace("http:", "https:"), body={}, timeout="500ms")
    assert raised.value.code == "connect-timeout"
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1  # the server's end


def test_a_reset_in_the_middle_of_the_request_had_no_effect(stage, raw_server):
    """A receiver that went away before it had the whole request cannot have acted on it."""

    def rude(connection, _):
        connection.recv(1000)
        time.sleep(0.2)
        _reset(connection)

    url = raw_server(rude, SO_RCVBUF=4096)
    with pytest.raises(Transient) as raised:
        _run(stage, url, body="x" * 30_000_000, config={"max_body": 40_000_000}, timeout="5s")
    assert (raised.value.code, raised.value.details["sent"]) == ("not-sent", "part")


def test_a_deadline_in_the_middle_of_the_request_is_in_doubt(stage, raw_server):
    """What the kernel still delivers of a request that we gave up is not known."""
    url = raw_server(lambda connection, stop: stop.wait(5), SO_RCVBUF=4096)
    with pytest.raises(OutcomeUnknown) as raised:
        _run(
            stage,
            url,
            body="x" * 30_000_000,
            config={"max_body": 40_000_000},
            timeout="500ms",
        )
    assert (raised.value.code, raised.value.details["sent"]) == ("timeout", "part")


def _then_reset(connection, _):
    _read_request(connection)
    _reset(connection)


def _then_close(connection, _):
    _read_request(connection)


def _then_silence(connection, stop):
    _read_request(connection)
    stop.wait(5)


def _then_echo(connection, _):
    lines = _read_request(connection).split(b"\r\n")
    connection.sendall(b"".join(line for line in lines if b"Bearer" in line) + b"\r\n\r\n")


def _then_cut_answer(connection, _):
    _read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")


def _then_drip_head(connection, stop):
    _read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.wait(0.05):
        connection.sendall(b"X-More: 1\r\n")


def _then_drip_body(connection, stop):
    _read_request(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n")
    while not stop.wait(0.05):
        connection.sendall(b" ")


def _then_upgrade(connection, _):
    _read_request(connection)
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


@pytest.mark.parametrize(("rude", "code"), _DOUBTFUL)
def test_an_answer_that_does_not_come_is_left_to_a_person(stage, raw_server, rude, code):
    """Once the request is out, silence, a reset or nonsense may hide that it was done."""
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown) as raised:
        _run(stage, raw_server(rude), body={}, config={"token": _SECRET}, timeout="500ms")
    assert raised.value.code == code
    assert time.monotonic() - started < 3
    assert TOKEN[:7] not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(("rude", "code"), _DOUBTFUL)
def test_within_the_window_the_same_is_repeated(stage, raw_server, rude, code):
    """A receiver that promises to know the key again makes a doubtful end safe to repeat."""
    config = {"idempotency_window": "60s"}
    with pytest.raises(Transient) as raised:
        _run(stage, raw_server(rude), body={}, age=2, config=config, timeout="500ms")
    assert raised.value.code == code
    assert raised.value.details["in_doubt"] is True


def test_an_error_status_counts_though_its_answer_is_cut(stage, raw_server):
    """A refusal is certain with its first line; the rest only explains it."""

    def refuse(connection, _):
        _read_request(connection)
        connection.sendall(b"HTTP/1.1 422 No\r\nContent-Length: 99\r\n\r\nbad fie")

    with pytest.raises(Permanent) as raised:
        _run(stage, raw_server(refuse), body={})
    assert (raised.value.code, raised.value.details["body"]) == ("http-422", "bad fie")


def test_a_stopping_service_does_not_wait_for_the_answer(stage, raw_server):
    """The attempt ends at once, and what the receiver did is left to a person."""

    def stop_the_service(connection, stop):
        _read_request(connection)
        context.stopping.set()
        stop.wait(5)

    url = raw_server(stop_the_service)
    context = stage.context(_config(url))
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown) as raised:
        hook.run(_params(url, body={}, timeout="9s"), context)
    assert raised.value.code == "interrupted"
    assert time.monotonic() - started < 3


# The age of the key


@pytest.mark.parametrize("age", [61, -5])
def test_outside_the_window_a_doubtful_end_is_not_repeated(stage, raw_server, age):
    """When the receiver may have forgotten, or the clock was set back, a person decides."""
    with pytest.raises(OutcomeUnknown):
        _run(stage, raw_server(_then_close), body={}, age=age, config={"idempotency_window": "60s"})


def test_a_doubtful_attempt_is_not_repeated_too_late(stage, receiver):
    """A retry that waited longer than the receiver remembers is not sent at all."""
    with pytest.raises(OutcomeUnknown, match="no longer promises"):
        _run(stage, receiver.url, age=61, in_doubt=True, config={"idempotency_window": "60s"})
    assert not receiver.seen


def test_a_doubtful_attempt_is_repeated_in_time(stage, receiver):
    """While the receiver remembers, the retry goes out."""
    _run(stage, receiver.url, age=5, in_doubt=True, config={"idempotency_window": "60s"})
    assert len(receiver.seen) == 1


def test_a_repeat_is_over_before_the_receiver_forgets(stage, raw_server):
    """A retry that drags on past the window would arrive as a new call, so it is cut off."""
    started = time.monotonic()
    with pytest.raises(OutcomeUnknown):
        _run(
            stage,
            raw_server(_then_silence),
            body={},
            timeout="9s",
            age=59.5,
            in_doubt=True,
            config={"idempotency_window": "60s"},
        )
    assert time.monotonic() - started < 5


def test_an_old_key_without_doubt_is_sent(stage, receiver):
    """A call that certainly had no effect yet is repeated at any age."""
    _run(stage, receiver.url, age=9999, config={"idempotency_window": "60s"})
    assert len(receiver.seen) == 1


@pytest.mark.parametrize(
    ("age", "error"), [(5, Transient), (61, OutcomeUnknown), (-1, OutcomeUnknown)]
)
def test_a_crash_is_repeated_only_while_the_receiver_remembers(stage, unused_url, age, error):
    """After a crash no answer is known: only the receiver's memory makes a repeat safe."""
    config = _config(unused_url, idempotency_window="60s")
    with pytest.raises(error) as raised:
        hook.probe(_params(unused_url), stage.context(config, age=age))
    assert raised.value.code == "interrupted"


# What is refused before a person sees it

_ENTRIES = ["http://a.example:8080/hooks/agent", "https://b.example/hooks/", "http://c.example"]


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example:8080/hooks/agent",
        "http://A.EXAMPLE:8080/hooks/agent",
        "https://b.example/hooks/",
        "https://b.example:443/hooks/x/y?z=%2F..%2F",
        "HTTPS://b.example/hooks/~x@y",
        "http://c.example/",
        "http://c.example:80",
    ],
)
def test_an_address_on_the_list_is_accepted(url):
    """An entry allows itself, and all below it when it ends in a slash."""
    hook.check(_params(url), hook.Config(urls=_ENTRIES, dialect="plain"))


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example:8080/hooks/agent",
        "http://a.example/hooks/agent",
        "http://a.example:8080/hooks/agent/",
        "http://a.example:8080/hooks/agent?x=1",
        "http://a.example:8080/hooks",
        "https://b.example:8443/hooks/x",
        "https://b.example/hooks",
        "https://b.example/hooksx",
        "https://b.example.evil.example/hooks/x",
        "https://b.example@evil.example/hooks/x",
        "https://@b.example/hooks/x",
        "https://evil.example#@b.example/hooks/x",
        "https://evil.example\\@b.example/hooks/x",
        "https://b.example/hooks/x#y",
        "https://b.example/hooks/x y",
        "https://b.example/hooks/x\ny",
        "https://b.example/hooks/x\x7f",
        "https://b.example/hooks/ä",
        "https://b.example/hooks/../admin",
        "https://b.example/hooks/./x",
        "https://b.example/hooks/..",
        "https://b.example/hooks/..;/admin",
        "https://b.example/hooks/%2e%2E/admin",
        "https://b.example/hooks/%252e%252e/admin",
        "https://b.example/hooks/..%2fadmin",
        "https://b.example/hooks/..%5cadmin",
        "https://b.example/hooks/..\\admin",
        "https://b.example/hooks/x?token=1",
        "https://b.example/hooks/x?a=b&Access_Token=1",
        "https://b.example/hooks/x?%74oken=1",
        "https://b.example/hooks/x?secret",
        "http://c.example/x",
        "ftp://b.example/hooks/x",
        "file:///hooks/x",
        "//b.example/hooks/x",
        "http:/b.example/hooks/x",
        "https://b.example:99999/hooks/x",
        "https://b.example:0/hooks/x",
        "https://b.example:x/hooks/x",
        "https://b.example/hooks/" + "x" * 5000,
        "",
    ],
)
def test_any_other_address_is_refused(url):
    """No spelling of an address reaches what the list does not name, or hides a secret in it."""
    with pytest.raises(ValueError, match=r"url|begin") as raised:
        hook.check(_params(url), hook.Config(urls=_ENTRIES))
    assert "\n" not in str(raised.value)


def test_the_refusal_of_a_token_says_why():
    """A person who puts the token into the address learns where it belongs."""
    with pytest.raises(ValueError, match=r"OpenClaw refuses it.*`token`"):
        hook.check(_params("https://b.example/hooks/?token=x"), hook.Config(urls=_ENTRIES))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer x"),
        ("COOKIE", "x"),
        ("Host", "evil"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "upgrade"),
        ("Idempotency-Key", "x"),
        ("X-OpenClaw-Token", "x"),
        ("Proxy-Authorization", "x"),
        ("Expect", "100-continue"),
        ("X-A", "b\r\nX-Evil: 1"),
        ("X-A", "b\n"),
        ("X-A", " b"),
        ("X-A", "b\0"),
        ("X-A", "ä"),
        ("X A", "b"),
        ("X-A:", "b"),
        ("", "b"),
        ("X-Ä", "b"),
    ],
)
def test_a_header_that_is_ours_or_no_header_is_refused(unused_url, name, value):
    """A route can neither impersonate, nor repeat a call unseen, nor smuggle a second header."""
    with pytest.raises(ValueError, match="header"):
        hook.check(_params(unused_url, headers={name: value}), _config(unused_url))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"body": "x" * 99}, "101 bytes"),
        ({"body": {"n": 2**80}}, "no JSON"),
        ({"body": "\ud800"}, "no JSON"),
        ({"method": "GET", "body": {}}, "carries no body"),
    ],
)
def test_a_body_that_cannot_be_sent_is_refused(unused_url, more, words):
    """A body that is too large, no JSON or out of place never waits for an approval."""
    with pytest.raises(ValueError, match=words):
        hook.check(_params(unused_url, **more), _config(unused_url, max_body=100))


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"url": "http://a@h/"},
        {"url": "http://h/?token=x"},
        {"urls": ["h/x"]},
        {"url": "http://h/", "timeout": "0s"},
        {"url": "http://h/", "timeout": 20},
        {"url": "http://h/", "method": "TRACE"},
        {"url": "http://h/", "token": "plain"},
    ],
)
def test_a_table_that_cannot_work_is_an_error_at_load(table):
    """A mistake in the configuration is found at start, not at the first call."""
    with pytest.raises(ValidationError):
        hook.Config.model_validate(table)
