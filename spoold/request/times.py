"""Times as request files have them."""

from datetime import UTC, datetime


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
