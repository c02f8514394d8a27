"""Records per second: spoold, the bare system calls of the same work, and peers."""

from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import bare, peers, records, site, survival
from benchmarks.report import Survival
from benchmarks.rounds import Contender, take_turns
from benchmarks.scale import Scale
from spoold.stages.stage import BATCH


class Rates:
    """Everything that is compared record by record."""

    def __init__(self, scale: Scale, base: Path) -> None:
        self._scale = scale
        self._base = base
        self._records = records.decisions(scale.records, "rate", scale.seed)
        self._names = records.names(scale.records, "rate")
        #: The request files that these records become; the bare calls write the same bytes.
        self.requests: list[bytes] = []

    def intake(self) -> list[Contender]:
        """Drop → request visible and durable, original archived."""
        self.requests = self.calibrate()
        scale = self._scale
        few = min(scale.few, scale.records)
        found = [
            Contender("intake", "spoold intake", scale.records, self._intake,
                      "the stage in its own process, from its start to its end, with its log"),
            Contender("intake_process", "spoold intake --drain, whole process", scale.records,
                      self._whole_process, "interpreter, imports and routes included"),
            self._bare("bare_grouped", f"bare calls, groups of {bare.GROUP}", scale.records,
                       bare.intake_grouped()),
            self._bare("bare_ungrouped", "bare calls, each synced", few, bare.intake_one_by_one),
            self._bare("simple_unsynced", "simple loop, nothing synced", scale.records,
                       bare.simple_unsynced, "read, write, rename, unlink"),
            self._bare("simple_synced", "simple loop, data synced each", few, bare.simple_synced),
            self._bare("simple_grouped", f"simple loop, syncfs for {bare.GROUP}", scale.records,
                       bare.simple_grouped),
        ]  # fmt: skip
        if BATCH != bare.GROUP:
            found.append(
                self._bare(
                    "bare_batch",
                    f"bare calls, groups of {BATCH} as spoold makes them",
                    scale.records,
                    bare.intake_grouped(BATCH),
                )
            )
        take_turns(found, scale.rounds, self._base, scale.seconds)
        return found

    def pipeline(self) -> list[Contender]:
        """Drop → done, and peers' put → take → acknowledge."""
        scale = self._scale
        count, few = scale.records // 2, min(scale.few, scale.records) // 2
        found = [
            Contender("services", "spoold, a service for each stage, 64 actions at a time", count,
                      self._services(site.RECORDER_64, count), "each stage in a process"),
            Contender("services_four", "the same, 4 actions at a time", few,
                      self._services(site.RECORDER, few), "an executor's default"),
            Contender("pipeline", "spoold run, 64 actions at a time", count,
                      self._served(site.RECORDER_64, count), "each stage in a thread"),
            Contender("pipeline_drained", "spoold run --drain, 64 at a time", count,
                      self._drained(site.RECORDER_64, count), "one stage after the other"),
            Contender("pipeline_four", "spoold run, 4 actions at a time", few,
                      self._served(site.RECORDER, few)),
            Contender("pipeline_four_drained", "spoold run --drain, 4 at a time", few,
                      self._drained(site.RECORDER, few)),
            self._bare("bare_pipeline", "bare calls of all arrows, each synced", few,
                       bare.pipeline_one_by_one),
        ]  # fmt: skip
        for key, known in peers.PEERS.items():
            found.append(Contender(key, known.name, scale.records, self._peer(known.make)))
        take_turns(found, scale.rounds, self._base, scale.seconds)
        return found

    def survivals(self) -> dict[str, Survival]:
        """What a kill and a power cut do to each of them."""
        folder = self._base / "survival"
        folder.mkdir()
        found = {key: survival.peer(key, folder / key) for key in peers.PEERS}
        return {"spoold": survival.spoold(folder / "spoold"), **found}

    def _site(self, folder: Path, executor: str, count: int, *, approval: bool) -> site.Site:
        made = site.Site(folder / "site", executor, approval=approval)
        made.drop_all(self._names[:count], self._records[:count])
        bare.settle(folder)
        return made

    def calibrate(self) -> list[bytes]:
        """What the records become: the request files of a real intake."""
        made = self._site(self._base / "calibrate", site.COMMAND, self._scale.records,
                          approval=True)  # fmt: skip
        made.worker("intake")
        where = made.root / "awaiting-approval"
        return [(where / name).read_bytes() for name in sorted(made.names("awaiting-approval"))]

    def _intake(self, folder: Path) -> float:
        made = self._site(folder, site.COMMAND, self._scale.records, approval=True)
        seconds: float = made.worker("intake")["seconds"]
        _all_there(made, "awaiting-approval", self._scale.records)
        return seconds

    def _whole_process(self, folder: Path) -> float:
        made = self._site(folder, site.COMMAND, self._scale.records, approval=True)
        return made.spoold("intake", "--drain")

    def _served(self, executor: str, count: int) -> Callable[[Path], float]:
        def run(folder: Path) -> float:
            made = self._site(folder, executor, count, approval=False)
            seconds: float = made.worker("served", str(count))["seconds"]
            _all_there(made, site.DONE, count)
            return seconds

        return run

    def _services(self, executor: str, count: int) -> Callable[[Path], float]:
        def run(folder: Path) -> float:
            made = self._site(folder, executor, count, approval=False)
            seconds: float = made.services(count)["seconds"]
            _all_there(made, site.DONE, count)
            return seconds

        return run

    def _drained(self, executor: str, count: int) -> Callable[[Path], float]:
        def run(folder: Path) -> float:
            made = self._site(folder, executor, count, approval=False)
            seconds: float = made.worker("drained")["seconds"]
            _all_there(made, site.DONE, count)
            return seconds

        return run

    def _bare(
        self, key: str, name: str, count: int, work: Callable[[bare.Tree], None], note: str = ""
    ) -> Contender:
        def run(folder: Path) -> float:
            tree = bare.plant(folder / "tree", self._records[:count], self.requests[:count])
            return bare.measure(work, tree)

        return Contender(key, name, count, run, note)

    def _peer(self, make: Callable[[Path], peers.Peer]) -> Callable[[Path], float]:
        def run(folder: Path) -> float:
            queue = make(folder / "queue")
            bare.settle(folder)
            return peers.measure(queue, self._records)

        return run


def _all_there(made: site.Site, folder: str, count: int) -> None:
    found = len(made.names(folder))
    if found != count:
        raise RuntimeError(f"{found} requests in {folder}/ of {count}")


def fastest_that_survives(
    contenders: Sequence[Contender], survivals: dict[str, Survival]
) -> Contender | None:
    """The fastest peer whose jobs are still there after `kill -9`."""
    able = [c for c in contenders if c.key in peers.PEERS and survivals[c.key].survives_kill]
    return max(able, key=lambda c: c.rate, default=None)
