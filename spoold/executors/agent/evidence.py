"""The evidence that a route asks for → whether an agent has left it."""

import errno
import hashlib
import json
import os
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from spoold.cel.expression import Expression, RuleError, Scope
from spoold.cel.result import EvalError
from spoold.linux.safe_open import Mark, mark_of, opened, read_ends

#: A file may look so much older than it is (seconds): file systems keep coarse times.
_COARSE = 2.0
#: So much of a file, from its start, is hashed; the evidence says how much that was.
_HASHED = 64 << 20
#: So much of the kept output is searched (bytes), so that a search ends soon.
_SEARCHED = 1 << 19


def _one_kind(wanted: dict[str, Any]) -> dict[str, Any]:
    match wanted:
        case {"none": True} if len(wanted) == 1:
            return wanted
        case {"file": str(path)} if len(wanted) == 1:
            parts = path.split("/")
            if path.startswith("/") or ".." in parts or "\0" in path or not {*parts} - {"", "."}:
                raise ValueError("the file must be a path below the working directory")
            return wanted
        case {"json": str(key)} if len(wanted) == 1 and re.fullmatch(r"[^.\s]+(\.[^.\s]+)*", key):
            return wanted
        case {"pattern": str(pattern)} if len(wanted) == 1 and pattern:
            try:
                _expression(pattern)
            except RuleError as error:
                problem = str(error).partition("\n")[0]
                raise ValueError(f"the pattern is no regular expression: {problem}") from None
            return wanted
    raise ValueError(
        'evidence is exactly one of { file = "PATH" }, { json = "KEY" }, { pattern = "REGEX" }, '
        "{ none = true }"
    )


#: `{ file = … }`, `{ json = … }`, `{ pattern = … }` or `{ none = true }`.
Evidence = Annotated[
    dict[Literal["file", "json", "pattern", "none"], str | bool], AfterValidator(_one_kind)
]


def look(
    wanted: dict[Any, Any],
    folder: str,
    since: tuple[datetime, Mark | None],
    value: object,
    output: str,
) -> tuple[str | None, dict[str, Any]]:
    """Look for it.

    Args:
        wanted: what the route asks for.
        folder: the agent's working directory.
        since: when the agent began, and what the file was then, if it was one: what is older, or
            the same as then, is not this attempt's work.
        value: what was found in its JSON output.
        output: the path of what was kept of its output.

    Returns:
        What is missing, or None; and what was found.
    """
    found: dict[str, Any] = {"wanted": wanted}
    if "none" in wanted:
        return None, found
    if "json" in wanted:
        missing = None if value else f"its JSON output has nothing under {wanted['json']!r}"
        return missing, found | {"value": value}
    if "pattern" in wanted:
        line = _search(wanted["pattern"], output)
        missing = f"its output does not match {wanted['pattern']!r}" if line is None else None
        return missing, found | {"matches": line is not None}
    return _look_at_file(wanted["file"], folder, since, found)


def _look_at_file(
    name: str, folder: str, since: tuple[datetime, Mark | None], found: dict[str, Any]
) -> tuple[str | None, dict[str, Any]]:
    began, before = since
    try:
        with opened(name, folder) as (descriptor, status):
            if not status.st_size:
                return f"{name} is empty", found
            if mark_of(status) == before:
                return f"{name} is what it was before this run", found
            if status.st_mtime < began.timestamp() - _COARSE:
                return f"{name} is older than this run", found
            with open(descriptor, "rb", closefd=False) as file:
                start = file.read(_HASHED)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return f"{name} is no regular file", found
        return f"{name} cannot be read: {os.strerror(error.errno or 0)}", found
    said = {"file": name, "bytes": status.st_size}
    said |= {"sha256": hashlib.sha256(start).hexdigest(), "sha256_bytes": len(start)}
    return None, found | said


def _search(pattern: str, output: str) -> bool | None:
    """True if it is found. CEL's regular expressions take linear time, whatever the output."""
    try:
        data, _ = read_ends(output, _SEARCHED)
    except OSError:
        return None
    text = data.decode("utf-8", "replace").replace("\0", "")
    try:
        return _expression(pattern).test(Scope({"text": text})) or None
    except EvalError:
        return None


def _expression(pattern: str) -> Expression:
    return Expression(f"record.text.matches({json.dumps(pattern)})", boolean=True)
