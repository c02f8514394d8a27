"""The heavy proofs: `make test-crash`. What a machine lacks is skipped, but never in CI."""

import shutil
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def strace(require: Callable[[bool, str], None]) -> str:
    """The path of strace."""
    found = shutil.which("strace")
    require(found is not None, "strace")
    return str(found)
