"""A file that should hold a JSON object, looked at without asking whether all of it is right."""

from typing import Any

import orjson

from spoold.disk import fs


def json_object(path: str, limit: int) -> dict[str, Any] | None:
    """The JSON object in a regular file of at most `limit` bytes; None if it holds none."""
    try:
        fields = orjson.loads(fs.read_regular(path, limit).data)
    except (OSError, orjson.JSONDecodeError):
        return None
    return fields if isinstance(fields, dict) else None
