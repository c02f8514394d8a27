"""What both versions of Plane's webhooks say about a ticket → facts."""

import re
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from spoold.record import JsonObject
from spoold.sources.fields import items, obj, slug, text

_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: The group of the states that every Plane project starts with, and of each group's own name.
_GROUPS = {
    "backlog": "backlog",
    "todo": "unstarted",
    "unstarted": "unstarted",
    "in-progress": "started",
    "started": "started",
    "done": "completed",
    "completed": "completed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}
_ACTIONS = {"create": "created", "update": "updated", "delete": "deleted"}


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class State(_Table):
    """`states."<id>"`: the name of a state, and its group unless the name tells it."""

    name: str
    group: Literal["", "backlog", "unstarted", "started", "completed", "cancelled"] = ""


class Project(_Table):
    """`projects."<id>"`: the prefix of its tickets; a link with `{sequence_id}` and `{id}`."""

    identifier: str
    url: str = ""


class Options(_Table):
    """`[sources.<name>.plane]`: names for ids, and the labels that route a ticket.

    Attributes:
        states: by state id; version 2 sends nothing else.
        labels: label names by label id.
        projects: by project id; neither version sends a ticket's number or link.
        component_prefix: a label `comp:api` names the component `api`.
        agent_prefix: a label `agent:qa` names the agent `qa`.
    """

    states: dict[str, State] = {}
    labels: dict[str, str] = {}
    projects: dict[str, Project] = {}
    component_prefix: str = "comp"
    agent_prefix: str = "agent"


def action(verb: str) -> str:
    """The verb as facts have it: old releases say `create` where the wire has `created`."""
    verb = verb.strip().lower()
    return _ACTIONS.get(verb, verb)


def facts(data: JsonObject, issue_id: str, options: Options, *, is_issue: bool) -> JsonObject:
    """What is known of the ticket, with `""` for what is not.

    Args:
        data: the entity that changed, as either version sends it.
        issue_id: of the ticket it is or belongs to.
        options: the names of ids.
        is_issue: False for an entity whose `identifier` is not a ticket's.

    Returns:
        All facts but `event`, `action`, `changed_field` and `actor`. Ids without a name in the
        options are listed in `unmapped`.
    """
    unmapped: list[str] = []
    state = _state(data, options, unmapped)
    labels = _labels(data, options, unmapped)
    detail = {**obj(data.get("project")), **obj(data.get("project_detail"))}
    project_id = text(data.get("project_id"), data.get("project"), detail.get("id"))
    project = options.projects.get(project_id)
    if project is None and data.get("project_id") == project_id != "":
        unmapped.append(project_id)
    number = text(data.get("sequence_id"))
    prefix = text(detail.get("identifier"), project.identifier if project else "")
    ticket = text(data.get("identifier"), f"{prefix}-{number}" if prefix and number else "")
    return {
        "issue_id": issue_id,
        "title": text(data.get("name")),
        "ticket_ref": (ticket if is_issue else "") or issue_id,
        "state": state,
        "labels": labels,
        "component": _after(options.component_prefix, labels),
        "agent": _after(options.agent_prefix, labels),
        "priority": text(data.get("priority")).lower(),
        "project": project_id,
        "url": text(data.get("url"))
        or (_link(project.url, number, issue_id) if project and is_issue else ""),
        "unmapped": unmapped,
    }


def _link(url: str, number: str, issue_id: str) -> str:
    """The template with what it asks for filled in, or nothing if that is not known."""
    for place, value in (("{sequence_id}", number), ("{id}", issue_id)):
        if place in url and not value:
            return ""
        url = url.replace(place, quote(value, safe=""))
    return url


def _state(data: JsonObject, options: Options, unmapped: list[str]) -> JsonObject:
    name = group = ""
    for key in ("state_detail", "state", "state_id"):
        value = data.get(key)
        state_id = text(obj(value).get("id"), value)
        known = options.states.get(state_id)
        if isinstance(value, dict):
            name = name or text(*map(value.get, ("name", "slug", "key")), known and known.name)
            group = group or text(value.get("group"), known and known.group).lower()
        elif state_id and not name:
            name = known.name if known else state_id
            group = group or (known.group if known else "")
            if not known and (key == "state_id" or _ID.fullmatch(state_id)):
                unmapped.append(state_id)
                return {"name": state_id, "group": group, "slug": ""}
    return {"name": name, "group": group or _GROUPS.get(slug(name), ""), "slug": slug(name)}


def _labels(data: JsonObject, options: Options, unmapped: list[str]) -> list[str]:
    """The labels' slugs, each once; Plane has sent repeated ones under one id."""
    names: dict[str, None] = {}
    seen: set[str] = set()
    only_ids = not items(data.get("labels"))
    for label in items(data.get("label_ids" if only_ids else "labels")):
        label_id = text(obj(label).get("id"), label)
        if label_id in seen:
            continue
        if label_id:
            seen.add(label_id)
        name = text(*map(obj(label).get, ("name", "label", "slug")), options.labels.get(label_id))
        is_id = only_ids or isinstance(label, dict) or _ID.fullmatch(label_id)
        if label_id and not name and is_id:
            unmapped.append(label_id)
        elif found := slug(name or text(label)):
            names[found] = None
    return list(names)


def _after(prefix: str, labels: list[str]) -> str:
    """The rest of the first label that begins with the prefix."""
    start = f"{slug(prefix)}-"
    return next(
        (x.removeprefix(start) for x in labels if len(start) > 1 and x.startswith(start)), ""
    )
