"""A task of a platform, for an agent or about a container → `task.*`.

The first that fits counts, because each later one would also take what belongs to the earlier:

1. `task.container`: `action` is one of the known operations and the customer or the container is
   named, or there is no `action` but `accountId`, `name` and `imageTag` (which means create).
2. `task.agent`: an agent is named by `agent`, `agent_slug` or `agent_id`.
3. `task.platform`: `type` is a name, and there are `params` or a `description`.
4. `task.unknown`: anything else. It has no facts; a route may still read `record.body`.
"""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from spoold.model_names import model_family
from spoold.record import JsonObject, Record
from spoold.sources.fields import identifier, integer, obj, optional_text, text

if TYPE_CHECKING:
    from spoold.sources import Origin

_OPERATIONS = {"create", "delete", "restart", "health-check", "start", "stop"}
_CUSTOMER = ("customer_id", "customerId", "customer", "accountId")
_AGENT = ("agent", "agent_slug", "agent_id")


class Options(BaseModel):
    """`[sources.<name>]` with `format = "task"`: there is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def read(document: JsonObject, origin: "Origin") -> Record:
    """Turn a task into a record; it always succeeds, at the least as `task.unknown`.

    Args:
        document: the task. Its `id`, or else `task_id`, identifies it; without one, two equal
            files are one task.
        origin: where it was dropped.
    """
    type_, facts = "task.unknown", JsonObject()
    for name, of in (("container", _container), ("agent", _agent), ("platform", _platform)):
        if found := of(document):
            type_, facts = f"task.{name}", found
            break
    return Record(
        source=origin.source,
        id=identifier(document.get("id"), document.get("task_id")),
        type=type_,
        occurred_at=optional_text(document.get("created_at")),
        body=document,
        facts=facts,
    )


def _container(document: JsonObject) -> JsonObject | None:
    get = document.get
    customer = text(*map(get, _CUSTOMER))
    container_id = text(get("containerId"), get("container_id"))
    action = get("action")
    if action is None and all(text(get(key)) for key in ("accountId", "name", "imageTag")):
        action = "create"
    action = text(action).lower().replace("_", "-")
    if action not in _OPERATIONS or not (customer or container_id):
        return None
    return {
        "action": action,
        "customer": customer,
        "container_id": container_id,
        "plan": text(get("plan")),
        "port": integer(get("assignedPort"), get("port")),
        "name": text(get("name"), get("containerName")),
        "image": text(get("imageTag"), get("image")),
        "config": obj(get("config")),
    }


def _agent(document: JsonObject) -> JsonObject | None:
    get = document.get
    agent = text(*map(get, _AGENT))
    if not agent:
        return None
    model = text(get("model"))
    return {
        "agent": agent,
        "model": model,
        "model_family": model_family(model),
        "title": text(get("title")),
        "prompt": text(get("prompt"), get("message"), get("description"), get("title")),
        "execution": text(get("execution")),
        "status": text(get("status")).lower(),
        "task_id": text(get("id"), get("task_id")),
    }


def _platform(document: JsonObject) -> JsonObject | None:
    get = document.get
    task_type, params = get("type"), get("params")
    if not isinstance(task_type, str) or not task_type.strip():
        return None
    if not isinstance(params, dict) and not isinstance(get("description"), str):
        return None
    now = get("run_immediately")
    return {
        "task_type": task_type.strip(),
        "description": text(get("description")),
        "domain": text(get("domain")),
        "params": obj(params),
        "status": text(get("status")).lower(),
        "snapshot_id": text(get("snapshot_id")),
        "run_immediately": now if isinstance(now, bool) else True,
        "assigned_agent": text(obj(obj(params).get("interaction")).get("assigned_agent_id")),
    }
