"""What a program did to a folder, as strace saw it, put on a model of a disk, call by call.

It is recorded from the outside, so that no code of the program can go past it: also what SQLite
does is there. A call that could change a file and that is not understood is an error, and at the
end the model must look exactly like the real folder; so no gap of the recorder stays unseen.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from tests.crash.power_disk import Disk, Node, Step

CALLS = (
    "open,openat,openat2,creat,close,write,pwrite64,writev,pwritev,pwritev2,lseek,truncate,"
    "ftruncate,fallocate,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,"
    "mkdir,mkdirat,rmdir,mknod,mknodat,utimensat,fsync,fdatasync,syncfs,sync,sync_file_range,"
    "copy_file_range,sendfile,splice,mmap,io_uring_setup"
)
_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\w+|\?)(.*)$")
_BEGUN = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
_OPEN = re.compile(r"^(AT_FDCWD|\d+)(?:<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?)?$")
_TIME = re.compile(r"tv_sec=(\d+), tv_nsec=(\d+)|(UTIME_NOW|UTIME_OMIT)")
_SYNCS = {"fsync", "fdatasync", "syncfs", "sync"}


class NotUnderstood(Exception):
    """A call that the model has no rule for."""


@dataclass(frozen=True, slots=True)
class Call:
    """A system call.

    Attributes:
        thread: who made it.
        name: which.
        args: as strace writes them.
        result: what it returned; None while it is still going on.
        opened: the path of the file that it opened.
        resumed: it is the end of a call that was seen beginning.
    """

    thread: int
    name: str
    args: str
    result: int | None
    opened: bytes = b""
    resumed: bool = False

    @property
    def first(self) -> bytes:
        """The path of the open file that is its first argument."""
        match = _OPEN.match(self.args.partition(", ")[0])
        return _unhex(match[2] or "") if match else b""

    @property
    def written(self) -> bytes:
        """The text among its arguments."""
        found = _TEXT.findall(self.args)
        if any(cut for _, cut in found):
            raise NotUnderstood(f"strace has cut what {self.name} wrote")
        return b"".join(_unhex(text) for text, _ in found)


def strace(
    program: str, words: Sequence[str], log: Path, *more: str, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command line under strace; what it did is in `log` afterwards."""
    command = [program, "-f", "--seccomp-bpf", "-y", "-xx", "-s", "16777216", "-e", "signal=none",
               "-e", f"trace={CALLS}", *more, "-o", str(log), *words]  # fmt: skip
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=100, **options
    )


def calls(log: Path, *folders: Path) -> Iterator[Call]:
    """The calls that name one of the folders, in the order in which they ended.

    A call that others came between is there twice: without a result when it began, and at its end.
    """
    wanted = [_hex(os.fsencode(folder)) for folder in folders]
    begun: dict[int, str] = {}
    for line in log.read_text("ascii").splitlines():
        if match := _BEGUN.match(line):
            begun[int(match[1])] = match[3]
            if any(folder in line for folder in wanted) or match[2] == "sync":
                yield Call(int(match[1]), match[2], match[3], None)
            continue
        thread, start = 0, ""
        if resumed := _RESUMED.match(line):
            thread = int(resumed[1])
            start = begun.pop(thread, "")
            line = f"{thread} {resumed[2]}({start}{resumed[3]}"  # noqa: PLW2901 - the whole call
        if not any(folder in line for folder in wanted) and " sync()" not in line:
            continue
        if match := _LINE.match(line):
            if match[4].lstrip("-").isdigit():
                opened = _unhex(match[5].partition("<")[2].partition(">")[0])
                yield Call(int(match[1]), match[2], match[3], int(match[4]), opened, bool(resumed))
        elif "exited" not in line and "killed" not in line:
            raise NotUnderstood(line[:300])


