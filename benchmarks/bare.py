"""The system calls of the same work and nothing else: no parsing, no seal, no index, no log.

What spoold is measured against. Each function gets a `Tree` in which the drops lie already.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

_NOREPLACE, _CWD = 1, -100
_libc = ctypes.CDLL(None, use_errno=True)

#: Records that share their syncs where syncs are grouped.
GROUP = 64

#: What SQLite writes to its journal for a group: pages of the table, each behind its frame.
_PAGES, _FRAME, _PAGE = 9, bytes(24), bytes(4096)
_LINE = b"x" * 250 + b"\n"

_FOLDERS = (
    "inbox", "taking", "tmp", "awaiting", "archive",
    "pre-approved", "checking", "queued", "running", "done",
)  # fmt: skip


def rename_new(source: bytes, target: bytes) -> None:
    """`renameat2(RENAME_NOREPLACE)`: how every state change is made."""
    if _libc.renameat2(_CWD, source, _CWD, target, _NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)


def sync_everything(descriptor: int) -> None:
    """`syncfs` of the file system that a descriptor is on."""
    if _libc.syncfs(descriptor) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def settle(folder: Path) -> None:
    """Write out what earlier work left, so that it is not charged to what is measured next."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_everything(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class Tree:
    """Folders as a spool has them, drops in `inbox`, and what their requests will say."""

    root: bytes
    names: Sequence[bytes]
    requests: Sequence[bytes]
    folders: dict[str, int]

    def path(self, folder: str, name: bytes) -> bytes:
        """Where a file of that name lies in a folder."""
        return b"%s/%s/%s" % (self.root, folder.encode(), name)

    def claim(self, source: str, target: str, name: bytes) -> None:
        """One state change."""
        rename_new(self.path(source, name), self.path(target, name))

    def read(self, folder: str, name: bytes) -> None:
        """Open, read, close."""
        descriptor = os.open(self.path(folder, name), os.O_RDONLY | os.O_NOFOLLOW)
        os.read(descriptor, os.fstat(descriptor).st_size + 1)
        os.close(descriptor)

    def draft(self, name: bytes, data: bytes, *, sync: bool) -> None:
        """A new file in `tmp`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(self.path("tmp", name), flags, 0o644)
        os.write(descriptor, data)
        if sync:
            os.fsync(descriptor)
        os.close(descriptor)

    def file(self, name: str) -> int:
        """A new file beside the folders, to be written to."""
        path = b"%s/%s" % (self.root, name.encode())
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)

    def sync(self, *folders: str) -> None:
        """Make the names in folders durable."""
        for folder in folders:
            os.fsync(self.folders[folder])


def plant(root: Path, drops: Sequence[bytes], requests: Sequence[bytes]) -> Tree:
    """Lay out the folders and the drops, and write them out."""
    descriptors = {}
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
        descriptors[folder] = os.open(root / folder, os.O_RDONLY | os.O_DIRECTORY)
    names = [b"decision-%06d.json" % number for number in range(len(drops))]
    tree = Tree(os.fsencode(root), names, requests, descriptors)
    for name, data in zip(names, drops, strict=True):
        with open(tree.path("inbox", name), "wb", buffering=0) as file:
            file.write(data)
    settle(root)
    return tree


def measure(work: Callable[[Tree], None], tree: Tree) -> float:
    """Seconds that the work takes."""
    begun = perf_counter()
    work(tree)
    spent = perf_counter() - begun
    for descriptor in tree.folders.values():
        os.close(descriptor)
    return spent


# What intake does


def intake_grouped(group: int = GROUP) -> Callable[[Tree], None]:
    """The calls that spoold's intake makes for a group, one by one, and nothing between them.

    Look, read, claim, look again, draft | syncfs | publish | sync folder | index | archive, log.
    """

    def work(tree: Tree) -> None:
        found = sorted(
            (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
            for entry in os.scandir(tree.path("inbox", b""))
        )
        contents = dict(zip(tree.names, tree.requests, strict=True))
        index, log = tree.file("index"), tree.file("log")
        for start in range(0, len(found), group):
            names = [name for _, name in found[start : start + group]]
            os.statvfs(tree.root)
            for name in names:
                tree.read("inbox", name)
                tree.claim("inbox", "taking", name)
                os.lstat(tree.path("taking", name))
                os.access(tree.path("archive", name), os.F_OK, follow_symlinks=False)
            for name in names:
                tree.draft(name, contents[name], sync=False)
            sync_everything(tree.folders["inbox"])
            for name in names:
                tree.claim("tmp", "awaiting", name)
            tree.sync("awaiting")
            for _ in range(_PAGES):
                os.write(index, _FRAME)
                os.write(index, _PAGE)
            os.fdatasync(index)
            for name in names:
                tree.claim("taking", "archive", name)
                os.write(log, _LINE)
        tree.sync("archive", "taking")
        os.close(index)
        os.close(log)

    return work


def intake_one_by_one(tree: Tree) -> None:
    """The same with every file and every folder synced for every record."""
    for name, request in zip(tree.names, tree.requests, strict=True):
        tree.claim("inbox", "taking", name)
        tree.sync("taking", "inbox")
        tree.read("taking", name)
        tree.draft(name, request, sync=True)
        tree.claim("tmp", "awaiting", name)
        tree.sync("awaiting")
        tree.claim("taking", "archive", name)
        tree.sync("archive", "taking")


# From the drop to done


def pipeline_one_by_one(tree: Tree) -> None:
    """Every arrow from inbox to done: data synced before a rename, both folders after it."""
    for name, request in zip(tree.names, tree.requests, strict=True):
        _move(tree, "inbox", "taking", name)
        tree.read("taking", name)
        tree.draft(name, request, sync=True)
        tree.claim("tmp", "pre-approved", name)
        tree.sync("pre-approved")
        _move(tree, "taking", "archive", name)
        _move(tree, "pre-approved", "checking", name)
        tree.read("checking", name)
        _overwrite(tree, "checking", name, request)
        _move(tree, "checking", "queued", name)
        _move(tree, "queued", "running", name)
        tree.read("running", name)
        _overwrite(tree, "running", name, request)
        _overwrite(tree, "running", name, request)
        _move(tree, "running", "done", name)


def _move(tree: Tree, source: str, target: str, name: bytes) -> None:
    tree.claim(source, target, name)
    tree.sync(target, source)


def _overwrite(tree: Tree, folder: str, name: bytes, data: bytes) -> None:
    """New content; that the draft's own name is gone need not be durable."""
    tree.draft(name, data, sync=True)
    os.rename(tree.path("tmp", name), tree.path(folder, name))
    tree.sync(folder)


