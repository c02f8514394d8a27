"""The parts of a request file: what each of its inner objects says."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict

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
    """Read strictly: an unknown key is an error, because spoold did not write it.

    Intake builds one for every drop: pydantic checks what is read, and what our own code builds is
    checked by its types.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", strict=True)

    #: Fields that a later version added: while None, they are not in the file and not sealed.
    LATER: ClassVar[tuple[str, ...]] = ()

    def as_fields(self) -> JsonObject:
        """The fields as they are written."""
        fields = dict(vars(self))
        for name in self.LATER:
            if fields[name] is None:
                del fields[name]
        return fields


@dataclass(frozen=True)
class Dropper(Model):
    """Who owned a file when intake claimed it: the kernel's word."""

    uid: int
    user: str


@dataclass(frozen=True)
class Source(Model):
    """The drop a request was made from.

    `file` is its name in `inbox/<inbox>/`, `archived` where the original lies now (from the spool
    root), `sha256` the digest of its bytes, `occurred_at` when the producer says it happened, and
    `dropped_by` who dropped it.
    """

    LATER = ("occurred_at", "dropped_by")

    inbox: str
    file: str
    id: str | None
    sha256: str
    received_at: Moment
    archived: str
    occurred_at: Moment | None = None
    dropped_by: Dropper | None = None


@dataclass(frozen=True)
class Policy(Model):
    """What has to happen before it may run, and until when (`expires_at`, UTC)."""

    policy: Literal["move", "none"]
    quorum: int
    approvers: list[str]
    expires_at: Moment


@dataclass(frozen=True)
class Repeat(Model):
    """A later record with the same intent that was folded into this request.

    `sha256` is the digest of its bytes; `differs` what it asks for that this request does not, by
    the path of the field; `dropped_by` who dropped it.
    """

    LATER = ("sha256", "differs", "dropped_by")

    at: Moment
    id: str | None
    event_key: str
    archived: str
    sha256: str | None = None
    differs: JsonObject | None = None
    dropped_by: Dropper | None = None


@dataclass(frozen=True)
class Approval(Model):
    """One yes, as the gate saw it.

    `at` is when the file was moved (its ctime), `by` who owns the decision in `approvals/`, if
    there is one, `pin` what they had read, `seal` the gate's own over the rest and the dispatch id.
    """

    LATER = ("pin",)

    policy: Literal["move", "none"]
    at: Moment
    by: str | None
    note: str | None
    checked_at: Moment
    seal: str
    pin: str | None = None


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
    """How the last attempt ended, for good or until a person decides; every kind has this shape."""

    outcome: Literal["done", "failed", "unknown", "held"]
    code: str
    started_at: Moment
    ended_at: Moment
    summary: str
    evidence: JsonObject | None
    output: JsonObject | None
    details: JsonObject
