"""A file that should hold a JSON object, looked at without asking whether all of it is right."""

import orjson

from spoold import fs
from spoold.record import JsonObject


def json_object(path: str, limit: int) -> JsonObject | None:
    """The JSON object in a regular file of at most `limit` bytes; None if it holds none."""
    try:
        fields = orjson.loads(fs.read_regular(path, limit).data)
    except (OSError, orjson.JSONDecodeError):
        return None
    return fields if isinstance(fields, dict) else None
