"""A webhook of no known sender → `webhook` or `webhook.<event>`."""

from spoold.record import JsonObject, Record
from spoold.sources.fields import event_name, identifier, identity, optional_text, text


def read(headers: dict[str, str], body: JsonObject, source: str) -> Record:
    """Turn a delivery into a record that says no more than what any sender says.

    Args:
        headers: with names in lower case; only they, or a CloudEvent, identify the delivery.
        body: what was sent. Its `id` is ignored: it may well name the thing that changed.
        source: the inbox it was dropped in.
    """
    event = _string(body.get("event")) or _string(body.get("type"))
    name = event_name(event)
    return Record(
        source=source,
        id=_id(headers, body),
        type=f"webhook.{name}" if name else "webhook",
        occurred_at=optional_text(
            headers.get("ce-time"), _string(body.get("time")), _string(body.get("timestamp"))
        ),
        headers=headers,
        body=body,
        content=body,
        facts={"event": event, "action": _string(body.get("action"))},
    )


def _id(headers: dict[str, str], body: JsonObject) -> str | None:
    if standard := headers.get("webhook-id"):
        return identity("webhook", standard)
    if "ce-id" in headers and "ce-source" in headers:
        return identity("cloudevent", headers["ce-source"], headers["ce-id"])
    if isinstance(body.get("specversion"), str):
        event_source, event_id = _string(body.get("source")), identifier(body.get("id"))
        if event_source and event_id:
            return identity("cloudevent", event_source, event_id)
    if key := headers.get("idempotency-key"):
        return identity("idempotency", key)
    return None


def _string(value: object) -> str:
    return text(value) if isinstance(value, str) else ""
