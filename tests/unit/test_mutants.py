"""The table of `make mutants` fits the package; the mutants themselves take minutes."""

from tests.mutants import CHECKOUT, MUTANTS, found


def test_every_mutant_has_one_place():
    """Each text is found exactly once, and each test file that is to notice is there."""
    lost = [one.law for one in MUTANTS if len(found(CHECKOUT / "spoold", one)) != 1]
    assert lost == []
    files = {f"tests/{name}.py" for one in MUTANTS for name in one.tests.split()}
    assert [name for name in files if not (CHECKOUT / name).exists()] == []
