"""What was measured, as a table and as JSON, and what it should have been."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.rounds import Contender


@dataclass(frozen=True, slots=True)
class Survival:
    """What was seen.

    Attributes:
        kill: whether the job was there again after a restart, and what that took.
        survives_kill: the same, as yes or no.
        syncs: calls per record that make something durable; None where strace is missing.
    """

    kill: str
    survives_kill: bool
    syncs: float | None

    @property
    def power(self) -> str:
        """What that means for a power cut."""
        if self.syncs is None:
            return "not tried: no strace"
        return f"synced ({self.syncs:.1f} a record)" if self.syncs else "no: nothing is synced"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that is to be reached; `at_most` where less is better."""

    what: str
    value: float
    least: float
    aim: float
    unit: str = ""
    at_most: bool = False

    @property
    def passed(self) -> bool:
        """Whether the minimum is reached."""
        return self.value <= self.least if self.at_most else self.value >= self.least

    @property
    def aimed(self) -> bool:
        """Whether what is aimed at is reached."""
        return self.value <= self.aim if self.at_most else self.value >= self.aim

    @property
    def verdict(self) -> str:
        """For the table."""
        return "MISSED" if not self.passed else "aim reached" if self.aimed else "pass"


def rates_table(
    title: str, contenders: Sequence[Contender], survivals: Mapping[str, Survival] | None = None
) -> Iterator[str]:
    """One line a contender: the median, the slowest and the fastest round."""
    yield f"\n{title:<48}{'records/s':>10}{'lowest':>9}{'highest':>9}"
    for c in contenders:
        line = f"  {c.name:<46}{c.rate:>10,.0f}{min(c.rates):>9,.0f}{max(c.rates):>9,.0f}"
        yield f"{line}  {c.note}".rstrip()
    if survivals:
        yield f"\n{'WHAT A JOB SURVIVES, tried':<32}{'kill -9':<48}power cut"
        for key, seen in survivals.items():
            yield f"  {key:<30}{seen.kill:<48}{seen.power}"


def targets_table(targets: Sequence[Target]) -> Iterator[str]:
    """One line a figure."""
    yield f"\n{'TARGETS':<64}{'measured':>10}{'limit':>10}{'aim':>10}"
    for t in targets:
        sign = "≤" if t.at_most else "≥"
        numbers = (f"{sign} {n:g}{t.unit}" for n in (t.least, t.aim))
        limit, aim = numbers
        yield f"  {t.what:<62}{f'{t.value:.3g}{t.unit}':>10}{limit:>10}{aim:>10}  {t.verdict}"


def rates_json(contenders: Sequence[Contender]) -> dict[str, Any]:
    """The same for a program."""
    return {
        c.key: {"name": c.name, "records": c.count, "records_per_second": round(c.rate, 1),
                "rounds": [round(rate, 1) for rate in c.rates], "note": c.note}
        for c in contenders
    }  # fmt: skip


def targets_json(targets: Sequence[Target]) -> list[dict[str, Any]]:
    """The same for a program."""
    return [{**asdict(t), "passed": t.passed, "aimed": t.aimed} for t in targets]


def survivals_json(survivals: Mapping[str, Survival]) -> dict[str, Any]:
    """The same for a program."""
    return {key: {**asdict(seen), "power": seen.power} for key, seen in survivals.items()}
