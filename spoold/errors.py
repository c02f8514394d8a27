"""Every error spoold raises, the exit code it ends in, and what to do about it."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: What a person does about a file that was set aside, by the `code` in its reason file.
ADVICE: Mapping[str, str] = {
    # A drop that intake could not take (quarantine/).
    "unreadable": "Give the spoold user read permission to the file, then `spoold retry` it.",
    "empty": "The file has no content; drop the record again.",
    "truncated": "The JSON ends before it is complete; write to a name that starts with a dot, "
    "rename it into the inbox when it is whole, and drop the record again.",
    "not-json": "Correct the JSON at the position named, then `spoold retry` the file.",
    "not-utf8": "Write the file as UTF-8 (no byte-order mark, no half of a surrogate pair), "
    "then `spoold retry` it.",
    "not-an-object": "A record is one JSON object ({...}); wrap the value in one, drop it again.",
    "duplicate-key": "Two readers could disagree about which value counts; keep one, "
    "then `spoold retry` the file.",
    "nul-character": "Expressions, and many programs, end a text at \\u0000 and would see another "
    "text than you wrote; take it out, then `spoold retry` the file.",
    "not-a-number": "JSON has no NaN or Infinity; use null or a finite number, "
    "then `spoold retry` the file.",
    "number-out-of-range": "Integers beyond 64 bits lose digits on the way; send it as a string, "
    "then `spoold retry` the file.",
    "too-large": "Send less, or raise `max_bytes` of this source, then `spoold retry` the file.",
    "too-deep": "Flatten the record, or raise `max_depth` of this source, "
    "then `spoold retry` the file.",
    "directory": "An inbox takes files only; move what is inside it into the inbox file by file.",
    "symlink": "Links are never followed; drop the file itself.",
    "special-file": "Only regular files are taken; drop the record as a file.",
    "odd-name": "Use a name of printable characters, at most 200 bytes, not starting with `-`; "
    "the content is kept here as it came.",
    "abandoned": "Its writer died or forgot to rename it. If it is whole, drop it under a name.",
    "wrong-producer": "Let the right user drop it, or name this one in `producers` of the source, "
    "reload intake, then `spoold retry` the file. Spoold's own inboxes take no others' drops.",
    "bad-record": "The record lacks what its format needs; correct it, then `spoold retry` it, "
    "or drop it into the inbox of its own format.",
    "no-route": "Add a route that matches (see `spoold explain`), reload intake, "
    "then `spoold retry` the file.",
    "route-error": "An expression failed on this record; `spoold explain` shows which. Correct the "
    "route, reload intake, then `spoold retry` the file.",
    "params-refused": "The executor does not accept what the route renders; `spoold explain` shows "
    "it. Correct the route or the record, then `spoold retry` the file.",
    "conflict": "Its key belongs to an earlier request, and it says something else. Compare the "
    "two: if both are wanted, `spoold retry --as-new` takes this one as an event of its own; "
    "and find out who used the key twice.",
    # A drop that made no new request (archive/).
    "imported": "Nothing to do; if it is wanted all the same, drop it again under a new id.",
    "repeat": "Nothing to do: this delivery was seen before.",
    "folded": "Nothing to do: the waiting request counts it.",
    # A request that may not go on (held/).
    "not-a-request": "This is no request that spoold wrote; remove it or find out who put it here.",
    "altered": "Somebody changed it after intake sealed it; compare it with the original in "
    "archive/, and `spoold reject` it.",
    "renamed": "The name and the dispatch_id inside differ; find out who renamed it, "
    "and `spoold reject` it.",
    "replayed": "This request was already passed on or decided; `spoold reject` the copy.",
    "expired-approval": "The gate saw the yes only after `expires_at`, and nothing runs late. "
    "`spoold reject` it and drop the record again under a new id.",
    "other-pin": "It has changed since that yes: read it again, `spoold release` it and say yes.",
    "unknown-executor": "Configure the executor that the request names, then `spoold release` it.",
    "not-pre-approved": "It was made without asking for a yes, and may not run without one now; "
    "`spoold reject` it and drop the record again under a new id.",
    "unknown-policy": "This build cannot check that approval policy; reject the request.",
    "preflight-failed": "Read the output named in the request, mend what it found, "
    "then `spoold release` and approve it again.",
    "precondition-failed": "Nothing was run. Bring about the state that the request asks for, "
    "then `spoold release` and approve it again.",
    "no-evidence": "It ended without an error, and without the evidence that its route asks for. "
    "Look at its output in logs/; `spoold resolve --as done` if it is done all the same, "
    "`spoold release` and approve it to run it once more, or `spoold reject` it.",
    "misplaced": "Find out who put it there, and move it to where it belongs.",
    "held-by-person": "`spoold release` puts it back to wait for a decision.",
    # A person's or the clock's decision (rejected/, expired/, failed/ ...).
    "rejected": "Nothing to do: a person said no.",
    "cancelled": "Nothing to do: a person took it back before it ran.",
    "tried-before": "Nothing more is done, but it had been tried, and a try may have had its "
    "effect. Look at `attempts` in the request, and at what it was to change.",
    "expired": "Nobody decided in time, and silence never approves; if it is still wanted, "
    "drop the record again under a new id.",
    "superseded": "Nothing to do: a newer request with the same intent replaced it.",
    "resolved": "Nothing to do: a person said how it ended.",
}


class SpooldError(Exception):
    """An error with an exit code (`sysexits`) and a message for the person who reads it."""

    exit_code = os.EX_SOFTWARE


class UsageError(SpooldError):
    """The command line asks for something that does not exist or is ambiguous."""

    exit_code = os.EX_USAGE


class Ambiguous(UsageError):
    """More than one file is meant; the message lists them."""


class NotPossible(SpooldError):
    """The request is in no state in which the verb makes sense."""

    exit_code = os.EX_DATAERR


class ConfigError(SpooldError):
    """The configuration is wrong; the message begins with `file:line:` where that is known."""

    exit_code = os.EX_CONFIG

    def __init__(self, message: str, *, file: Path | None = None, line: int | None = None) -> None:
        where = "" if file is None else f"{file}:{line}: " if line else f"{file}: "
        super().__init__(where + message)


class StorageError(SpooldError):
    """The file system refused; a failed sync is never retried, so the stage must stop."""

    exit_code = os.EX_IOERR


class TryLater(SpooldError):
    """Another process has what is needed; the same command may work later."""

    exit_code = os.EX_TEMPFAIL


class NoRoom(TryLater):
    """The file system is full, or fuller than it may become; nothing was lost."""


def explained(error: OSError) -> SpooldError | None:
    """What the system refused, with an exit code and what to do; None if that says it all."""
    where = " → ".join(str(file) for file in (error.filename, error.filename2) if file)
    if error.errno == errno.EXDEV:
        what = f"{where}: the two folders are on different mounts"
        return ConfigError(f"{what}. Nothing was moved; `spoold check` names the folders.")
    if error.errno == errno.EINVAL and error.filename2:
        what = f"{where}: this file system cannot rename without overwriting, or not exchange files"
        return ConfigError(f"{what}. Nothing was moved; `spoold check` tells more.")
    if error.errno == errno.EROFS:
        what = f"{where}: it is mounted read-only, perhaps after a disk error"
        return StorageError(f"{what}. See dmesg(1) and mount(8).")
    return None


class BadInput(SpooldError):
    """A file that cannot become, or go on as, a request.

    Args:
        code: a key of `ADVICE`.
        what: one sentence that says what was found, without the advice.
    """

    exit_code = os.EX_DATAERR

    def __init__(self, code: str, what: str) -> None:
        self.code = code
        self.what = what
        self.advice = ADVICE[code]
        super().__init__(f"{what} {self.advice}")

    @classmethod
    def copy_of(cls, where: str) -> "BadInput":
        """The same name is taken in the folder `where`, so this file is a copy."""
        return cls("replayed", f"There is one of that name in {where} already.")

    def to_keep(self) -> "BadInput":
        """The same without a traceback, which would keep alive all that was read of the file."""
        return BadInput(self.code, self.what)


class ExecutionError(SpooldError):
    """How an attempt ended when it did not succeed.

    Args:
        code: short and stable, such as `http-503` or `exit-3`; for programs.
        summary: one or two sentences for the person who reads the request file.
        details: what is worth keeping (answer, exit code); plain JSON, without secrets.
        evidence: what was looked for as a sign that it is done, and what was found.
        output: the ends of its streams.
    """

    def __init__(
        self,
        code: str,
        summary: str,
        details: Mapping[str, Any] | None = None,
        *,
        evidence: Mapping[str, Any] | None = None,
        output: Mapping[str, Any] | None = None,
    ) -> None:
        self.code = code
        self.summary = summary
        self.details = dict(details or {})
        self.evidence = None if evidence is None else dict(evidence)
        self.output = None if output is None else dict(output)
        super().__init__(f"{code}: {summary}")


class Permanent(ExecutionError):
    """It did not work, and the same action would not work later."""


class Transient(ExecutionError):
    """It certainly had no effect, and the same action may work later.

    Args:
        retry_after: seconds the far side asked for, or None to use the executor's backoff.
        counts: whether it uses up a try; not if what it needs is known to be away, so that
            nothing was tried.
    """

    def __init__(
        self,
        code: str,
        summary: str,
        details: Mapping[str, Any] | None = None,
        *,
        retry_after: float | None = None,
        counts: bool = True,
        output: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(code, summary, details, output=output)
        self.retry_after = retry_after
        self.counts = counts


class OutcomeUnknown(ExecutionError):
    """It may have had its effect; only a person can say, so it is never repeated by itself."""


class NeedsPerson(ExecutionError):
    """It does not count as done until a person has looked: the request goes to held/.

    The `code` is a key of `ADVICE`.
    """


class LeftRunning(SpooldError):
    """The work goes on without this process, and the kind's `probe` will find it again."""
