"""What is wrong with a spool after a stage was disturbed and everything was started again."""

from collections.abc import Iterable, Iterator

from spoold.states import FOLDERS
from tests.crash.matrix_bench import Zygote
from tests.crash.matrix_scenarios import Scenario
from tests.crash.matrix_site import Site
from tests.invariants import picture, violations

_DRAIN = ("run", "--drain")


def judge(site: Site, zygote: Zygote, scenario: Scenario) -> list[str]:
    """Start everything, twice, and say what breaks a law or a promise; empty if nothing does."""
    problems = [*_restart(site, zygote), *_laws(site, scenario), *scenario.more(site)]
    before = picture(site.root)
    problems += _restart(site, zygote)
    after = picture(site.root)
    changed = sorted(p for p in before.keys() | after.keys() if before.get(p) != after.get(p))
    if changed:
        problems.append(f"a second restart changed {changed}")
    if scenario.may_repeat and not problems:
        site.make_due()
        problems += [*_restart(site, zygote), *_laws(site, scenario)]
        late = [name for name, places in site.found().items() if name.startswith("ok")
                and [state for state, _ in places] != ["done"]]  # fmt: skip
        problems += [f"{late} did not get done"] if late else []
    return problems


def _restart(site: Site, zygote: Zygote) -> Iterator[str]:
    run = zygote.run(site.argv(*_DRAIN))
    if run.code or "Traceback" in run.said:
        yield f"the restart ended with {run.code}: {run.said}"


def _laws(site: Site, scenario: Scenario) -> Iterator[str]:
    copied = {
        path.stem
        for name, where in scenario.ends.items() if "+" in where
        for path in site.find(name)
    }  # fmt: skip
    for found in violations(site.root, site.dropped, site.bodies()):
        # A person has made the copy, so that it is there twice.
        if not any(found.startswith(f"{one} is in ") for one in copied):
            yield found
    yield from _ends(site, scenario.ends.items())
    yield from _effects(site, once=not scenario.may_repeat)


def _ends(site: Site, ends: Iterable[tuple[str, str]]) -> Iterator[str]:
    expected, found = dict(ends), site.found()
    for name in sorted(expected.keys() | found.keys()):
        states = "+".join(sorted(FOLDERS[state].top for state, _ in found.get(name, [])))
        if states not in expected.get(name, "").split("|"):
            yield f"the request of {name} is in {states or 'no state'}"


def _effects(site: Site, *, once: bool) -> Iterator[str]:
    counts = site.effects()
    for name, places in site.found().items():
        for state, path in places:
            if state == "done" and not counts[path.stem]:
                yield f"{name} is done, but nothing happened"
    for dispatch_id, count in counts.items():
        if once and count > 1:
            yield f"{dispatch_id} was carried out {count} times"
