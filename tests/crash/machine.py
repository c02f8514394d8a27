"""Everything that can happen to a spool, in any order: drops, people, steps, deaths, time."""

import json
import logging
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from spoold.states import REASON_SUFFIX
from tests.crash import MEMORY
from tests.crash.machine_data import AMID, ANY, AT, CLAIMED, JUMPS
from tests.crash.machine_files import STATE_PATHS, Files, identity, look, request, sha, split
from tests.crash.machine_kind import OUTCOMES
from tests.crash.machine_moves import misplace
from tests.crash.machine_people import People
from tests.crash.machine_world import ROUTES, STAGES, lab
from tests.invariants import violations

#: Folder → how the last attempt of a request in it can have ended.
_ENDINGS = {"done": {"done", "unknown"}, "failed": {"failed", "unknown"}, "unknown": {"unknown"},
            "deferred": {"deferred"}}  # fmt: skip


class Machine(People):
    """Producers, people, and the stages between them. One example is the life of one spool."""

    @initialize(
        wild=st.booleans(),
        routes=st.lists(st.sampled_from(list(ROUTES)), max_size=8),
        approved=st.integers(0, 8),
        outcomes=st.lists(st.sampled_from(list(OUTCOMES)), max_size=6),
    )
    def begin(self, *, wild: bool, routes: list[str], approved: int, outcomes: list[str]) -> None:
        """Decide what people are like, and let some requests already have a past."""
        self.wild = wild
        self.drop_many(routes)
        self.all_step()
        self.approve(0, approved)
        for outcome in outcomes:
            self.all_step()
            self.finish([outcome], "unknown")
        self.all_step()

    @rule(which=ANY)
    def step(self, which: int) -> None:
        """A stage does its work."""
        self.world.step(self._busy(which))

    def _busy(self, which: int) -> str:
        """One of the stages that have something to do."""
        stages = self.world.busy() or list(STAGES)
        return stages[which % len(stages)]

    @rule()
    def all_step(self) -> None:
        """Every stage does its work."""
        for stage in STAGES:
            self.world.step(stage)

    @rule(stage=ANY, at=AT, restarted=st.booleans())
    def die(self, *, stage: int, at: int, restarted: bool) -> None:
        """A stage is killed in its work, perhaps in that of its restart."""
        self._die(self._busy(stage), at, restarted=restarted)

    @rule(stage=ANY, at=AT, again=AT)
    def die_twice(self, stage: int, at: int, again: int) -> None:
        """A stage is killed in its work, and then in its restart."""
        name = self._busy(stage)
        self._die(name, at, restarted=False)
        self._die(name, again, restarted=True)

    def _die(self, stage: str, at: int, *, restarted: bool) -> None:
        if restarted:
            self.world.kill(stage)
        self.world.step(stage, at)

    @rule(stage=ANY, at=AMID, which=ANY, move=ANY)
    def interfere(self, stage: int, at: int, which: int, move: int) -> None:
        """A person decides in the middle of a stage's work."""

        def act() -> None:
            if decided := self.moves.decision(which, move):
                decided()

        self.world.step(self._busy(stage), at, act)

    @rule(stage=ANY, at=AMID, which=ANY, folder=ANY, copy=st.booleans(), grab=st.booleans())
    @precondition(lambda self: self.wild)
    def disturb(
        self, *, stage: int, at: int, which: int, folder: int, copy: bool, grab: bool
    ) -> None:
        """A person moves things about while a stage works, even what it has claimed."""

        def act() -> None:
            path = self.moves.pick(which, CLAIMED) if grab else None
            if path:
                new = self.root / STATE_PATHS[folder % len(STATE_PATHS)] / split(path)[1]
                misplace(self.root / path, new, copy=copy)
            elif misplaced := self.moves.misplacing(which, folder, folder, copy=copy):
                misplaced()

        self.world.step(self._busy(stage), at, act)

    @rule(stage=st.sampled_from(list(STAGES)))
    def restart(self, stage: str) -> None:
        """A stage is ended and started again, and in between started twice."""
        self.world.second_instance(stage)
        self.world.stop(stage)
        self.world.restart()

    @rule()
    def power_cycle(self) -> None:
        """Every stage is killed and started again."""
        self.world.kill_all()
        self.world.restart()

    @rule(outcomes=st.lists(st.sampled_from(list(OUTCOMES)), min_size=1, max_size=4),
          probed=st.sampled_from(list(OUTCOMES)))  # fmt: skip
    def finish(self, outcomes: list[str], probed: str) -> None:
        """Some of what runs ends; and what the probe will say of a run whose end was not seen."""
        self.world.kind.probed = probed
        for one, outcome in zip(
            sorted(c.id for c in self.world.kind.inside), outcomes, strict=False
        ):
            self.world.finish(one, outcome)

    @rule(seconds=st.sampled_from(JUMPS))
    def jump(self, seconds: int) -> None:
        """The clock jumps."""
        self.world.lab.clock.advance(seconds)

    @rule(which=ANY, count=st.integers(1, 4), seconds=st.sampled_from(JUMPS))
    def come_late(self, which: int, count: int, seconds: int) -> None:
        """The clock jumps between a yes and the gate."""
        self.approve(which, count)
        self.jump(seconds)

    @rule(seldom=st.integers(0, 4), damage=st.booleans())
    def lose_index(self, *, seldom: int, damage: bool) -> None:
        """The index is lost or damaged while intake does not run."""
        if seldom:
            return
        self.world.kill("intake")
        for file in self.root.glob("archive/.index.sqlite3*"):
            if damage:
                file.write_bytes(b"nonsense" * 999)
            else:
                file.unlink()

    # The end

    def teardown(self) -> None:
        """Everything is let go and restarted, and all is where it belongs."""
        try:
            if self.world.sound:
                self.world.end()
                if not self.wild:
                    self._tame_end(look(self.root))
        finally:
            self.world.close()

    def _tame_end(self, files: Files) -> None:
        """Where no person did anything forbidden, every law holds to the letter."""
        kept = ("archive", "quarantine")
        drops = [d for path, d in files.items() if path.startswith(kept) and identity(path, d)]
        broken = violations(self.root, drops)
        assert not broken, broken
        assert not self.law.rendered.keys() & self.law.disturbed
        effects = Counter(call.id for call in self.world.kind.calls)
        for path, data in files.items():
            folder, name = split(path)
            if name.endswith(REASON_SUFFIX) or not folder:
                continue
            if folder == "quarantine":
                code = json.loads(files[path + REASON_SUFFIX])["code"]
                drop = self.law.drops[sha(data)]
                namesakes = sum(one.event == drop.event for one in self.law.drops.values())
                assert code == drop.code or (code == "conflict" and namesakes > 1), path
            elif path.rpartition("/")[0] in STATE_PATHS:
                made = request(data)
                outcomes = [tried["outcome"] for tried in made["attempts"]]
                assert effects[made["dispatch_id"]] <= len(outcomes), f"{path} ran unrecorded"
                fits = folder not in _ENDINGS or outcomes[-1] in _ENDINGS[folder]
                assert fits, f"{path} ended with {outcomes}"


def explore(lives: int, steps: int) -> None:
    """Live through so many lives, each of at most so many steps."""
    profile = settings(
        max_examples=lives,
        stateful_step_count=steps,
        deadline=None,
        derandomize=False,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    # In memory, where there is a folder for that, a sync costs nothing.
    logging.disable()
    try:
        with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
            shared = lab(Path(folder))
            run_state_machine_as_test(lambda: Machine(shared), settings=profile)
    finally:
        logging.disable(logging.NOTSET)
