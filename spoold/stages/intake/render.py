"""A claim → what its route makes of it → the request that asks for that."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from spoold import request
from spoold.config.quantities import FOREVER
from spoold.identity import event_digest, intent_digest
from spoold.record import Record, moment
from spoold.request import Dropper, Policy, Request, Source
from spoold.routing import Action, Routing
from spoold.stages.intake.claim import Claim


@dataclass(frozen=True, slots=True, eq=False)
class Routed:
    """What a claim asks for.

    Attributes:
        claim: the drop.
        record: what it says.
        action: what the first route that matches makes of it.
        event: the digest that is the same for each delivery of the same event.
        intent: the digest of the waiting request that it folds into or supersedes; empty where it
            may do neither.
        intents: all digests by which later drops look for its request.
    """

    claim: Claim
    record: Record
    action: Action
    event: bytes
    intent: bytes
    intents: tuple[bytes, ...]


def intents(route: str, intent_key: str | None, dropper: Dropper | None) -> tuple[bytes, ...]:
    """The digests of an intent: anybody's, and that of who dropped it."""
    if not intent_key:
        return ()
    anybodys = intent_digest(route, intent_key)
    return (anybodys, intent_digest(route, intent_key, dropper.uid)) if dropper else (anybodys,)


def route(claim: Claim, routing: Routing) -> Routed:
    """What a claim asks for.

    Raises:
        BadInput: what is wrong with it, or that no route takes it.
    """
    record = claim.record()
    scope = routing.scope(record)
    action = routing.match(record, scope).render(record, scope)
    if claim.as_new:
        # Who wants it as an event of its own wants it as a request of its own.
        key = f"{action.event_key} {claim.as_new}"
        action = replace(action, event_key=key, on_repeat="separate", repeats=FOREVER)
    event = event_digest(claim.inbox.name, action.event_key)
    # Whose intent it is counts where one may supersede, and is not worked out elsewhere.
    whose = claim.dropped_by if action.on_repeat == "supersede" else None
    noted = intents(action.route, action.intent_key, whose)
    wanted = noted[0 if action.supersede_others else -1] if noted else b""
    return Routed(claim, record, action, event, wanted, noted)


def build(routed: Routed, dispatch_id: str) -> Request:
    """The request that a drop becomes; it still lacks its seal."""
    claim, record, action = routed.claim, routed.record, routed.action
    decision = record.facts if record.type == "decision" else {}
    received_at = request.timestamp(claim.at)
    expires = claim.at + timedelta(seconds=action.expires_after)
    asks = action.requires_approval
    return Request(
        schema=request.SCHEMA,
        dispatch_id=dispatch_id,
        timestamp_utc=received_at,
        status="awaiting-approval" if asks else "pre-approved",
        route=action.route,
        **{**action.targets, "rationale": action.targets["rationale"] or decision.get("rationale")},
        requires_approval=asks,
        checks=decision.get("checks") or [],
        decision_type=decision.get("decision_type"),
        source_decision_id=record.id if decision else None,
        source_decision_file=claim.archived if decision else None,
        source=_source(claim, record, received_at),
        executor=action.executor,
        params=action.params,
        preflight=action.preflight,
        approval=_policy(expires, asks=asks),
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


def _source(claim: Claim, record: Record, received_at: str) -> Source:
    occurred = moment(record.occurred_at) if record.occurred_at else None
    return Source(
        inbox=claim.inbox.name,
        file=claim.file,
        id=record.id,
        sha256=claim.sha256,
        received_at=received_at,
        archived=claim.archived,
        occurred_at=request.timestamp(occurred) if occurred else None,
        dropped_by=claim.dropped_by,
    )


def _policy(expires: datetime, *, asks: bool) -> Policy:
    """A yes of one person by a move, or none at all if the route does not ask for one."""
    kind: Literal["move", "none"] = "move" if asks else "none"
    at = request.timestamp(expires)
    return Policy(policy=kind, quorum=int(asks), approvers=[], expires_at=at)
