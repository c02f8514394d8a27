"""A model of a disk that may lose power: what was done to it, and what may be left of that.

The rules, stricter than any of the file systems that spoold supports:

* What was written to a file is sure after a sync of that file. Until then each write may be there,
  not at all, by half, or as zeros.
* A change of names (create, rename, exchange, link, unlink, mkdir) happens whole or not at all, as
  on every journaling file system. It is sure when every folder that it touches was synced; until
  then it may be missing though later changes are there, unless those need it. A file that is
  synced has no sure name yet.
* What a sure change needs is sure as well: a file that was moved on had been moved there before.
  A rename over a file needs no file there.
* A sync of the whole file system makes everything sure. A sync that fails makes nothing sure, and
  nor does the next one: the kernel has thrown away what it could not write, and says so only once.

A folder of drafts (`scratch`) need not be synced for a name to leave it.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal


class Node:
    """A file or a folder, whatever its names are."""

    __slots__ = ("is_folder", "number", "writes")

    def __init__(self, number: int, *, is_folder: bool) -> None:
        self.number = number
        self.is_folder = is_folder
        self.writes: list[Write] = []


@dataclass(eq=False, slots=True)
class Write:
    """One change of a file: bytes at an offset, a new size, or a new time."""

    node: Node
    offset: int = 0
    data: bytes = b""
    size: int | None = None
    mtime: float | None = None


@dataclass(eq=False, slots=True)
class Slot:
    """What a change of names does to one name; what it replaces may be any file, or none."""

    folder: Node
    name: bytes
    before: Node | None
    after: Node | None
    replaced: bool = False


@dataclass(eq=False, slots=True)
class Names:
    """One change of names: all of its slots, or none."""

    slots: tuple[Slot, ...]
    needs: tuple["Names", ...]
    unsynced: set[Node]


Step = Write | Names
#: How much of an unsure write is there.
Part = Literal["whole", "half", "zeros"]
WHOLE: Part = "whole"
#: The unsure steps that are there.
Kept = Mapping[Step, Part]
#: Path from the top → bytes and time of a file, None for a folder.
Image = dict[bytes, tuple[bytes, float | None] | None]


@dataclass(slots=True)
class Disk:
    """The disk as it is, with all that was done to it.

    Args:
        scratch: names of folders at the top that have only drafts.
    """

    scratch: frozenset[bytes] = frozenset()
    top: Node = field(default_factory=lambda: Node(0, is_folder=True))
    steps: list[Step] = field(default_factory=list)
    unsure: dict[Step, None] = field(default_factory=dict)
    _lost: set[Step] = field(default_factory=set)
    _live: dict[Node, dict[bytes, Node]] = field(default_factory=dict)
    _latest: dict[tuple[Node, bytes], Names] = field(default_factory=dict)
    _count: int = 0

    def __post_init__(self) -> None:
        self._live[self.top] = {}

    # Looking

    def find(self, path: bytes) -> Node | None:
        """What is at a path from the top now."""
        node: Node | None = self.top
        for part in filter(None, path.split(b"/")):
            node = self._live.get(node, {}).get(part) if node else None
        return node

    def size(self, node: Node) -> int:
        """A file's length now."""
        return len(_content(node, None, {})[0])

    # Changing; what the kernel refused never comes here

    def create(self, path: bytes, *, folder: bool = False) -> Node:
        """A new file or folder."""
        self._count += 1
        node = Node(self._count, is_folder=folder)
        if folder:
            self._live[node] = {}
        self._change(self._slot(path, node))
        return node

    def link(self, old: bytes, new: bytes) -> None:
        """A second name."""
        self._change(self._slot(new, self._known(old)))

    def unlink(self, path: bytes) -> None:
        """A name goes; also a folder's."""
        self._known(path)
        self._change(self._slot(path, None))

    def rename(self, old: bytes, new: bytes) -> None:
        """A name changes, over whatever had the new one."""
        node = self._known(old)
        target = self._slot(new, node)
        if target.before is not node:
            target.replaced = target.before is not None
            self._change(self._slot(old, None), target)

    def exchange(self, one: bytes, other: bytes) -> None:
        """Two names change places."""
        left, right = self._known(one), self._known(other)
        self._change(self._slot(one, right), self._slot(other, left))

    def write(self, node: Node, offset: int, data: bytes) -> None:
        """Bytes of a file."""
        self._written(Write(node, offset, data))

    def truncate(self, node: Node, size: int) -> None:
        """A file's length."""
        self._written(Write(node, size=size))

    def touch(self, node: Node, mtime: float) -> None:
        """A file's time."""
        self._written(Write(node, mtime=mtime))

    def _written(self, write: Write) -> None:
        write.node.writes.append(write)
        self._add(write)

    def _change(self, *slots: Slot) -> None:
        keys = [(slot.folder, slot.name) for slot in slots]
        needed = [k for k, slot in zip(keys, slots, strict=True) if not slot.replaced]
        needs = tuple({self._latest[key]: None for key in needed if key in self._latest})
        folders = {slot.folder for slot in slots}
        shared = {self.find(name) for name in self.scratch}
        names = Names(slots, needs, (folders - shared) or folders)
        for key, slot in zip(keys, slots, strict=True):
            self._latest[key] = names
            if slot.after is None:
                del self._live[slot.folder][slot.name]
            else:
                self._live[slot.folder][slot.name] = slot.after
        self._add(names)

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self.unsure[step] = None

    def _known(self, path: bytes) -> Node:
        node = self.find(path)
        if node is None:
            raise LookupError(f"the record names {path!r}, which is not there")
        return node

    def _slot(self, path: bytes, after: Node | None) -> Slot:
        folder, _, name = path.rpartition(b"/")
        parent = self._known(folder)
        return Slot(parent, name, self._live[parent].get(name), after)

    # Syncing

    def covered(self, node: Node | None) -> list[Step]:
        """What a sync of this file or folder that begins now makes sure; None for everything."""
        here = [step for step in self.unsure if step not in self._lost]
        if node is None:
            return here
        if node.is_folder:
            return [s for s in here if isinstance(s, Names) and node in s.unsynced]
        return [s for s in here if isinstance(s, Write) and s.node is node]

    def synced(self, node: Node | None, steps: Iterable[Step]) -> None:
        """The sync that covered these steps has ended, and well."""
        for step in steps:
            if isinstance(step, Names):
                step.unsynced -= {node} if node else step.unsynced
                if not step.unsynced:
                    self._sure(step)
            else:
                self.unsure.pop(step, None)

    def failed(self, steps: Iterable[Step]) -> None:
        """The sync that covered these steps has ended in an error."""
        self._lost.update(steps)

    def sync(self, node: Node | None = None) -> None:
        """A sync that nothing happened beside."""
        self.synced(node, self.covered(node))

    def make_sure(self, steps: Iterable[Step]) -> None:
        """Make these steps durable, and nothing else."""
        for step in list(steps):
            if isinstance(step, Names):
                self._sure(step)
            else:
                self.unsure.pop(step, None)

    def _sure(self, names: Names) -> None:
        waiting = [names]
        while waiting:
            names = waiting.pop()
            if names in self.unsure:
                del self.unsure[names]
                waiting.extend(names.needs)

    # Losing power

    def image(self, kept: Kept | None = None) -> Image:
        """What is there after a cut now; `kept` None: as if there were none."""
        entries: dict[Node, dict[bytes, Node]] = {self.top: {}}
        for step in self.steps:
            if isinstance(step, Names):
                may = step in self.unsure and kept is not None
                if not may or (step in kept and _fits(entries, step)):  # type: ignore[operator]
                    _apply(entries, step)
        image: Image = {}
        unsure = self.unsure if kept is not None else None
        for path, node in _walk(entries, self.top, b""):
            image[path] = None if node.is_folder else _content(node, unsure, kept or {})
        return image

    def with_needs(self, names: Names) -> dict[Step, Part]:
        """An unsure change of names, and the unsure ones that it needs."""
        found: dict[Step, Part] = {}
        waiting = [names]
        while waiting:
            names = waiting.pop()
            if names in self.unsure and names not in found:
                found[names] = WHOLE
                waiting.extend(names.needs)
                waiting.extend(self._made(slot.folder) for slot in names.slots)
        return found

    def _made(self, folder: Node) -> Names:
        made = [s for s in self.unsure if isinstance(s, Names) and s.slots[0].after is folder]
        return made[0] if made else Names((), (), set())


