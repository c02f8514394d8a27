"""The one table: which folders there are, who may move a request from where to where, and why.

Everything else follows from it. `Spool.move` refuses a move that is not here, the folders are laid
out and checked from here, and the tests and the README are compared with it. Read it from top to
bottom and you have read how spoold works.

A request is one file, and its folder is its state. A move is one rename; it never changes content.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Whose hands make a move. Each stage can run as its own user; `person` is an approver."""

    SUBMITTER = "submitter"
    INTAKE = "intake"
    GATE = "gate"
    EXECUTE = "execute"
    SWEEP = "sweep"
    REPORT = "report"
    HEALTH = "health"
    PERSON = "person"


class Per(StrEnum):
    """What a folder has one subfolder for."""

    NOTHING = ""
    SOURCE = "source"
    EXECUTOR = "executor"


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder under the spool root.

    Attributes:
        name: what the rest of the code calls it.
        owner: the role that creates it and replaces content in it.
        mode: permission bits where every stage runs as its own user; who of the others may do what
            follows from the moves, see `access.py`.
        meaning: what it says about a file to be in it.
        per: it has one subfolder per source or per executor.
        under: where it lies when that is not a folder of its own name under the root.
        holds_requests: whether the files in it are requests (and so count as the request's state).
        readers: who may look into it besides those who move files.
        writers: who may write to it besides those who move files.
    """

    name: str
    owner: Role
    mode: int
    meaning: str
    per: Per = Per.NOTHING
    under: str = ""
    holds_requests: bool = True
    readers: frozenset[Role] = frozenset()
    writers: frozenset[Role] = frozenset()

    def path(self, key: str = "") -> str:
        """Its path from the spool root; `key` names the source or the executor."""
        if self.under:
            return self.under.format(key=key)
        return f"{self.name}/{key}" if key else self.name


_STAGES = frozenset(Role) - {Role.SUBMITTER, Role.PERSON}
#: Who looks for a request wherever it is: for copies, for what was published, to show and to tell.
_LOOK = frozenset({Role.INTAKE, Role.GATE, Role.REPORT, Role.PERSON})

FOLDERS: dict[str, Folder] = {
    folder.name: folder
    for folder in (
        Folder("inbox", Role.INTAKE, 0o1730, "dropped by a producer", Per.SOURCE,
               holds_requests=False),
        Folder("archive", Role.INTAKE, 0o2750, "the original, as it came", Per.SOURCE,
               holds_requests=False, readers=frozenset({Role.PERSON})),
        Folder("taking", Role.INTAKE, 0o700, "claimed by intake, not yet answered for", Per.SOURCE,
               under="archive/{key}/.taking", holds_requests=False),
        Folder("quarantine", Role.INTAKE, 0o2770, "could not be taken; the reason lies beside it",
               Per.SOURCE, holds_requests=False, readers=frozenset({Role.REPORT})),
        Folder("awaiting-approval", Role.INTAKE, 0o2770, "waits for a person"),
        Folder("approvals", Role.PERSON, 0o3770, "what people said when they decided",
               holds_requests=False, readers=frozenset({Role.GATE, Role.EXECUTE})),
        Folder("cancel", Role.EXECUTE, 0o3770, "a person wants what runs under that name stopped",
               Per.EXECUTOR, under="approvals/cancel/{key}", holds_requests=False),
        Folder("approved", Role.GATE, 0o2770, "a person said yes"),
        Folder("pre-approved", Role.INTAKE, 0o2770, "its route asks for no person"),
        Folder("checking", Role.GATE, 0o2750, "claimed by the gate"),
        Folder("checking-pre-approved", Role.GATE, 0o2750, "claimed by the gate, without a yes",
               under="checking/pre-approved"),
        Folder("rejected", Role.PERSON, 0o3770, "a person said no, or took it back"),
        Folder("expired", Role.SWEEP, 0o3770, "nobody decided in time, or a newer one replaced it"),
        Folder("held", Role.GATE, 0o2770, "parked by a person, the gate or its executor"),
        Folder("queued", Role.GATE, 0o2770, "checked, waits for its executor", Per.EXECUTOR),
        Folder("deferred", Role.EXECUTE, 0o2770, "tried; again at the file's mtime", Per.EXECUTOR),
        Folder("running", Role.EXECUTE, 0o2750, "claimed by its executor", Per.EXECUTOR),
        Folder("unknown", Role.EXECUTE, 0o2770, "may have run; a person must say"),
        Folder("done", Role.EXECUTE, 0o3770, "ran, and worked"),
        Folder("failed", Role.EXECUTE, 0o2770, "ran, or could not run, and will not be retried"),
        Folder("logs", Role.EXECUTE, 0o3770, "output of attempts", holds_requests=False,
               readers=frozenset({Role.PERSON}), writers=frozenset({Role.EXECUTE})),
        Folder("health", Role.HEALTH, 0o2770, "what was seen of managed containers",
               holds_requests=False, readers=frozenset({Role.PERSON, Role.REPORT}),
               writers=frozenset({Role.HEALTH})),
        Folder("reports", Role.REPORT, 0o2750, "how far telling of changes has come",
               holds_requests=False, readers=frozenset({Role.PERSON})),
        Folder("status", Role.SWEEP, 0o3770, "how each stage does", holds_requests=False,
               readers=frozenset({Role.PERSON}), writers=_STAGES),
        Folder("journal", Role.SWEEP, 0o2750, "the audit trail", holds_requests=False,
               readers=frozenset({Role.PERSON})),
        Folder("tmp", Role.SWEEP, 0o3770, "half-written files, nobody's state",
               holds_requests=False, writers=_STAGES | {Role.PERSON}),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Move:
    """One arrow: `who` may rename a file from `source` to `target`, for `why`."""

    source: str
    target: str
    who: Role
    why: str


MOVES: tuple[Move, ...] = (
    # intake: inbox/SOURCE → awaiting-approval, pre-approved, archive or quarantine
    Move("inbox", "taking", Role.INTAKE, "claim"),
    Move("tmp", "awaiting-approval", Role.INTAKE, "publish a request that waits for a person"),
    Move("tmp", "pre-approved", Role.INTAKE, "publish a request whose route asks for no person"),
    Move("taking", "archive", Role.INTAKE, "keep the original"),
    Move("taking", "quarantine", Role.INTAKE, "set aside what cannot be taken"),
    Move("awaiting-approval", "expired", Role.INTAKE, "a newer request supersedes it"),
    Move("awaiting-approval", "held", Role.INTAKE, "it is a copy, or has a new request's name"),
    Move("pre-approved", "held", Role.INTAKE, "it has a new request's name"),
    # a person
    Move("tmp", "approvals", Role.PERSON, "write down who decides, and why"),
    Move("tmp", "cancel", Role.PERSON, "ask for what runs to be stopped"),
    Move("awaiting-approval", "approved", Role.PERSON, "approve"),
    Move("awaiting-approval", "rejected", Role.PERSON, "reject"),
    Move("awaiting-approval", "held", Role.PERSON, "hold"),
    Move("held", "awaiting-approval", Role.PERSON, "release"),
    Move("held", "rejected", Role.PERSON, "reject"),
    Move("quarantine", "inbox", Role.PERSON, "retry"),
    # gate: approved, pre-approved → checking → queued/EXECUTOR or held
    Move("approved", "checking", Role.GATE, "claim"),
    Move("pre-approved", "checking-pre-approved", Role.GATE, "claim"),
    Move("checking", "queued", Role.GATE, "every check passed"),
    Move("checking", "held", Role.GATE, "a check failed"),
    Move("checking-pre-approved", "queued", Role.GATE, "every check passed"),
    Move("checking-pre-approved", "held", Role.GATE, "a check failed"),
    # execute: queued/EXECUTOR → running/EXECUTOR → done, failed, deferred, unknown or held
    Move("queued", "running", Role.EXECUTE, "claim"),
    Move("running", "done", Role.EXECUTE, "it worked"),
    Move("running", "failed", Role.EXECUTE, "it did not work and would not work later"),
    Move("running", "deferred", Role.EXECUTE, "it may work later"),
    Move("running", "unknown", Role.EXECUTE, "it may have had its effect"),
    Move("running", "held", Role.EXECUTE, "a person must look before it goes on or counts as done"),
    Move("queued", "held", Role.EXECUTE, "it is a copy of what runs"),
    Move("running", "queued", Role.EXECUTE, "hand back what had not started"),
    Move("cancel", "held", Role.EXECUTE, "it is no wish"),
    # sweep: deferred → queued, awaiting-approval → expired
    Move("deferred", "queued", Role.SWEEP, "its time has come"),
    Move("awaiting-approval", "expired", Role.SWEEP, "nobody decided in time"),
    Move("awaiting-approval", "held", Role.SWEEP, "it is a copy of what expired"),
    Move("deferred", "held", Role.SWEEP, "it is a copy of what is queued"),
    # report: what has come to a state is told to an inbox
    Move("tmp", "inbox", Role.REPORT, "tell of a change"),
    Move("tmp", "inbox", Role.HEALTH, "ask for a restart"),
    # a person, about what was approved
    Move("approved", "held", Role.PERSON, "hold"),
    Move("pre-approved", "held", Role.PERSON, "hold"),
    Move("queued", "held", Role.PERSON, "hold"),
    Move("deferred", "held", Role.PERSON, "hold"),
    Move("approved", "rejected", Role.PERSON, "cancel"),
    Move("pre-approved", "rejected", Role.PERSON, "cancel"),
    Move("queued", "rejected", Role.PERSON, "cancel"),
    Move("deferred", "rejected", Role.PERSON, "cancel"),
    Move("deferred", "queued", Role.PERSON, "retry"),
    Move("failed", "awaiting-approval", Role.PERSON, "retry"),
    Move("held", "done", Role.PERSON, "resolve"),
    Move("held", "failed", Role.PERSON, "resolve"),
    Move("unknown", "done", Role.PERSON, "resolve"),
    Move("unknown", "failed", Role.PERSON, "resolve"),
    Move("unknown", "awaiting-approval", Role.PERSON, "resolve"),
)

_ALLOWED = {(move.source, move.target, move.who) for move in MOVES}


def allowed(source: str, target: str, who: Role) -> bool:
    """Whether `who` may move a file from `source` to `target` (folder names)."""
    return (source, target, who) in _ALLOWED


def uses(who: Role, folder: str) -> bool:
    """Whether `who` moves files into or out of a folder, or writes there."""
    found = FOLDERS[folder]
    moves = any(move.who == who and folder in (move.source, move.target) for move in MOVES)
    return moves or who == found.owner or who in found.writers


def may_look(folder: Folder) -> frozenset[Role]:
    """Who needs to see what is in a folder; who moves files into or out of it sees it anyway."""
    return folder.readers | (_LOOK if folder.holds_requests else frozenset())


def targets(source: str, why: str) -> list[str]:
    """Where a person's verb `why` takes a file from `source`; empty if nowhere."""
    return [m.target for m in MOVES if (m.source, m.who, m.why) == (source, Role.PERSON, why)]


#: Folders whose files are requests, in the order of a request's life.
STATES: tuple[str, ...] = tuple(f.name for f in FOLDERS.values() if f.holds_requests)

#: Where a file stays unless a person moves it.
FINAL: frozenset[str] = frozenset({"rejected", "expired", "done", "failed"})

#: `touch HOLD` in the spool root stops the gate and every executor from starting anything new.
HOLD = "HOLD"

#: In the spool root: what intake seals with, and the gate checks with.
SEAL_KEY = ".seal.key"

#: Beside a file that was set aside or decided: why.
REASON_SUFFIX = ".reason.json"