@dataclass(slots=True)
class Recorder:
    """Puts calls on a disk.

    Args:
        root: the folder that the disk stands for.
        marks: a file; each line that is written to it is JSON, and given to `on_mark`.
        cwd: what relative paths begin with.
        disk: where to put them.
    """

    root: Path
    marks: Path
    cwd: Path
    disk: Disk
    on_mark: Callable[[Mapping[str, Any]], None]
    _at: dict[tuple[Node, str], int] = field(default_factory=dict)
    _going: dict[int, list[Step]] = field(default_factory=dict)

    def add(self, call: Call) -> bool:
        """Put a call on the disk; says whether anything changed."""
        if call.name in _SYNCS:
            return self._sync(call)
        if call.result is None or call.result < 0:
            return False
        act = getattr(self, f"_{call.name}", None)
        if act is None:
            if any(self._inside(path) is not None for path in self._paths(call)):
                raise NotUnderstood(f"{call.name}({call.args[:200]}")
            return False
        return bool(act(call))

    # Paths

    def _inside(self, path: bytes) -> bytes | None:
        """A path from the root; None outside, and for what SQLite shares between processes."""
        root = os.fsencode(self.root)
        path = os.path.normpath(os.path.join(os.fsencode(self.cwd), path))
        if path != root and not path.startswith(root + b"/"):
            return None
        # Never synced, never read after a restart: it is not on the disk in the first place.
        return None if path.endswith(b"-shm") else path[len(root) + 1 :]

    def _paths(self, call: Call) -> list[bytes]:
        """The paths that a call names, those given after an open folder below that."""
        found, folder = [], b""
        for word in call.args.split(", "):
            if match := _OPEN.match(word):
                folder = _unhex(match[2] or "")
                if match[1] != "AT_FDCWD" and not call.name.endswith(("at", "at2")):
                    found.append(folder)
            elif match := _TEXT.fullmatch(word):
                found.append(os.path.join(folder, _unhex(match[1])))
        return found

    def _pair(self, call: Call) -> tuple[bytes | None, bytes | None]:
        old, new = (self._inside(path) for path in self._paths(call))
        if (old is None) != (new is None):
            raise NotUnderstood(f"{call.name} over the border: {call.args[:200]}")
        return old, new

    def _file(self, call: Call) -> tuple[Node | None, str]:
        """The open file that is the first argument; None outside, and once it has no name."""
        word = call.args.partition(", ")[0]
        match = _OPEN.match(word)
        if match is None or match[3]:
            return None, ""
        path = self._inside(_unhex(match[2] or ""))
        return (None if path is None else self.disk.find(path)), match[1]

    # Syncs

    def _sync(self, call: Call) -> bool:
        node: Node | None = None
        if call.name in ("fsync", "fdatasync"):
            node, _ = self._file(call)
            if node is None:
                return False
        if call.result is None:
            self._going[call.thread] = self.disk.covered(node)
            return False
        steps = self._going.pop(call.thread, []) if call.resumed else self.disk.covered(node)
        if call.result == 0:
            self.disk.synced(node, steps)
        else:
            self.disk.failed(steps)
        return True

    # Files

    def _openat(self, call: Call) -> bool:
        words = call.args.split(", ")
        flags = set(words[2].split("|"))
        path = self._inside(call.opened)
        if path is None:
            return False
        if flags & {"O_TMPFILE", "O_SYNC", "O_DSYNC"}:
            raise NotUnderstood(f"openat with {words[2]}")
        node = self.disk.find(path)
        changed = node is None
        if node is None:
            node = self.disk.create(path)
        elif "O_TRUNC" in flags and self.disk.size(node):
            self.disk.truncate(node, 0)
            changed = True
        end = self.disk.size(node) if "O_APPEND" in flags else 0
        self._at[node, str(call.result)] = end
        return changed

    def _close(self, call: Call) -> bool:
        return False

    def _mmap(self, call: Call) -> bool:
        if "MAP_SHARED" in call.args and "PROT_WRITE" in call.args:
            paths = [_unhex(m) for m in re.findall(r"<((?:\\x[0-9a-f]{2})*)>", call.args)]
            if any(self._inside(path) is not None for path in paths):
                raise NotUnderstood(f"mmap({call.args[:200]}")
        return False

    def _lseek(self, call: Call) -> bool:
        node, number = self._file(call)
        if node is not None and not node.is_folder:
            self._at[node, number] = call.result or 0
        return False

    def _write(self, call: Call) -> bool:
        data = call.written[: call.result]
        if call.first == os.fsencode(self.marks):
            for line in data.splitlines():
                self.on_mark(orjson.loads(line))
            return True
        node, number = self._file(call)
        if node is None:
            return False
        at = self._at[node, number]
        self._at[node, number] = at + len(data)
        self.disk.write(node, at, data)
        return True

    _writev = _write

    def _pwrite64(self, call: Call) -> bool:
        node, _ = self._file(call)
        if node is None:
            return False
        self.disk.write(node, int(call.args.rpartition(", ")[2]), call.written[: call.result])
        return True

    def _ftruncate(self, call: Call) -> bool:
        node, _ = self._file(call)
        if node is None:
            return False
        self.disk.truncate(node, int(call.args.rpartition(", ")[2]))
        return True

    def _utimensat(self, call: Call) -> bool:
        node, _ = self._file(call)
        path = _TEXT.search(call.args)
        if path:
            inside = self._inside(_unhex(path[1]))
            node = None if inside is None else self.disk.find(inside)
        times = _TIME.findall(call.args)
        if node is None or not times or times[-1][2]:
            return False
        self.disk.touch(node, int(times[-1][0]) + int(times[-1][1]) / 1e9)
        return True

    # Names

    def _rename(self, call: Call) -> bool:
        old, new = self._pair(call)
        if old is None or new is None:
            return False
        if "RENAME_EXCHANGE" in call.args:
            self.disk.exchange(old, new)
        else:
            self.disk.rename(old, new)
        return True

    _renameat = _renameat2 = _rename

    def _link(self, call: Call) -> bool:
        old, new = self._pair(call)
        if old is not None and new is not None:
            self.disk.link(old, new)
        return old is not None

    _linkat = _link

    def _unlink(self, call: Call) -> bool:
        path = self._inside(self._paths(call)[0])
        if path is not None:
            self.disk.unlink(path)
        return path is not None

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, call: Call) -> bool:
        path = self._inside(self._paths(call)[0])
        if path:
            self.disk.create(path, folder=True)
        return bool(path)

    _mkdirat = _mkdir


def _hex(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
