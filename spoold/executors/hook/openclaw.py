"""A call of an OpenClaw gateway: what it would refuse, and what its answer will tell.

`/hooks/agent` and `/hooks/wake`, as they are since 2026.2.12; older ones accept the same.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal

import httpx
from pydantic import JsonValue

from spoold.executors.hook.address import parse
from spoold.executors.hook.openclaw_answer import Expected
from spoold.executors.hook.settings import Config, Dialect, Params

Hook = Literal["agent", "wake"]

#: The field without which there is nothing to do.
_TEXT: dict[Hook, str] = {"agent": "message", "wake": "text"}
#: Where a body says when the gateway begins, and the values that it knows.
_WHEN: dict[Hook, str] = {"agent": "wakeMode", "wake": "mode"}
_TIMES = ("now", "next-heartbeat")
_WAIT = "waitForCompletion"


def complete(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters with `wait_for_completion` in the body, unless the body says its own."""
    body = given.get("body")
    if given.get("wait_for_completion") is True and isinstance(body, dict) and _WAIT not in body:
        return {**given, "body": {**body, _WAIT: True}}
    return given


def check(params: Params, config: Config) -> None:
    """Refuse a call that is meant for a gateway, and that it would refuse or read otherwise.

    Raises:
        ValueError: with one sentence.
    """
    hook = _hook_of(parse(params.url), config.dialect, params.body)
    asked = params.wait_for_completion
    if asked and hook != "agent":
        raise ValueError("only a call of OpenClaw's /hooks/agent can wait_for_completion")
    if hook is None:
        return
    if params.method != "POST":
        raise ValueError(f"OpenClaw answers 405 to a {params.method}")
    _check_body(hook, params.body, session_key=config.session_key, timeout=params.timeout)
    if asked is not None and asked != _waits(params.body):
        raise ValueError("wait_for_completion says one thing, and the body's own another")


def expected_answer(params: Params, config: Config) -> Expected | None:
    """What a good answer to the call tells; None if the call is not for a gateway."""
    hook = _hook_of(parse(params.url), config.dialect, params.body)
    if hook is None:
        return None
    return "completion" if hook == "agent" and _waits(params.body) else "admission"


def warnings(config: Config, routes: list[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each route that calls an OpenClaw address with a body it would refuse."""
    if config.dialect is not None:
        return
    found = []
    for params in routes:
        # An address that is made from a record is checked when there is a record.
        with suppress(ValueError):
            url = parse(str(params.get("url", config.url)))
            found.append(_forgotten(url, params.get("body", config.body)))
    yield from dict.fromkeys(warning for warning in found if warning)


def _hook_at(url: httpx.URL) -> tuple[Hook, bool]:
    """The hook that an address would be, and whether it is the address of one."""
    path = url.path.rstrip("/")
    hook: Hook = "wake" if path.endswith("/wake") else "agent"
    return hook, path.endswith(f"/hooks/{hook}")


def _hook_of(url: httpx.URL, dialect: Dialect | None, body: JsonValue) -> Hook | None:
    """The hook that a call is meant for; None if for neither.

    Without a `dialect`, address and body decide: another program may have such addresses.
    """
    hook, is_address = _hook_at(url)
    if dialect is not None:
        return hook if dialect == "openclaw" else None
    return hook if is_address and _has_field(hook, body) else None


def _has_field(hook: Hook, body: object) -> bool:
    """Whether a body has a field that only a body for this hook has."""
    return isinstance(body, dict) and bool(body.keys() & {_TEXT[hook], "sessionKey"})


def _forgotten(url: httpx.URL, body: object) -> str | None:
    """A warning if a call is not taken for OpenClaw's only because its body lacks a field.

    Args:
        url: where a route calls.
        body: as the route has it; text that begins with `=` may become anything.
    """
    hook, is_address = _hook_at(url)
    computed = isinstance(body, str) and body.startswith("=")
    if not is_address or computed or _has_field(hook, body):
        return None
    return (
        f"a route calls {url} with a body without `{_TEXT[hook]}`; OpenClaw's /hooks/{hook} "
        "answers 400 to that after the approval. Add it to the body, or say "
        '`dialect = "plain"` if another program is there'
    )


def _waits(body: JsonValue) -> bool:
    """Whether a body asks the gateway to answer only when the run has ended."""
    return isinstance(body, dict) and body.get(_WAIT) is True


def _check_body(hook: Hook, body: JsonValue, *, session_key: bool, timeout: float) -> None:
    """Refuse what the gateway would answer with 400, or would silently read otherwise."""
    text = _TEXT[hook]
    where = f"OpenClaw's /hooks/{hook}"
    if not isinstance(body, dict) or not _is_text(body.get(text)):
        raise ValueError(f"{where} needs a body with a `{text}` that is not empty")
    if "idempotencyKey" in body:
        raise ValueError("the body must not have an `idempotencyKey`: spoold sends its own")
    if "sessionKey" in body and not session_key:
        raise ValueError(
            "since 2026.2.12 OpenClaw answers 400 to a `sessionKey` from outside, unless "
            "hooks.allowRequestSessionKey is set there; if it is, say `session_key = true` here"
        )
    when = _WHEN[hook]
    if body.get(when) is not None and body[when] not in _TIMES:
        raise ValueError(
            f"`{when}` is {' or '.join(_TIMES)}; OpenClaw reads anything else as {_TIMES[0]}"
        )
    if hook == "agent":
        _check_agent(body, timeout)


def _check_agent(body: dict[str, JsonValue], timeout: float) -> None:
    if "model" in body and not _is_text(body["model"]):
        raise ValueError("OpenClaw answers 400 to a `model` that is empty; leave it out")
    if body.get("channel") == "last":
        raise ValueError('OpenClaw refuses the `channel` "last" in a call; name one')
    if (body.get("channel") is None) != (body.get("to") is None):
        raise ValueError("OpenClaw wants both `channel` and `to`, or neither")
    if body.get("sessionMode") == "persistent" and "sessionKey" not in body:
        raise ValueError("a persistent `sessionMode` needs a `sessionKey`")
    seconds = body.get("timeoutSeconds", 1)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
        raise ValueError("`timeoutSeconds` is a positive number; OpenClaw ignores anything else")
    if type(body.get(_WAIT, False)) is not bool:
        raise ValueError(f"`{_WAIT}` is true or false")
    if _waits(body) and "timeoutSeconds" in body and timeout <= seconds:
        raise ValueError(
            f"a call that waits for a run of {seconds:g} s needs a `timeout` longer than that; "
            "otherwise nobody knows how a long run ended"
        )


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
