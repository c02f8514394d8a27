"""Version 2 of Plane's webhooks, which sends ids only → `plane.issue`, `plane.<entity>`."""

from typing import Any

from spoold.record import JsonObject, Record
from spoold.sources import plane
from spoold.sources.fields import event_name, identity, obj, optional_text, text

#: Attributes that change with every change.
_BOOKKEEPING = {"last_activity_at", "updated_at", "updated_by_id"}
_ISSUE = ("issue_id", "work_item_id", "workitem_id", "issue")


def speaks(headers: dict[str, str], body: JsonObject) -> bool:
    """Whether this is version 2."""
    if body.get("version") != "v2":
        return False
    return "x-plane-event" in headers or "entity_id" in body or "event_id" in body


def read(headers: dict[str, str], body: JsonObject, source: str, options: plane.Options) -> Record:
    """Turn a delivery into a record; a work item gives `plane.issue`, as version 1 has it.

    Args:
        headers: with names in lower case; `x-plane-event` has the right name of the event where
            the body has leaked the name of a constant.
        body: what Plane sent; nulls may be the string `None`.
        source: the inbox it was dropped in.
        options: the names of ids.
    """
    event = _event(headers.get("x-plane-event", "")) or _event(text(body.get("event")))
    entity, *rest = event.split(".")
    names = ["issue" if entity == "workitem" else entity, *rest[:-1]]
    is_issue = names == ["issue"]
    before = _without_none(obj(body.get("previous_attributes")))
    # What was deleted has no data any more, only what it was before.
    data = _without_none(obj(body.get("data"))) or before
    if is_issue:
        issue_id = text(data.get("id"), _not_none(body.get("entity_id")))
    else:
        issue_id = text(*map(data.get, _ISSUE))
    event_id = text(_not_none(body.get("event_id")))
    action = plane.action(rest[-1]) if rest else ""
    changed = (key for key in before if key not in _BOOKKEEPING)
    return Record(
        source=source,
        id=identity("plane", event_id) if event_id else None,
        type=f"plane.{'_'.join(names)}" if entity else "plane",
        occurred_at=optional_text(data.get("updated_at"), data.get("created_at")),
        headers=headers,
        body=body,
        content=body,
        facts=plane.facts(data, issue_id, options, is_issue=is_issue)
        | {
            "event": event,
            "action": action,
            "changed_field": ",".join(changed) if action == "updated" else "",
            "actor": text(data.get("updated_by_id"), data.get("created_by_id")),
        },
    )


def _event(name: str) -> str:
    """`workitem.updated`, also for `WebhookScope.ScopeChoices.WORK_ITEM_UPDATED`."""
    _, leaked, constant = name.rpartition("ScopeChoices.")
    name = constant.lower().replace("work_item", "workitem")
    return event_name(name.replace("_", ".") if leaked else name)


def _not_none(value: Any) -> Any:
    return None if value == "None" else value


def _without_none(data: JsonObject) -> JsonObject:
    """A copy in which the string `None` is null at every depth; nothing recurses."""
    copy = dict(data)
    todo: list[Any] = [copy]
    while todo:
        container = todo.pop()
        # No key comes or goes, so it may be changed while it is read.
        for key, value in container.items() if type(container) is dict else enumerate(container):
            if type(value) is dict or type(value) is list:
                container[key] = inner = value.copy()
                todo.append(inner)
            elif value == "None":
                container[key] = None
    return copy
