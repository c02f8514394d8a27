"""`spoold explain FILE`: which route a record takes, why not the others, what would be asked."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import click
import orjson

from spoold import request
from spoold.cel.explain import explain
from spoold.cel.expression import Scope
from spoold.cli.app import App, pass_app
from spoold.errors import BadInput, UsageError
from spoold.identity import digits, dispatch_id
from spoold.request import Request
from spoold.routing import Route
from spoold.sources.inbox import Inbox
from spoold.spool import imports
from spoold.spool.index import Known, peek
from spoold.stages.intake import index_path
from spoold.stages.intake.claim import Claim, archive_path, claim_of, read_drop
from spoold.stages.intake.outcome import Conflict
from spoold.stages.intake.render import Routed, build, route
from spoold.stages.intake.same import Judge
from spoold.text import shown
from spoold.view import lines


@click.command(params=[
    click.Argument(["file"], metavar="FILE"),
    click.Option(["--source", "source"], metavar="NAME",
                 help="The inbox it would be dropped in; known if the file lies in the spool."),
])  # fmt: skip
@pass_app
def command(app: App, file: str, source: str | None) -> None:
    """Say what a record would become, and why. Changes nothing."""
    inbox = _inbox(app, file, source)
    result: dict[str, Any] = {"file": shown(file), "source": inbox.name}
    claim = _claim(inbox, file)
    try:
        found = claim.record()
    except BadInput as problem:
        _print(app, {**result, **_quarantined(problem)})
        raise
    result["record"] = found.as_dict()
    scope = Scope(result["record"])
    result["routes"] = [_verdict(one, inbox, scope) for one in app.routing.routes]
    try:
        routed = route(claim, app.routing)
    except BadInput as problem:
        _print(app, {**result, **_quarantined(problem)})
        raise
    made = build(routed, dispatch_id(claim.at, routed.action.route, _digits(app, routed.event)))
    result["would"] = _would(app, made, routed)
    result["request"] = orjson.loads(_sealed(app, made).to_bytes())
    _print(app, result)


def _inbox(app: App, file: str, source: str | None) -> Inbox:
    inboxes = app.routing.inboxes
    if source is None:
        inside = os.path.relpath(os.path.realpath(file), app.config.root).split(os.sep)
        if inside[0] in ("inbox", "archive", "quarantine") and len(inside) > 1:
            source = inside[1]
    known = ", ".join(inboxes)
    if source is None:
        raise UsageError(f"{shown(file)} is in no inbox; say --source NAME, one of: {known}")
    if source not in inboxes:
        raise UsageError(f"no source {source!r} is configured; there are: {known}")
    return inboxes[source]


def _claim(inbox: Inbox, file: str) -> Claim:
    name = Path(file).name
    try:
        drop = read_drop(inbox, file)
    except FileNotFoundError:
        raise UsageError(f"there is no file {shown(file)}") from None
    now = request.now()
    return claim_of(drop, inbox, name, now, archive_path(inbox, now, name), os.stat(file))


def _verdict(route: Route, inbox: Inbox, scope: Scope) -> dict[str, Any]:
    table = route.table
    verdict: dict[str, Any] = {"route": table.name, "file": route.file.document.file.name}
    if table.source != inbox.name:
        return {**verdict, "outcome": "false", "why": [f"it is for source {table.source}"]}
    explained = explain(table.match, scope)
    why = [leaf.sentence for leaf in explained.decisive] or [explained.message or ""]
    others = [leaf.sentence for leaf in explained.leaves if not leaf.is_decisive]
    return {**verdict, "outcome": explained.outcome, "why": why, "also": others}


def _would(app: App, made: Request, routed: Routed) -> str:
    """What intake would do with it, as far as the index knows."""
    index = index_path(str(app.config.root))
    known = peek(index, "events", routed.event)
    if known and (same := _compared(app, routed, known)):
        return same
    if file := imports.find(routed.record, partial(_peek_id, index, "imported")):
        return f"be archived: the dispatcher before spoold had dealt with it, says {file}"
    waiting = _peek_id(index, "intents", routed.intent) if routed.intent else None
    if waiting and app.config.root.joinpath("awaiting-approval", f"{waiting}.json").exists():
        if routed.action.on_repeat == "fold":
            return f"fold into {waiting}, which still waits and asks for the same"
        if routed.action.on_repeat == "supersede":
            return f"become awaiting-approval/{made.name} and supersede {waiting}"
    folder = "awaiting-approval" if made.requires_approval else "pre-approved"
    return f"become {folder}/{made.name}"


def _peek_id(index: str, table: str, digest: bytes, *moment: float) -> str | None:
    found = peek(index, table, digest, *moment)
    return found and found.id


def _compared(app: App, routed: Routed, known: Known) -> str | None:
    """What becomes of a delivery of an event that is known; None if it asks anew."""
    key = app.spool.readable_seal_key()
    if not key:
        return f"be compared with {known.id}, which was asked for under the same key"
    answer = Judge(app.spool, key, app.routing, routed.claim.at).answer(routed, known)
    if isinstance(answer, Conflict):
        return f"go to quarantine: conflict: {answer.problem.what}"
    return f"be archived: the same delivery made {known.id} before" if answer else None


def _digits(app: App, event: bytes) -> str:
    """Those of the id that it would get, where this user may read the key; zeros otherwise."""
    key = app.spool.readable_seal_key()
    return digits(key, event) if key else "0" * 8


def _sealed(app: App, made: Request) -> Request:
    """With its seal where this user may read the key; an empty one otherwise."""
    key = app.spool.readable_seal_key()
    return made.sealed(key) if key else made


def _quarantined(problem: BadInput) -> dict[str, str]:
    return {"would": "go to quarantine", "code": problem.code, "what": problem.what}


def _print(app: App, result: dict[str, Any]) -> None:
    if app.as_json:
        app.row(result, "")
        return
    _say(app, "file", f"    {result['file']} (source {result['source']})")
    if about := result.get("record"):
        _say(app, "record", shown(f"  type {about['type']}, id {about['id']}"))
        facts = orjson.dumps(about["facts"], option=orjson.OPT_INDENT_2).decode()
        _say(app, "", "        facts " + facts.replace("\n", "\n        "))
    for sentence in lines.warnings(result.get("request") or result.get("record")):
        _say(app, "", f"        {sentence}")
    matched = False
    for verdict in result.get("routes", ()):
        _print_verdict(app, verdict, tried=not matched)
        matched = matched or verdict["outcome"] == "true"
    _say(app, "would", f"   {result['would']}")
    if "what" in result:
        _say(app, "", f"        {result['code']}: {result['what']}")
    if "request" in result:
        text = orjson.dumps(result["request"], option=orjson.OPT_INDENT_2).decode()
        _say(app, "", text)


def _print_verdict(app: App, verdict: dict[str, Any], *, tried: bool) -> None:
    matches = verdict["outcome"] == "true"
    mark, colour = ("✓", "green") if matches else ("✗", "red")
    word = ("matches" if tried else "would match too, but a route before it did") if matches else (
        "does not match" if verdict["outcome"] == "false" else "cannot be evaluated, so no match"
    )  # fmt: skip
    _say(app, "route", f"   {mark} {verdict['route']} {word}", colour)
    if matches:
        return
    for sentence in verdict["why"]:
        _say(app, "", f"            → {sentence}")
    for sentence in verdict.get("also", ()):
        _say(app, "", f"              {sentence}")


def _say(app: App, label: str, text: str, colour: str | None = None) -> None:
    """Lines, each escaped, and none wider than the terminal; the first begins with a label."""
    folded = lines.fold(label + lines.spelled_out(text), lines.columns())
    for number, line in enumerate(folded):
        if number or not label:
            click.echo(line)
        else:
            rest = line[len(label) :]
            click.echo(
                app.styled(label, bold=True) + (app.styled(rest, fg=colour) if colour else rest)
            )
