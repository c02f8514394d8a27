"""What runs while the power is cut: short scenes with real stages, in a process of its own.

`python -m tests.crash.power_scenes NAME FOLDER [BREAK]` plays one.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from spoold.errors import SpooldError
from tests.crash.broken_laws import BREAKS
from tests.crash.power_lab import Play


def first_start(play: Play) -> None:
    """The very first start on an empty folder, with two drops waiting."""
    play.drop("plain/ok-1", "auto/ok-2")
    play.begin()
    play.drain()


def one(play: Play) -> None:
    """Intake takes one drop; its data and each folder are made durable by themselves."""
    play.drain()
    play.begin()
    play.drop("plain/ok-1")
    play.drain("intake")


def three(play: Play) -> None:
    """Intake takes three drops, which with their folders share a sync."""
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
    """Two expire, and the time of a deferred one comes."""
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
    """People deal with what failed, what is unknown, what is tried later, and a bad drop."""
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
        first_start, one, three, twenty, folding, folding_while_a_person_decides, superseding,
        quarantine, approval, executing, sweeping, everything, by_verbs, by_verbs_afterwards,
    )
}  # fmt: skip


def play_one(name: str, folder: str, law: str = "") -> None:
    """Play a scene, with a law broken on purpose if one is named."""
    if law:
        BREAKS[law]()
    try:
        SCENES[name](Play(Path(folder)))
    except SpooldError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)  # as the command line does


if __name__ == "__main__":
    play_one(*sys.argv[1:])
