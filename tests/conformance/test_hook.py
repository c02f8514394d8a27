"""What a call sends, what an answer with a status means, and what of it is kept."""

import json
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpcore
import pytest

from spoold import __version__
from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from tests.conformance.conftest import TOKEN
from tests.conformance.hooks import call, error_of

_SECRET = {"env": "HOOK_TOKEN"}


# What is sent


def test_a_call_carries_the_key_the_token_and_compact_json(stage, receiver):
    """The receiver gets what was approved, who sends it, and the key that marks a repeat."""
    body = {"message": "Grüße", "deliver": False, "n": 1.5}
    result = call(stage, receiver.url, body=body, config={"token": _SECRET}, headers={"X-A": "b"})
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
    call(stage, receiver.url, body={"message": "m" * 200_000})
    (sent,) = writes
    assert sent.startswith(b"POST ")
    assert sent.endswith(b'mm"}')


def test_a_null_body_sends_no_bytes(stage, receiver):
    """No body means none: neither `null` nor a content type."""
    call(stage, receiver.url, method="DELETE")
    (seen,) = receiver.seen
    assert (seen.method, seen.body, seen.header("content-type")) == ("DELETE", b"", None)


def test_a_repeat_is_the_same_to_the_byte(stage, receiver):
    """A receiver that compares the whole request recognises the retry, whatever the key order."""
    call(stage, receiver.url, body={"a": 1, "b": {"c": 2, "d": 3}})
    call(stage, receiver.url, body={"b": {"d": 3, "c": 2}, "a": 1})
    first, second = receiver.seen
    assert first == second


def test_the_environment_does_not_redirect_a_call(stage, receiver, unused_url, monkeypatch):
    """A proxy in the environment, which no approver saw, gets nothing."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, unused_url)
    assert call(stage, receiver.url).code == "http-200"
    assert len(receiver.seen) == 1


def test_netrc_adds_no_password(stage, receiver, tmp_path, monkeypatch):
    """A password in ~/.netrc is not sent along."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    call(stage, receiver.url)
    assert receiver.seen[0].header("authorization") is None


@pytest.mark.parametrize("token", ["", "s3 cr3t", "s3\r\nX-Evil: 1", "s3cr3t\n", "s3crét"])
def test_a_token_that_no_header_can_carry_is_not_sent(stage, receiver, token):
    """A damaged secret ends before the call, can be mended, and is not shown."""
    stage.secrets["HOOK_TOKEN"] = token
    error = error_of(stage, receiver.url, Transient, config={"token": _SECRET})
    assert error.code == "secret-unusable"
    assert not receiver.seen
    assert not token or token.strip() not in str(error)


# What the answer means


@pytest.mark.parametrize(
    ("status", "dialect", "body", "words"),
    [
        *((status, None, b"", "does not say that the work is done") for status in
          (200, 201, 202, 204)),
        (200, "plain", b'{"ok": false}', "ok=false"),
        (200, "plain", b'{"ok": true, "completion": {"status": "error"}}', "ended with 'error'"),
    ],
)  # fmt: skip
def test_a_good_status_promises_no_more_than_is_known(
    stage, receiver, status, dialect, body, words
):
    """That it was taken is not called done, and a body that speaks of a failure is quoted."""
    receiver.status, receiver.body = status, body
    result = call(stage, receiver.url, config={"dialect": dialect})
    assert result.code == f"http-{status}"
    assert "took it" in result.summary
    assert words in result.summary


@pytest.mark.parametrize(
    ("error", "statuses"),
    [
        (Transient, [408, 409, 425, 429, 500, 502, 503, 507, 521, 523, 525, 529, 530, 555]),
        (Permanent, [400, 401, 403, 404, 405, 413, 418, 422, 300, 303, 304, 501, 505, 508, 511]),
        (OutcomeUnknown, [504, 520, 522, 524, 598, 599, 600, 999]),
    ],
)
def test_a_status_has_its_class(stage, receiver, error, statuses):
    """Only a refusal that may pass is repeated; a lost answer is left to a person."""
    receiver.body = b""
    for receiver.status in statuses:
        assert error_of(stage, receiver.url, error).details["status"] == receiver.status


def test_a_lost_answer_is_repeated_while_the_receiver_remembers(stage, receiver):
    """Within the window a 504 may be repeated, and the attempt says that it is in doubt."""
    receiver.status = 504
    error = error_of(stage, receiver.url, Transient, age=5, config={"idempotency_window": "5m"})
    assert error.details["in_doubt"] is True


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("7", 7, 7), ("-7", 0, 0), ("0", 0, 0), ("999999999", 86400, 86400),
     (600, 400, 600), (-600, 0, 0), (9e6, 86400, 86400)],
)  # fmt: skip
def test_retry_after_is_honoured_within_reason(stage, receiver, value, low, high):
    """The receiver's word counts in seconds or as a date, but cannot park a request for years."""
    if not isinstance(value, str):
        value = format_datetime(datetime.now(UTC) + timedelta(seconds=value), usegmt=True)
    receiver.status, receiver.headers = 503, {"Retry-After": value}
    assert low <= error_of(stage, receiver.url, Transient).retry_after <= high


@pytest.mark.parametrize(
    "value", ["soon", "nan", "1e9", "Fri, 99 Foo 2026", "", "9999999999 Jan 2026 00:00:00 GMT"]
)
def test_a_retry_after_that_is_none_leaves_the_wait_to_the_backoff(stage, receiver, value):
    """Nonsense in a header neither fails the attempt nor delays it."""
    receiver.status, receiver.headers = 429, {"Retry-After": value}
    assert error_of(stage, receiver.url, Transient).retry_after is None


def test_a_redirect_is_not_followed(stage, receiver):
    """An approved address is the only one called; where it wanted us to go is named, no more."""
    receiver.status = 307
    receiver.headers = {"Location": f"{receiver.url}/{'x' * 500}?token=theirs"}
    error = error_of(stage, receiver.url, Permanent)
    assert len(receiver.seen) == 1
    assert f"to {receiver.url}" in error.summary
    assert "redirects are not followed" in error.summary
    assert len(error.summary) < 400
    assert "theirs" not in f"{error} {error.details}"


# What is kept


@pytest.mark.parametrize("status", [200, 400])
def test_a_huge_answer_is_cut(stage, receiver, status):
    """At most `max_answer` bytes are read, whatever the receiver goes on to send."""
    receiver.status, receiver.body = status, b"y" * 30_000_000
    if status == 200:
        data = call(stage, receiver.url, config={"max_answer": 1000}).details
    else:
        data = error_of(stage, receiver.url, Permanent, config={"max_answer": 1000}).details
    assert (data["body"], data["truncated"]) == ("y" * 1000, True)


@pytest.mark.parametrize(
    ("body", "kept"),
    [(b"", ""), (b'{"a": [1, "\\u001b"]}', {"a": [1, "\x1b"]}), (b'{"a": NaN}', '{"a": NaN}'),
     (b"<p>\xff\x1b[31m\r\n", "<p>\ufffd\\x1b[31m\\r\n"),
     (b"[" * 60 + b"]" * 60, "[" * 60 + "]" * 60)],
)  # fmt: skip
def test_an_answer_is_kept_as_data_or_as_text_that_is_safe_to_show(stage, receiver, body, kept):
    """JSON stays JSON unless it nests absurdly; anything else becomes text without controls."""
    receiver.body = body
    assert call(stage, receiver.url).details["body"] == kept


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
        result = call(stage, receiver.url, config=config)
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
