"""A spool after a power cut: laid out from what the disk still has, recovered, and judged."""

import hashlib
import os
import random
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from spoold.errors import SpooldError, Transient
from spoold.states import REASON_SUFFIX
from spoold.testing import Clock, Lab
from tests.crash.power_disk import Disk, Image, choices
from tests.crash.power_lab import ROUTES, TOML, FarSide
from tests.crash.power_record import Record, World
from tests.invariants import picture, requests, violations

#: Where nothing moves any more unless a person does it.
_STAYS = ("archive", "quarantine", "rejected", "expired", "held", "unknown", "done", "failed")
#: How far a request has come; what was seen there comes back to no earlier place.
_STAGES = {
    "awaiting-approval": 0, "approved": 1, "pre-approved": 1, "checking": 1, "queued": 2,
    "running": 2, "deferred": 2,
}  # fmt: skip
_LAST = 3


class Found(NamedTuple):
    """A request as it lies there."""

    state: str
    fields: dict[str, Any]


#: By id.
Requests = dict[str, Found]


@dataclass(slots=True)
class Tally:
    """What was tried.

    Attributes:
        cuts: moments at which the power went.
        states: different disks after that.
        wrong: what did not hold, with the moment and what was left.
        missed: where the real disk is not as the record says: the recorder has a gap.
    """

    cuts: int = 0
    states: int = 0
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)


class Recovery:
    """A spool to recover in, again and again, in one process.

    Args:
        folder: an empty folder, on a fast file system.

    Attributes:
        may_repeat: the far side remembers keys, so a run whose end was not seen may be repeated.
        repeats: how often that was done.
    """

    def __init__(self, folder: Path) -> None:
        self.may_repeat = False
        self.repeats = 0
        self.calls: list[tuple[str, int, bytes]] = []
        self.clock = Clock()
        self.far = FarSide(lambda *call: self.calls.append(call))
        self.lab = Lab(folder, TOML, ROUTES, self.clock, self.far)

    def judge(self, image: Image, world: World, *, redeliver: bool = False) -> list[str]:
        """Recover what the disk has; every law that is broken then, a sentence each.

        Args:
            image: what the disk has.
            world: what the world outside has seen.
            redeliver: whether producers, who cannot know what came through, drop it all again.
        """
        root = self.lab.root
        shutil.rmtree(root)
        _lay_out(root, image)
        if world.now:
            self.clock.now = world.now + timedelta(seconds=1)
        self.calls.clear()
        if self.may_repeat:
            self.far.probed = Transient("safe", "It may be done again.", retry_after=0)
        before = by_id(root)
        if trouble := self._drain():
            return [f"the restart {trouble}"]
        after = by_id(root)
        found = violations(root, world.dropped, self._bodies(world))
        found += _kept(root, after, world.promised)
        found += _counted(root, after)
        found += _explained(root)
        found += self._effects(world, before, after)
        seen, calls = picture(root), len(self.calls)
        if trouble := self._drain():
            found.append(f"the second restart {trouble}")
        changed = sorted(path for path, _ in seen.items() ^ picture(root).items())
        if changed or len(self.calls) != calls:
            found.append(f"a second restart changed {changed or 'nothing, but acted again'}")
        return found or (self._redelivered(world, after) if redeliver else [])

    def _drain(self) -> str:
        try:
            code = self.lab.drain()
        except SpooldError as error:
            return f"failed: {error}"
        return f"ended with {code}" if code else ""

    def _redelivered(self, world: World, known: Requests) -> list[str]:
        for number, data in enumerate(world.dropped):
            self.lab.drop("decisions", f"again-{number}.json", data)
        if trouble := self._drain():
            return [f"the drain after a second delivery {trouble}"]
        new = by_id(self.lab.root).keys() - known.keys()
        return [f"a second delivery made {one}" for one in sorted(new)]

    def _bodies(self, world: World) -> dict[str, list[bytes]]:
        bodies = defaultdict(list)
        for key, _, body in [*world.effects, *self.calls]:
            bodies[key].append(body)
        return bodies

    def _effects(self, world: World, before: Requests, after: Requests) -> Iterator[str]:
        """Nothing whose end is not on the disk is done again; every effect is known."""
        numbers: dict[str, set[int]] = defaultdict(set)
        for key, number, _ in world.effects:
            numbers[key].add(number)
        for key, number, _ in self.calls:
            if number in numbers[key]:
                yield f"attempt {number} of {key} took effect a second time"
            earlier = before[key].fields["attempts"] if key in before else []
            if earlier and earlier[-1]["outcome"] is None:
                self.repeats += 1
            if earlier and earlier[-1]["outcome"] is None and not self.may_repeat:
                yield f"attempt {number} of {key} was made although nobody knew how the last ended"
            numbers[key].add(number)
        for key, seen in numbers.items():
            known = after[key].fields["attempts"] if key in after else []
            if max(seen) > len(known):
                yield f"attempt {max(seen)} of {key} took effect, and no request says so"


