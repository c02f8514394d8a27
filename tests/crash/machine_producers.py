"""What producers drop: good and bad records, repeats, and things that are no files."""

import os
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from spoold.testing import Lab
from tests.crash.machine_data import ANY, BAD, INBOX, ODD, SAY, record
from tests.crash.machine_files import sha
from tests.crash.machine_law import Drop
from tests.crash.machine_moves import Moves
from tests.crash.machine_world import ROUTES, World


class Producers(RuleBasedStateMachine):
    """A world of its own, and what is dropped into it.

    Args:
        lab: the configuration.

    Attributes:
        wild: whether people do what is forbidden.
    """

    def __init__(self, lab: Lab) -> None:
        super().__init__()
        self.world = World(lab)
        self.law, self.root = self.world.law, lab.root
        self.moves = Moves(lab.root)
        self.wild = False
        self._tokens = 0

    @rule(route=st.sampled_from(list(ROUTES)), event=st.integers(0, 5), about=st.sampled_from("ab"),
          say=SAY, again=st.booleans())  # fmt: skip
    def drop(self, *, route: str, event: int, about: str, say: Any, again: bool) -> None:
        """A record comes: a new one, or one with an id that came before."""
        token = self._token()
        key = f"e-{event}" if again else f"e-{token}"
        self._drop(Drop(record(token, key, route, about, say), key, route, say), f"{token}.json")

    @rule(routes=st.lists(st.sampled_from(list(ROUTES)), min_size=2, max_size=8))
    def drop_many(self, routes: list[str]) -> None:
        """Several records come, those of a route about the same."""
        for name in routes:
            self.drop(route=name, event=0, about="a", say=name, again=False)

    @rule(which=ANY, name=ANY)
    def drop_again(self, which: int, name: int) -> None:
        """The same bytes come again."""
        if drops := list(self.law.drops.values()):
            self._drop(drops[which % len(drops)], f"again-{name}.json")

    @rule(code=st.sampled_from(list(BAD)))
    def drop_bad(self, code: str) -> None:
        """Something comes that cannot be taken."""
        token = self._token()
        self._drop(Drop(BAD[code](token), "", code=code), f"{token}.json")

    @rule(name=st.sampled_from(ODD), what=st.sampled_from(["file", "link", "fifo", "folder"]))
    @precondition(lambda self: self.wild)
    def drop_odd(self, name: str, what: str) -> None:
        """Something comes that is no file, or has a name that no producer should give."""
        token = self._token()
        path = self.root / INBOX / name
        if os.path.lexists(path):
            return

        def act() -> None:
            if what == "link":
                path.symlink_to(token)
            elif what == "fifo":
                os.mkfifo(path)
            elif what == "folder":
                path.mkdir()
                (path / "inside").write_bytes(token.encode())
            else:
                path.write_bytes(BAD["no-route"](token))

        self.law.person(act)

    def _token(self) -> str:
        self._tokens += 1
        return f"token-{self._tokens}"

    def _drop(self, drop: Drop, name: str) -> None:
        path = self.root / INBOX / name
        if path.exists():
            return
        self.law.drops[sha(drop.data)] = drop
        self.law.person(lambda: self._write(path, drop.data))

    def _write(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f".{path.name}.part")
        draft.write_bytes(data)
        draft.rename(path)
