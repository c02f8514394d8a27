"""The request file: what would be done, who asked, who approved, what happened.

Three kinds of fields. What intake rendered is *sealed*: an HMAC over canonical bytes, made with a
key that only intake and the gate can read, so that what runs is what a person saw. What the gate
adds (`approvals`) carries a seal of its own. What executors add (`attempts`, `result`) is a record,
and decides nothing.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Annotated, Any, ClassVar, Literal

import orjson
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError

from spoold.errors import BadInput
from spoold.text import printable

_FOR_PEOPLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE

#: orjson sorts the keys of dictionaries only.
_SORTED = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS

SCHEMA: Literal["spoold.request/1"] = "spoold.request/1"

_TARGETS = ("target_kind", "target_ref", "target_env", "execution_plane")

#: The largest request file that is read back; a request holds a drop's rendering, not the drop.
MAX_BYTES = 8 << 20

#: It comes from a JSON parser, or goes through one before it is used: there is nothing to check.
JsonObject = dict[str, Any]

Status = Literal[
    "awaiting-approval",
    "pre-approved",
    "queued",
    "running",
    "deferred",
    "held",
    "unknown",
    "done",
    "failed",
]


def _must_be_a_moment(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("it has no time zone")
    return text


#: A time as `timestamp` writes it.
Moment = Annotated[str, AfterValidator(_must_be_a_moment)]


class Model:
    """Read strictly; a key nobody knows is an error, because somebody else wrote it.

    Intake builds one for every drop: pydantic checks what is read, and what our own code builds is
    checked by its types.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)


@dataclass(frozen=True)
class Source(Model):
    """The drop a request was made from.

    `file` is its name in `inbox/<inbox>/`, `archived` where the original lies now (from the spool
    root), `sha256` the digest of its bytes.
    """

    inbox: str
    file: str
    id: str | None
    sha256: str
    received_at: Moment
    archived: str


@dataclass(frozen=True)
class Policy(Model):
    """What has to happen before it may run, and until when (`expires_at`, UTC)."""

    policy: Literal["move", "none"]
    quorum: int
    approvers: list[str]
    expires_at: Moment


@dataclass(frozen=True)
class Repeat(Model):
    """A later record with the same intent that was folded into this request."""

    at: Moment
    id: str | None
    event_key: str
    archived: str


@dataclass(frozen=True)
class Approval(Model):
    """One yes, as the gate saw it.

    `at` is when the file was moved (its ctime), `by` who owns the decision in `approvals/`, if
    there is one, `seal` the gate's own over the rest and the dispatch id.
    """

    policy: Literal["move", "none"]
    at: Moment
    by: str | None
    note: str | None
    checked_at: Moment
    seal: str


@dataclass(frozen=True)
class Attempt(Model):
    """One try. `outcome` is null from before the effect starts until its end is recorded.

    `progress` is what was last heard of it. One that was `handed-back` was not really made.
    """

    number: int
    started_at: Moment
    ended_at: Moment | None = None
    outcome: Literal["done", "failed", "deferred", "unknown", "held", "handed-back"] | None = None
    code: str | None = None
    summary: str | None = None
    evidence: JsonObject | None = None
    output: JsonObject | None = None
    details: JsonObject | None = None
    progress: JsonObject | None = None


@dataclass(frozen=True)
class Result(Model):
    """How the last attempt ended, for good or until somebody decides: for every kind the same."""

    outcome: Literal["done", "failed", "unknown", "held"]
    code: str
    started_at: Moment
    ended_at: Moment
    summary: str
    evidence: JsonObject | None
    output: JsonObject | None
    details: JsonObject


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
        return orjson.dumps(self._fields(), option=_FOR_PEOPLE)

    def _fields(self) -> dict[str, Any]:
        fields = dict(vars(self))
        for key in ("decision_type", "source_decision_id", "source_decision_file"):
            if fields[key] is None:
                del fields[key]
        return fields

    def _sealed_bytes(self) -> bytes:
        fields = self._fields()
        for key in ("status", "seal", "approvals", "attempts", "result"):
            del fields[key]
        return orjson.dumps(fields, vars, _SORTED)

    def sealed(self, key: bytes) -> "Request":
        """A copy that carries intake's seal."""
        return self.with_(seal=_mac(key, "request", self._sealed_bytes()))

    def seal_holds(self, key: bytes) -> bool:
        """Whether what intake sealed is unchanged."""
        return _same(self.seal, _mac(key, "request", self._sealed_bytes()))

    def approved(self, key: bytes, approval: Approval) -> "Request":
        """A copy with one more yes, sealed by the gate."""
        entry = replace(approval, seal=self._approval_mac(key, approval))
        return self.with_(approvals=[*self.approvals, entry])

    def approvals_hold(self, key: bytes) -> bool:
        """Whether every yes in the file was written by the gate, for this request."""
        return all(_same(entry.seal, self._approval_mac(key, entry)) for entry in self.approvals)

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
        fields = {**vars(entry), "dispatch_id": self.dispatch_id}
        del fields["seal"]
        return _mac(key, "approval", orjson.dumps(fields, option=orjson.OPT_SORT_KEYS))


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
        canonical = request.to_bytes()
    except TypeError as error:
        what = f"The file is no {SCHEMA}: {printable(str(error))[:200]}."
        raise BadInput("not-a-request", what) from None
    if canonical != data:
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


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def timestamp(when: datetime) -> str:
    """ISO 8601, UTC, microseconds, `+00:00`: what decision dispatchers write."""
    at = when if when.tzinfo is UTC else when.astimezone(UTC)
    return at.isoformat(timespec="microseconds")


def parse_time(text: str) -> datetime:
    """The other way round."""
    return datetime.fromisoformat(text)


def reason(code: str, what: str, advice: str, when: datetime, **more: Any) -> bytes:
    """The content of a `<name>.reason.json`."""
    fields: Mapping[str, Any] = {
        "code": code,
        "what": what,
        "advice": advice,
        "at": timestamp(when),
        **{key: value for key, value in more.items() if value is not None},
    }
    fields = {k: printable(v) if isinstance(v, str) else v for k, v in fields.items()}
    return orjson.dumps(fields, option=_FOR_PEOPLE)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())


def _mac(key: bytes, purpose: str, data: bytes) -> str:
    mac = _keyed(key).copy()
    mac.update(purpose.encode() + b"\0" + data)
    return "hmac-sha256:" + mac.hexdigest()


@lru_cache(maxsize=4)
def _keyed(key: bytes) -> hmac.HMAC:
    return hmac.new(key, digestmod="sha256")


def latest(repeats: Sequence[Repeat], new: Repeat, limit: int = 100) -> list[Repeat]:
    """The last `limit` repeats; the others are in archive/, each with its reason file.

    More than a group of drops has, so that after a crash the whole group is recognised.
    """
    return [*repeats, new][-limit:]
