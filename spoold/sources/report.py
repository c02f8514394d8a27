"""What spoold itself says when a request changes its state → `report.<state>`.

The stage `report` drops one record into every inbox of this format for each change. A route decides
who is told, and how: usually with a hook, and without a person (`requires_approval = false`).
"""

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from spoold.errors import BadInput
from spoold.record import JsonObject, Record
from spoold.sources.fields import identifier, integer, optional_text, text

if TYPE_CHECKING:
    from spoold.sources import Origin

State = Literal["awaiting-approval", "held", "expired", "rejected", "unknown", "done", "failed"]

_USUAL: tuple[State, ...] = (
    *("awaiting-approval", "held", "expired", "unknown", "done", "failed"),
)
_FACTS = (
    *("dispatch_id", "state", "route", "executor", "target_kind", "target_ref", "target_env"),
    *("rationale", "code", "summary", "expires_at"),
)


class Options(BaseModel):
    """`[sources.<name>]` with `format = "report"`.

    Attributes:
        on: the states that are told.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    on: list[State] = Field(default_factory=lambda: list(_USUAL), min_length=1)


def read(document: JsonObject, origin: "Origin") -> Record:
    """Turn a report into a record.

    Raises:
        BadInput: `bad-record`, if it is not one of spoold's.
    """
    state, id_ = text(document.get("state")), identifier(document.get("id"))
    if not (state and id_ and text(document.get("dispatch_id"))):
        raise BadInput("bad-record", "A report has an id, a dispatch_id and a state.")
    facts: JsonObject = {key: text(document.get(key)) for key in _FACTS}
    facts["attempts"] = integer(document.get("attempts")) or 0
    facts["asked"] = integer(document.get("asked")) or 0
    return Record(
        source=origin.source,
        id=id_,
        type=f"report.{state}",
        occurred_at=optional_text(document.get("at")),
        body=document,
        facts=facts,
        # After a crash a change is told once more, perhaps with what has been counted since.
        content={"dispatch_id": facts["dispatch_id"], "state": state},
    )
