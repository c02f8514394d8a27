"""A spool, the stages that work on it one step at a time, and everything that happens to it."""

import shutil
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout, suppress
from io import StringIO
from pathlib import Path

from spoold import executors
from spoold.cli.app import App
from spoold.cli.deciding import decide
from spoold.errors import SpooldError, TryLater
from spoold.stages.execute import Execute
from spoold.stages.gate import Gate
from spoold.stages.intake import Intake
from spoold.stages.stage import Stage, StageContext, Step
from spoold.stages.sweep import Sweep
from spoold.states import HOLD, REASON_SUFFIX, Role
from spoold.testing import Clock, Lab
from tests.conftest import route
from tests.crash.machine_disk import Died, Disk
from tests.crash.machine_files import is_candidate, look, split
from tests.crash.machine_kind import Kind, Workers
from tests.crash.machine_law import Law
from tests.invariants import picture

STAGES = {
    "intake": Role.INTAKE,
    "sweep": Role.SWEEP,
    "gate": Role.GATE,
    "execute rec": Role.EXECUTE,
    "execute other": Role.EXECUTE,
}
_KINDS = {"intake": Intake, "sweep": Sweep, "gate": Gate}
SETTINGS = """
    expires_after = "2h"
    [sources.decisions]
    format = "decision"
    [executors.rec]
    kind = "machine"
    name = "rec"
    concurrency = 2
    retry = { tries = 3, base = "10s", cap = "20s" }
    [executors.other]
    kind = "machine"
    name = "other"
    retry = { tries = 2, base = "10s" }
"""
_INTENT = "intent_key = 'record.body.about'"
#: Route → the rest of its text. Each takes the decisions of its own name.
ROUTES = {
    "plain": "",
    "fold": _INTENT,
    "supersede": f"{_INTENT}\non_repeat = 'supersede'",
    "separate": f"{_INTENT}\non_repeat = 'separate'",
    "auto": "requires_approval = false",
    "lane": "lane = 'record.facts.decision_type'",
    "other": "",
}
#: Folder → the stage that takes files from it.
_WORKERS = {
    "inbox": "intake", "taking": "intake", "awaiting-approval": "sweep", "deferred": "sweep",
    "approved": "gate", "pre-approved": "gate", "checking": "gate", "checking-pre-approved": "gate",
    "queued": "execute {}", "running": "execute {}",
}  # fmt: skip
_ROUNDS = 60


