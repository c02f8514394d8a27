"""In which order each stage writes, syncs and renames, so that a power cut loses no promise."""

import os

import pytest

from spoold.disk import fs
from spoold.errors import NeedsPerson, Permanent, Transient
from spoold.service.drain import drain
from spoold.spool.index import Index

REASON = ".reason.json"
CUTOVER = {"decision_id": "c-1", "decision_type": "cutover"}
#: Index of each stage in `lab.stages()`.
INTAKE, SWEEP, GATE, EXECUTE = range(4)


@pytest.fixture
def calls(monkeypatch, lab):
    """Writes, syncs and renames in order, with paths from the spool root, and what else counts."""
    found = []

    def note(what, *paths):
        found.append((what, *(os.path.relpath(path, lab.root) for path in paths)))

    def watch(where, name, noted):
        real = getattr(where, name)

        def watched(*args, **kwargs):
            result = real(*args, **kwargs)
            noted(*args)
            return result

        monkeypatch.setattr(where, name, watched)

    class Libc:
        @staticmethod
        def syncfs(descriptor):
            found.append(("sync", "everything"))
            return libc.syncfs(descriptor)

    libc = fs._libc
    monkeypatch.setattr(fs, "_libc", Libc)
    watch(os, "fsync", lambda fd: note("sync", os.readlink(f"/proc/self/fd/{fd}")))
    watch(os, "rename", lambda source, target: note("rename", source, target))
    watch(fs, "_renameat2", lambda source, target, _: note("rename", source, target))
    watch(fs, "write_draft", lambda path, *_: note("write", path))
    watch(Index, "add", lambda *_: found.append(("index",)))
    run = lab.recorder.run

    def running(params, context):
        found.append(("run", f"running/rec/{context.dispatch_id}.json"))
        return run(params, context)

    monkeypatch.setattr(lab.recorder, "run", running)
    return found


def only(lab, stage):
    """Let one stage do all that it can, and close it."""
    assert drain([lab.stages()[stage]], lab.context) == 0


def brought_to(lab, stage, ends, contents):
    """A spool in which one stage is the next to do something."""
    for number, content in enumerate(contents):
        lab.drop("decisions", f"{number}.json", content)
    earlier = {INTAKE: [], GATE: [INTAKE], EXECUTE: [INTAKE, GATE],
               SWEEP: [INTAKE, GATE, EXECUTE] if ends == "queued" else [INTAKE]}  # fmt: skip
    for one in earlier[stage]:
        only(lab, one)
        if one == INTAKE and ends != "expired":
            for waiting in lab.files("awaiting-approval"):
                lab.approve(waiting)
    if stage == SWEEP:
        lab.clock.advance(1e7)


LATER = Transient("away", "Later.", retry_after=60)


@pytest.mark.parametrize(
    ("stage", "content", "outcome", "ends"),
    [
        (INTAKE, CUTOVER, None, "awaiting-approval"),
        (INTAKE, b"[]", None, "quarantine"),
        (SWEEP, CUTOVER, None, "expired"),
        (SWEEP, CUTOVER, LATER, "queued"),
        (GATE, CUTOVER, None, "queued"),
        (GATE, b"{}", None, "held"),
        (EXECUTE, CUTOVER, None, "done"),
        (EXECUTE, CUTOVER, Permanent("no", "It did not work."), "failed"),
        (EXECUTE, CUTOVER, LATER, "deferred"),
        (EXECUTE, CUTOVER, NeedsPerson("no-evidence", "Look."), "held"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("several", [1, 5], ids=["one", "several"])
def test_a_stage_syncs_before_it_goes_on(lab, calls, stage, content, outcome, ends, several):
    """Data is durable before its name, a name before what follows from it, a reason before all."""
    is_forged = (stage, content) == (GATE, b"{}")
    lab.recorder.outcomes = [outcome] * several if outcome else []
    drops = [{**CUTOVER, "decision_id": f"{n}"} if content == CUTOVER else content
             for n in range(several)]  # fmt: skip
    brought_to(lab, stage, ends, [] if is_forged else drops)
    for number in range(several if is_forged else 0):
        lab.stages()
        (lab.root / "approved" / f"{number}.json").write_bytes(content)
    calls.clear()
    only(lab, stage)
    assert len(lab.files(ends)) == several
    for number, (what, *paths) in enumerate(calls):
        before, after = calls[:number], calls[number + 1 :]
        if what == "rename":
            of_a_name(*paths, before, after)
        elif what == "run":
            begun = last(before, lambda step, file=paths[0]: step[-1] == file)
            assert synced(before[begun:], "running/rec") is not None
        elif what == "index":
            named = last(before, lambda step: step[0] == "rename")
            assert synced(before[named:], os.path.dirname(before[named][2])) is not None


def of_a_name(source, target, before, after):
    """What has to be durable before and after a name is given."""
    came_to, left = os.path.dirname(target) or ".", os.path.dirname(source) or "."
    arrives = synced(after, came_to)
    assert arrives is not None, target
    if left == "tmp":
        written = last(before, lambda step: step == ("write", source))
        assert synced(before[written:], source) is not None, f"{target} was named too soon"
    else:
        leaves = synced(after, left)
        assert leaves is not None, source
        assert arrives <= leaves, f"{source} may be lost"
    # Whoever expires a request must win its rename first, so its reason comes later.
    if came_to in ("held", "quarantine/decisions") and not target.endswith(REASON):
        explained = last(before, lambda step: step[-1] == target + REASON)
        assert synced(before[explained:], came_to) is not None, f"{target} came before its reason"


def last(steps, matches):
    """The index of the last step that matches; there must be one."""
    return max(number for number, step in enumerate(steps) if matches(step))


def synced(steps, path):
    """The index of the first step that makes a file or a folder durable; None without one."""
    makes = (("sync", path), ("sync", "everything"))
    return next((number for number, step in enumerate(steps) if step in makes), None)


def test_an_executor_that_is_closed_leaves_nothing_unsynced(lab):
    """What its last step has moved is durable when it has ended, though no other step follows."""
    brought_to(lab, EXECUTE, "done", [CUTOVER])
    execute = lab.stages()[EXECUTE]
    while not lab.files("done"):
        execute.step()
    execute.close()
    assert not execute.spool._unsynced._folders


def test_what_a_dead_run_published_is_durable_before_intake_builds_on_it(lab, calls):
    """A request that was killed before its sync is synced before anything is renamed for it."""
    lab.drain()
    lab.drop("decisions", "c.json", CUTOVER)
    taking = lab.root / "archive/decisions/.taking"
    (lab.root / "inbox/decisions/c.json").rename(taking / "c.json")
    calls.clear()
    intake = lab.stages()[INTAKE]
    intake.recover()
    intake.close()
    first = next(n for n, step in enumerate(calls) if step[0] == "rename" and step[1] != "tmp")
    assert ("sync", "everything") in calls[:first]
    assert next(step for step in calls if step[0] in ("sync", "write")) == ("sync", "everything")
