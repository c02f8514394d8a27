"""The laws, as one judge that sees each rename and each effect at the moment when it happens."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from spoold.states import HOLD, REASON_SUFFIX, Role, allowed
from tests.crash.machine_files import (
    Files,
    content,
    executor_of,
    has_reason,
    identity,
    look,
    request,
    sealed,
    sha,
    split,
    states_of,
)
from tests.crash.machine_kind import Call, Kind

#: A request of that name in one of these is alive or was ended, so no copy may pass the gate.
_ELSEWHERE = frozenset({
    "awaiting-approval", "queued", "deferred", "running", "unknown", "done", "failed", "rejected",
    "expired",
})  # fmt: skip
#: A request of that name in one of these has ended, so no copy may start.
_ENDED = frozenset({"unknown", "done", "failed"})


#: How stages put content into a folder: under a new name, in exchange, or over what is there.
_WRITTEN = {
    "new": {"awaiting-approval", "pre-approved", "approvals", "cancel"},
    "swap": {"awaiting-approval"},
    "over": {"checking", "checking-pre-approved", "running", "approvals"},
}


@dataclass(frozen=True)
class Drop:
    """A drop and what must come of it: a route's request, or a reason's code."""

    data: bytes
    event: str
    route: str = ""
    say: JsonValue = None
    code: str = ""


def same(one: JsonValue, other: JsonValue) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


class Law:
    """What is known of every drop and request, and every law that was broken."""

    def __init__(self, root: Path, kind: Kind, clock: Callable[[], datetime]) -> None:
        self.root, self.kind, self.clock = root, kind, clock
        self.role = Role.PERSON
        self.broken: list[str] = []
        self.drops: dict[str, Drop] = {}
        self.counted: Counter[str] = Counter()
        self.rendered: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[str]] = defaultdict(list)
        #: Digests of what stages wrote, and of what is sealed in it.
        self.written: set[str] = set()
        self.sealed: set[str] = set()
        #: Folder and name → whether what the gate has claimed is as stages wrote it.
        self.checking: dict[tuple[str, str], bool] = {}
        #: Names that a person put on hold by a move.
        self.parked: set[str] = set()
        #: Requests that people copied, changed, renamed, destroyed or took where none belongs.
        self.disturbed: set[str] = set()
        #: Requests that a person touched while a stage was at work.
        self.touched: set[str] = set()
        #: Requests that may have one effect now.
        self.credit: set[str] = set()
        #: Requests whose past a person has rewritten: it is not sealed.
        self.embellished: set[str] = set()
        #: Requests that a person took from a stage, which writes what it knows all the same.
        self.grabbed: set[str] = set()
        #: Digests of what the gate had checked and noted the yes in.
        self.said_yes: set[str] = set()
        #: What a person put where a stage writes what it knows of another, which may be lost by it.
        self.overlaid: set[str] = set()
        self.may_start: dict[str, bool] = {}
        self._born: Counter[str] = Counter()
        self._calls = self._probes = 0

    def must(self, holds: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
        """Note a law that is broken."""
        if not holds:
            self.broken.append(what)

    # What people do

    def person(self, act: Callable[[], None]) -> None:
        """Let a person act, and take what is there afterwards as it is."""
        before = look(self.root)
        with suppress(OSError):
            act()
        self._adopt(before, look(self.root))

    def _adopt(self, before: Files, after: Files) -> None:
        known = Counter(identity(*item) for item in before.items())
        now = Counter(identity(*item) for item in after.items())
        for one in known.keys() | now.keys():
            self.counted[one] += now[one] - known[one]
            if known[one] != now[one]:
                self.disturbed.add(one)
        del self.counted[""]
        checked = {sha(d) for path, d in before.items() if path.startswith("checking")}
        checked &= self.said_yes
        for path in before.keys() | after.keys():
            gone, came = before.get(path), after.get(path)
            if gone == came:
                continue
            if gone is not None:
                self._went(path, gone, replaced=came is not None)
            if came is not None:
                self._came(path, came, replaced=gone is not None)
                if path.startswith(("queued", "running")) and sha(came) in checked:
                    # A person did the gate's last move; all the rest was done.
                    self.credit.add(identity(path, came))

    def _went(self, path: str, data: bytes, *, replaced: bool) -> None:
        folder, name = split(path)
        named = {identity(path, data), name.removesuffix(".json")}
        self.touched |= named
        if folder.startswith(("running", "checking")):
            self.grabbed |= named
        if folder.startswith("held") and not replaced:
            self.parked.discard(name)

    def _came(self, path: str, data: bytes, *, replaced: bool) -> None:
        folder, name = split(path)
        one = identity(path, data)
        self.touched |= {one, name.removesuffix(".json")}
        if folder.startswith("held") and not replaced:
            self.parked.add(name)
        proper = folder and name == f"{one}.json" and sha(data) in self.written
        if not proper:
            self.disturbed |= {one, name.removesuffix(".json")}
        if (
            folder.startswith(("running", "checking"))
            and name.removesuffix(".json") in self.grabbed
        ):
            self.overlaid.add(one)
        if folder.startswith("checking"):
            self.checking[folder, name] = self._genuine(data)
        if data and sha(data) not in self.written and sealed(data) in self.sealed:
            self.embellished.add(one)

    # What stages do

    def renamed(self, old: str, new: str, mode: str, act: Callable[[], Any]) -> Any:
        """Judge a rename before it happens, let it happen, and remember what it means."""
        source, name = split(self._below(old))
        target, new_name = split(self._below(new))
        inside = os.path.dirname(old) == os.path.dirname(new)
        if source == "tmp" and target:
            self._writes(target, new_name, mode)
        elif not inside:
            self.must(mode == "new", f"{self.role} moves {name} so that it could overwrite")
            self.must(allowed(source, target, self.role), f"{self.role}: {source} → {target}")
        data = self._read(old)
        elsewhere = states_of(self.root, name, executor_of(data)) - {source}
        done = act()
        if done == -1:
            return done  # renameat2 failed, as where the name is taken: nothing has changed
        if source == "tmp" and not new_name.endswith(REASON_SUFFIX):
            self._written(target, new_name, data, mode)
        elif target.startswith("checking"):
            self._claimed(target, name, data)
        elif source.startswith("checking") and target == "queued":
            self._passed(name, source, data, elsewhere)
        elif (source, target) == ("queued", "running"):
            self.may_start[name.removesuffix(".json")] = not elsewhere & _ENDED
        if target == "held" and not new_name.endswith(REASON_SUFFIX):
            (self.parked.add if self.role is Role.PERSON else self.parked.discard)(new_name)
        return done

    def _writes(self, target: str, name: str, mode: str) -> None:
        if name.endswith(REASON_SUFFIX):
            return
        self.must(target in _WRITTEN[mode], f"{self.role} writes {target}/{name} by {mode}")

    def _below(self, path: str) -> str:
        return os.path.relpath(path, self.root)

    def _read(self, path: str) -> bytes:
        try:
            return content(path)
        except OSError:
            return b""

    def _written(self, target: str, name: str, data: bytes, mode: str) -> None:
        self.written.add(sha(data))
        if target.startswith("checking"):
            self.said_yes.add(sha(data))
        self.sealed |= {sealed(data)} - {""}
        if target in ("awaiting-approval", "pre-approved"):
            made = request(data)
            one = made["dispatch_id"]
            if one not in self.rendered:
                self._bear(one, made, target)
            elif mode == "new":
                # A person had taken its name from it.
                self.must(one in self.disturbed, f"{one} was made a second time")
            self._born[one] += mode == "new"
            self.must(
                same(made["params"], self.rendered[one]["params"]), f"{name} asks for else now"
            )
            keys = [repeat["event_key"] for repeat in made["repeats"]]
            self.must(len({*keys, made["event_key"]}) == made["asked"], f"{name} is miscounted")
            self.must(self.events_known({*keys}), f"{name} counts what nobody dropped")

    def events_known(self, keys: set[str]) -> bool:
        """Whether each of these was dropped."""
        return keys <= {drop.event for drop in self.drops.values()}

    def _bear(self, one: str, made: dict[str, Any], target: str) -> None:
        drop = self.drops.get(made["source"]["sha256"])
        if drop is None:
            self.broken.append(f"{one} was made from what nobody dropped")
            drop = Drop(b"", "")
        self.rendered[one] = made
        self.must(made["route"] == drop.route, f"{one} took the wrong route")
        self.must(same(made["params"], {"say": drop.say}), f"{one} says what nobody dropped")
        self.must(made["requires_approval"] == (drop.route != "auto"), f"{one} needs a yes or not")
        self.must((target == "pre-approved") == (drop.route == "auto"), f"{one} is in {target}")
        earlier = set(self.events[drop.event])
        self.must(earlier <= self.disturbed, f"{drop.event} made {one} after {earlier}")
        self.events[drop.event].append(one)

    def _genuine(self, data: bytes) -> bool:
        """Whether stages wrote this; what is not sealed may differ once the gate has seen it."""
        if sha(data) in self.written:
            return True
        return sealed(data) in self.sealed and bool(request(data)["approvals"])

    def _claimed(self, target: str, name: str, data: bytes) -> None:
        self.checking[target, name] = self._genuine(data)
        self.must(not self.on_hold, f"{name} passed the door while HOLD was there")

    @property
    def on_hold(self) -> bool:
        """Whether HOLD lies there."""
        return os.path.lexists(self.root / HOLD)

    def _passed(self, name: str, source: str, data: bytes, elsewhere: set[str]) -> None:
        one = name.removesuffix(".json")
        born = self.rendered.get(one)
        if born is None:
            self.broken.append(f"{name} passed and is no request")
            return
        made = request(data)
        self.must(self.checking.get((source, name), False), f"{name} passed, and was changed")
        self.must(same(made["params"], born["params"]), f"{name} passed with other params")
        late = datetime.fromisoformat(made["approval"]["expires_at"]) <= self.clock()
        self.must(not late, f"{name} passed too late")
        needs = born["requires_approval"] and source != "checking"
        self.must(not needs, f"{name} passed without a yes")
        if one not in self.touched:
            self.must(not elsewhere & _ELSEWHERE, f"{name} passed, and is in {elsewhere}")
            for folder in ("rejected", "expired"):
                self.must(not has_reason(self.root, folder, name), f"{name} was {folder}")
            parked = elsewhere & {"held", "held-by-executor"} and name in self.parked
            self.must(not parked, f"{name} passed while a person had it on hold")
        self.credit.add(one)

    # Afterwards

    def judge(self, *, held: bool) -> None:
        """What a stage has done, against the laws."""
        now = Counter(identity(*item) for item in look(self.root).items())
        del now[""]
        for one in now.keys() | self.counted.keys():
            wanted = self.counted[one] + self._born[one]
            possible = {wanted, wanted + (one in self.grabbed), wanted - (one in self.overlaid)}
            fits = now[one] in possible
            self.must(fits, f"{wanted} of {one} are {now[one]} now")
        self._born.clear()
        self.counted = now
        for call in self.kind.calls[self._calls :]:
            self._effect(call, held=held)
        self._calls = len(self.kind.calls)
        for one in self.kind.probes[self._probes :]:
            if self.kind.probed == "transient":
                self.credit.add(one)
        self._probes = len(self.kind.probes)
        broken, self.broken = self.broken, []
        assert not broken, "\n".join(broken)

    def _effect(self, call: Call, *, held: bool) -> None:
        one = call.id
        born = self.rendered.get(one)
        if born is None:
            self.broken.append(f"{one} ran and is no request")
            return
        self.must(not held, f"{one} ran while HOLD was there")
        self.must(same({"say": call.say}, born["params"]), f"{one} ran with other params")
        self.must(call.intended or one in self.grabbed, f"{one} ran before its attempt was there")
        self.must(one in self.credit | self.embellished, f"{one} ran again, or without a yes")
        self.must(self.may_start.get(one, False), f"{one} ran, and had ended")
        self.credit.discard(one)
