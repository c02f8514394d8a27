"""The heavy proofs: `make test-crash`. What a machine lacks is skipped, but never in CI."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import conftest as e2e

program, receiver = e2e.program, e2e.receiver


@pytest.fixture
def site(tmp_path: Path) -> Iterator[e2e.Site]:
    """A site whose processes are each a Python of its own, for what kills and traces them."""
    made = e2e.Site(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def strace(require: Callable[[bool, str], None]) -> str:
    """The path of strace."""
    found = shutil.which("strace")
    require(found is not None, "strace")
    return str(found)
