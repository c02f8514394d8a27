"""An approved HTTP call → one request with an idempotency key, and what the receiver answered."""

import re
from datetime import UTC, datetime
from typing import Any, Literal, Self

import orjson
from pydantic import Field, JsonValue, model_validator

from spoold import __version__
from spoold.config import Duration, SecretRef
from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Model, Result
from spoold.executors._address import allows, parse
from spoold.executors._answer import Redactor, keep, remark, retry_after
from spoold.executors._exchange import Exchange

Method = Literal["POST", "PUT", "PATCH", "DELETE", "GET"]

#: The receiver says it did not do it; anything else below 500 stays refused.
_REPEATABLE = frozenset({408, 409, 425, 429, 500, 502, 503})
#: A proxy passed the request on and lost the answer (520 and 524 are Cloudflare's).
_ANSWER_LOST = frozenset({504, 520, 524})
_NOT_SENT = {"timeout": "connect-timeout", "disconnected": "not-sent"}

_OURS = re.compile(
    r"authorization|cookie2?|host|content-length|content-encoding|transfer-encoding|connection"
    r"|keep-alive|te|trailer|upgrade|expect|accept-encoding|proxy-.*|(x-openclaw-)?idempotency-key"
    r"|x-openclaw-token|x-api-key|x-auth-token",
    re.IGNORECASE,
)


class Config(Model):
    """`[executors.<name>]` with `kind = "hook"`.

    Attributes:
        url: where calls go whose route names no url; always allowed.
        urls: what routes may name besides: an exact URL, or all below one that ends in `/`.
        token: sent as `Authorization: Bearer …`.
        method: as the route's parameter of that name, when the route leaves it out.
        headers: the same.
        body: the same.
        timeout: the same.
        max_body: bytes a request's body may have (OpenClaw takes 256 KiB).
        max_answer: bytes of the answer that are read and kept.
        idempotency_window: how long the receiver promises to remember an `Idempotency-Key`, counted
            from the first attempt; within it a call whose outcome is not known is repeated.
    """

    url: str | None = None
    urls: list[str] = Field(default_factory=list)
    token: SecretRef | None = None
    method: Method = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    timeout: Duration = Field(default=20.0, gt=0)
    max_body: int = Field(default=262_144, ge=0)
    max_answer: int = Field(default=65_536, ge=0)
    idempotency_window: Duration = 0.0

    @property
    def allowed(self) -> list[str]:
        """The whole allow-list."""
        return [*([self.url] if self.url else []), *self.urls]

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if not self.allowed:
            raise ValueError("a hook needs `url`, or `urls` with what routes may name")
        for entry in self.allowed:
            parse(entry)
        return self


class Params(Model):
    """One call. A `body` that is null sends none; anything else is sent as JSON."""

    method: Method = "POST"
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    timeout: Duration = Field(default=20.0, gt=0)


def check(params: Params, config: Config) -> None:
    """Refuse an address off the allow-list, headers that are spoold's, and a body too large."""
    url = parse(params.url)
    if not any(allows(entry, url) for entry in config.allowed):
        raise ValueError(f"{params.url} is not on the executor's list of urls")
    for name, value in params.headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name!r} is no header name")
        if _OURS.fullmatch(name):
            raise ValueError(f"the header {name} is set by spoold; a secret belongs into `token`")
        if not re.fullmatch(r"([!-~]([\t -~]*[!-~])?)?", value):
            raise ValueError(f"the header {name} must be one line of printable ASCII")
    try:
        body = _encode(params.body) or b""
    except TypeError as error:
        raise ValueError(f"the body is no JSON: {error}") from None
    if params.method == "GET" and body:
        raise ValueError("a GET carries no body")
    if len(body) > config.max_body:
        raise ValueError(f"the body has {len(body)} bytes, more than max_body ({config.max_body})")


