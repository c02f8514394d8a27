"""What strace saw → the calls that touched a spool, and how to hit each of them again."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: What is traced: whatever names a file, holds one open, starts a process or uses the network.
TRACED = "trace=%file,%desc,%process,%network,sync"

#: Calls that change nothing that a restart could see. All others count, also those unheard of.
_HARMLESS = frozenset({
    "access", "close", "dup", "dup2", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait",
    "epoll_wait", "faccessat", "faccessat2", "fadvise64", "fcntl", "flock", "fstat", "fstatfs",
    "getcwd", "getdents64", "inotify_add_watch", "ioctl", "lseek", "lstat", "mmap",
    "newfstatat", "pipe2", "poll", "ppoll", "pread64", "preadv", "preadv2", "pselect6", "read",
    "readlink", "readlinkat", "readv", "select", "stat", "statfs", "statx", "chdir", "fchdir",
    "exit", "exit_group", "wait4",
})  # fmt: skip
#: Reads whose failure a program meets as well.
_READS = frozenset({"getdents64", "lstat", "newfstatat", "pread64", "read", "stat", "statx"})
#: Where something happens outside: before, the far side knows nothing; afterwards it may.
_EFFECTS = frozenset({"connect", "sendto", "sendmsg", "recvfrom", "recvmsg", "vfork", "fork"})

_LINE = re.compile(
    r"(?P<tid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)"
)
_PATH = re.compile(r'"(/[^"]*)"|(?<!AT_FDCWD)<(/[^>]*)>')
_RESULT = re.compile(r"\) += (-?\d+|\?|0x[0-9a-f]+)")
#: What is another one in every run: a draft's name, time and digits of an id, today.
_RANDOM = re.compile(
    r"(?<=\.)\d+\.[0-9a-f]{12}|(?<=\.)[0-9a-f]{12}|(?<=\.)[0-9a-f]{8}(?=\.)"
    r"|\d{8}T\d{6}Z|\d{4}-\d\d-\d\d|(?<=-)[0-9a-f]{8}(?=\.json)"
)
_ID = re.compile(r"dispatch-[^/.)]*")
_DRAFT = re.compile(r"\.[0-9a-f]{12}$")


@dataclass(slots=True)
class Call:
    """One system call as it was made.

    Attributes:
        tid: the thread that made it.
        name: of the call.
        text: its arguments, and what came back, as strace shows them.
        result: what came back; None or `?` if nothing did.
        ours: whether it is spoold's own, and not that of a program that it started.
    """

    tid: int
    name: str
    text: str
    result: str | None = None
    ours: bool = True

    @property
    def paths(self) -> list[str]:
        """The files it is about; what a descriptor stands for counts too."""
        arguments = _RESULT.split(self.text, 1)[0]
        return [one or other for one, other in _PATH.findall(arguments)]

    @property
    def changes(self) -> bool:
        """Whether it may leave something behind."""
        if self.name in ("openat", "open"):
            return "O_CREAT" in self.text or "O_TRUNC" in self.text
        return self.name not in _HARMLESS

    @property
    def succeeded(self) -> bool:
        """Whether it came back without an error."""
        return self.result not in (None, "?") and not str(self.result).startswith("-")

    @property
    def injected(self) -> bool:
        """Whether strace made it fail."""
        return "(INJECTED)" in self.text

    def signature(self, root: str) -> str:
        """The call without what differs from run to run."""
        paths = [_RANDOM.sub("*", path).replace(root, "~") for path in self.paths if root in path]
        return f"{self.name}({', '.join(paths)})"


def kind(signature: str) -> str:
    """A signature without the request that the call is about."""
    return _ID.sub("*", signature)


def parse(log: str) -> list[Call]:
    """All calls in their order."""
    calls: list[Call] = []
    open_calls: dict[int, Call] = {}
    for line in log.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        tid, rest = int(found["tid"]), found["rest"]
        if found["resumed"]:
            call = open_calls.pop(tid, None)
            if call is None:
                continue
            call.text += rest
        else:
            call = Call(tid, found["name"], rest)
            calls.append(call)
        if "<unfinished ...>" in rest:
            open_calls[tid] = call
        ended = _RESULT.search(call.text)
        call.result = ended[1] if ended else None
    programs = {call.tid for call in calls if call.name in ("execve", "execveat")}
    for call in calls:
        call.ours = call.tid not in programs
    return calls


@dataclass(frozen=True, slots=True)
class Point:
    """How strace finds a call again: the `when`th of that name that one thread makes.

    Attributes:
        name: of the call.
        when: which one, counted from 1 in each thread.
        only: count only calls about this path; empty for all.
        signature: what it was, for people and for checking that it was hit.
        changes: whether it may leave something behind.
        inside: whether it is about the spool, and not about the world.
    """

    name: str
    when: int
    only: str
    signature: str
    changes: bool
    inside: bool

    def __str__(self) -> str:
        about = f" on {self.only}" if self.only else ""
        return f"{self.signature} (call {self.when} of {self.name}{about})"

    def inject(self, what: str) -> list[str]:
        """What strace is told."""
        narrowed = ["-P", self.only] if self.only else []
        return [*narrowed, "-e", f"inject={self.name}:{what}:when={self.when}"]


def points(calls: Iterable[Call], root: str) -> list[Point]:
    """Every call that touched the spool or the world, as a point to hit.

    Where several requests are carried out at once, their threads make the same calls about the same
    folders, and strace can only find the first of them.

    Raises:
        LookupError: a call cannot be told from others, and none like it can.
    """
    found, kinds, lost = [], set(), set()
    for call, addresses in _addressed(calls):
        if not call.ours:
            continue
        inside = any(f"{path}/".startswith(f"{root}/") for path in call.paths)
        known = call.changes or call.name in _READS or call.name == "openat"
        if not ((inside and known) or call.name in _EFFECTS):
            continue
        signature = call.signature(root)
        if addresses:
            found.append(Point(call.name, *addresses[0], signature, call.changes, inside))
            kinds.add(kind(signature))
        else:
            lost.add(kind(signature))
    if lost - kinds:
        raise LookupError(f"no address for {lost - kinds}")
    return found


def _addressed(calls: Iterable[Call]) -> Iterator[tuple[Call, list[tuple[int, str]]]]:
    """Each call with its addresses, best first.

    strace counts in each thread for itself. So the nth call of a thread can only be hit if no other
    thread came to its nth call before; else the path tells them apart. Best is what no other thread
    comes to later either, since that would be hit as well.
    """
    counted = list(_counted(calls))
    totals = Counter((tid, key) for tid, _, keys in counted for key, _ in keys)
    most: dict[object, list[int]] = {}
    for (_, key), count in totals.items():
        most.setdefault(key, []).append(count)
    reached: Counter[object] = Counter()
    for _, call, keys in counted:
        addresses = []
        for key, when in keys:
            if when > reached[key]:
                reached[key] = when
                shared = sum(count >= when for count in most[key]) > 1
                if not _DRAFT.search(key[1]):
                    addresses.append((shared, when, key[1]))
        yield call, [(when, only) for _, when, only in sorted(addresses, key=lambda a: a[0])]


def _counted(
    calls: Iterable[Call],
) -> Iterator[tuple[int, Call, list[tuple[tuple[str, str], int]]]]:
    """Each call with how many of its name, and of its name on each of its paths, there were."""
    counts: Counter[tuple[int, str, str]] = Counter()
    for call in calls:
        keys = []
        for only in ("", *dict.fromkeys(call.paths)):
            counts[call.tid, call.name, only] += 1
            keys.append(((call.name, only), counts[call.tid, call.name, only]))
        yield call.tid, call, keys