def choices(disk: Disk, chance: random.Random, count: int) -> Iterator[tuple[str, Kept]]:
    """What a cut now may leave: the telling cases, and `count` by chance."""
    names = [step for step in disk.unsure if isinstance(step, Names)]
    yield "nothing that is unsure", {}
    yield "everything", dict.fromkeys(disk.unsure, WHOLE)
    if names:
        yield "only names", dict.fromkeys(names, WHOLE)
        yield "only the last change of names", disk.with_needs(names[-1])
    for number in range(count if len(disk.unsure) > 1 else 0):
        share = chance.choice((0.2, 0.5, 0.8))
        kept = {
            step: chance.choice((WHOLE, WHOLE, "half", "zeros"))
            for step in disk.unsure
            if chance.random() < share
        }
        yield f"choice {number}", kept


def _fits(entries: dict[Node, dict[bytes, Node]], step: Names) -> bool:
    for slot in step.slots:
        if slot.folder not in entries:
            return False
        found = entries[slot.folder].get(slot.name)
        if found is not slot.before and not slot.replaced:
            return False
    return True


def _apply(entries: dict[Node, dict[bytes, Node]], step: Names) -> None:
    for slot in step.slots:
        folder = entries.setdefault(slot.folder, {})
        if slot.after is None:
            folder.pop(slot.name, None)
            continue
        folder[slot.name] = slot.after
        if slot.after.is_folder:
            entries.setdefault(slot.after, {})


def _walk(
    entries: dict[Node, dict[bytes, Node]], folder: Node, prefix: bytes
) -> Iterator[tuple[bytes, Node]]:
    for name, node in entries.get(folder, {}).items():
        yield prefix + name, node
        if node.is_folder:
            yield from _walk(entries, node, prefix + name + b"/")


def _content(
    node: Node, unsure: Mapping[Step, None] | None, kept: Kept
) -> tuple[bytes, float | None]:
    """A file's bytes and time; `unsure` None: with all that was written."""
    data, mtime = bytearray(), None
    for write in node.writes:
        part = WHOLE if unsure is None or write not in unsure else kept.get(write)
        if part is None:
            continue
        if write.mtime is not None:
            mtime = write.mtime
        elif write.size is not None:
            data[write.size :] = bytes(max(0, write.size - len(data)))
        else:
            new = write.data
            if part == "half":
                new = new[: len(new) // 2]
            elif part == "zeros":
                new = bytes(len(new))
            data[len(data) :] = bytes(max(0, write.offset - len(data)))
            data[write.offset : write.offset + len(new)] = new
    return bytes(data), mtime
