"""What a supervisor leaves of an attempt in logs/, and what each of these files proves.

`FILES.process.json` (the claim), `.begun`, `.beat.json` and `.exit.json` are the supervisor's, see
`spoold/supervisor/__main__.py`. `FILES.cancelled` is the executor's.

Security: an agent runs as the same user and can put anything in their place. So nothing here
follows a link or waits for a pipe, and a file that cannot be read is never taken for missing.
"""

import json
import os
import time
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from spoold.errors import OutcomeUnknown
from spoold.executors import Context
from spoold.linux.processes import Identity, boot_id, with_variable
from spoold.linux.safe_open import read_whole

#: A supervisor is found by it in the process table before it has left any file.
VARIABLE = "SPOOLD_ATTEMPT_FILES"
#: For a supervisor to claim its attempt, on a machine that has a lot to do (seconds).
CLAIMS_WITHIN = 30.0
#: What a supervisor leaves is much smaller (bytes).
_LARGEST = 1 << 20

Facts = dict[str, Any]


class Start(Enum):
    """Whether the agent of an attempt has begun.

    The claim is on disk before the agent may do anything. The mark `FILES.begun` is made just
    before it may, and is not synced: after a crash of the machine its absence proves nothing.

    | | |
    |---|---|
    | `NOT_BEGUN` | no claim, and no supervisor runs; or a claim of this boot without the mark, whose supervisor is gone |
    | `ABOUT_TO_BEGIN` | a supervisor runs, and there is no mark yet |
    | `BEGUN` | the mark is there, or the attempt has reported something |
    | `CANNOT_TELL` | the claim cannot be read, or is from another boot; or the folder, made before the attempt, is gone with all that was in it |
    """  # noqa: E501

    NOT_BEGUN = "not begun"
    ABOUT_TO_BEGIN = "about to begin"
    BEGUN = "begun"
    CANNOT_TELL = "cannot tell"


def how_far(context: Context) -> Start:
    """Whether the agent has begun, as far as files and processes prove it."""
    files = context.files
    if context.heard_of or _is_there(f"{files}.begun"):
        return Start.BEGUN
    if supervisor_of(files) is None and with_variable(f"{VARIABLE}={files}"):
        return Start.ABOUT_TO_BEGIN
    # Looked at again: it may have claimed the attempt, begun and ended between these two. Only of a
    # supervisor that was gone before does it prove something that there is no mark.
    supervisor = supervisor_of(files)
    is_alive = supervisor is not None and supervisor.alive
    if _is_there(f"{files}.begun"):
        return Start.BEGUN
    if supervisor is None:
        is_clean = _is_there(os.path.dirname(files)) and not _is_there(f"{files}.process.json")
        return Start.NOT_BEGUN if is_clean else Start.CANNOT_TELL
    if supervisor.boot != boot_id():
        return Start.CANNOT_TELL
    return Start.ABOUT_TO_BEGIN if is_alive else Start.NOT_BEGUN


def wait_for_claim(context: Context) -> None:
    """Give a supervisor that runs, and has not claimed the attempt yet, its time to do so."""
    until = time.monotonic() + CLAIMS_WITHIN
    while supervisor_of(context.files) is None and time.monotonic() < until:
        if how_far(context) is not Start.ABOUT_TO_BEGIN:
            return
        time.sleep(0.05)


def supervisor_of(files: str) -> Identity | None:
    """The process that has claimed the attempt, whether or not it still runs."""
    return _identity((read(files, "process") or {}).get("supervisor"))


def agent_of(files: str) -> Identity | None:
    """The agent's own process, as its supervisor has written it down."""
    return _identity((read(files, "process") or {}).get("agent"))


def read(files: str, what: Literal["process", "exit", "beat"]) -> Facts | None:
    """What a supervisor has left; None if it has not, or not completely.

    Raises:
        OutcomeUnknown: how it ended was written down, and cannot be read.
    """
    path = f"{files}.{what}.json"
    try:
        # Half a surrogate pair is JSON, and could not be written into a request.
        text = json.dumps(json.loads(read_whole(path, _LARGEST)), ensure_ascii=False)
        found = json.loads(text.encode("utf-8", "replace"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        if what != "exit":
            return None
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise OutcomeUnknown(
            "unreadable",
            f"How it ended was written to {path}, but that cannot be read: {why}. "
            "Look there, and `spoold resolve` it.",
        ) from None
    return found if isinstance(found, dict) else None


def note_cancellation(context: Context) -> None:
    """Remember that a person cancelled it, for an executor that follows this one."""
    with suppress(OSError):
        Path(f"{context.files}.cancelled").touch()


def was_cancelled(context: Context) -> bool:
    """Whether a person has cancelled it, as far as this executor or one before it has heard."""
    return context.cancelled.is_set() or _is_there(f"{context.files}.cancelled")


def _identity(said: object) -> Identity | None:
    match said:
        case {"pid": int(pid), "start": int(start), "boot": str(boot)}:
            return Identity(pid, start, boot)
    return None


def _is_there(path: str) -> bool:
    """Whatever it is; what cannot be looked at raises, and is not taken for missing."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True
