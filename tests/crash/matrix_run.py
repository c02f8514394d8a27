"""A scenario, disturbed at every call that strace saw in an undisturbed run."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from spoold.states import Role
from tests.crash import MEMORY
from tests.crash.matrix_bench import Run, Zygote
from tests.crash.matrix_judge import judge
from tests.crash.matrix_laws import kept_on
from tests.crash.matrix_receiver import Receiver, receiving
from tests.crash.matrix_scenarios import Scenario
from tests.crash.matrix_site import Site
from tests.crash.matrix_trace import Call, Point, kind, points

#: How often a call is tried that threads may make in another order each time.
_TRIES = 3
#: Which calls can fail in which way; EIO any of them.
_CAN_BE = {
    "ENOSPC": frozenset({
        "openat", "open", "creat", "write", "writev", "pwrite64", "pwritev", "mkdir", "mkdirat",
        "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "fsync",
        "fdatasync", "syncfs", "fallocate", "copy_file_range",
    }),
    "EMFILE": frozenset({"openat", "open", "creat"}),
}  # fmt: skip
#: How a stage may end that meets one.
_CODES = {"EIO": {0, os.EX_IOERR}, "ENOSPC": {0, os.EX_IOERR, os.EX_TEMPFAIL},
          "EMFILE": {0, os.EX_IOERR, os.EX_TEMPFAIL}}  # fmt: skip
#: What is seen of a disturbed run, besides the calls of the name that is hit.
_WATCHED = "rename,renameat,renameat2,fsync,fdatasync,syncfs,sync"


def _words(error: str) -> tuple[str, ...]:
    """What tells an operator what happened; SQLite has words of its own."""
    return os.strerror(getattr(errno, error)), "for the index", "use the index"


@dataclass
class Report:
    """What came of it.

    Attributes:
        runs: how many points were hit.
        missed: those that never came up again.
        problems: what was wrong, by point.
    """

    runs: int = 0
    missed: list[Point] = field(default_factory=list)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def note(self, what: str, found: Iterable[str]) -> None:
        """Add what was found after a disturbance."""
        self.runs += 1
        if problems := list(found):
            self.problems[what] = problems

    def __str__(self) -> str:
        lines = [f"{self.runs} points hit, {len(self.missed)} not met again"]
        lines += [f"  missed {point}" for point in self.missed]
        for point, problems in self.problems.items():
            lines += [f"  {point}", *(f"    {problem}" for problem in problems)]
        return "\n".join(lines)


class Matrix:
    """One scenario on a site of its own, traced once.

    Args:
        folder: where; it must not exist yet, or is made anew.

    Attributes:
        clean: the undisturbed run.
        points: every call of it that touched the spool or the world.
        changing: those that may have left something behind.
    """

    def __init__(
        self, folder: Path, receiver: Receiver, zygote: Zygote, scenario: Scenario
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.scenario = scenario
        self.site = Site(folder, receiver)
        self._zygote = zygote
        scenario.prepare(self.site)
        self.site.save()
        self._argv = self.site.argv(*scenario.argv)
        if scenario.left_at:
            self._be_left(scenario.left_at)
        zygote.run(self._argv)  # it imports now what it would import in the first run
        self.clean, self.points = self._recorded()
        self.changing = [point for point in self.points if point.changes]

    def judge(self) -> list[str]:
        """What is wrong now; after an undisturbed run that should be nothing."""
        return judge(self.site, self._zygote, self.scenario)

    def _begin(self) -> None:
        self.site.restore()
        self.scenario.at_last(self.site)

    def _recorded(self) -> tuple[Run, list[Point]]:
        """An undisturbed run and its points; one whose threads hid a call from strace is no use."""
        lost = LookupError()
        for _ in range(_TRIES):
            self._begin()
            run = self._zygote.run(self._argv, [])
            assert run.code == 0, run.said
            try:
                return run, points(run.calls, str(self.site.root))
            except LookupError as error:
                lost = error
        raise lost

    def _be_left(self, signature: str) -> None:
        """Let a run be killed, and take what it leaves as the beginning."""
        _, seen = self._recorded()
        self.leave(next(point for point in seen if re.match(signature, point.signature)))
        self.site.save()

    def leave(self, point: Point) -> None:
        """Kill a run at a point, and leave everything as it is then."""
        self._begin()
        assert self._disturb(point, "signal=SIGKILL").code == -9

    def kill(self, chosen: Iterable[Point]) -> Report:
        """Kill the stage right before each call; restart and judge.

        Right after a call is right before the next one, as far as a restart can see.
        """
        report = Report()
        for point in chosen:
            if not self._kill(point, report):
                report.missed.append(point)
        return report

    def first_problem(self, report: Callable[[Iterable[Point]], Report]) -> Report | None:
        """The first report of a point at which something is wrong."""
        for point in self.changing:
            if (found := report([point])).problems:
                return found
        return None

    def _kill(self, point: Point, report: Report) -> bool:
        for _ in range(_TRIES):
            self._begin()
            run = self._disturb(point, "signal=SIGKILL")
            report.note(str(point), self._judge_killed(run))
            if run.code == -9 and any(self._is(call, point) for call in run.calls):
                return True
        return False

    def _judge_killed(self, run: Run) -> Iterator[str]:
        if run.code not in (-9, 0):
            yield f"it was to be killed, and ended with {run.code}: {run.said[-600:]}"
        yield from self.judge()

    def fail(self, chosen: Iterable[tuple[Point, str]]) -> Report:
        """Let each call fail once, with its error; restart and judge."""
        report = Report()
        for point, error in chosen:
            if not self._fail(point, error, report):
                report.missed.append(point)
        return report

    def _fail(self, point: Point, error: str, report: Report) -> bool:
        for _ in range(_TRIES):
            self._begin()
            run = self._disturb(point, f"error={error}")
            if any(self._is(call, point) for call in run.calls):
                report.note(f"{error} at {point}", self._judge_failed(run, error))
                return True
            point = self._where_it_is_now(point, run)
        return False

    def _where_it_is_now(self, point: Point, run: Run) -> Point:
        """The same call at the count at which a run made it that was to be hit and was not."""
        with suppress(LookupError):
            seen = points(run.calls, str(self.site.root))
            same = [p for p in seen if p.name == point.name and p.only == point.only
                    and kind(p.signature) == kind(point.signature)]  # fmt: skip
            return min(same, key=lambda p: abs(p.when - point.when), default=point)
        return point

    def errors(self, point: Point) -> list[str]:
        """The errors that a call can end with."""
        fits = {error for error, calls in _CAN_BE.items() if point.name in calls}
        return [error for error in _CODES if error == "EIO" or error in fits] * point.inside

    def _judge_failed(self, run: Run, error: str) -> Iterator[str]:
        if run.code not in _CODES[error] or "Traceback" in run.said:
            yield f"it ended with {run.code}: {run.said[-600:]}"
        elif run.code and not any(words in run.said for words in _words(error)):
            yield f"it ended with {run.code} and did not say why: {run.said[-600:]}"
        yield from kept_on(run.calls, str(self.site.root))
        for path in self.site.unreadable():
            # What its reason tells the operator to do.
            self._zygote.run(self.site.argv("retry", "--yes", path))
        # What could not be begun has its turn some time.
        self.site.make_due("logs-unreadable")
        yield from self.judge()

    def _is(self, call: Call, point: Point) -> bool:
        if not (call.injected or call.result in (None, "?")):
            return False
        found = call.signature(str(self.site.root))
        # What runs at the same time does not end in the same order each time.
        concurrent = self.scenario.role is Role.EXECUTE
        return found == point.signature or (concurrent and kind(found) == kind(point.signature))

    def _disturb(self, point: Point, what: str) -> Run:
        narrow = f"trace={_WATCHED},{point.name}"
        return self._zygote.run(self._argv, ["-e", narrow, *point.inject(what)])


@contextmanager
def workshop(strace: str, law: str = "nothing") -> Iterator[Callable[[Scenario], Matrix]]:
    """Makes matrices, one after the other, in one folder and with one zygote.

    Args:
        strace: the tracer.
        law: the law that is broken in the package.
    """
    with ExitStack() as ending:
        # What a kill leaves is the same on every file system.
        temporary = tempfile.TemporaryDirectory(prefix="spoold-matrix-", dir=MEMORY)
        folder = Path(ending.enter_context(temporary))
        receiver = ending.enter_context(receiving())
        zygote = Zygote(folder, strace, law)
        ending.callback(zygote.close)
        yield lambda scenario: Matrix(folder / "site", receiver, zygote, scenario)
