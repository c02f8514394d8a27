"""An infra dispatcher's environment and state → a hook, a route with its gate, known tickets."""

import os
import re
from datetime import UTC, datetime
from urllib.parse import urlsplit, urlunsplit

from spoold.cli.importing.plan import Plan, commented, old_json, old_text, quoted, table, wrong
from spoold.errors import NotPossible
from spoold.record import JsonObject
from spoold.sources.fields import slug
from spoold.spool import imports
from spoold.text import shown

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)")
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CRED|AUTH|DSN")
_SHORTEST_SECRET = 8
_DEFAULTS = {
    "OPENCLAW_HOOK_URL": "http://127.0.0.1:18789/hooks/agent",
    "OPENCLAW_HOOK_DELIVER": "false",
    "INFRA_READY_STATES": "unstarted",
    "INFRA_READY_LABELS": "ready,automation:go",
    "INFRA_COMPONENT_LABEL_PREFIX": "comp:",
    "INFRA_AGENT_LABEL_PREFIX": "agent:",
    "INFRA_DEFAULT_AGENT": "none",
}
_NOT_NEEDED = {"OPENCLAW_HOOK_TOKEN", "INFRA_DISPATCH_STATE_PATH", "LOG_LEVEL", "HEALTHZ_PORT"}
_CHECKS = {"INFRA_RUN_CHECKS", "INFRA_CHECK_TIMEOUT_SECONDS", "INFRA_COMPONENT_CHECKS_JSON"}
_GROUPS = {"backlog", "unstarted", "started", "completed", "cancelled"}
_BODY = r"""
[params.body]
name           = "TeamInfraDispatch"
wakeMode       = "now"
deliver        = %s
timeoutSeconds = 180
message        = '''="Ticket: " + strings.quote(record.facts.ticket_ref) + "\n"
  + "Title: " + strings.quote(record.facts.title) + "\n"
  + "State: " + strings.quote(record.facts.state.name) + "\n"
  + "Labels: " + strings.quote(record.facts.labels.join(", ")) + "\n"
  + "Component route: " + strings.quote(record.facts.component) + "\n"
  + "Agent label: " + strings.quote(record.facts.agent) + "\n"
  + "Plane URL: " + strings.quote(record.facts.url)'''
"""


def read(environment: str, state: str, source: str, executor: str) -> Plan:
    """Read everything; nothing is written, and no secret is passed on.

    Args:
        environment: the file with the dispatcher's variables.
        state: its file of tickets.
        source: the inbox that webhooks are dropped in from now on.
        executor: the hook that agents are reached by.

    Raises:
        UsageError, NotPossible: a file is missing, or is not what the dispatcher reads or writes.
    """
    origin = [os.path.abspath(environment), os.path.abspath(state)]
    plan = Plan("infra-dispatcher", "webhook", source, executor, origin)
    settings = {**_DEFAULTS, **_variables(plan, environment)}
    plan.prefixes = {
        "component_prefix": slug(settings["INFRA_COMPONENT_LABEL_PREFIX"]),
        "agent_prefix": slug(settings["INFRA_AGENT_LABEL_PREFIX"]),
    }
    prefixes = f"[sources.{source}.plane]\n" + table(
        {key: quoted(prefix) for key, prefix in plan.prefixes.items()}
    )
    hook = table({
        "kind": '"hook"',
        "url": quoted(_url(plan, settings["OPENCLAW_HOOK_URL"])),
        "token": '{ env = "OPENCLAW_HOOK_TOKEN" }',
        "timeout": '"20s"',
    })  # fmt: skip
    plan.tables = {
        "source": f'[sources.{source}]\nformat = "webhook"\n\n{prefixes}',
        "prefixes": prefixes,
        "executor": f"[executors.{executor}]\n{hook}",
    }
    _route(plan, environment, settings)
    _dealt_with(plan, state)
    return plan


def _variables(plan: Plan, path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, old_text(path).split("\n")), 1):
        if not line or line[0] in "#;":
            continue
        if not (said := _LINE.fullmatch(line)):
            # What the line says is not told: it may be a part of a secret.
            raise NotPossible(f"{shown(path)}:{number}: is no NAME=VALUE; correct it there")
        name, value = said[1], said[2].strip()
        if value[:1] in ("'", '"') and value[1:].endswith(value[0]):
            value = value[1:-1]
        found[name] = value
        secret = _SECRET.search(name.upper()) or re.search("://[^/]*@", value)
        if secret and len(value) >= _SHORTEST_SECRET:
            plan.secrets[name] = value
    if lost := sorted(found.keys() - _DEFAULTS.keys() - _NOT_NEEDED - _CHECKS):
        plan.warn(f"{shown(path)}: not carried over: {', '.join(lost)}")
    if any(_CHECKS & found.keys()):
        plan.warn("checks of components are not carried over: they are shell commands, and never "
                  "stopped anything. Write them as preflight into the route")  # fmt: skip
    return found


