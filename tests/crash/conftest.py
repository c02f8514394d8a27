"""The heavy proofs: `make test-crash`. What a machine lacks is skipped, but never in CI."""

import os
import shutil
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def require() -> Callable[[bool, str], None]:
    """`require(found, what)`: skip where something is missing; with `CI=true` that is a failure."""

    def check(found: bool, what: str) -> None:  # noqa: FBT001 - reads as an assertion
        if not found:
            say = f"this machine has no {what}"
            if os.environ.get("CI") == "true":
                pytest.fail(say)
            pytest.skip(say)

    return check


@pytest.fixture(scope="session")
def strace(require: Callable[[bool, str], None]) -> str:
    """The path of strace."""
    found = shutil.which("strace")
    require(found is not None, "strace")
    return str(found)
