"""What very many files do to it: a backlog in the inbox, crowds that wait and that are done."""

import os
import pty
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks import bare, crowd, latency, records, site
from benchmarks.inotify import Arrivals
from benchmarks.rounds import Contender, percentile, take_turns
from benchmarks.scale import Scale

_FEW = 100
_ROUNDS = 3


def backlog(scale: Scale, folder: Path) -> dict[str, float]:
    """Start `spoold run` with very many drops in the inbox, and let it take them."""
    made = site.Site(folder)
    made.spoold("run", "--drain")
    made.drop_all(
        records.names(scale.backlog, "backlog"),
        records.decisions(scale.backlog, "backlog", scale.seed),
    )
    bare.settle(folder)
    arrivals = Arrivals(made.root / "awaiting-approval")
    with made.start("run") as service:
        service.ready_stage("intake")
        ready = perf_counter() - service.begun
        first = arrivals.wait(120.0)[0][1] - service.begun
        arrivals.close()
        left = _taken(made.inbox, scale.patience)
        whole = perf_counter() - service.begun
        memory = service.peak_memory
    return {
        "taken": float(scale.backlog - left),
        "first_from_start": first,
        "first_from_ready": first - ready,
        "rate": (scale.backlog - left) / whole,
        "peak_memory": float(memory),
    }


def _taken(inbox: Path, seconds: float) -> int:
    """Wait until an inbox is empty, or for so long; how many are left."""
    until = perf_counter() + seconds
    while (left := len(os.listdir(inbox))) and perf_counter() < until:
        time.sleep(0.2)
    return left


class Crowd:
    """Two spools: one with very many requests, one with a hundred."""

    def __init__(self, scale: Scale, base: Path) -> None:
        self._scale = scale
        self._base = base
        self.many = site.Site(base / "many")
        self.few = site.Site(base / "few")
        crowd.fill(self.many, scale.waiting, scale.waiting)
        crowd.fill(self.few, _FEW, _FEW)
        self._round = 0

    def intake(self) -> list[Contender]:
        """The rate of the intake stage alone, with many and with few requests waiting."""
        return self._in_turns("intake", "spoold intake", self._alone)

    def served(self) -> tuple[list[Contender], dict[str, float]]:
        """A real `spoold run` on each: idle, then drops all at once, then at 20 a second."""
        with self.many.start("run") as many, self.few.start("run") as few:
            few.ready(latency.STAGES)
            many.ready(latency.STAGES, 300.0)
            _quiet(many)
            found = self._idle(many)
            at_once = self._in_turns("run", "spoold run", self._burst)
            seconds = latency.drop_to_visible(self.many, self._scale, "crowd")
        found["visible_p50"] = percentile(seconds, 0.5)
        found["visible_p99"] = percentile(seconds, 0.99)
        return at_once, found

    def _in_turns(self, key: str, name: str, run: Callable[[site.Site], float]) -> list[Contender]:
        def turn(made: site.Site) -> float:
            before = set(made.names("awaiting-approval"))
            seconds = run(made)
            self._take_away(made, before)
            return seconds

        crowded = f"{name}, {self._scale.waiting:,} waiting"
        found = [
            Contender(f"{key}_many", crowded, self._scale.extra, lambda _: turn(self.many)),
            Contender(f"{key}_few", f"{name}, {_FEW} waiting", self._scale.extra,
                      lambda _: turn(self.few)),
        ]  # fmt: skip
        take_turns(found, _ROUNDS, self._base)
        return found

    def _drops(self) -> tuple[list[str], list[bytes]]:
        self._round += 1
        run = f"extra{self._round}"
        count = self._scale.extra
        return records.names(count, run), records.decisions(count, run, self._scale.seed)

    def _take_away(self, made: site.Site, before: set[str]) -> None:
        """So that the next round meets as many as this one."""
        away = made.folder / "away"
        away.mkdir(exist_ok=True)
        for name in set(made.names("awaiting-approval")) - before:
            (made.root / "awaiting-approval" / name).rename(away / name)

    def _alone(self, made: site.Site) -> float:
        made.drop_all(*self._drops())
        bare.settle(made.root)
        seconds: float = made.worker("intake")["seconds"]
        return seconds

    def _burst(self, made: site.Site) -> float:
        """Seconds until drops that come all at once are visible."""
        names, contents = self._drops()
        drops = [made.prepare(*each) for each in zip(names, contents, strict=True)]
        bare.settle(made.root)
        arrivals = Arrivals(made.root / "awaiting-approval")
        begun = perf_counter()
        for drop in drops:
            drop()
        left, seen = len(drops), begun
        while left:
            came = [at for name, at in arrivals.wait(60.0) if name.endswith(".json")]
            if not came:
                raise RuntimeError(f"{left} drops did not become visible")
            left, seen = left - len(came), came[-1]
        arrivals.close()
        return seen - begun

    def _idle(self, service: site.Service) -> dict[str, float]:
        used, logged, begun = service.processor_seconds, service.log.stat().st_size, perf_counter()
        time.sleep(self._scale.idle)
        spent = perf_counter() - begun
        return {
            "idle_share": (service.processor_seconds - used) / spent,
            "idle_log_bytes": float(service.log.stat().st_size - logged),
        }

    def ls(self) -> dict[str, float]:
        """`spoold ls` of the crowd: the first row and the last one, in a pipe and on a terminal."""
        words = self.many.words("ls")
        first, total = _pipe(self.many, words)
        return {"first_pipe": first, "total_pipe": total, "first_terminal": _tty(self.many, words)}


def _quiet(service: site.Service) -> None:
    """Wait until a service has done what it does at its start."""
    used, deadline = -1.0, perf_counter() + 120.0
    while perf_counter() < deadline:
        now = service.processor_seconds
        if now - used < 0.03:
            return
        used = now
        time.sleep(1.0)


def _pipe(made: site.Site, words: list[str]) -> tuple[float, float]:
    begun = perf_counter()
    with subprocess.Popen(
        words, env=made.environment, cwd=made.folder, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        first = _second_line(lambda: os.read(process.stdout.fileno(), 1 << 16), begun)  # type: ignore[union-attr]
        while os.read(process.stdout.fileno(), 1 << 20):
            pass
    return first, perf_counter() - begun


def _tty(made: site.Site, words: list[str]) -> float:
    master, slave = pty.openpty()
    begun = perf_counter()
    with subprocess.Popen(words, env=made.environment, cwd=made.folder, stdout=slave) as process:
        os.close(slave)
        first = _second_line(lambda: os.read(master, 1 << 12), begun)
        process.kill()
    os.close(master)
    return first


def _second_line(read: Callable[[], bytes], begun: float) -> float:
    """Seconds until the line after the heading is there."""
    lines = 0
    while lines < 2:
        data = read()
        if not data:
            raise RuntimeError("`spoold ls` printed no row")
        lines += data.count(b"\n")
    return perf_counter() - begun
