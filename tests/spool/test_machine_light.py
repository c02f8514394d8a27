"""A few lives of a spool, each of anything in any order; `tests/crash` lives through many more."""

import pytest

from tests.crash.machine import explore


@pytest.mark.timeout(600)
def test_whatever_happens_in_whatever_order_every_law_holds():
    """A few spools live through anything, and at no moment is a law broken."""
    explore(lives=25, steps=30)
