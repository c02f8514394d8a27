"""What several of these tests look at."""

import logging
import os
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


@pytest.fixture
def said():
    """The records of this test's log."""
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    log = logging.getLogger("spoold")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield records
    log.removeHandler(handler)
    log.setLevel(before)
