"""Every folder that is a state → inbox/SOURCE: one record for each request that came there.

A route decides who is told, as with any other record. So a receiver that is down holds up only its
own queue. After a crash this stage may report a change twice, and never misses one: intake drops a
record whose id it has seen.

Security: it reads requests, and trusts nothing in them. A report says who, where and why, and never
what a request would do: no parameters, no output.
"""

import hmac
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress

import orjson

from spoold import request
from spoold.disk import fs, reading
from spoold.record import JsonObject
from spoold.sources import report
from spoold.sources.inbox import Inbox
from spoold.spool.spool import Place
from spoold.stages.stage import StageContext, Step, batches, earliest
from spoold.states import FOLDERS, REASON_SUFFIX, STATES, Role
from spoold.text import printable, shown, visible

log = logging.getLogger("spoold.report")

#: A folder that changed this recently (seconds) may have changed again without a new time stamp.
_COARSE = 2.0
#: After it has listed a folder, it pauses for this many times what that took.
_REST = 50.0
#: Two changes can have the same time stamp (seconds).
_TICK = 0.02
_MARK = "until.json"
#: Its content goes into the ids of reports; only this stage reads it.
_KEY = ".key"
_REPORTS = Place("reports")
_SUMMARY = 500


def inboxes_of(context: StageContext) -> list[Inbox]:
    """The inboxes that get reports."""
    return [one for one in context.routing.inboxes.values() if one.table.format == "report"]


