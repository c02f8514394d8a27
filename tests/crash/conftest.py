"""The heavy proofs: `make test-crash`. What a machine lacks is skipped, but never in CI."""

import shutil
from collections.abc import Callable

import pytest

from tests.e2e import conftest as e2e

program, receiver, site = e2e.program, e2e.receiver, e2e.site


@pytest.fixture(scope="session")
def strace(require: Callable[[bool, str], None]) -> str:
    """The path of strace."""
    found = shutil.which("strace")
    require(found is not None, "strace")
    return str(found)
