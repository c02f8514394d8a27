"""What becomes of one drop: the few answers that intake has, each with its reason and its log line.

The original goes to `archive/` unless it is quarantined. A drop that made a request of its own has
no reason beside it; every other one has.
"""

import logging
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import Any

from spoold.errors import BadInput
from spoold.record import JsonObject
from spoold.request import Request
from spoold.spool.index import Known
from spoold.stages.intake.claim import Claim

log = logging.getLogger("spoold.intake")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a drop.

    Attributes:
        claim: the drop.
        dispatch_id: the request that it made, joined or repeats; empty where there is none.
        event: the index notes what is `known` of this event now; empty where it does not.
        intents: the index notes that this is the latest request with each of these.
    """

    claim: Claim
    _: KW_ONLY
    dispatch_id: str = ""
    event: bytes = b""
    intents: tuple[bytes, ...] = ()

    @property
    def archived(self) -> str:
        """Where the original goes if it is not quarantined, from the spool root."""
        return self.claim.archived

    @property
    def known(self) -> Known:
        """What the index notes of the event."""
        return Known(self.dispatch_id, self.claim.sha256, self.claim.dropped_by.uid)

    def reason(self, when: datetime) -> bytes | None:
        """The content of the reason file beside the original; None if it needs none."""
        del when
        return None

    def log(self) -> None:
        """Say it, once the original is where it belongs."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class NewRequest(Outcome):
    """It makes a request of its own."""

    request: Request

    def log(self) -> None:
        """Which request, by which route."""
        fields = self.claim.log_fields(dispatch_id=self.dispatch_id, route=self.request.route)
        log.info("%s made %s", self.claim.shown, self.dispatch_id, extra=fields)


@dataclass(frozen=True, slots=True)
class MadeBefore(Outcome):
    """A run that crashed had made its request already; only what comes after that is missing."""

    request: Request

    @property
    def archived(self) -> str:
        """Where the request says that its original is."""
        return self.request.source.archived

    def log(self) -> None:
        """Which request."""
        fields = self.claim.log_fields(dispatch_id=self.dispatch_id)
        log.info("%s was made before the crash", self.dispatch_id, extra=fields)


@dataclass(frozen=True, slots=True)
class Fold(Outcome):
    """It asks for the same as a request that still waits, and is counted there."""

    event_key: str
    asked: int
    differs: JsonObject | None

    def reason(self, when: datetime) -> bytes:
        """Which request, how often it was asked now, and how this one differs."""
        same = self.dispatch_id
        but = f", though not alike in {', '.join(self.differs)}"[:400] if self.differs else ""
        what = f"{same} still waits for the same{but}; it was asked {self.asked} times now."
        more = {"dispatch_id": same, "event_key": self.event_key}
        return self.claim.reason("folded", what, when, **more, differs=self.differs)

    def log(self) -> None:
        """Which request."""
        fields = self.claim.log_fields(dispatch_id=self.dispatch_id, code="folded")
        log.info("%s folds into %s", self.claim.shown, self.dispatch_id, extra=fields)


@dataclass(frozen=True, slots=True)
class Repeat(Outcome):
    """The same event was delivered before."""

    event_key: str
    first: Known

    @property
    def known(self) -> Known:
        """What is known of the event stays."""
        return self.first

    def reason(self, when: datetime) -> bytes:
        """Which request the first delivery made; reindex reads it."""
        what = f"The same delivery made {self.dispatch_id} before."
        more = {"dispatch_id": self.dispatch_id, "event_key": self.event_key}
        return self.claim.reason("repeat", what, when, **more)

    def log(self) -> None:
        """Which request."""
        fields = self.claim.log_fields(dispatch_id=self.dispatch_id, code="repeat")
        log.info("%s repeats %s", self.claim.shown, self.dispatch_id, extra=fields)


@dataclass(frozen=True, slots=True)
class Imported(Outcome):
    """The dispatcher before spoold had dealt with it, as the file of an import says."""

    file: str

    def reason(self, when: datetime) -> bytes:
        """Which file says so."""
        what = f"The dispatcher before spoold had dealt with it, says {self.file}."
        return self.claim.reason("imported", what, when, imported=self.file)

    def log(self) -> None:
        """Which file says so."""
        fields = self.claim.log_fields(code="imported")
        log.info("%s is in %s", self.claim.shown, self.file, extra=fields)


@dataclass(frozen=True, slots=True)
class Quarantine(Outcome):
    """It cannot become a request."""

    problem: BadInput

    def reason(self, when: datetime) -> bytes:
        """What is wrong with it, and what to do."""
        return self.claim.reason(self.problem.code, self.problem.what, when)

    def log(self) -> None:
        """What is wrong with it."""
        fields = self.claim.log_fields(code=self.problem.code)
        log.warning("quarantined %s: %s", self.claim.shown, self.problem, extra=fields)


@dataclass(frozen=True, slots=True)
class Conflict(Quarantine):
    """It has the key of an earlier event, and is another one."""

    event_key: str
    differs: dict[str, Any]

    def reason(self, when: datetime) -> bytes:
        """Which request has the key, and how they differ: each time there, and here."""
        more = {"dispatch_id": self.dispatch_id, "event_key": self.event_key}
        return self.claim.reason(
            self.problem.code, self.problem.what, when, **more, differs=self.differs
        )