class World:
    """One spool from its first drop to its last restart.

    Args:
        lab: its configuration; what its spool held before is removed.

    Attributes:
        sound: whether no law has been broken so far.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab, self.root = lab, lab.root
        shutil.rmtree(self.root)
        self.root.mkdir()
        lab.clock = Clock()
        self.kind: Kind = executors.load("machine")  # type: ignore[assignment]
        self.kind.forget()
        self.law = Law(self.root, self.kind, lab.clock)
        self.disk = Disk(self.law.renamed)
        self.app = App(str(lab.file))
        self.running: dict[str, Stage] = {}
        self.sound = True
        self._open = ExitStack()
        self._open.enter_context(self.disk.installed())
        self.restart()

    def close(self) -> None:
        """End everything."""
        self.kill_all()
        self._open.close()

    # Stages

    def step(self, name: str, at: int = 0, act: Callable[[], None] | None = None) -> Step:
        """One step of a stage; at change number `at` it dies, or a person does `act`."""
        done = Step()

        def work() -> None:
            nonlocal done
            stage = self._started(name)
            done = stage.step()

        def person() -> None:
            if act:
                self.law.person(act)

        self._watched(name, STAGES[name], work, at, person if act else None)
        return done

    def _watched(
        self, name: str, role: Role, work: Callable[[], None], at: int,
        act: Callable[[], None] | None,
    ) -> None:  # fmt: skip
        held, self.sound = self.law.on_hold, False
        self.law.role = role
        self.law.touched.clear()
        try:
            with self.disk.watch(at, act):
                work()
        except Died:
            self.kill(name)
        finally:
            self.law.role = Role.PERSON
        self.law.judge(held=held)
        self.sound = True

    def _fresh(self, name: str) -> Stage:
        context = StageContext(self.lab.routing, self.lab.clock)
        kind, _, executor = name.partition(" ")
        return Execute(context, executor) if executor else _KINDS[kind](context)

    def _started(self, name: str) -> Stage:
        if name not in self.running:
            stage = self._fresh(name)
            if isinstance(stage, Execute):
                assert hasattr(stage.jobs, "workers"), "its threads would outlive it"
                stage.jobs.workers = Workers(self.kind)
            stage.lock.acquire()
            self.running[name] = stage
            stage.recover()
        return self.running[name]

    def kill(self, name: str) -> None:
        """The stage's process is gone; the kernel gives its lock back."""
        stage = self.running.pop(name, None)
        if name.startswith("execute"):
            self.kind.abandon(name)
        if stage is not None:
            if name == "intake":
                stage.close()
            stage.lock.release()

    def kill_all(self) -> None:
        """The machine goes down."""
        for name in STAGES:
            self.kill(name)

    def stop(self, name: str) -> None:
        """End a stage as systemd does, once what it runs has ended."""
        for call in self.kind.of(name):
            self.finish(call.id, "done")
        if name in self.running:
            stage = self.running[name]
            stage.context.stop.set()
            self._watched(name, STAGES[name], stage.close, 0, None)
            del self.running[name]
            stage.lock.release()

    def restart(self) -> None:
        """Start every stage that does not run."""
        for name, role in STAGES.items():
            self._watched(name, role, lambda name=name: self._started(name), 0, None)

    def busy(self) -> list[str]:
        """The stages that have something to do."""
        paths = [path for path in look(self.root) if is_candidate(split(path)[1])]
        found = {_worker(path) for path in paths}
        return [name for name in STAGES if name in found]

    def second_instance(self, name: str) -> None:
        """A second process of a stage that runs finds the lock taken."""
        other = self._fresh(name)
        try:
            other.lock.acquire()
        except TryLater:
            return
        other.lock.release()
        assert name not in self.running, f"two instances of {name} have the lock"

    def finish(self, one: str, outcome: str) -> None:
        """Let a run end."""
        for call in self.kind.inside:
            if call.id == one:
                self.kind.finish(call, outcome)
                if outcome == "transient":
                    self.law.credit.add(one)
                return

    # People

    def verb(self, verb: str, path: str, outcome: str | None, at: int) -> None:
        """A person uses the command line, which may be killed."""
        part = path.removesuffix(".json")

        def work() -> None:
            with suppress(SpooldError, OSError), redirect_stdout(StringIO()):
                decide(self.app, verb, part, "because", outcome)

        self._watched("", Role.PERSON, work, at, None)

    def hold(self, *, wanted: bool) -> None:
        """`touch HOLD`, or `rm HOLD`."""
        file = self.root / HOLD
        if wanted:
            file.touch()
        else:
            file.unlink(missing_ok=True)

    # The end

    def drain(self) -> None:
        """Start what does not run, and step until nothing moves any more."""
        self.restart()
        for _ in range(_ROUNDS):
            moved, due = 0, False
            for name in STAGES:
                step = self.step(name)
                moved += step.moved
                if step.due is not None:
                    moved, due = moved + 1, due or name == "intake"
                for call in list(self.kind.inside):
                    self.finish(call.id, "done")
                    moved += 1
            if due:
                # A file that ends too early is given its time.
                self.lab.clock.advance(30)
            elif not moved:
                return
        raise AssertionError(f"it does not come to rest after {_ROUNDS} rounds")

    def end(self) -> None:
        """Nothing is on hold, and everything is restarted: all is in its place."""
        (self.root / HOLD).unlink(missing_ok=True)
        self.kill_all()
        self.drain()
        left = [path for path in look(self.root) if _is_left(path)]
        assert not left, f"{left} were not answered for"
        before = picture(self.root)
        self.kill_all()
        self.drain()
        after = picture(self.root)
        changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
        assert not changed, f"a second restart changes {changed}"


def _worker(path: str) -> str:
    return _WORKERS.get(split(path)[0], "").format(*path.split("/")[1:])


def _is_left(path: str) -> bool:
    """Whether a stage should have taken this file away."""
    name = split(path)[1]
    reason = name.endswith(REASON_SUFFIX) and not path.startswith("inbox/")
    return is_candidate(name) and not reason and _worker(path) not in ("", "sweep")


def lab(folder: Path) -> Lab:
    """The configuration that all worlds of one test share."""
    executors.register("machine", Kind(folder / "spool"))
    texts = {
        f"{number}.toml": route(
            name,
            match=f"record.facts.decision_type == '{name}'",
            executor="other" if name == "other" else "rec",
            more=f"{more}\n[params]\nsay = '=record.body.say'",
        )
        for number, (name, more) in enumerate(ROUTES.items(), 10)
    }
    return Lab(folder, SETTINGS, texts)
