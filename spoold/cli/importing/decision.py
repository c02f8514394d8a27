"""A decision dispatcher's route table, state and requests → what spoold makes of them."""

import os
import re
from typing import Any

from spoold.cli.importing.plan import Plan, commented, literal, old_json, quoted, table, wrong
from spoold.disk import reading
from spoold.errors import NotPossible
from spoold.record import JsonObject
from spoold.spool import imports
from spoold.text import shown

_TARGETS = ("execution_plane", "target_kind", "target_ref", "target_env")
_REF = re.compile(r"[a-z0-9][a-z0-9._/@-]*[a-z0-9]")
_SETTINGS = {"decision_records_dir", "execution_mode", "require_approval", "poll_seconds",
             "log_level", "routes"}  # fmt: skip
_KEPT = ("status", "reason", "dispatch_id", "timestamp_utc")
_REQUEST_BYTES = 1 << 24
_APPLY = '["hyops", "apply", "--env", "{target_env}", "--{target_kind}", "{target_ref}"]'


def read(config: str, state: str, approvals: str, source: str, executor: str) -> Plan:
    """Read everything; nothing is written.

    Args:
        config: the file `config.json`.
        state: the file `state.json`; `requests/` is beside it.
        approvals: the consumer's folder of markers; its own `state.json` is above it.
        source: the inbox that decisions are dropped in from now on.
        executor: what applies a target.

    Raises:
        UsageError, NotPossible: a file is missing, or is not what the dispatcher writes.
    """
    origin = [os.path.abspath(config), os.path.abspath(state)]
    plan = Plan("decision-dispatcher", "decision", source, executor, origin)
    _routes(plan, config)
    known = _processed(plan, state)
    _requests(plan, known, os.path.join(os.path.dirname(origin[1]), "requests"), approvals)
    if ignored := sum(was.get("status") == "ignored" for was in known.values()):
        text = f"{ignored} decisions were ignored there, and stay so; the lines say which and why"
        plan.notes.append(("ignored", text))
    plan.lines = [
        {
            "key": imports.decision(one),
            "until": None,
            "was": {key: was[key] for key in _KEPT if key in was},
        }
        for one, was in known.items()
    ]
    return plan


def _routes(plan: Plan, config: str) -> None:
    settings = old_json(config)
    routes = settings.get("routes")
    if not isinstance(routes, dict) or not routes:
        raise wrong(config, "routes", routes or None, "an object with a route in it")
    if lost := sorted(settings.keys() - _SETTINGS):
        plan.warn(f"{shown(config)}: not carried over: {', '.join(map(shown, lost))}")
    names: dict[str, str] = {}
    planes: dict[str, str] = {}
    for number, (kind, old) in enumerate(routes.items(), 1):
        if not isinstance(old, dict):
            raise wrong(config, f"routes.{kind}", old, "an object")
        name = _name(kind, names)
        targets = _targets(config, kind, old)
        planes[quoted(targets["execution_plane"])] = _APPLY
        plan.routes[f"50-{number:03}-{name}.toml"] = _comments(plan, config, kind, {
            "requires_approval": settings.get("require_approval", True), **old,
        }) + table({
            "name": quoted(name),
            "source": quoted(plan.source),
            "match": quoted(f"record.facts.decision_type == {quoted(kind)}"),
            "executor": quoted(plan.executor),
            **{key: literal(value) for key, value in targets.items()},
            "rationale": '"=record.facts.rationale"',
            "requires_approval": "true",
        })  # fmt: skip
        plan.samples.append(({"decision_id": "import", "decision_type": kind}, name))
    head = f"[executors.{plan.executor}"
    needed = f"{head}.planes]\n{table(planes)}"
    runner = f'{head}]\nkind = "command"\nprograms = ["hyops"]\n\n{needed}'
    plan.tables = {"source": f'[sources.{plan.source}]\nformat = "decision"\n', "executor": runner}
    plan.advice = f"The routes have no argv: their executor must say how a target is applied, in a\
 table such as:\n{needed}"


def _name(kind: str, names: dict[str, str]) -> str:
    """A name for the route of a kind of decision that no other has yet."""
    stem = re.sub("[^a-z0-9_-]+", "-", kind.lower()).strip("-_")[:50].strip("-_") or "route"
    free = (stem, *(f"{stem}-{number}" for number in range(2, len(names) + 3)))
    name = next(one for one in free if one not in names)
    names[name] = kind
    return name


