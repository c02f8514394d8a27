"""The spool on which a scene is played, and the far side of its executor.

Beside what the stages do to the spool, a play writes to FOLDER/marks what the world outside saw, a
JSON object a line:

* `drop`: bytes that a producer drops; they are durable at once, for the promise begins later;
* `settled`: what is there now is where the scene begins;
* `effect`: an action had its effect on the far side;
* `acknowledged`: a drain or a verb has ended well, so what can be seen now is promised;
* `deciding`: a person decides about a file, so where it was is not promised any more;
* `durable`, `person`, `ordinary`: whose calls come next;
* `clock`: the time.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from spoold.cli import main
from spoold.deciding.decide import LETS_RUN
from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Result
from spoold.service.drain import drain
from spoold.testing import Clock, Lab, Recorder

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
        """What is done in here is durable at once."""
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
        code = drain(chosen, self.lab.context)
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
        """`mv FILES TARGET/`, without a sync."""
        with self.by_a_person():
            for file in files:
                file.rename(self.lab.root / target / file.name)

    def verb(self, verb: str, file: Path, *more: str) -> None:
        """`spoold VERB ID`: it may be done or not until that ends, and then it is promised."""
        self.mark("deciding", about=file.stem)
        sure = ["--yes"] if verb in LETS_RUN else []
        named = str(file) if "quarantine" in file.parts else file.stem
        sys.argv = ["spoold", "--config", str(self.lab.file), verb, *sure, named, *more]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
        self.mark("acknowledged")

    def later(self, seconds: float) -> None:
        """Time goes by."""
        self.lab.clock.advance(seconds)
