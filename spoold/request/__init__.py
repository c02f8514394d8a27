"""The request file: what would be done, who asked, who approved, what happened.

Three kinds of fields. What intake rendered is *sealed*: an HMAC over canonical bytes, made with a
key that only intake and the gate can read, so that what runs is what a person saw. What the gate
adds (`approvals`) carries a seal of its own. What executors add (`attempts`, `result`) is a record,
and decides nothing.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from spoold.errors import BadInput
from spoold.request.parts import (
    Approval,
    Attempt,
    Dropper,
    JsonObject,
    Model,
    Moment,
    Policy,
    Repeat,
    Result,
    Source,
    Status,
)
from spoold.request.reasons import FOR_PEOPLE, for_people, reason
from spoold.request.seal import NOT_SEALED, canonical, mac, pin_of, same
from spoold.request.times import now, parse_time, timestamp
from spoold.text import printable, visible

__all__ = [
    "MAX_BYTES",
    "SCHEMA",
    "Approval",
    "Attempt",
    "Dropper",
    "JsonObject",
    "Model",
    "Moment",
    "Policy",
    "Repeat",
    "Request",
    "Result",
    "Source",
    "Status",
    "latest",
    "now",
    "parse",
    "parse_time",
    "pin_of",
    "reason",
    "timestamp",
    "validated",
]

SCHEMA: Literal["spoold.request/1"] = "spoold.request/1"

_TARGETS = ("target_kind", "target_ref", "target_env", "execution_plane")

#: The largest request file that is read back; a request holds a drop's rendering, not the drop.
MAX_BYTES = 8 << 20


@dataclass(frozen=True)
class Request(Model):
    """One action, complete: nothing is looked up later. The fields are in the file's order."""

    _: KW_ONLY
    schema: Literal["spoold.request/1"]
    dispatch_id: str
    timestamp_utc: Moment
    status: Status
    route: str
    execution_plane: str | None
    target_kind: str | None
    target_ref: str | None
    target_env: str | None
    requires_approval: bool
    rationale: str | None
    checks: list[Any]
    decision_type: str | None = None
    source_decision_id: str | None = None
    source_decision_file: str | None = None
    source: Source
    executor: str
    params: JsonObject
    preflight: list[JsonObject]
    approval: Policy
    event_key: str
    intent_key: str | None
    lane: str | None
    supersedes: list[str]
    asked: int
    repeats: list[Repeat]
    seal: str
    approvals: list[Approval]
    attempts: list[Attempt]
    result: Result | None

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.dispatch_id}.json"

    @property
    def targets(self) -> dict[str, str | None]:
        """What it says about its target."""
        return {name: getattr(self, name) for name in _TARGETS}

    def has_expired(self, when: datetime) -> bool:
        """Whether it was to be decided, and checked, before this time."""
        return parse_time(self.approval.expires_at) <= when

    def with_(self, **changes: Any) -> "Request":
        """A copy with some fields changed."""
        # dataclasses.replace asks field by field, which takes longer than all else a seal needs.
        made = object.__new__(Request)
        vars(made).update(vars(self), **changes)
        return made

    def to_bytes(self) -> bytes:
        """The file's exact content; any other spelling of the same data is refused."""
        return for_people(self._fields())

    def is_written_as(self, data: bytes) -> bool:
        """Whether these are its bytes, as this version spells them, or as version 0.1.0 did."""
        spelled = orjson.dumps(self._fields(), option=FOR_PEOPLE)
        return data in (visible(spelled), spelled)

    def _fields(self) -> dict[str, Any]:
        fields = dict(vars(self))
        for key in ("decision_type", "source_decision_id", "source_decision_file"):
            if fields[key] is None:
                del fields[key]
        for key in ("source", "approval"):
            if fields[key].LATER:
                fields[key] = fields[key].as_fields()
        for key in ("repeats", "approvals"):
            if fields[key]:
                fields[key] = [one.as_fields() for one in fields[key]]
        return fields

    def _sealed_bytes(self) -> bytes:
        fields = self._fields()
        for key in NOT_SEALED:
            del fields[key]
        return canonical(fields)

    @property
    def pin(self) -> str:
        """What a yes names: see `pin_of`."""
        return pin_of(self._fields())

    def sealed(self, key: bytes) -> "Request":
        """A copy that carries intake's seal."""
        return self.with_(seal=mac(key, "request", self._sealed_bytes()))

    def seal_holds(self, key: bytes) -> bool:
        """Whether what intake sealed is unchanged."""
        return same(self.seal, mac(key, "request", self._sealed_bytes()))

    def approved(self, key: bytes, approval: Approval) -> "Request":
        """A copy with one more yes, sealed by the gate."""
        entry = replace(approval, seal=self._approval_mac(key, approval))
        return self.with_(approvals=[*self.approvals, entry])

    def approvals_hold(self, key: bytes) -> bool:
        """Whether every yes in the file was written by the gate, for this request."""
        return all(same(entry.seal, self._approval_mac(key, entry)) for entry in self.approvals)

    @property
    def history_holds(self) -> bool:
        """Whether the fields that are not sealed tell a story that spoold can have written."""
        numbers = [tried.number for tried in self.attempts]
        if numbers != list(range(1, len(numbers) + 1)):
            return False
        if any(tried.outcome is None for tried in self.attempts[:-1]):
            return False
        if not self.approvals:
            fresh = "awaiting-approval" if self.requires_approval else "pre-approved"
            return self.status == fresh and not self.attempts and self.result is None
        return True

    def _approval_mac(self, key: bytes, entry: Approval) -> str:
        fields = {**entry.as_fields(), "dispatch_id": self.dispatch_id}
        del fields["seal"]
        return mac(key, "approval", orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))


@cache
def _reader() -> TypeAdapter[Request]:
    # Made at first use: it takes a tenth of a second, and not every command reads requests.
    return TypeAdapter(Request)


def parse(data: bytes) -> Request:
    """Read a request file.

    Raises:
        BadInput: `empty`, `not-a-request`, or `altered`: the bytes are not as spoold wrote them.
    """
    if not data.strip():
        raise BadInput("empty", "The file is empty, and an empty file approves nothing.")
    request = validated(data)
    try:
        is_ours = request.is_written_as(data)
    except TypeError as error:
        what = f"The file is no {SCHEMA}: {printable(str(error))[:200]}."
        raise BadInput("not-a-request", what) from None
    if not is_ours:
        raise BadInput("altered", "The bytes are not as spoold wrote them.")
    return request


def validated(data: bytes) -> Request:
    """What a request file says; for bytes of `to_bytes`, whose spelling needs no check.

    Raises:
        BadInput: `not-a-request`.
    """
    try:
        return _reader().validate_json(data)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = printable(".".join(str(part) for part in problem["loc"]) or "the file")[:80]
        what = f"The file is no {SCHEMA}: {where}: {printable(problem['msg'])[:120]}."
        raise BadInput("not-a-request", what) from None


def latest(repeats: Sequence[Repeat], new: Repeat, limit: int = 100) -> list[Repeat]:
    """The last `limit` repeats, and before them as many that differ; archive/ has all of them.

    More than a group of drops has, so that after a crash the whole group is recognised.
    """
    differ = [one for one in repeats if one.differs]
    kept = [*repeats, new][-limit:]
    return [*(one for one in differ[:limit] if one not in kept), *kept]
