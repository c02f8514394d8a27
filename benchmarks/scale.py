"""How much of everything: the whole run, or a quick look."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers of records, rounds and seconds.

    Attributes:
        records: in one round of what is fast.
        few: in one round of what syncs each record.
        rounds: how often all contenders run, at most.
        seconds: the time after which three rounds are enough.
        paced: seconds of drops at 20 a second.
        approvals: how many are approved one by one.
        backlog: drops that lie there when spoold starts.
        patience: seconds after which no more of them are waited for.
        waiting: requests that wait, and as many that are done.
        extra: drops that are taken while so many wait.
        idle: seconds of doing nothing.
        seed: of the records.
    """

    records: int = 2000
    few: int = 600
    rounds: int = 5
    seconds: float = 90.0
    paced: float = 15.0
    approvals: int = 150
    backlog: int = 50_000
    patience: float = 60.0
    waiting: int = 100_000
    extra: int = 1500
    idle: float = 30.0
    seed: int = 0


FULL = Scale()
QUICK = Scale(
    records=500, few=150, rounds=3, seconds=10.0, paced=4.0, approvals=30, backlog=2000,
    waiting=4000, extra=400, idle=5.0,
)  # fmt: skip
