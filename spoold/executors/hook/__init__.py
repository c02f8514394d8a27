"""An approved HTTP call → one request with an idempotency key, and what the receiver answered."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self

import orjson
from pydantic import (
    Field,
    JsonValue,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from spoold import __version__
from spoold.config.quantities import Duration
from spoold.config.secrets import SecretRef
from spoold.errors import ExecutionError, OutcomeUnknown, Transient
from spoold.executors import Context, Finding, Model, Result
from spoold.executors.hook import openclaw
from spoold.executors.hook.address import allows, parse
from spoold.executors.hook.answer import Redactor
from spoold.executors.hook.cooldown import Health
from spoold.executors.hook.exchange import Exchange, trust
from spoold.executors.hook.outcome import ambiguous, is_ill, judge, memory_left
from spoold.executors.hook.reach import can_connect, origin
from spoold.executors.hook.signing import signed, signing_key, spellings

Method = Literal["POST", "PUT", "PATCH", "DELETE", "GET"]

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
        signing: secrets that sign each call as Standard Webhooks has it; while a receiver changes
            over to a new one, both.
        dialect: whether `url` and `urls` are OpenClaw hooks; by default, those that end in
            `/hooks/agent` or `/hooks/wake` are, when the body looks like it.
        session_key: the OpenClaw gateway accepts a `sessionKey` from outside.
        method: as the route's parameter of that name, when the route leaves it out.
        headers: the same.
        body: the same.
        timeout: the same.
        wait_for_completion: the same.
        rest_after: so many failures in a row that say that a destination is ill, and it is left
            alone for a while; 0 for never.
        rest: how long at first; twice as long each time it is still ill.
        max_body: bytes a request's body may have (OpenClaw takes 256 KiB).
        max_answer: bytes of the answer that are read and kept.
        idempotency_window: how long the receiver promises to remember an `Idempotency-Key`, counted
            from the first attempt; within it a call whose outcome is not known is repeated.
    """

    url: str | None = None
    urls: list[str] = Field(default_factory=list)
    token: SecretRef | None = None
    signing: list[SecretRef] = Field(default_factory=list)
    dialect: openclaw.Dialect | None = None
    session_key: bool = False
    method: Method = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    timeout: Duration = Field(default=20.0, gt=0)
    wait_for_completion: bool | None = None
    rest_after: int = Field(default=5, ge=0)
    rest: Duration = Field(default=30.0, gt=0)
    max_body: int = Field(default=262_144, ge=0)
    max_answer: int = Field(default=65_536, ge=0)
    idempotency_window: Duration = 0.0
    _health: Health = PrivateAttr()

    def model_post_init(self, _: object) -> None:
        """What is learnt about destinations belongs to this executor, and to this process."""
        self._health = Health(self.rest_after, self.rest)

    @property
    def health(self) -> Health:
        """How its destinations are."""
        return self._health

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
    """One call. A `body` that is null sends none; anything else is sent as JSON.

    With `wait_for_completion`, OpenClaw's answer says how the run ended, and so does the result.
    """

    method: Method = "POST"
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    timeout: Duration = Field(default=20.0, gt=0)
    wait_for_completion: bool | None = None

    @model_serializer(mode="wrap")
    def _as_asked(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        if self.wait_for_completion is None:
            del fields["wait_for_completion"]
        return fields


def complete(
    given: dict[str, Any], config: Config, targets: Mapping[str, str | None]
) -> dict[str, Any]:
    """A call that is to be waited for says so in its body, where a person sees it."""
    del config, targets
    if given.get("wait_for_completion") is True:
        return {**given, "body": openclaw.waiting(given.get("body"))}
    return given


def check(params: Params, config: Config) -> None:
    """Refuse an address off the allow-list, headers that are spoold's, and a body too large."""
    url = parse(params.url)
    if not any(allows(entry, url) for entry in config.allowed):
        raise ValueError(f"{params.url} is not on the executor's list of urls")
    for name, value in params.headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name!r} is no header name")
        if _OURS.fullmatch(name) or (config.signing and name.lower().startswith("webhook-")):
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
    _check_dialect(params, config)


def _check_dialect(params: Params, config: Config) -> None:
    hook = openclaw.hook_of(parse(params.url), config.dialect, params.body)
    asked = params.wait_for_completion
    if asked and hook != "agent":
        raise ValueError("only a call of OpenClaw's /hooks/agent can wait_for_completion")
    if hook and params.method != "POST":
        raise ValueError(f"OpenClaw answers 405 to a {params.method}")
    if hook:
        openclaw.check(hook, params.body, session_key=config.session_key, timeout=params.timeout)
    if hook and asked is not None and asked != openclaw.waits(params.body):
        raise ValueError("wait_for_completion says one thing, and the body's own another")


