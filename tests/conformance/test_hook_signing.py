"""Signed calls, checked as a receiver does, and what an answer may not give away."""

import base64
import json
import re
import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from spoold.errors import ExecutionError, Transient
from spoold.executors import hook
from spoold.executors.hook.answer import body_of
from spoold.executors.hook.signing import signed, signing_key, spellings
from spoold.text import Redactor

#: With every character that somebody escapes.
OLD = "whsec_" + base64.b64encode(bytes.fromhex("fb" * 16 + "ff" * 16)).decode()
NEW = base64.b64encode(bytes(range(200, 224))).decode()


@pytest.fixture
def keys(stage) -> None:
    stage.secrets |= {"OLD": OLD, "NEW": NEW}


def _run(stage, url: str, *, config: Any = None, age: float = 0.0, **params: Any) -> Any:
    table = {"url": url, "signing": [{"env": "OLD"}, {"env": "NEW"}], "dialect": "plain"}
    made = hook.Config.model_validate({**table, **(config or {})})
    asked = hook.Params.model_validate({"url": url, "timeout": "9s", **params})
    hook.check(asked, made)
    return hook.run(asked, stage.context(made, age=age))


def _verify(secret: str, seen: Any, body: bytes | None = None) -> Any:
    headers = dict(seen.headers)
    data = seen.body if body is None else body
    return Webhook(secret).verify(data, headers, json_parse=bool(data))


def test_a_receiver_with_the_old_or_the_new_secret_accepts_a_call(stage, receiver, keys):
    """While both sign, each receiver finds its signature over the very bytes it got."""
    _run(stage, receiver.url, body={"b": "Grüße", "a": [1, 2.5, None]})
    (seen,) = receiver.seen
    for secret in (OLD, NEW):
        assert _verify(secret, seen) == {"b": "Grüße", "a": [1, 2.5, None]}
    assert seen.header("webhook-id") == stage.dispatch_id
    assert seen.header("webhook-signature").count("v1,") == 2


def test_a_receiver_refuses_what_was_changed_or_is_from_somebody_else(stage, receiver, keys):
    """A signature holds for these bytes, this id and this secret only."""
    _run(stage, receiver.url, body={"pay": 1})
    (seen,) = receiver.seen
    with pytest.raises(WebhookVerificationError):
        _verify(OLD, seen, b'{"pay":9}')
    with pytest.raises(WebhookVerificationError):
        _verify("whsec_" + base64.b64encode(secrets.token_bytes(24)).decode(), seen)
    seen.headers = [(k, "other" if k.lower() == "webhook-id" else v) for k, v in seen.headers]
    with pytest.raises(WebhookVerificationError):
        _verify(OLD, seen)


