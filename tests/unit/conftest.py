"""What several of these tests look at."""

import logging

import pytest


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
