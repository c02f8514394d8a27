"""An approved HTTP call → one request with an idempotency key, and what the receiver answered."""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import JsonValue

from spoold import __version__
from spoold.config.secrets import SecretRef
from spoold.errors import ExecutionError, OutcomeUnknown, Transient
from spoold.executors import Context, Finding, Result
from spoold.executors.hook import openclaw
from spoold.executors.hook.address import allows, parse
from spoold.executors.hook.credentials import Credentials, read_credentials
from spoold.executors.hook.exchange import Exchange, trust
from spoold.executors.hook.outcome import ambiguous, is_ill, judge, memory_left
from spoold.executors.hook.reach import can_connect, origin
from spoold.executors.hook.settings import Config, Params
from spoold.executors.hook.signing import signed

#: Likely mistakes in what routes would send to an OpenClaw gateway.
warnings = openclaw.warnings

#: Headers that only spoold sets.
_OURS = re.compile(
    r"authorization|cookie2?|host|content-length|content-encoding|transfer-encoding|connection"
    r"|keep-alive|te|trailer|upgrade|expect|accept-encoding|proxy-.*|(x-openclaw-)?idempotency-key"
    r"|x-openclaw-token|x-api-key|x-auth-token",
    re.IGNORECASE,
)


def complete(
    given: dict[str, Any], config: Config, targets: Mapping[str, str | None]
) -> dict[str, Any]:
    """Say `wait_for_completion` in the body too, where a person sees it."""
    del config, targets
    return openclaw.complete(given)


def check(params: Params, config: Config) -> None:
    """Refuse an address off the allow-list, headers that spoold sets, and too large a body."""
    url = parse(params.url)
    if not any(allows(entry, url) for entry in config.allowed):
        raise ValueError(
            f"{params.url} is not on the executor's list of urls; below an entry that ends in / "
            "its path may have letters, digits and -._~@: between single slashes"
        )
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
    openclaw.check(params, config)


def run(params: Params, context: Context) -> Result:
    """Call once, and say what is known afterwards."""
    config: Config = context.config
    credentials = read_credentials(config, context.secret)
    timeout = _time_for(params, context)
    if context.stopping.is_set():
        raise _unwanted(context)
    url, body = parse(params.url), _encode(params.body)
    with config.health.visit(origin(url), timeout) as visit:
        headers = _headers(params, context, credentials, body)
        exchange = Exchange(params.method, url, headers, body)
        exchange.perform(timeout, config.max_answer, context.stopping)
        visit.found_ill = is_ill(exchange)
    try:
        expected = openclaw.expected_answer(params, config)
        return judge(exchange, context, credentials.redactor, expected)
    except Transient as error:
        # A probe is about the destination, so it does not use up a try of this request. One in
        # doubt must count: what does not count is not recorded.
        if visit.is_probe and visit.found_ill and "in_doubt" not in error.details:
            error.counts = False
            error.retry_after = max(visit.rests_for, error.retry_after or 0.0)
        raise


def _time_for(params: Params, context: Context) -> float:
    if not context.in_doubt:
        return params.timeout
    # An earlier attempt may have had its effect. Only while the receiver remembers the key is a
    # repeat not a second call, so this one must be over by then.
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


def _encode(body: JsonValue) -> bytes | None:
    # Sorted: some receivers compare the bytes of a repeat before they trust its key.
    return None if body is None else orjson.dumps(body, option=orjson.OPT_SORT_KEYS)


def _headers(
    params: Params, context: Context, credentials: Credentials, body: bytes | None
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
    headers |= {"authorization": f"Bearer {credentials.token}"} if credentials.token else {}
    return headers | signed(credentials.keys, context.dispatch_id, datetime.now(UTC), body)


def probe(params: Params, context: Context) -> Result:
    """The answer is lost, so a repeat is safe only while the receiver remembers the key."""
    raise ambiguous(
        context,
        "interrupted",
        f"The executor ended while it called {params.url}, and the answer is lost.",
        {},
    )


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Whether its destinations can be reached and its secrets used; nothing is sent."""
    urls = {origin(url): url for url in map(parse, config.allowed)}
    for url in urls.values():
        yield can_connect(url, trust())
    if config.token is not None or config.signing:
        try:
            read_credentials(config, secret)
        except ExecutionError as error:
            yield Finding("secrets", ok=False, detail=error.summary)
        else:
            yield Finding("secrets", ok=True, detail="there and well-formed")
