"""A request with an attempt in it → bytes that can be read back, whatever the kind said."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

from spoold import request
from spoold.errors import BadInput
from spoold.request import Attempt, Request
from spoold.text import printable

#: How much of a summary is kept where there is too much, in characters.
LONGEST_SUMMARY = 2000

#: Less than can be read back: a person may say yes to one more attempt.
_MOST = request.MAX_BYTES // 4 * 3

_Said = TypeVar("_Said", Attempt, request.Result)


def readable_bytes(found: Request) -> bytes:
    """The request's file.

    Raises:
        BadInput: `too-large`; or something in it is no JSON, or of a wrong type.
    """
    try:
        data = found.to_bytes()
    except TypeError as error:
        what = f"It cannot be written: {printable(str(error))}."
        raise BadInput("not-a-request", what) from None
    if len(data) > _MOST:
        raise BadInput("too-large", f"It would have {len(data)} bytes, too many to be read back.")
    # A kind's words are in there: what can be written may still be too deep, or of a wrong type.
    request.validated(data)
    return data


def shortened(found: Request) -> tuple[Request, bytes]:
    """The request and its file; what is too much for the file is left out.

    Raises:
        BadInput: as `readable_bytes` does.
    """
    for lighter in _ever_lighter(found):
        try:
            return lighter, readable_bytes(lighter)
        except BadInput as problem:
            if problem.code != "too-large":
                raise
    raise BadInput("too-large", "It is too large to be read back.")


def _ever_lighter(found: Request) -> Iterator[Request]:
    yield found
    bare = [replace(_bare(tried), progress=None) for tried in found.attempts]
    yield found.with_(attempts=[*bare[:-1], found.attempts[-1]])
    yield found.with_(attempts=bare, result=found.result and _bare(found.result))


def _bare(said: _Said) -> _Said:
    """What is kept of an attempt, or its result, in a file that became too large."""
    details: dict[str, Any] = {"left_out": "The request file would be too large to be read back."}
    if said.details and "in_doubt" in said.details:
        details["in_doubt"] = said.details["in_doubt"]
    summary = said.summary and said.summary[:LONGEST_SUMMARY]
    return replace(said, summary=summary, evidence=None, output=None, details=details)
