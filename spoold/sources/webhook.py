"""A webhook delivery, with its headers or without → `plane.*`, `github.*` or `webhook.*`.

Identities and event names are often in the headers only, so a receiver should drop
`{"headers": {...}, "body": {...}}`; the bare body is taken too.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from spoold.record import JsonObject, Record
from spoold.sources import generic, github, plane_v1, plane_v2
from spoold.sources import plane as _plane
from spoold.sources.fields import text

if TYPE_CHECKING:
    from spoold.sources import Origin


class Options(BaseModel):
    """`[sources.<name>]` with `format = "webhook"`.

    Attributes:
        plane: `[sources.<name>.plane]`: names for the ids that Plane sends.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    plane: _plane.Options = _plane.Options()


def read(document: JsonObject, origin: "Origin") -> Record:
    """Turn a delivery into a record of its sender's dialect; it always succeeds.

    Args:
        document: the envelope, the message of a bus around it, or the bare body.
        origin: where it was dropped; its options are this module's.
    """
    headers, body = _unwrap(document)
    if "x-github-event" in headers:
        return github.read(headers, body, origin.source)
    if plane_v2.speaks(headers, body):
        return plane_v2.read(headers, body, origin.source, origin.options.plane)
    if plane_v1.speaks(headers, body):
        return plane_v1.read(headers, body, origin.source, origin.options.plane)
    if github.speaks(body):
        return github.read(headers, body, origin.source)
    return generic.read(headers, body, origin.source)


def _unwrap(document: JsonObject) -> tuple[dict[str, str], JsonObject]:
    headers, body = document.get("headers"), document.get("body")
    if isinstance(headers, dict) and isinstance(body, dict):
        names = _lower(headers)
    else:
        names, body = {}, document
    payload = body.get("payload")
    if isinstance(payload, dict) and payload.get("provider") == "plane":
        inner = payload.get("body")
        if isinstance(inner, dict):
            body = inner
    return names, body


def _lower(headers: JsonObject) -> dict[str, str]:
    """Header names in lower case; a name that comes again adds to the value, as HTTP has it."""
    lower: dict[str, str] = {}
    for name, value in headers.items():
        parts = [_value(part) for part in (value if isinstance(value, list) else [value])]
        if joined := ", ".join(part for part in parts if part):
            key = name.strip().lower()
            lower[key] = f"{lower[key]}, {joined}" if key in lower else joined
    return lower


def _value(part: object) -> str:
    return str(part) if isinstance(part, float) else text(part)
