"""Version 1 of Plane's webhooks, which names states and labels → `plane.<event>`."""

from spoold.record import JsonObject, Record
from spoold.sources import plane
from spoold.sources.fields import event_name, identity, obj, optional_text, text

_EVENTS = {
    "project",
    "issue",
    "cycle",
    "module",
    "cycle_issue",
    "module_issue",
    "issue_comment",
    "intake_issue",
}


def speaks(headers: dict[str, str], body: JsonObject) -> bool:
    """Whether this is version 1; others too send an event with an action and data."""
    if not isinstance(body.get("action"), str) or not isinstance(body.get("data"), dict):
        return False
    event = text(body.get("event")).lower()
    return bool(event) and (
        event in _EVENTS or "x-plane-event" in headers or bool(text(body.get("webhook_id")))
    )


def read(headers: dict[str, str], body: JsonObject, source: str, options: plane.Options) -> Record:
    """Turn a delivery into a record of type `plane.<event>`.

    Args:
        headers: with names in lower case.
        body: what Plane sent.
        source: the inbox it was dropped in.
        options: the names of ids.
    """
    event, action = event_name(text(body.get("event"))), plane.action(text(body.get("action")))
    data, activity = obj(body.get("data")), obj(body.get("activity"))
    actor = obj(activity.get("actor"))
    is_issue = event == "issue"
    issue = data.get("id") if is_issue else data.get("issue")
    facts = plane.facts(data, text(issue, obj(issue).get("id")), options, is_issue=is_issue)
    return Record(
        source=source,
        id=_id(body, event, action, data),
        type=f"plane.{event}" if event else "plane",
        occurred_at=optional_text(data.get("updated_at"), data.get("created_at")),
        headers=headers,
        body=body,
        # One edit posts `state` and `state_id`, and what changed is written out in each.
        content={key: value for key, value in body.items() if key != "activity"},
        facts=facts
        | {
            "event": event,
            "action": action,
            "changed_field": text(activity.get("field")),
            "actor": text(actor.get("display_name"), actor.get("email"), actor.get("id")),
        },
    )


def _id(body: JsonObject, event: str, action: str, data: JsonObject) -> str | None:
    """The change, not the post: one edit posts `state` and `state_id`, `labels` and `label_ids`.

    Without the time of the change, as after `deleted`, nothing tells two changes from one sent
    twice, so there is no id. X-Plane-Delivery is new on every retry and says nothing.
    """
    entity, changed_at = text(data.get("id")), text(data.get("updated_at"))
    if not entity or not changed_at:
        return None
    return identity("plane", text(body.get("webhook_id"), "-"), event, action, entity, changed_at)