class Report:
    """Reports what has come to a state since the last look."""

    name = "report"

    def __init__(self, context: StageContext) -> None:
        self.context = context
        self.spool = context.spool(Role.REPORT)
        self.spool.lay_out()
        self.lock = self.spool.lock(_REPORTS)
        self._path = self.spool.path(_REPORTS, _MARK)
        self._key = _key(self.spool.path(_REPORTS, _KEY))
        self._until: dict[str, float] = {}
        self._known: dict[Place, set[tuple[str, int]]] = {}
        self._looked: dict[Place, float] = {}
        self._rests_until: dict[Place, float] = {}
        self.adopt()

    def adopt(self) -> None:
        """Take on which inboxes want which states; what lies in a new state already is old."""
        self._inboxes = inboxes_of(self.context)
        wanted = {state for inbox in self._inboxes for state in _states(inbox)}
        self._places = [
            place for place in self.spool.places(*STATES) if FOLDERS[place.folder].top in wanted
        ]  # fmt: skip
        for place in self._places:
            self._until.setdefault(str(place), time.time())

    def inputs(self) -> list[Place]:
        """The states that an inbox wants reports of."""
        return self._places

    def unfinished(self) -> list[Place]:
        """Nothing."""
        return []

    def recover(self) -> None:
        """Go on where the last run stopped; at the first start, all that is there is old."""
        self.spool.remove_drafts()
        self._known.clear()
        self._looked.clear()
        said = (reading.json_object(self._path, 1 << 16) or {}).get("until")
        marks = said if isinstance(said, dict) else {}
        now = time.time()  # as the file system sees it
        self._until = {
            str(place): float(at) if isinstance(at := marks.get(str(place)), int | float) else now
            for place in self._places
        }
        self._remember()

    def step(self) -> Step:
        """Report what is new."""
        told, due = 0, None
        for place in self._places:
            wait = self._rests_until.get(place, 0.0) - time.monotonic()
            if wait > 0:
                if self._has_changed(place):
                    due = earliest(due, time.time() + wait)
                continue
            for names in batches(self._new(place)):
                told += self._tell(place, names)
        if told:
            self._remember()
        return Step(told, due=due)

    def close(self) -> None:
        """Nothing runs between two steps."""

    def _has_changed(self, place: Place) -> bool:
        changed = reading.status(self.spool.path(place)).st_mtime
        return changed != self._looked.get(place) or abs(time.time() - changed) < _TICK

    def _new(self, place: Place) -> list[str]:
        """Names that have come to a folder since the last look at it."""
        begun = time.monotonic()
        changed = reading.status(self.spool.path(place)).st_mtime
        if changed == self._looked.get(place) and abs(time.time() - changed) > _COARSE:
            return []
        self._looked[place], now = changed, time.time()
        here = set(self._entries(place))
        known = self._known.get(place)
        self._known[place] = here
        if known is None:
            # A file may have come while the mark was being written.
            since = self._until[str(place)] - _COARSE
            fresh = [name for name, _ in here if self._came_at(place, name) > since]
        else:
            fresh = [name for name, _ in here - known]
        self._until[str(place)] = now
        self._rests_until[place] = begun + _REST * (time.monotonic() - begun)
        return sorted(fresh)

    def _entries(self, place: Place) -> Iterator[tuple[str, int]]:
        for entry in reading.entries(self.spool.path(place)):
            if entry.name.endswith(".json") and not entry.name.endswith(REASON_SUFFIX):
                # A repeat replaces the file of a request that waits (a new inode), and is no news.
                yield entry.name, 0 if place.folder == "awaiting-approval" else entry.inode()

    def _came_at(self, place: Place, name: str) -> float:
        try:
            return reading.status(self.spool.path(place, name)).st_ctime
        except FileNotFoundError:
            return 0.0

    def _tell(self, place: Place, names: list[str]) -> int:
        drops = [
            (draft, Place("inbox", inbox.name), f"{secrets.token_hex(16)}.json")
            for name in names
            if (record := self._record(place, name))
            for inbox in self._inboxes
            if FOLDERS[place.folder].top in _states(inbox)
            for draft in [
                self.spool.draft(visible(orjson.dumps(record, option=orjson.OPT_INDENT_2)))
            ]
        ]
        self.spool.sync()
        for draft, inbox, name in drops:
            try:
                self.spool.publish(draft, inbox, name)
            except FileExistsError:
                self.spool.discard(draft)
        self.spool.sync()
        if drops:
            log.info("told of %d changes in %s", len(names), place)
        return len(drops)

    def _record(self, place: Place, name: str) -> JsonObject | None:
        """The report of a file; None if it is gone, unreadable, or itself made from a report."""
        found = reading.json_object(self.spool.path(place, name), request.MAX_BYTES) or {}
        source, at = found.get("source"), self._came_at(place, name)
        inbox = source.get("inbox") if isinstance(source, dict) else None
        if not at or inbox is None or inbox in {inbox.name for inbox in self._inboxes}:
            return None
        if not (self.spool.is_genuine(place, name) and self.spool.fits(place, name, found)):
            log.error("%s/%s is not what its name and its owner say", place, shown(name))
            return None
        attempts = found.get("attempts")
        attempts = attempts if isinstance(attempts, list) else []
        last = attempts[-1] if attempts and isinstance(attempts[-1], dict) else {}
        why = self.spool.reason(place, name) or {}
        number = len(attempts) if place.folder == "awaiting-approval" else round(at * 1000)
        policy = found.get("approval")
        fields = {
            "type": "spoold.state",
            "id": self._id(f"{name.removesuffix('.json')}.{place.folder}.{number}"),
            "at": request.timestamp(reading.utc(at)),
            "state": FOLDERS[place.folder].top,
            **{
                key: found.get(key)
                for key in (
                    *("dispatch_id", "route", "executor", "target_kind", "target_ref"),
                    *("target_env", "rationale", "asked"),
                )
            },
            "attempts": len(attempts),
            "code": why.get("code") or last.get("code"),
            "summary": why.get("what") or last.get("summary"),
            "expires_at": policy.get("expires_at") if isinstance(policy, dict) else None,
        }
        return {k: printable(v)[:_SUMMARY] if isinstance(v, str) else v for k, v in fields.items()}

    def _id(self, change: str) -> str:
        """The same for the same change, also after a crash; nobody else can say it first."""
        return f"{change}.{hmac.new(self._key, change.encode(), 'sha256').hexdigest()[:16]}"

    def _remember(self) -> None:
        """Write up to when each folder was reported, durably."""
        draft = self.spool.draft(orjson.dumps({"until": self._until}))
        self.spool.sync()
        fs.replace(draft, self._path)
        fs.sync_folder(self.spool.path(_REPORTS))


def _key(path: str) -> bytes:
    with suppress(FileExistsError):
        fs.create(path, secrets.token_bytes(32))
    return reading.read_regular(path, 64).data


def _states(inbox: Inbox) -> list[report.State]:
    options = inbox.options
    return options.on if isinstance(options, report.Options) else []
