"""The one table: which folders there are, what each says of a request, and who may move what where.

Everything else follows from it. `Spool.move` refuses a move that is not here, the folders are laid
out and checked from here, and the tests and the README are compared with it. Read it from top to
bottom and you have read how spoold works.

A request is one file, and its folder is its state. A move is one rename; it never changes content.
"""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Who makes a move. Each stage can run as its own user; `person` is an approver."""

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


class Standing(StrEnum):
    """What a folder says about the requests in it, for the code."""

    NOT_A_REQUEST = ""
    WAITS = "waits"  # for a decision of a person
    APPROVED = "approved"  # by a person; not checked yet
    PRE_APPROVED = "pre-approved"  # by its route; not checked yet
    IN_CHECK = "in check"
    IN_WORK = "in work"  # passed by the gate, not ended
    PARKED = "parked"
    IN_DOUBT = "in doubt"  # it may have run
    ENDED = "ended"  # it ran, or was tried
    REFUSED = "refused"  # it never ran, and never will


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder under the spool root.

    Attributes:
        name: its name in the code.
        owner: the role that creates it and replaces content in it.
        mode: permission bits where every stage runs as its own user. What the other roles may do
            follows from the moves, see `rights.py`.
        meaning: what it says about a file to be in it, for people.
        standing: the same for the code; nothing if the files in it are no requests.
        per: it has one subfolder per source or per executor.
        under: its path, if that is not its name.
        readers: roles that may look into it besides those that move files.
        writers: roles that may write to it besides those that move files.
    """

    name: str
    owner: Role
    mode: int
    meaning: str
    standing: Standing = Standing.NOT_A_REQUEST
    per: Per = Per.NOTHING
    under: str = ""
    readers: frozenset[Role] = frozenset()
    writers: frozenset[Role] = frozenset()

    def path(self, key: str = "") -> str:
        """Its path from the spool root; `key` names the source or the executor."""
        if self.under:
            return self.under.format(key=key)
        return f"{self.name}/{key}" if key else self.name

    @property
    def top(self) -> str:
        """The folder right below the spool root that it is, or lies in."""
        return self.path("x").partition("/")[0]

    @property
    def holds_requests(self) -> bool:
        """Whether the files in it are requests, so that it is a state."""
        return self.standing != Standing.NOT_A_REQUEST


_STAGES = frozenset(Role) - {Role.SUBMITTER, Role.PERSON}
_PERSON = frozenset({Role.PERSON})

