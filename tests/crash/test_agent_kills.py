"""An agent's executor, or its supervisor, killed at one of its calls: the world fits the files.

Where Python itself is about to call something, the process is killed by the test's own hook, which
the process finds on its path; so every step between two calls is a place to die at.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spoold.linux.processes import with_variable
from spoold.service.drain import drain
from spoold.stages.execute import Execute
from spoold.stages.gate import Gate
from spoold.stages.intake import Intake
from spoold.stages.stage import Stage, StageContext
from spoold.stages.sweep import Sweep
from spoold.states import STATES
from spoold.testing import Clock, Lab
from tests.conformance.agents import REPORT, ROUTE
from tests.crash import FULL
from tests.e2e.conftest import CHECKOUT, DECISIONS, decision, until

#: Of all calls, so many are tried.
POINTS = 60 if FULL else 16

HOOK = """
import atexit, os, signal, sys, threading
from pathlib import Path

plan = Path(__file__).with_name("plan").read_text().split()
words = " ".join(sys.orig_argv)
role = "supervisor" if "spoold.supervisor" in words else "executor" if " execute " in words else ""
if plan and plan[0] == role:
    at, me, seen, guard = int(plan[1]), os.getpid(), [0], threading.Lock()
    parts = ("/executors/agent/", "/stages/execute/", "/supervisor/", "/spool/spool.py", "/disk/")

    def look(frame, event, what):
        if event != "c_call" or os.getpid() != me:
            return
        file = frame.f_code.co_filename
        if "spoold" not in file or not any(part in file for part in parts):
            return
        with guard:
            seen[0] += 1
            if seen[0] == at:
                os.kill(me, signal.SIGKILL)

    def tell():
        if os.getpid() == me:
            Path(__file__).with_name(f"calls-{role}").write_text(str(seen[0]))

    atexit.register(tell)
    threading.setprofile(look)
    sys.setprofile(look)
"""

CONFIG = """
[executors.agents]
kind    = "agent"
timeout = "30s"
retry   = {{ tries = 3, base = "1s", cap = "1s" }}
[executors.agents.commands.it]
argv = {argv}
"""

AGENT = """
import pathlib, time
pathlib.Path('begun').open('a').write('x')
time.sleep(0.1)
pathlib.Path('REPORT.md').write_text('y')
"""


class Bench:
    """A request in the queue, and an executor that can be killed at a call."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder / str(number)
        self.work = self.folder / "work"
        self.hook = self.folder / "hook"
        for made in (self.folder, self.work, self.hook):
            made.mkdir()
        (self.hook / "sitecustomize.py").write_text(HOOK)
        self.plan("")
        argv = json.dumps([sys.executable, "-c", AGENT])
        toml = f"{DECISIONS}{CONFIG.format(argv=argv)}"
        self.lab = Lab(
            self.folder, toml, {"10.toml": ROUTE.format(cwd=self.work, evidence=REPORT)}, _Now()
        )
        name = f"{folder.name}-{number}-{time.time_ns()}"
        self.lab.drop("decisions", "a.json", decision(name))
        self.drain(Intake, Gate)
        (self.file,) = self.lab.files("queued")

    def plan(self, text: str) -> None:
        """Who is killed at which call, from the next start on."""
        (self.hook / "plan").write_text(text)

    def drain(self, *kinds: Callable[[StageContext], Stage]) -> None:
        """Let stages of this process do what they can."""
        context = StageContext(self.lab.routing)
        assert drain([kind(context) for kind in kinds], context) == 0

    def execute(self) -> None:
        """One run of the executor, which may be killed."""
        argv = ["-m", "spoold", "--config", str(self.lab.file), "execute", "agents", "--drain"]
        path = f"{self.hook}:{CHECKOUT}"
        environment = {**os.environ, "PYTHONPATH": path}
        subprocess.run([sys.executable, *argv], env=environment, check=False, timeout=60,
                       stderr=subprocess.DEVNULL)  # fmt: skip

    def settle(self) -> str:
        """Start everything again until nothing moves; where the request is then."""
        self.plan("")
        for _ in range(5):
            self.drain(lambda context: Execute(context, "agents"), Sweep)
            places = [p for p in STATES if self.lab.files(p)]
            if not {"deferred", "queued", "running"} & set(places):
                break
            time.sleep(1.1)
        (place,) = places
        return place

    @property
    def begun(self) -> int:
        """How often the agent has begun."""
        file = self.work / "begun"
        return len(file.read_text()) if file.exists() else 0

    def left(self) -> list[int]:
        """What still runs of it."""
        return with_variable(f"SPOOLD_DISPATCH_ID={self.file.stem}")


class _Now(Clock):
    """The real time."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


def calls(tmp_path: Path, role: str) -> int:
    """How many calls an undisturbed run makes."""
    bench = Bench(tmp_path, 0)
    bench.plan(f"{role} 0")
    bench.execute()
    said = bench.hook / f"calls-{role}"
    until(said.exists, "the count")
    assert bench.settle() == "done"
    assert bench.begun == 1
    return int(said.read_text())


def points(last: int, chance: random.Random) -> list[int]:
    """The calls to be killed at: the first, the last, and one by chance of each stretch between."""
    step = max(last // POINTS, 1)
    return sorted({1, last - 1, *(min(at + chance.randrange(step), last - 1)
                                  for at in range(1, last, step))})  # fmt: skip


@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", ["executor", "supervisor"])
def test_an_agent_is_begun_once_whoever_is_killed_wherever(tmp_path, role, chance):
    """It never begins twice; who kills only the executor loses nothing at all."""
    last = calls(tmp_path, role)
    assert last > 80
    ends: dict[str, int] = {}
    for number, at in enumerate(points(last, chance), 1):
        bench = Bench(tmp_path, number)
        bench.plan(f"{role} {at}")
        bench.execute()
        place = bench.settle()
        ends[place] = ends.get(place, 0) + 1
        where = f"{role} killed at call {at} of {last}: {place}, begun {bench.begun}"
        assert bench.begun <= 1, where
        assert place in ({"done"} if role == "executor" else {"done", "unknown"}), where
        assert place != "done" or bench.begun == 1, where
        until(lambda bench=bench: not bench.left(), f"{where}: processes are left", 5)
    assert ends["done"] > 1
    print(ends)