def run(
    record: Record, recovery: Recovery, chance: random.Random, count: int, enough: int = 20
) -> Tally:
    """Cut the power at every moment of a record and see what comes of it.

    Args:
        record: of a scene.
        recovery: where to recover.
        chance: chooses what is left, beyond the telling cases.
        count: how many such choices at each moment.
        enough: stop when so much is wrong.
    """
    tally, seen, disk = Tally(), set(), Disk()
    for number, (disk, world) in enumerate(record.cuts()):
        tally.cuts += 1
        for name, kept in choices(disk, chance, count):
            image = disk.image(kept)
            key = (_digest(image), len(world.dropped), len(world.effects), world.promises)
            if key in seen:
                continue
            seen.add(key)
            tally.states += 1
            wrong = recovery.judge(image, world, redeliver=not kept)
            tally.wrong += [f"cut {number}, left: {name}: {what}" for what in wrong]
            if len(tally.wrong) >= enough:
                return tally
    tally.missed = _differences(disk, record.root)  # by now it has everything
    return tally


def _differences(disk: Disk, root: Path) -> list[str]:
    """Where the model of the disk and the real folder differ: what the recorder has missed."""
    real: dict[bytes, bytes | None] = {}
    for path in root.rglob("*"):
        if not path.name.endswith("-shm"):
            name = os.fsencode(path.relative_to(root))
            real[name] = None if path.is_dir() else path.read_bytes()
    model = {name: entry and entry[0] for name, entry in disk.image().items()}
    paths = real.keys() | model.keys()
    return sorted(os.fsdecode(p) for p in paths if real.get(p, b"?") != model.get(p, b"?"))


def _lay_out(root: Path, image: Image) -> None:
    root.mkdir()
    top = os.fsencode(root)
    for name, entry in sorted(image.items()):
        path = os.path.join(top, name)
        if entry is None:
            os.mkdir(path)
            continue
        data, mtime = entry
        with open(path, "wb", buffering=0) as file:
            file.write(data)
        if mtime is not None:
            os.utime(path, (mtime, mtime))


def _digest(image: Image) -> bytes:
    text = repr(sorted(image.items(), key=lambda item: item[0]))
    return hashlib.sha256(text.encode()).digest()


def by_id(root: Path) -> Requests:
    """Every request that can be read, by its id."""
    found = {}
    for state, path in requests(root):
        with suppress(orjson.JSONDecodeError, KeyError, TypeError):
            fields = orjson.loads(path.read_bytes())
            found[fields["dispatch_id"]] = Found(state, fields)
    return found


def _kept(root: Path, here: Requests, promised: Image) -> Iterator[str]:
    """What was acknowledged before the cut is still there, or further on."""
    for path, entry in promised.items():
        name = os.fsdecode(path)
        folder, base = name.split("/", 1)[0], os.path.basename(name)
        if entry is None or base.startswith(".") or "/.taking/" in name:
            continue
        if folder in _STAYS:
            now = (root / name).read_bytes() if (root / name).is_file() else None
            if now != entry[0]:
                yield f"{name} was acknowledged, and is {'gone' if now is None else 'other'} now"
        elif folder in _STAGES and not base.endswith(REASON_SUFFIX):
            now_at = here.get(base.removesuffix(".json"))
            if now_at is None:
                yield f"{name} was acknowledged, and is nowhere now"
            elif _STAGES.get(now_at.state, _LAST) < _STAGES[folder]:
                yield f"{name} was acknowledged, and is back in {now_at.state}/"
            elif (asked := orjson.loads(entry[0])["asked"]) > now_at.fields["asked"]:
                yield f"{name} was asked {asked} times, and less often now"


def _counted(root: Path, here: Requests) -> Iterator[str]:
    """Each drop that is said to be folded into a request is counted there, once."""
    folded: dict[str, set[str]] = defaultdict(set)
    for path in root.glob(f"archive/*/*/*{REASON_SUFFIX}"):
        reason = orjson.loads(path.read_bytes())
        if reason["code"] == "folded":
            folded[reason["dispatch_id"]].add(reason["event_key"])
    for known, found in here.items():
        counted = [repeat["event_key"] for repeat in found.fields["repeats"]]
        if len(set(counted)) != found.fields["asked"] - 1:
            yield f"{known} was asked {found.fields['asked']} times, by {counted}"
        if missing := folded[known] - set(counted):
            yield f"{missing} are said to be folded into {known}, which does not count them"


def _explained(root: Path) -> Iterator[str]:
    """What a stage has set aside has a reason beside it; what a person holds may have none."""
    for path in [*root.glob("held/*.json"), *root.glob("expired/*.json")]:
        beside = path.with_name(path.name + REASON_SUFFIX)
        by_person = path.parent.name == "held" and b'"status": "awaiting' in path.read_bytes()
        if not path.name.endswith(REASON_SUFFIX) and not beside.exists() and not by_person:
            yield f"{path.relative_to(root)} has no reason beside it"
