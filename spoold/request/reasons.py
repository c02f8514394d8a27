"""`NAME.reason.json`: why a file lies where it is, and what to do about it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from spoold.request.times import timestamp
from spoold.text import printable, visible

#: Of a file that people read.
FOR_PEOPLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


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
    return for_people(fields)


def for_people(fields: Mapping[str, Any]) -> bytes:
    """JSON as it is in a file that people read: a key a line, and nothing in it unseen."""
    return visible(orjson.dumps(fields, option=FOR_PEOPLE))