# A queue in its simplest form: read → write → rename → unlink


def simple_unsynced(tree: Tree) -> None:
    """With no promise at all."""
    for name, request in zip(tree.names, tree.requests, strict=True):
        tree.read("inbox", name)
        tree.draft(name, request, sync=False)
        tree.claim("tmp", "awaiting", name)
        os.unlink(tree.path("inbox", name))


def simple_synced(tree: Tree) -> None:
    """With the data of each record synced; its name is not."""
    for name, request in zip(tree.names, tree.requests, strict=True):
        tree.read("inbox", name)
        tree.draft(name, request, sync=True)
        tree.claim("tmp", "awaiting", name)
        os.unlink(tree.path("inbox", name))


def simple_grouped(tree: Tree) -> None:
    """With one `syncfs` for a group: data first, then renames, then folders."""
    pairs = list(zip(tree.names, tree.requests, strict=True))
    for start in range(0, len(pairs), GROUP):
        group = pairs[start : start + GROUP]
        for name, request in group:
            tree.read("inbox", name)
            tree.draft(name, request, sync=False)
        sync_everything(tree.folders["inbox"])
        for name, _ in group:
            tree.claim("tmp", "awaiting", name)
        tree.sync("awaiting")
        for name, _ in group:
            os.unlink(tree.path("inbox", name))
        tree.sync("inbox")
