"""What runs while the power is cut: short scenes with real stages, in a process of its own.

`python -m tests.crash._power_scenes NAME FOLDER [BREAK]` plays one. Beside what the stages do
to the spool, it writes to FOLDER/marks what the world outside saw, a JSON object a line:

* `drop`: bytes that a producer drops; they are durable at once, for the promise begins later;
* `settled`: what is there now is where the scene begins;
* `effect`: an action had its effect on the far side;
* `acknowledged`: a drain or a verb has ended well, so what can be seen now is promised;
* `deciding`: a person decides about a file, so where it was is not promised any more;
* `clock`: the time.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from spoold import service
from spoold.cli import main
from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.testing import Clock, Lab, Recorder
from tests.crash._power_breaks import BREAKS

TOML = """
[sources.decisions]
format = "decision"
[executors.rec]
kind = "recorder"
retry = { tries = 3, base = "60s", cap = "60s" }
concurrency = 4
[preflight]
programs = ["/usr/bin/false"]
"""
ROUTE = """
name = "{name}"
source = "decisions"
match = '''record.facts.decision_type == "{name}"'''
executor = "rec"
{more}
[params]
say = "=record.id"
"""


def route(name: str, more: str = "") -> str:
    """A route for the decisions of one type."""
    return ROUTE.format(name=name, more=more)


ROUTES = {
    "10-plain.toml": route("plain"),
    "11-fold.toml": route("fold", 'intent_key = "record.facts.decision_type"'),
    "12-supersede.toml": route(
        "supersede", 'intent_key = "record.facts.decision_type"\non_repeat = "supersede"'
    ),
    "13-auto.toml": route("auto", "requires_approval = false"),
    "14-brief.toml": route("brief", 'expires_after = "5m"'),
    "15-checked.toml": route("checked", 'preflight = [{ argv = ["/usr/bin/false"] }]'),
}


class FarSide(Recorder):
    """An executor whose actions end as the record's id says, from its first word on.

    Args:
        seen: is told the key, the attempt and the body of each action that takes effect.
    """

    def __init__(self, seen: Callable[[str, int, bytes], None]) -> None:
        super().__init__()
        self.seen = seen
        self.probed = OutcomeUnknown("power-cut", "Nobody saw how it ended.")

    def run(self, params: Any, context: Context) -> Result:
        """Have the effect; end as planned."""
        output = context.open_output("out")
        output.write(b"it begins\n")
        self.seen(context.dispatch_id, context.number, orjson.dumps(params.say))
        word = str(params.say).partition("-")[0]
        ends: dict[str, ExecutionError] = {
            "fail": Permanent("no", "It does not work."),
            "lost": OutcomeUnknown("lost", "The answer was lost."),
        }
        if word == "defer" and context.number == 1:
            raise Transient("later", "Not now.")
        if word in ends:
            raise ends[word]
        return Result("ok", "It worked.")


@dataclass
class Play:
    """A spool on which a scene is played."""

    folder: Path
    lab: Lab = field(init=False)

    def __post_init__(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._marks = os.open(self.folder / "marks", flags, 0o644)
        self.lab = Lab(self.folder, TOML, ROUTES, Clock(), FarSide(self._effect))
        self.mark("clock", at=self.lab.clock.now.isoformat())

    def mark(self, what: str, **more: Any) -> None:
        """Say what the world outside sees, at this point of the record."""
        os.write(self._marks, orjson.dumps({"mark": what, **more}) + b"\n")

    def _effect(self, key: str, number: int, body: bytes) -> None:
        self.mark("effect", key=key, number=number, body=body.decode())

    @contextmanager
    def durably(self):
        """What is done in here is durable at once: nobody has relied on it before."""
        yield from self._by("durable")

    @contextmanager
    def by_a_person(self):
        """What is done in here promises nothing: a bare `mv` syncs nothing."""
        yield from self._by("person")

    def _by(self, whom: str) -> Iterator[None]:
        self.mark(whom)
        yield
        self.mark("ordinary")

    def drop(self, *names: str, data: bytes | None = None) -> None:
        """Drop decisions: `<type>/<id>`."""
        with self.durably():
            for name in names:
                kind, _, key = name.partition("/")
                fields = {"decision_id": key, "decision_type": kind}
                content = orjson.dumps(fields) if data is None else data
                self.mark("drop", data=content.decode())
                self.lab.drop("decisions", f"{kind}-{key}.json", content)

    def drain(self, *stages: str) -> None:
        """Run all stages, or only those named, until nothing moves; then it is acknowledged."""
        self.lab.clock.advance(1)
        self.mark("clock", at=self.lab.clock.now.isoformat())
        chosen = [s for s in self.lab.stages() if not stages or s.name in stages]
        code = service.drain(chosen, self.lab.around)
        if code:
            sys.exit(code)
        self.mark("acknowledged")

    def begin(self) -> None:
        """All that is there now was there long before; the power is cut from here on."""
        self.mark("settled")

    def decide(self, source: str, target: str, count: int = 1) -> None:
        """The same, for the oldest ones."""
        self.move(target, *self.lab.files(source)[:count])

    def move(self, target: str, *files: Path) -> None:
        """`mv FILES TARGET/`; nobody makes that durable."""
        with self.by_a_person():
            for file in files:
                file.rename(self.lab.root / target / file.name)

    def verb(self, verb: str, file: Path, *more: str) -> None:
        """`spoold VERB ID`: it may be done or not until that ends, and then it is promised."""
        self.mark("deciding", about=file.stem)
        sys.argv = ["spoold", "--config", str(self.lab.file), verb, file.stem, *more]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
        self.mark("acknowledged")

    def later(self, seconds: float) -> None:
        """Time goes by."""
        self.lab.clock.advance(seconds)


def first_start(play: Play) -> None:
    """The very first start on an empty folder, with two drops waiting."""
    play.drop("plain/ok-1", "auto/ok-2")
    play.begin()
    play.drain()


def three(play: Play) -> None:
    """Intake takes three drops; each is made durable by itself."""
    play.drain()
    play.begin()
    play.drop("plain/ok-1", "plain/ok-2", "plain/ok-3")
    play.drain("intake")


def twenty(play: Play) -> None:
    """Intake takes twenty drops, enough for a sync of the whole file system, then three more."""
    play.drain()
    play.begin()
    play.drop(*(f"plain/ok-{n}" for n in range(20)))
    play.drain("intake")
    play.drop(*(f"plain/ok-{n}" for n in range(20, 23)))
    play.drain("intake")


def folding(play: Play) -> None:
    """Drops fold into one that waits, into one of the same group, and one comes twice."""
    play.drop("fold/ok-1")
    play.drain()
    play.begin()
    play.drop("fold/ok-2", "fold/ok-3", "plain/ok-4")
    play.drain("intake")
    play.drop("fold/ok-5", data=b'{"decision_id": "ok-2", "decision_type": "fold"}')
    play.drop("fold/ok-6")
    play.drain("intake")


def folding_while_a_person_decides(play: Play) -> None:
    """What was folded into is approved, and the next drop makes a new request."""
    play.drop("fold/ok-1")
    play.drain()
    play.begin()
    play.drop("fold/ok-2")
    play.drain("intake")
    play.decide("awaiting-approval", "approved")
    play.drop("fold/ok-3")
    play.drain()


def superseding(play: Play) -> None:
    """Drops replace one that waits, one after the other and in one group."""
    play.drop("supersede/ok-1")
    play.drain()
    play.begin()
    play.drop("supersede/ok-2")
    play.drain("intake")
    play.drop("supersede/ok-3", "supersede/ok-4", "plain/ok-5")
    play.drain("intake")


def quarantine(play: Play) -> None:
    """Drops that cannot be taken, among one that can."""
    play.drain()
    play.begin()
    play.drop("plain/bad-1", data=b"[]")
    play.drop("plain/ok-2")
    play.drop("nowhere/ok-3")
    play.drop("plain/bad-4", data=b'{"decision_id": 1, "decision_id": 2}')
    play.drain("intake")


def approval(play: Play) -> None:
    """A person approves three, and puts something foreign beside them; the gate checks."""
    play.drop("plain/ok-1", "plain/ok-2", "plain/ok-3", "plain/ok-4")
    play.drain()
    play.begin()
    play.decide("awaiting-approval", "approved", 3)
    with play.durably():
        (play.lab.root / "approved" / "foreign.json").write_bytes(b"{}")
    play.drain("gate")
    play.decide("awaiting-approval", "rejected")
    play.drain("gate")


def executing(play: Play) -> None:
    """Actions that work, fail, are never heard of again, are tried later, and must not start."""
    play.drop("plain/ok-1", "plain/fail-2", "plain/lost-3", "plain/defer-4", "checked/no-5")
    play.drain()
    play.decide("awaiting-approval", "approved", 5)
    play.drain("gate")
    play.begin()
    play.drain("execute rec")
    play.later(120)
    play.drain("sweep", "execute rec")


def sweeping(play: Play) -> None:
    """Nobody decides about two, and the time of a deferred one comes."""
    play.drop("brief/ok-1", "brief/ok-2", "plain/defer-3", "plain/ok-4")
    play.drain()
    waiting = play.lab.files("awaiting-approval")
    play.move("approved", *(file for file in waiting if b"defer-3" in file.read_bytes()))
    play.drain()
    play.later(600)
    play.begin()
    play.drain("sweep")
    play.drain()


def everything(play: Play) -> None:
    """`run --drain` with a route that needs no person, twice, and what else there is."""
    play.drain()
    play.begin()
    play.drop("auto/ok-1", "auto/defer-2", "auto/fail-3", "plain/ok-4")
    play.drain()
    play.drop("auto/lost-5", "auto/ok-6")
    play.later(120)
    play.drain()


def by_verbs(play: Play) -> None:
    """People decide with `spoold approve`, `reject` and so on; when it says so it is so."""
    play.drop("plain/ok-1", "plain/ok-2", "plain/ok-3")
    play.drain()
    play.begin()
    first, second, third = play.lab.files("awaiting-approval")
    play.verb("approve", first)
    play.verb("cancel", first)
    play.verb("reject", second)
    play.verb("hold", third)
    play.verb("release", third)
    play.verb("approve", third)
    play.drain()


def by_verbs_afterwards(play: Play) -> None:
    """People deal with what failed, what nobody knows of, what is tried later, and a bad drop."""
    play.drop("plain/fail-1", "plain/lost-2", "plain/defer-3")
    play.drop("plain/bad-4", data=b"[]")
    play.drain()
    play.decide("awaiting-approval", "approved", 3)
    play.drain()
    play.begin()
    play.verb("retry", play.lab.only("failed"))
    play.verb("resolve", play.lab.only("unknown"), "--as", "done")
    play.verb("retry", play.lab.only("deferred"))
    play.verb("retry", play.lab.only("quarantine"))
    play.drain()


SCENES: Mapping[str, Callable[[Play], None]] = {
    scene.__name__: scene
    for scene in (
        first_start, three, twenty, folding, folding_while_a_person_decides, superseding,
        quarantine, approval, executing, sweeping, everything, by_verbs, by_verbs_afterwards,
    )
}  # fmt: skip


def play_one(name: str, folder: str, law: str = "") -> None:
    """Play a scene, with a law broken on purpose if one is named."""
    if law:
        BREAKS[law]()
    SCENES[name](Play(Path(folder)))


if __name__ == "__main__":
    play_one(*sys.argv[1:])