def run(params: Params, context: Context) -> Result:
    """Call once, and say honestly what is known afterwards."""
    config: Config = context.config
    token = _token(context)
    timeout = params.timeout
    if context.in_doubt:
        # An earlier attempt may have got through: from now on only the receiver's memory of the
        # key keeps this from happening twice, so the call must be over before it forgets.
        timeout = min(timeout, _memory_left(context))
        if timeout <= 0:
            raise OutcomeUnknown(
                "key-forgotten",
                "An earlier attempt may have had its effect, and the receiver no longer promises "
                "to recognise a repeat.",
            )
    if context.stopping.is_set():
        raise Transient("interrupted", "The service was stopped before anything was sent.")
    exchange = Exchange(
        params.method, parse(params.url), _headers(params, context, token), _encode(params.body)
    )
    exchange.perform(timeout, config.max_answer, context.stopping)
    return _judge(exchange, context, Redactor(token))


def probe(params: Params, context: Context) -> Result:
    """No answer can be asked for again, so only the receiver's memory of the key makes it safe."""
    raise _ambiguous(
        context,
        "interrupted",
        f"The executor ended while it called {params.url}, and the answer is lost.",
        {},
    )


def _encode(body: JsonValue) -> bytes | None:
    # Sorted: a receiver compares bytes before it trusts an idempotency key.
    return None if body is None else orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _headers(params: Params, context: Context, token: str) -> dict[str, str]:
    headers = {
        "user-agent": f"spoold/{__version__}",
        "accept": "application/json, */*;q=0.5",
        "accept-encoding": "identity",
        "connection": "close",
        "idempotency-key": context.dispatch_id,
    }
    if params.body is not None:
        headers["content-type"] = "application/json"
    headers |= {name.lower(): value for name, value in params.headers.items()}
    return headers | ({"authorization": f"Bearer {token}"} if token else {})


def _token(context: Context) -> str:
    if context.config.token is None:
        return ""
    token = context.secret(context.config.token)
    if not re.fullmatch(r"[!-~]+", token):
        raise Transient(
            "secret-unusable",
            "The token is empty or has spaces, line ends or other characters that no header can "
            "carry; store it as one line.",
        )
    return token


def _judge(exchange: Exchange, context: Context, redact: Redactor) -> Result:
    call = f"{exchange.method} {exchange.url}"
    data = keep(exchange, redact)
    if exchange.certainly_not_sent:
        code = _NOT_SENT.get(exchange.broken or "", "interrupted")
        raise Transient(code, f"{call} was not sent: {exchange.detail}.", data)
    code, said = f"http-{exchange.status}", f"{call} was answered with {exchange.status}"
    match (exchange.status or 0) // 100:
        case 2 if not exchange.broken:
            return Result(code, f"{said}: the receiver took it.{remark(data['body'])}", data)
        case 3:
            where = data["headers"].get("location", "nowhere")
            raise Permanent(code, f"{said} to {where}; redirects are not followed.", data)
        case 4 | 5 if exchange.status in _REPEATABLE:
            raise Transient(code, f"{said}.", data, retry_after=retry_after(exchange))
        case 4 | 5 if exchange.status not in _ANSWER_LOST:
            raise Permanent(code, f"{said}; the same call would not fare better.", data)
        case 4 | 5:
            raise _ambiguous(context, code, f"{said}: a proxy lost the receiver's answer.", data)
    detail = exchange.detail or f"{exchange.status} is no status that ends a call"
    code = exchange.broken or "broken-answer"
    raise _ambiguous(context, code, f"{call} was sent, but {detail}.", data)


def _memory_left(context: Context) -> float:
    """Seconds for which the receiver still recognises the key; 0 when that is not sure."""
    age = (datetime.now(UTC) - context.first_started).total_seconds()
    window: float = context.config.idempotency_window
    # A clock that was set back says nothing about the age.
    return max(0.0, window - age) if age >= 0 else 0.0


def _ambiguous(
    context: Context, code: str, detail: str, data: dict[str, Any]
) -> Transient | OutcomeUnknown:
    if _memory_left(context) > 0:
        known = f"{detail} The receiver still recognises the key, so it is safe to repeat."
        return Transient(code, known, data | {"in_doubt": True})
    return OutcomeUnknown(code, f"{detail} It may have had its effect.", data)