def test_a_signature_is_that_of_the_standard():
    """The example of the specification comes out to the letter."""
    at = datetime.fromtimestamp(1614265330, UTC)
    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signed([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}') == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_repeat_has_the_same_id_and_body_and_a_fresh_time(stage, receiver, keys):
    """A receiver recognises the repeat by its id, and does not refuse it as too old."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    for age in (7200.0, 3600.0):
        _run(stage, receiver.url, body={"a": 1}, age=age)
    first, second = receiver.seen
    assert (first.header("webhook-id"), first.body) == (second.header("webhook-id"), second.body)
    for seen in receiver.seen:
        at = datetime.fromtimestamp(int(seen.header("webhook-timestamp")), UTC)
        assert before <= at <= datetime.now(UTC)
        _verify(NEW, seen)


def test_a_call_without_a_body_is_signed_too(stage, receiver, keys):
    """No body is signed as no bytes."""
    _run(stage, receiver.url, method="DELETE")
    _verify(OLD, receiver.seen[0])


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "plain-text-password", "hunter2hunter2", "schlüssel", "whsec_whsec_" + NEW,
     OLD + "!", OLD[:20] + "\n" + OLD[20:], OLD.replace("+", "-").replace("/", "_"),
     base64.b64encode(b"x" * 23).decode(), base64.b64encode(b"x" * 65).decode()],
)  # fmt: skip
def test_a_secret_that_is_none_sends_nothing_and_is_not_shown(stage, receiver, keys, secret):
    """A damaged secret can be mended; until then nothing goes out that nobody could verify."""
    stage.secrets["NEW"] = secret
    with pytest.raises(Transient) as raised:
        _run(stage, receiver.url, body={})
    assert raised.value.code == "secret-unusable"
    assert not receiver.seen
    assert len(secret) < 9 or secret[-8:] not in f"{raised.value} {raised.value.details}"


def test_a_missing_secret_sends_nothing(stage, receiver, keys):
    """Where one of two is missing, the other alone does not sign."""
    del stage.secrets["OLD"]
    with pytest.raises(Transient):
        _run(stage, receiver.url, body={})
    assert not receiver.seen


@pytest.mark.parametrize("name", ["webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE"])
def test_a_route_cannot_sign_by_itself(stage, receiver, keys, name):
    """Where calls are signed, no route says something else beside it; elsewhere it may."""
    with pytest.raises(ValueError, match="set by spoold"):
        _run(stage, receiver.url, headers={name: "v1,x"})
    _run(stage, receiver.url, headers={name: "v1,x"}, config={"signing": []})
    assert receiver.seen[0].header(name.lower()) == "v1,x"


# What an answer may not give away

_SPELLINGS = {
    "as it is": lambda text: text,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON of PHP": lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
    "JSON of .NET": lambda text: text.replace("+", r"\u002B").replace("/", r"\u002f"),
    "JSON, all of it": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "URL": lambda text: quote(text, safe=""),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "base64 of a line": lambda text: base64.b64encode(text.encode() + b"\n").decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 in JSON of PHP": lambda text: (
        base64.b64encode(text.encode()).decode().replace("/", r"\/")
    ),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()), safe=""),
    "hex": lambda text: text.encode().hex(),
    "hex, large": lambda text: text.encode().hex().upper(),
    "URL, small": lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
}
_TOKEN = 'T0k/en+with"odd%chars=\\x'


@pytest.mark.parametrize("spelling", _SPELLINGS)
@pytest.mark.parametrize("secret", [_TOKEN, OLD.removeprefix("whsec_").rstrip("="), "schlüssel-€"])
def test_a_secret_is_taken_out_however_it_is_spelled(spelling, secret):
    """Neither base64 and hex nor JSON's or a URL's way to write a character hides a secret."""
    spelled = _SPELLINGS[spelling](secret)
    kept = Redactor([secret[:9], "unrelated", secret]).text(f"<a {spelled} b {spelled}>")
    assert kept == "<a [redacted] b [redacted]>"


@pytest.mark.parametrize("to", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", [b"", b"a", b"me:", b"user:"])
@pytest.mark.parametrize("after", [b"", b"x", b"xyz", b"\n"])
def test_what_is_encoded_together_with_a_secret_shows_none_of_it(to, before, after):
    """Wherever a secret stands in what base64 has encoded, two of its characters remain at most."""
    secret = b"q7" + bytes(range(33, 80)) + b"?>?>~~"
    left = Redactor([secret.decode()]).text(to(before + secret + after).decode())
    head, _, tail = left.partition("[redacted]")
    assert "[redacted]" in left
    assert len(head) <= -(-len(before) * 8 // 6), left
    assert len(tail.rstrip("=")) <= -(-len(after) * 8 // 6) + 1, left


def test_the_bytes_of_a_signing_secret_are_taken_out_in_hex():
    """A receiver that reports the decoded key in another encoding gives nothing away."""
    key = signing_key(OLD)
    redact = Redactor(spellings(OLD))
    for spelled in (key.hex(), key.hex().upper(), base64.urlsafe_b64encode(key).decode()):
        assert redact.text(f"<{spelled}>") == "<[redacted]>"


@pytest.mark.parametrize("spelling", sorted(_SPELLINGS.keys() - {"base64 of a line"}))
def test_no_part_of_a_secret_survives_a_cut(spelling):
    """Wherever an answer is cut off, also within an escape, nothing of a secret is left."""
    spelled = _SPELLINGS[spelling](_TOKEN)
    redact = Redactor([_TOKEN, "zzz"])
    for end in range(len(_SPELLINGS[spelling](_TOKEN[0])), len(spelled)):
        kept = body_of(f"no: {spelled[:end]}".encode(), redact, cut=True)
        assert kept in ("no: ", "no: [redacted]"), (end, kept)


@pytest.mark.parametrize("token", ["%25%41", "\\\\a\\u0041", "aaab", "ab%61ab"])
def test_a_secret_that_looks_like_an_escape_is_taken_out(token):
    """A secret is also recognised by its letters where these could be read as an escape."""
    assert Redactor([token]).text(f"x {token} y") == "x [redacted] y"
    for end in range(1, len(token)):
        assert body_of(f"x {token[:end]}".encode(), Redactor([token]), cut=True) == "x "


def test_what_only_looks_like_a_secret_is_kept():
    """An answer is not emptied because it begins like a secret."""
    redact = Redactor(["secret-1", ""])
    assert redact.text("secret-2 sec") == "secret-2 sec"
    assert body_of(b"secret-2 tail", redact, cut=True) == "secret-2 tail"
    assert body_of(b'{"n": 17, "f": 1.5, "t": true, "z": null}', redact, cut=False) == {
        "n": 17,
        "f": 1.5,
        "t": True,
        "z": None,
    }


def test_a_secret_of_digits_is_no_number_either():
    """A secret that a receiver repeats as a number is taken out as well."""
    assert body_of(b'{"a": [20261121, 1]}', Redactor(["20261121"]), cut=False) == {
        "a": ["[redacted]", 1],
    }


def test_a_long_secret_costs_no_time():
    """A token of kilobytes is looked for in a whole answer within a moment."""
    secret = secrets.token_urlsafe(1500)
    started = time.process_time()  # the property is what it costs, so with a generous bound
    text = body_of((secret[:-1] + "\\" * 60_000).encode(), Redactor([secret]), cut=True)
    assert secret[:20] in text, "the beginning of a secret, but not cut off"
    assert time.process_time() - started < 2


@pytest.mark.parametrize("status", [200, 400, 503])
def test_no_signing_secret_is_in_anything_that_is_kept(stage, receiver, keys, status):
    """A receiver that repeats the secrets gets them into no request file, log or error."""
    decoded = base64.b64encode(b"a printable key of 30 letters").decode()
    stage.secrets["OLD"] = decoded
    receiver.status = status
    said = {"whsec": [decoded, f"whsec_{NEW}", "a printable key of 30 letters"], NEW: NEW[:-1]}
    receiver.body = json.dumps(said).encode()
    try:
        result = _run(stage, receiver.url, body={})
        kept = f"{result}"
    except ExecutionError as error:
        kept = f"{error} {error.details}"
    assert "[redacted]" in kept
    for secret in (decoded.rstrip("="), NEW.rstrip("="), "a printable key"):
        assert secret not in kept