FOLDERS: dict[str, Folder] = {
    folder.name: folder
    for folder in (
        Folder("inbox", Role.INTAKE, 0o1730, "dropped by a producer", per=Per.SOURCE),
        Folder("archive", Role.INTAKE, 0o2750, "the original, as it came", per=Per.SOURCE,
               readers=_PERSON),
        Folder("taking", Role.INTAKE, 0o700, "claimed by intake, not yet answered for",
               per=Per.SOURCE, under="archive/{key}/.taking"),
        Folder("quarantine", Role.INTAKE, 0o2770, "could not be taken; the reason lies beside it",
               per=Per.SOURCE, readers=frozenset({Role.REPORT})),
        Folder("awaiting-approval", Role.INTAKE, 0o2770, "waits for a person", Standing.WAITS),
        Folder("approvals", Role.PERSON, 0o3770, "what people said when they decided",
               readers=frozenset({Role.GATE, Role.EXECUTE})),
        Folder("cancel", Role.EXECUTE, 0o3770, "a person wants what runs under that name stopped",
               per=Per.EXECUTOR, under="approvals/cancel/{key}"),
        Folder("approved", Role.GATE, 0o2770, "a person said yes", Standing.APPROVED),
        Folder("pre-approved", Role.INTAKE, 0o2770, "its route asks for no person",
               Standing.PRE_APPROVED),
        Folder("checking", Role.GATE, 0o2750, "claimed by the gate", Standing.IN_CHECK),
        Folder("checking-pre-approved", Role.GATE, 0o2750, "claimed by the gate, without a yes",
               Standing.IN_CHECK, under="checking/pre-approved"),
        Folder("rejected", Role.PERSON, 0o3770, "a person said no, or took it back",
               Standing.REFUSED),
        Folder("expired", Role.SWEEP, 0o3770, "nobody decided in time, or a newer one replaced it",
               Standing.REFUSED),
        Folder("held", Role.GATE, 0o2770, "parked by a person or a stage", Standing.PARKED),
        Folder("held-by-executor", Role.EXECUTE, 0o2770, "parked by its executor", Standing.PARKED,
               Per.EXECUTOR, under="held/{key}"),
        Folder("queued", Role.GATE, 0o2770, "checked, waits for its executor", Standing.IN_WORK,
               Per.EXECUTOR),
        Folder("deferred", Role.EXECUTE, 0o2770, "tried; again at the file's mtime",
               Standing.IN_WORK, Per.EXECUTOR),
        Folder("running", Role.EXECUTE, 0o2750, "claimed by its executor", Standing.IN_WORK,
               Per.EXECUTOR),
        Folder("unknown", Role.EXECUTE, 0o2770, "may have run; a person must say",
               Standing.IN_DOUBT, Per.EXECUTOR),
        Folder("done", Role.EXECUTE, 0o3770, "ran, and worked", Standing.ENDED, Per.EXECUTOR),
        Folder("failed", Role.EXECUTE, 0o2770, "ran, or could not run, and will not be retried",
               Standing.ENDED, Per.EXECUTOR),
        Folder("logs", Role.EXECUTE, 0o2750, "output of attempts", per=Per.EXECUTOR,
               readers=_PERSON),
        Folder("health", Role.HEALTH, 0o2770, "what was seen of managed containers",
               readers=frozenset({Role.PERSON, Role.REPORT}), writers=frozenset({Role.HEALTH})),
        Folder("reports", Role.REPORT, 0o2750, "up to when each state was reported",
               readers=_PERSON),
        Folder("status", Role.SWEEP, 0o3770, "how each stage does", readers=_PERSON,
               writers=_STAGES),
        Folder("journal", Role.SWEEP, 0o2750, "the audit trail", readers=_PERSON),
        Folder("tmp", Role.SWEEP, 0o3770, "half-written files, nobody's state",
               writers=_STAGES | _PERSON),
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
    Move("quarantine", "inbox", Role.PERSON, "retry"),
    *(Move(parked, target, Role.PERSON, why)
      for parked in ("held", "held-by-executor")
      for target, why in (("awaiting-approval", "release"), ("rejected", "reject"),
                          ("done", "resolve"), ("failed", "resolve"))),
    # gate: approved, pre-approved → checking → queued/EXECUTOR or held
    Move("approved", "checking", Role.GATE, "claim"),
    Move("pre-approved", "checking-pre-approved", Role.GATE, "claim"),
    Move("checking", "queued", Role.GATE, "every check passed"),
    Move("checking", "held", Role.GATE, "a check failed"),
    Move("checking-pre-approved", "queued", Role.GATE, "every check passed"),
    Move("checking-pre-approved", "held", Role.GATE, "a check failed"),
    # execute: queued/EXECUTOR → running/EXECUTOR → done, failed, deferred, unknown, held/EXECUTOR
    Move("queued", "running", Role.EXECUTE, "claim"),
    Move("running", "done", Role.EXECUTE, "it worked"),
    Move("running", "failed", Role.EXECUTE, "it did not work and would not work later"),
    Move("running", "deferred", Role.EXECUTE, "it may work later"),
    Move("running", "unknown", Role.EXECUTE, "it may have had its effect"),
    Move(
        "running",
        "held-by-executor",
        Role.EXECUTE,
        "a person must look before it goes on or counts as done",
    ),
    Move("queued", "held-by-executor", Role.EXECUTE, "it is a copy of what runs"),
    Move("running", "queued", Role.EXECUTE, "hand back what had not started"),
    Move("cancel", "held-by-executor", Role.EXECUTE, "it is no cancellation"),
    # sweep: deferred → queued, awaiting-approval → expired
    Move("deferred", "queued", Role.SWEEP, "its time has come"),
    Move("awaiting-approval", "expired", Role.SWEEP, "nobody decided in time"),
    Move("awaiting-approval", "held", Role.SWEEP, "it is a copy of what expired"),
    Move("deferred", "held", Role.SWEEP, "it is a copy of what is queued"),
    Move("tmp", "inbox", Role.REPORT, "report a change"),
    Move("tmp", "inbox", Role.HEALTH, "ask for a restart"),
    # a person, about what was approved
    *(Move(passed_on, target, Role.PERSON, why)
      for passed_on in ("approved", "pre-approved", "queued", "deferred")
      for target, why in (("held", "hold"), ("rejected", "cancel"))),
    Move("deferred", "queued", Role.PERSON, "retry"),
    Move("failed", "awaiting-approval", Role.PERSON, "retry"),
    Move("unknown", "done", Role.PERSON, "resolve"),
    Move("unknown", "failed", Role.PERSON, "resolve"),
    Move("unknown", "awaiting-approval", Role.PERSON, "resolve"),
)  # fmt: skip

_ALLOWED = {(move.source, move.target, move.who) for move in MOVES}


def allowed(source: str, target: str, who: Role) -> bool:
    """Whether `who` may move a file from `source` to `target` (folder names)."""
    return (source, target, who) in _ALLOWED


def targets(source: str, why: str) -> list[str]:
    """The folders to which a person's verb (`why`) may take a file from `source`."""
    return [m.target for m in MOVES if (m.source, m.who, m.why) == (source, Role.PERSON, why)]


def standing_in(*standings: Standing) -> tuple[str, ...]:
    """The folders with one of these standings, in the order of a request's life."""
    return tuple(name for name, folder in FOLDERS.items() if folder.standing in standings)


#: Folders whose files are requests, in the order of a request's life.
STATES: tuple[str, ...] = tuple(name for name, f in FOLDERS.items() if f.holds_requests)

#: Where a file stays unless a person moves it.
FINAL: frozenset[str] = frozenset(standing_in(Standing.REFUSED, Standing.ENDED))

#: `touch HOLD` in the spool root stops the gate and every executor from starting anything new.
HOLD = "HOLD"

#: Ends the name of the file beside one that was set aside or decided; it says why.
REASON_SUFFIX = ".reason.json"
