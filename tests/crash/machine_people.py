"""What people do: what the table gives them, on the command line or by `mv`, and all else."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from spoold.states import targets
from tests.crash.machine_data import ANY, AT, DECIDED, DOORS, EDITS, INBOX, OPEN, QUARANTINE, VERBS
from tests.crash.machine_files import STATE_PATHS, split
from tests.crash.machine_moves import edit, misplace
from tests.crash.machine_producers import Producers


class People(Producers):
    """Producers, and people."""

    # People, as they should be

    @rule(which=ANY, count=st.integers(1, 4))
    def approve(self, which: int, count: int) -> None:
        """A person approves some of what waits."""
        for _ in range(count):
            path = self.moves.pick(which, ("awaiting-approval",))
            new = self.root / "approved" / split(path or "")[1]
            if path and not new.exists():
                self.law.person(lambda old=self.root / path, new=new: old.rename(new))

    @rule(which=ANY, move=ANY)
    def decide(self, which: int, move: int) -> None:
        """A person moves a request the way the table gives to a person."""
        if act := self.moves.decision(which, move):
            self.law.person(act)

    @rule(which=ANY, verb=ANY, how=ANY, at=st.just(0) | AT)
    def use_command(self, which: int, verb: int, how: int, at: int) -> None:
        """A person uses the command line, mostly in a way that makes sense."""
        if path := self.moves.pick(which, STATE_PATHS):
            verbs = [one for one in VERBS if targets(split(path)[0], one)] or VERBS
            chosen = verbs[verb % len(verbs)]
            outcomes = ("done", "failed", "awaiting-approval")
            outcome = outcomes[how % 3] if chosen == "resolve" else None
            self.world.verb(chosen, path, outcome, at)

    @rule(which=ANY)
    def retry_drop(self, which: int) -> None:
        """What is in quarantine is dropped again."""
        path = self.moves.pick(which, (QUARANTINE,))
        new = self.root / INBOX / split(path or "")[1]
        if path and not new.exists():
            self.law.person(lambda: (self.root / path).rename(new))

    @rule(wanted=st.sampled_from([False] * 5 + [True]))
    def touch_hold(self, *, wanted: bool) -> None:
        """`touch HOLD` or `rm HOLD`."""
        self.world.hold(wanted=wanted)

    # People, as they should not be

    @rule(which=ANY, folder=ANY, name=ANY, copy=st.booleans())
    @precondition(lambda self: self.wild)
    def misplace(self, *, which: int, folder: int, name: int, copy: bool) -> None:
        """A person moves or copies something to anywhere, over whatever is there."""
        if act := self.moves.misplacing(which, folder, name, copy=copy):
            self.law.person(act)

    @rule(which=ANY, folder=st.sampled_from(STATE_PATHS), name=ANY, copy=st.booleans())
    @precondition(lambda self: self.wild)
    def come_back(self, *, which: int, folder: str, name: int, copy: bool) -> None:
        """A person moves or copies a request into another state, perhaps as another."""
        if path := self.moves.pick(which, STATE_PATHS):
            names = [split(path)[1]] * 4 + [f"{one}.json" for one in self.law.rendered]
            new = self.root / folder / names[name % len(names)]
            self.law.person(lambda: misplace(self.root / path, new, copy=copy))

    @rule(which=ANY, copy=st.booleans(), door=st.sampled_from(DOORS))
    @precondition(lambda self: self.wild)
    def reopen(self, *, which: int, copy: bool, door: str) -> None:
        """A person approves what was decided already, or at a wrong door, perhaps a copy of it."""
        if path := self.moves.pick(which, (*DECIDED, *OPEN)):
            new = self.root / door / split(path)[1]
            self.law.person(lambda: misplace(self.root / path, new, copy=copy))

    @rule(which=ANY, how=st.sampled_from(list(EDITS)), approve=st.booleans())
    @precondition(lambda self: self.wild)
    def edit(self, *, which: int, how: str, approve: bool) -> None:
        """A person changes what a request says, and perhaps approves what comes of it."""
        if path := self.moves.pick(which, OPEN if approve else STATE_PATHS):
            self.law.person(lambda: edit(self.root / path, how))
            if approve:
                new = self.root / "approved" / split(path)[1]
                self.law.person(lambda: misplace(self.root / path, new, copy=False))

    @rule(which=ANY, folder=st.sampled_from(STATE_PATHS), destroy=st.booleans())
    @precondition(lambda self: self.wild)
    def meddle(self, *, which: int, folder: str, destroy: bool) -> None:
        """A person removes a request, or makes one up."""
        if destroy:
            if path := self.moves.pick(which, STATE_PATHS):
                self.law.person((self.root / path).unlink)
        elif names := list(self.law.rendered):
            made = self.root / folder / f"{names[which % len(names)]}.json"
            self.law.person(lambda: made.exists() or made.write_bytes(b""))
