"""The heavy proofs: `make test-crash`. What a machine lacks is skipped, but never in CI."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.crash import MEMORY, SEED, dice
from tests.crash.matrix_run import Matrix, workshop
from tests.crash.matrix_scenarios import Scenario
from tests.crash.mounting import Mounts
from tests.e2e import conftest as e2e

program, receiver = e2e.program, e2e.receiver


@pytest.fixture
def site(tmp_path: Path) -> Iterator[e2e.Site]:
    """A site whose processes are each a Python of its own, for what kills and traces them."""
    made = e2e.Site(tmp_path)
    yield made
    made.close()


@pytest.fixture
def site_in_memory() -> Iterator[e2e.Site]:
    """The same in memory, where there is some: a sync costs nothing, so much fits into a time."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        made = e2e.Site(Path(folder))
        yield made
        made.close()
        for process in made.processes:
            if process.stdin:
                process.stdin.close()


def pytest_report_header() -> str:
    """Say how to have the same sample again."""
    return f"SPOOLD_SEED={SEED}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it again where a failure is read."""
    terminalreporter.write_line(f"SPOOLD_SEED={SEED}")


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Randomness of a test's own, which `SPOOLD_SEED` gives again."""
    return dice(request.node.name)


@pytest.fixture
def mount(tmp_path: Path, require: Callable[[bool, str], None]) -> Iterator[Mounts]:
    """Mounts for one test."""
    require(os.geteuid() == 0, "root")
    with ExitStack() as undo:
        yield Mounts(tmp_path, undo, require)


@pytest.fixture(scope="session")
def strace(require: Callable[[bool, str], None]) -> str:
    """The path of strace."""
    found = shutil.which("strace")
    require(found is not None, "strace")
    return str(found)


@pytest.fixture(scope="module")
def matrix(strace: str) -> Iterator[Callable[[Scenario], Matrix]]:
    """Makes the matrix of a scenario."""
    with workshop(strace) as make:
        yield make