def _comments(plan: Plan, config: str, kind: str, old: JsonObject) -> str:
    """What a route file says about where it came from, and what it lacks."""
    asks = old["requires_approval"]
    if not isinstance(asks, bool):
        raise wrong(config, f"routes.{kind}.requires_approval", asks, "true or false")
    if lost := ", ".join(shown(key) for key in old if key not in (*_TARGETS, "requires_approval")):
        plan.warn(f"route {shown(kind)}: not carried over: {lost}")
    if not asks:
        plan.warn(f"route {shown(kind)} asked nobody, but nothing ever ran; here it would, so it "
                  "asks. Write requires_approval = false into its file if you mean it")  # fmt: skip
    return commented(
        f"Written by `spoold import` from the route {quoted(kind)} of {quoted(plan.origin[0])}.",
        f"Not carried over: {quoted(lost)[1:-1]}." if lost else "",
        "" if asks else "The old route had requires_approval = false, and nothing ever ran.",
        "As it was, each decision makes a request. This folds the repeats of one outage into one:",
        'intent_key = "record.facts.decision_type"',
    )


def _targets(config: str, kind: str, old: JsonObject) -> dict[str, str]:
    targets: dict[str, str] = {}
    for key in _TARGETS:
        value = old.get(key)
        if not isinstance(value, str) or not value.strip():
            raise wrong(config, f"routes.{kind}.{key}", value or None, "a text")
        targets[key] = value.strip()
    targets["target_kind"] = targets["target_kind"].lower()
    if targets["target_kind"] not in ("blueprint", "module") or not _REF.fullmatch(
        targets["target_ref"]
    ):
        what = "a target_kind that is neither blueprint nor module, or a target_ref that is none"
        raise NotPossible(f"{shown(config)}: route {shown(kind)} has {what}; correct it there")
    return targets


def _processed(plan: Plan, state: str) -> dict[str, JsonObject]:
    processed = old_json(state).get("processed_decision_ids")
    if not isinstance(processed, dict):
        raise wrong(state, "processed_decision_ids", processed, "an object")
    odd = [one for one, was in processed.items() if not isinstance(was, dict)]
    if odd:
        plan.warn(f"{shown(state)}: {len(odd)} decisions have no details, such as {shown(odd[0])}")
    return {one.strip(): was if isinstance(was, dict) else {} for one, was in processed.items()}


def _requests(plan: Plan, known: dict[str, JsonObject], folder: str, approvals: str) -> None:
    """Tell what is not done there; learn of requests that are not in the state yet."""
    made = {was.get("dispatch_id"): one for one, was in known.items()}
    consumer: Any = (
        reading.json_object(os.path.join(approvals, "..", "state.json"), _REQUEST_BYTES) or {}
    )
    handed_on = set(map(str, consumer.get("processed_request_ids") or ()))
    if not os.path.isdir(approvals):
        plan.warn(f"there is no folder {shown(approvals)}: what was approved there is not told "
                  "from what waits. Name it with --approvals")  # fmt: skip
    found = reading.entries(folder) if os.path.isdir(folder) else ()
    for entry in sorted(found, key=lambda entry: entry.name):
        dispatch_id, suffix = os.path.splitext(entry.name)
        if suffix != ".json":
            continue
        request = reading.json_object(entry.path, _REQUEST_BYTES) or {}
        one = str(request.get("source_decision_id") or made.get(dispatch_id) or "").strip()
        if not one:
            raise NotPossible(
                f"{shown(entry.path)} does not say which decision it was made from, and the state "
                "does not either. Mend it, or take it away if it was never acted on"
            )
        # The dispatcher can have died between its request and its state.
        known.setdefault(one, request)
        if dispatch_id in handed_on:
            continue
        what = f"{shown(dispatch_id)} (decision {shown(one)})"
        if os.path.exists(os.path.join(approvals, f"{dispatch_id}.approved.json")):
            text = f"{what}: its yes does not count here. Find out whether it was done"
            plan.notes.append(("approved", text))
        else:
            text = f"{what}: it does not wait here. If it is wanted, drop it under a new id"
            plan.notes.append(("waiting", text))
