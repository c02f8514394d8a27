"""What a drop says, whatever system it came from."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

JsonObject = dict[str, Any]

#: Digits of a Unix time in seconds; with more it is in milliseconds.
_SECONDS = 11


@dataclass(frozen=True, slots=True)
class Record:
    """One dropped event, in the words that routes use (`record` in CEL).

    Attributes:
        source: the inbox it was dropped in.
        id: the delivery's own identity, the same on every repeat, or None.
        type: what it is, such as `decision`, `plane.issue`, `github.push`, `task.agent`.
        occurred_at: when the producer says it happened, as it wrote it, or None.
        headers: HTTP headers that came with it; names in lower case.
        body: the JSON as it was dropped, unwrapped from its envelope.
        facts: what the source adapter derived; the same keys for every record of a type.
        received_at: when intake took it, by the clock of the file system.
        file: the name it was dropped under.
        dropped_by: who owned the file: `uid`, and `user` by name; empty where nobody dropped it.
        content: what is alike in all deliveries of one event, for a sender who writes something
            else around it each time; None where they are alike to the byte. No route sees it.
    """

    source: str
    id: str | None
    type: str
    occurred_at: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: JsonObject = field(default_factory=dict)
    facts: JsonObject = field(default_factory=dict)
    received_at: str = ""
    file: str = ""
    dropped_by: JsonObject = field(default_factory=dict)
    content: JsonObject | None = None

    def as_dict(self) -> JsonObject:
        """The record as plain JSON data, the `record` variable of every expression."""
        return {
            "source": self.source,
            "id": self.id,
            "type": self.type,
            "occurred_at": self.occurred_at,
            "headers": self.headers,
            "body": self.body,
            "facts": self.facts,
            "received_at": self.received_at,
            "file": self.file,
            "dropped_by": self.dropped_by,
        }


def moment(text: str | None) -> datetime | None:
    """A time as producers write it: ISO 8601 (UTC unless it says otherwise), or a Unix time."""
    try:
        if text and text.isascii() and text.isdigit():
            seconds = int(text) / (1000 if len(text) > _SECONDS else 1)
            return datetime.fromtimestamp(seconds, UTC)
        found = datetime.fromisoformat(text or "")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


#: What a route may ask a record for.
FIELDS = tuple(Record("", None, "").as_dict())
