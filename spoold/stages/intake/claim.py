"""A drop in intake's hands, and the request that it becomes."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from spoold import request
from spoold.disk import reading
from spoold.errors import ADVICE, BadInput
from spoold.identity import event_digest
from spoold.record import JsonObject, Record, parse
from spoold.request import Policy, Request, Source
from spoold.routing import Action, Routing
from spoold.sources.inbox import Inbox
from spoold.spool.filenames import is_odd
from spoold.spool.spool import Place
from spoold.text import shown


@dataclass(frozen=True, slots=True)
class Drop:
    """A file as it lay there, or what is wrong with it."""

    read: reading.Read | None
    document: JsonObject | None
    problem: BadInput | None


def look(inbox: Inbox, path: str, *, seen_regular: bool = False) -> Drop:
    """Read and parse a drop within the limits of its inbox; see `reading.read_regular`.

    Raises:
        OSError: it is gone, or could not be read.
    """
    try:
        read = reading.read_regular(path, inbox.table.max_bytes, seen_regular=seen_regular)
    except reading.NotRegular as error:
        return Drop(None, None, BadInput(error.kind, f"It is a {error.kind}, not a file."))
    except reading.TooLarge as error:
        what = f"It has {error.size} bytes; {inbox.name} takes {inbox.table.max_bytes}."
        return Drop(None, None, BadInput("too-large", what))
    try:
        return Drop(read, parse(read.data, max_depth=inbox.table.max_depth), None)
    except BadInput as problem:
        return Drop(read, None, problem.to_keep())


def odd_name(name: str) -> BadInput | None:
    """What is wrong with a name, if anything."""
    if not is_odd(name):
        return None
    return BadInput("odd-name", f"The name {shown(name)[:60]!r} is too long, or could mislead.")


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed drop.

    Attributes:
        inbox: where it was dropped.
        file: the name it came with.
        archived: where its original goes, from the spool root.
        at: when it was claimed.
        data: its bytes; empty if they could not be read.
        sha256: their digest, in hex.
        document: what they say, if they are good JSON.
        problem: what is wrong with it, if anything.
    """

    inbox: Inbox
    file: str
    archived: str
    at: datetime
    data: bytes
    sha256: str
    document: JsonObject | None
    problem: BadInput | None

    @property
    def shown(self) -> str:
        """The name it came with, fit for a terminal and for JSON."""
        return shown(self.file)

    def read(self) -> Record:
        """What it says.

        Raises:
            BadInput: what is wrong with it.
        """
        if self.problem:
            raise self.problem.to_keep()
        if self.document is None:
            raise BadInput("unreadable", "It could not be read.")
        return self.inbox.read(self.document, self.file)

    def reason(self, code: str, what: str, when: datetime, **more: str) -> bytes:
        """The content of the reason file beside the original."""
        return request.reason(
            code, what, ADVICE[code], when, source=self.inbox.name, file=self.shown,
            sha256=self.sha256 if self.data else None, **more,
        )  # fmt: skip

    def log_fields(self, **more: str) -> dict[str, str]:
        """What a log line says about it."""
        return {"source": self.inbox.name, "file": self.shown, **more}


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a claimed original goes once everything else is durable, and what is said then.

    `needs` is the waiting request that it was folded into: if that is gone, the plan is void.
    """

    claim: Claim
    place: Place
    name: str
    say: Callable[[], None]
    why: bytes | None = None
    needs: str | None = None


class Routed(NamedTuple):
    """What a claim asks for."""

    claim: Claim
    record: Record
    action: Action
    event: bytes


def route(claim: Claim, routing: Routing) -> Routed:
    """What it says, and what the first route that matches makes of it.

    Raises:
        BadInput: what is wrong with it.
    """
    record = claim.read()
    scope = routing.scope(record)
    action = routing.match(record, scope).render(record, scope)
    return Routed(claim, record, action, event_digest(claim.inbox.name, action.event_key))


def claimed(inbox: Inbox, file: str, kept: str, at: datetime, drop: Drop) -> Claim:
    """A claim of what lay there; its original gets the name `kept` in `archive`."""
    data = drop.read.data if drop.read else b""
    return Claim(
        inbox=inbox,
        file=file,
        archived=f"archive/{inbox.name}/{at.date().isoformat()}/{kept}",
        at=at,
        data=data,
        sha256=hashlib.sha256(data).hexdigest(),
        document=drop.document,
        problem=drop.problem or odd_name(file),
    )


def build(claim: Claim, record: Record, action: Action, dispatch_id: str) -> Request:
    """The request that a claim becomes; it still lacks its seal."""
    decision = record.facts if record.type == "decision" else {}
    received_at = request.timestamp(claim.at)
    expires = claim.at + timedelta(seconds=action.expires_after)
    return Request(
        schema=request.SCHEMA,
        dispatch_id=dispatch_id,
        timestamp_utc=received_at,
        status="awaiting-approval" if action.requires_approval else "pre-approved",
        route=action.route,
        execution_plane=action.targets["execution_plane"],
        target_kind=action.targets["target_kind"],
        target_ref=action.targets["target_ref"],
        target_env=action.targets["target_env"],
        requires_approval=action.requires_approval,
        rationale=action.targets["rationale"] or decision.get("rationale"),
        checks=decision.get("checks") or [],
        decision_type=decision.get("decision_type"),
        source_decision_id=record.id if decision else None,
        source_decision_file=claim.archived if decision else None,
        source=Source(
            inbox=claim.inbox.name,
            file=claim.file,
            id=record.id,
            sha256=claim.sha256,
            received_at=received_at,
            archived=claim.archived,
        ),
        executor=action.executor,
        params=action.params,
        preflight=action.preflight,
        approval=Policy(
            policy="move" if action.requires_approval else "none",
            quorum=1 if action.requires_approval else 0,
            approvers=[],
            expires_at=request.timestamp(expires),
        ),
        event_key=action.event_key,
        intent_key=action.intent_key,
        lane=action.lane,
        supersedes=[],
        asked=1,
        repeats=[],
        seal="",
        approvals=[],
        attempts=[],
        result=None,
    )