def _url(plan: Plan, url: str) -> str:
    parts = urlsplit(url)
    plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    if plain != url:
        plan.warn("OPENCLAW_HOOK_URL holds more than an address; the rest is not carried over")
    return plain


def _route(plan: Plan, environment: str, settings: dict[str, str]) -> None:
    states, labels = (
        list(dict.fromkeys(filter(None, map(slug, settings[name].split(",")))))
        for name in ("INFRA_READY_STATES", "INFRA_READY_LABELS")
    )
    if not states or (settings["INFRA_READY_LABELS"].strip(", ") and not labels):
        what = "INFRA_READY_STATES or INFRA_READY_LABELS has nothing that could match"
        raise NotPossible(f"{shown(environment)}: no ticket can be ready: {what}")
    groups = [state for state in states if state in _GROUPS]
    if groups:
        plan.warn(
            f"states {', '.join(groups)}: the dispatcher compared names of states only; the route "
            "also takes a state of that group. Take its line out if that is too much"
        )
    target = (
        '=record.facts.agent != "" ? record.facts.agent : record.facts.component != "" ? '
        f"record.facts.component : {quoted(settings['INFRA_DEFAULT_AGENT'])}"
    )
    deliver = settings["OPENCLAW_HOOK_DELIVER"].strip().lower() in ("1", "true", "yes", "on")
    plan.routes["60-001-infra-ready-ticket.toml"] = commented(
        f"Written by `spoold import` from {quoted(plan.origin[0])}.",
        "The label was the gate, and the agent was told at once. Here a person says yes first.",
        "Not carried over: sessionKey, which gateways refuse since 2026.2.12, the checks, and the",
        "policy at the end of the message.",
        "As it was, each edit of a ready ticket makes a request. This folds them while one waits:",
        'intent_key = "record.facts.issue_id"',
    ) + table({
        "name": '"infra-ready-ticket"',
        "source": quoted(plan.source),
        "match": "'''\n  " + "\n  && ".join(_gate(states, groups, labels)) + "'''",
        "executor": quoted(plan.executor),
        "target_kind": '"agent"',
        "target_ref": quoted(target),
        "rationale": quoted('="ticket " + strings.quote(record.facts.ticket_ref) + " is ready"'),
    }) + _BODY % ("true" if deliver else "false")  # fmt: skip
    for more in ([], [f"{plan.prefixes['component_prefix']}-import"]):
        data = {"id": "import", "state": {"name": states[0]}, "labels": labels[:1] + more}
        ticket: JsonObject = {"event": "issue", "action": "updated", "data": data}
        plan.samples.append((ticket, "infra-ready-ticket"))


def _gate(states: list[str], groups: list[str], labels: list[str]) -> list[str]:
    """The conditions of the dispatcher, as expressions that must all be true."""
    return [
        'record.type == "plane.issue"',
        'record.facts.action in ["created", "updated"]',
        'record.facts.issue_id != ""',
        f"(record.facts.state.slug in {_list(states)}"
        + (f"\n      || record.facts.state.group in {_list(groups)})" if groups else ")"),
        *([f"record.facts.labels.exists(label, label in {_list(labels)})"] if labels else []),
    ]


def _list(words: list[str]) -> str:
    return f"[{', '.join(map(quoted, words))}]"


def _dealt_with(plan: Plan, state: str) -> None:
    tickets = old_json(state)
    # Where an entry has no time, all counts as old that was before the state was last written.
    written = os.stat(state).st_mtime
    timeless: list[str] = []
    for issue_id, fingerprint in tickets.items():
        if not isinstance(fingerprint, str):
            raise wrong(state, issue_id, fingerprint, "a text")
        until = imports.seconds_of(fingerprint.partition(":")[2].rsplit(":", 2)[0])
        if until is None:
            timeless.append(issue_id)
        plan.lines.append({
            "key": imports.ticket(issue_id.strip()),
            "until": written if until is None else until,
            "was": {"fingerprint": fingerprint},
        })  # fmt: skip
    if timeless:
        plan.warn(
            f"{len(timeless)} tickets, such as {shown(timeless[0])}, have no time: their changes "
            f"until {datetime.fromtimestamp(written, UTC):%FT%TZ} count as dispatched"
        )
    if tickets:
        text = "the dispatcher noted a ticket before it told the agent: see in its log whether the"
        plan.warn(f"{text} last ones arrived; edit one to have it again")
