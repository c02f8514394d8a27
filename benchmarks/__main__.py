"""`python -m benchmarks`: everything in one run; a table on stdout, JSON where it is asked for."""

import argparse
import json
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import latency, machine, many, report, site, volume
from benchmarks.rates import Rates, fastest_that_survives
from benchmarks.report import Target
from benchmarks.rounds import Contender, percentile, ratio
from benchmarks.scale import FULL, QUICK, Scale

PARTS = ("intake", "pipeline", "latency", "backlog", "crowd")
_MS, _MIB = 1000.0, 1 << 20


class Run:
    """One run of the parts that were asked for."""

    def __init__(self, scale: Scale, base: Path) -> None:
        self._scale = scale
        self._base = base
        self._rates = Rates(scale, base)
        self.targets: list[Target] = []
        self.result: dict[str, Any] = {}

    def intake(self) -> None:
        """Intake, and the bare calls of the same work."""
        found = self._rates.intake()
        _show(report.rates_table("INTAKE", found))
        self.result["intake"] = report.rates_json(found)
        self._ratio("intake ÷ bare grouped calls", found, "intake", "bare_grouped", 0.5, 0.8)

    def pipeline(self) -> None:
        """Drop to done, the bare calls of it, and the peers."""
        self._rates.requests = self._rates.requests or self._rates.calibrate()
        found, survivals = self._rates.pipeline(), self._rates.survivals()
        _show(report.rates_table("DROP TO DONE; PEERS: PUT, TAKE, ACKNOWLEDGE", found, survivals))
        self.result["pipeline"] = report.rates_json(found)
        self.result["survival"] = report.survivals_json(survivals)
        peer = fastest_that_survives(found, survivals)
        for key, how in (("services", "services"), ("pipeline", "run")):
            what = f"drop → done, {how} ÷ "
            self._ratio(f"{what}bare calls, each synced", found, key, "bare_pipeline", 2, 3)
            if peer:
                self._ratio(f"{what}{peer.name}", found, key, peer.key, 1, 2)

    def latency(self) -> None:
        """How long one waits."""
        found = latency.measure(self._scale, self._base / "latency")
        visible, effect = found["visible"], found["effect"]
        self.result["latency"] = {
            key: {f"p{share:g}": round(percentile(seconds, share / 100) * _MS, 3)
                  for share in (50, 90, 99, 100)}
            for key, seconds in found.items()
        }  # fmt: skip
        self._at_most(
            "drop → visible at 20 a second, p50", percentile(visible, 0.5) * _MS, 5, " ms"
        )
        self._at_most(
            "drop → visible at 20 a second, p99", percentile(visible, 0.99) * _MS, 25, " ms"
        )
        self._at_most("mv to approved/ → effect, p50", percentile(effect, 0.5) * _MS, 10, " ms")

    def backlog(self) -> None:
        """A start with very many drops."""
        found = self.result["backlog"] = many.backlog(self._scale, self._base / "backlog")
        what = f"backlog of {self._scale.backlog:,}: first visible after "
        self._at_most(what + "intake is ready", found["first_from_ready"], 1, " s")
        self._at_most(what + "process start", found["first_from_start"], 1, " s")
        memory = found["peak_memory"] / _MIB
        self._at_most(f"peak memory, {found['taken']:,.0f} of them taken", memory, 150, " MiB")

    def crowd(self) -> None:
        """Very many requests that wait and that are done."""
        crowd = many.Crowd(self._scale, self._base)
        alone = crowd.intake()
        _show(report.rates_table("INTAKE WITH MANY WAITING", alone))
        self._ratio(
            "intake with many waiting ÷ with 100", alone, "intake_many", "intake_few", 0.9, 1
        )
        at_once, served = crowd.served()
        _show(report.rates_table("DROPPED AT ONCE, UNTIL VISIBLE", at_once))
        what = "the same in `spoold run`, all dropped at once"
        self._ratio(what, at_once, "run_many", "run_few", 0.9, 1)
        listed = crowd.ls()
        self.result["crowd"] = {**report.rates_json([*alone, *at_once]), **served, **listed}
        many_ = f"{self._scale.waiting:,}"
        self._at_most(
            f"idle with {many_} waiting and done: processor", served["idle_share"] * 100, 1, " %"
        )
        self._at_most("idle: log", served["idle_log_bytes"], 0, " B")
        self._at_most(
            f"drop → visible, {many_} waiting, p50", served["visible_p50"] * _MS, 5, " ms"
        )
        self._at_most(
            f"drop → visible, {many_} waiting, p99", served["visible_p99"] * _MS, 25, " ms"
        )
        self._at_most(f"ls of {many_}: first row, pipe", listed["first_pipe"], 0.5, " s")
        self._at_most(f"ls of {many_}: first row, terminal", listed["first_terminal"], 0.5, " s")

    def _ratio(
        self, what: str, found: list[Contender], one: str, other: str, least: float, aim: float
    ) -> None:
        by_key = {contender.key: contender for contender in found}
        self.targets.append(Target(what, ratio(by_key[one], by_key[other]), least, aim))

    def _at_most(self, what: str, value: float, limit: float, unit: str) -> None:
        self.targets.append(Target(what, value, limit, limit, unit, at_most=True))


def _show(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be repeated")
    parser.add_argument("--dir", type=Path, help="an empty folder; default: a fresh ext4")
    parser.add_argument("--json", metavar="FILE", help="write the figures there; `-` is stdout")
    parser.add_argument("--check", action="store_true", help="exit 1 if a limit is missed")
    parser.add_argument("--seed", type=int, default=0, help="of the records")
    return parser.parse_args()


def main() -> int:
    """Measure, print, compare."""
    given = _arguments()
    scale = Scale(**{**_fields(QUICK if given.quick else FULL), "seed": given.seed})
    above = given.dir or site.CHECKOUT / "build"
    above.mkdir(parents=True, exist_ok=True)
    # What was started is ended, and what was written is removed, also when this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with nullcontext(above) if given.dir else volume.fresh(above) as base:
        # Where the figures go to stdout, the tables do not.
        with redirect_stdout(sys.stderr if given.json == "-" else sys.stdout):
            figures = _measure(scale, base, given.only or PARTS)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    text = json.dumps(figures, indent=2) + "\n"
    if given.json == "-":
        sys.stdout.write(text)
    elif given.json:
        Path(given.json).write_text(text, encoding="utf-8")
    return int(given.check and not all(target["passed"] for target in figures["targets"]))


def _measure(scale: Scale, base: Path, parts: Sequence[str]) -> dict[str, Any]:
    begun = perf_counter()
    about = machine.describe(base)
    print(machine.line(about), flush=True)
    run = Run(scale, base)
    seconds = {}
    for part in parts:
        at = perf_counter()
        getattr(run, part)()
        seconds[part] = round(perf_counter() - at, 1)
    _show(report.targets_table(run.targets))
    print(f"\n{perf_counter() - begun:.0f} s: {seconds}", flush=True)
    targets = report.targets_json(run.targets)
    return {"machine": about, "scale": _fields(scale), "seconds": seconds, **run.result,
            "targets": targets}  # fmt: skip


def _fields(scale: Scale) -> dict[str, Any]:
    return {name: getattr(scale, name) for name in scale.__slots__}


if __name__ == "__main__":
    sys.exit(main())
