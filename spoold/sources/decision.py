"""A decision record, of today's decision service or of its ancestor → `decision`."""

from pathlib import PurePath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from spoold.errors import BadInput
from spoold.record import JsonObject, Record
from spoold.sources.fields import boolean, identifier, items, obj, optional_text, text

if TYPE_CHECKING:
    from spoold.sources import Origin


class Options(BaseModel):
    """`[sources.<name>]` with `format = "decision"`: there is nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


#: Keys whose text is a fact of the same name.
_TEXTS = ("status", "execution_mode", "runtime_env", "module_ref", "desired", "target_mode",
          "chosen")  # fmt: skip


def read(document: JsonObject, origin: "Origin") -> Record:
    """Turn a decision record into a record of type `decision`.

    Args:
        document: the decision; only `decision_type`, or `chosen` of the older form, is needed.
        origin: its file's name without the suffix stands in for a missing `decision_id`.

    Raises:
        BadInput: `bad-record` if neither says what was decided.
    """
    decision_id = identifier(document.get("decision_id")) or PurePath(origin.file).stem.strip()
    facts: JsonObject = {name: text(document.get(name)) for name in _TEXTS}
    facts |= {
        "decision_id": decision_id,
        "decision_type": _decision_type(document),
        "rationale": text(document.get("rationale"), document.get("reason")),
        "checks": [check for check in items(document.get("checks")) if isinstance(check, dict)],
        "degraded": boolean(document.get("degraded")),
        "signal_ready": boolean(document.get("signal_ready")),
        "module_inputs": obj(document.get("module_inputs")),
        "scores": obj(document.get("scores")),
    }
    return Record(
        source=origin.source,
        id=facts["decision_id"] or None,
        type="decision",
        occurred_at=optional_text(document.get("timestamp_utc")),
        body=document,
        facts=facts,
    )


def _decision_type(document: JsonObject) -> str:
    """What was decided; the older form knew only which provider was chosen."""
    named, chosen = document.get("decision_type"), document.get("chosen")
    if named is None or named == "":
        if isinstance(chosen, str) and chosen.strip():
            return f"chosen:{chosen.strip()}"
        raise BadInput("bad-record", "The decision has neither decision_type nor chosen.")
    if not isinstance(named, str) or not named.strip():
        raise BadInput("bad-record", "The decision_type of the decision is not a name.")
    return named.strip()