def run(params: Params, context: Context) -> Result:
    """Call once, and say honestly what is known afterwards."""
    config: Config = context.config
    secrets = _secrets(config, context.secret)
    timeout = _time_for(params, context)
    if context.stopping.is_set():
        raise _unwanted(context)
    url, body = parse(params.url), _encode(params.body)
    with config.health.visit(origin(url), timeout) as visit:
        headers = _headers(params, context, secrets, body)
        exchange = Exchange(params.method, url, headers, body)
        exchange.perform(timeout, config.max_answer, context.stopping)
        visit.found_ill = is_ill(exchange)
    hook = openclaw.hook_of(url, config.dialect, params.body)
    waits = hook == "agent" and openclaw.waits(params.body)
    try:
        return judge(exchange, context, secrets.redact, hook=hook, waits=waits)
    except Transient as error:
        # A probe is about the destination. But what is in doubt must not be forgotten, as what
        # does not count is.
        if visit.is_probe and visit.found_ill and "in_doubt" not in error.details:
            error.counts = False
            error.retry_after = max(visit.rests_for, error.retry_after or 0.0)
        raise


def _time_for(params: Params, context: Context) -> float:
    if not context.in_doubt:
        return params.timeout
    # An earlier attempt may have got through: from now on only the receiver's memory of the
    # key keeps this from happening twice, so the call must be over before it forgets.
    timeout = min(params.timeout, memory_left(context))
    if timeout <= 0:
        raise OutcomeUnknown(
            "key-forgotten",
            "An earlier attempt may have had its effect, and the receiver no longer promises "
            "to recognise a repeat.",
        )
    return timeout


def _unwanted(context: Context) -> Transient | OutcomeUnknown:
    if not context.cancelled.is_set():
        return Transient("interrupted", "The service was stopped before anything was sent.")
    if context.in_doubt:
        return OutcomeUnknown(
            "cancelled",
            "A person cancelled it before it was repeated; an earlier attempt may have had its "
            "effect.",
        )
    return Transient("interrupted", "Nothing was sent.")


def probe(params: Params, context: Context) -> Result:
    """No answer can be asked for again, so only the receiver's memory of the key makes it safe."""
    raise ambiguous(
        context,
        "interrupted",
        f"The executor ended while it called {params.url}, and the answer is lost.",
        {},
    )


def _encode(body: JsonValue) -> bytes | None:
    # Sorted: a receiver compares bytes before it trusts an idempotency key.
    return None if body is None else orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _headers(
    params: Params, context: Context, secrets: "_Secrets", body: bytes | None
) -> dict[str, str]:
    headers = {
        "user-agent": f"spoold/{__version__}",
        "accept": "application/json, */*;q=0.5",
        "accept-encoding": "identity",
        "connection": "close",
        "idempotency-key": context.dispatch_id,
    }
    if body is not None:
        headers["content-type"] = "application/json"
    headers |= {name.lower(): value for name, value in params.headers.items()}
    headers |= {"authorization": f"Bearer {secrets.token}"} if secrets.token else {}
    return headers | signed(secrets.keys, context.dispatch_id, datetime.now(UTC), body)


@dataclass(frozen=True, slots=True, repr=False)
class _Secrets:
    token: str
    keys: list[bytes]
    redact: Redactor


def _secrets(config: Config, secret: Callable[[SecretRef], str]) -> _Secrets:
    """All that this executor needs to know.

    Raises:
        Transient: one is missing, or is not what it should be.
    """
    token = "" if config.token is None else secret(config.token)
    if config.token is not None and not re.fullmatch(r"[!-~]+", token):
        raise Transient(
            "secret-unusable",
            "The token is empty or has spaces, line ends or other characters that no header can "
            "carry; store it as one line.",
        )
    texts = [secret(reference) for reference in config.signing]
    try:
        keys = [signing_key(text) for text in texts]
        unsayable = [token, *(spelled for text in texts for spelled in spellings(text))]
    except ValueError as error:
        raise Transient("secret-unusable", f"A signing secret {error}.") from None
    return _Secrets(token, keys, Redactor(unsayable))


def warnings(config: Config, routes: list[Mapping[str, Any]]) -> Iterator[str]:
    """Calls of OpenClaw's addresses that it would refuse, and that are sent all the same."""
    if config.dialect is not None:
        return
    found = []
    for params in routes:
        # An address that a record makes, or that is none, is looked at when there is a record.
        with suppress(ValueError):
            url = parse(str(params.get("url", config.url)))
            found.append(openclaw.forgotten(url, params.get("body", config.body)))
    yield from dict.fromkeys(warning for warning in found if warning)


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Whether its destinations can be talked to, and its secrets used; nothing is sent."""
    urls = {origin(url): url for url in map(parse, config.allowed)}
    for url in urls.values():
        yield can_connect(url, trust())
    if config.token is not None or config.signing:
        try:
            _secrets(config, secret)
        except ExecutionError as error:
            yield Finding("secrets", ok=False, detail=error.summary)
        else:
            yield Finding("secrets", ok=True, detail="there and well-formed")
