"""`make mutants`: each law is broken once in a copy of the checkout, and a test must notice.

A mutant is a text of the package, what stands in its place, and the test files that are about it.
The text must be found exactly once below its folder, so that a mutant that no longer says anything
is an error and not a success. `python -m tests.mutants [WORD ...]` runs those whose law has a word.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "crash", "docker", "host", "dist", "build")


class Mutant(NamedTuple):
    """A law, and what breaks it.

    Attributes:
        law: what no longer holds.
        where: the file or the folder of the package in which `old` is found once.
        old: what stands there.
        new: what takes its place.
        tests: the test files that must notice, without `tests/` and `.py`.
    """

    law: str
    where: str
    old: str
    new: str
    tests: str


STATES = "unit/test_states spool/test_flow"
GATE = "spool/test_gate spool/test_flow"
INTAKE = "spool/test_intake_bad_input spool/test_flow spool/test_keys"
SAME = "spool/test_same_key"
DISK = "unit/test_fs spool/test_crash spool/test_bad_disk"
VERDICT = "spool/test_in_doubt spool/test_cancel spool/test_recorded spool/test_flow"

MUTANTS = [
    Mutant("a move belongs to one role", "states.py",
           "return (source, target, who) in _ALLOWED",
           "return any(move[:2] == (source, target) for move in _ALLOWED)", STATES),
    Mutant("what is released waits for a new yes", "states.py",
           '("awaiting-approval", "release")', '("approved", "release")', STATES),
    Mutant("an interrupted action is not queued again", "states.py",
           '"running", "unknown", Role.EXECUTE', '"unknown", "queued", Role.EXECUTE', STATES),
    Mutant("what has ended does not pass the gate again", "spool/copies.py",
           "Standing.IN_WORK, Standing.IN_DOUBT, Standing.ENDED),\n    Role.EXECUTE",
           "Standing.IN_WORK, Standing.IN_DOUBT),\n    Role.EXECUTE", GATE),
    Mutant("what was changed after it was sealed does not run", "stages/gate.py",
           "if not found.seal_holds(self._key):", "if False:", GATE),
    Mutant("a yes that the gate did not write is none", "stages/gate.py",
           "if not found.approvals_hold(self._key):", "if False:", GATE),
    Mutant("a late yes runs nothing", "stages/gate.py",
           "if found.has_expired(self.context.clock()):", "if False:", GATE),
    Mutant("HOLD closes the gate", "stages/gate.py",
           "if self.spool.on_hold or self.context.stop", "if self.context.stop", GATE),
    Mutant("what needs a yes does not come in by the other door", "stages/gate.py",
           "elif claim.door != _APPROVED:", "elif False:", GATE),
    Mutant("a request runs under its own name only", "stages/gate.py",
           "if found.name != claim.name:", "if False:", GATE),
    Mutant("a drop that changed between look and claim is read again", "stages/intake",
           "is_same = seen is not None and seen.is_still(status)", "is_same = bool(seen)", INTAKE),
    Mutant("the same key alone makes no repeat", "stages/intake",
           "routed.claim.sha256 == known.sha256 and not is_others", "not is_others", SAME),
    Mutant("another user's drop is another drop", "stages/intake",
           "is_others = known.dropper not in (None, routed.claim.dropped_by.uid)",
           "is_others = False", SAME),
    Mutant("an older event supersedes nothing", "stages/intake",
           'if waiting and (on_repeat == "fold" or _is_older(routed, waiting)):',
           'if waiting and on_repeat == "fold":', SAME),
    Mutant("what has ended is asked for anew", "stages/intake",
           "return found[0].folder not in FINAL", "return True", SAME),
    Mutant("intake believes what is sealed, in whoever's folder it lies", "stages/intake",
           "if found.dispatch_id == dispatch_id and found.seal_holds(key):",
           "if found.dispatch_id == dispatch_id:", "spool/test_foreign"),
    Mutant("digits are keyed", "identity.py",
           "found = keyed(key)", 'found = keyed(b"")', "unit/test_request"),
    Mutant("a drop that may still be written waits", "stages/intake",
           "if self.context.age(changed) < settle:", "if False:", INTAKE),
    Mutant("a claim never takes the place of another of its name", "stages/intake",
           'if reading.exists(f"{self.spool.root}/{archive_path(inbox, now, kept)}"):',
           "if False:", INTAKE),
    Mutant("no rename takes a file's place unasked", "disk",
           "_renameat2(source, target, _RENAME_NOREPLACE)", "_renameat2(source, target, 0)", DISK),
    Mutant("data is synced before the names that show it", "disk",
           "            self._sync_drafts()\n            self._sync_folders()\n",
           "            self._sync_folders()\n            self._sync_drafts()\n", DISK),
    Mutant("the folder that a file left is synced", "disk",
           "            self._folders[left] = None\n", "", DISK),
    Mutant("after a failed sync nothing goes on", "disk",
           "            self.broken = error\n", "", DISK),
    Mutant("a failed fsync is an error", "disk",
           "raise _sync_failed(path, error.strerror or str(error)) from error", "return", DISK),
    Mutant("what may have worked is given up as unknown", "stages/execute",
           '_final(found, now, "unknown" if doubtful else "failed", outcome, more)',
           '_final(found, now, "failed", outcome, more)', VERDICT),
    Mutant("there are as many tries as configured", "stages/execute",
           "tries(found) < retry.tries", "tries(found) <= retry.tries", VERDICT),
    Mutant("a cancelled action in doubt is unknown", "stages/execute",
           "if cancelled and doubtful:", "if False:", VERDICT),
    Mutant("an end that nobody can tell is unknown", "stages/execute",
           'return _final(found, now, "unknown", outcome)',
           'return _final(found, now, "failed", outcome)', VERDICT),
    Mutant("what was not really tried costs no try", "stages/execute",
           '"deferred" if outcome.counts else "handed-back"', '"deferred"', VERDICT),
]  # fmt: skip


def found(package: Path, mutant: Mutant) -> list[Path]:
    """The files below `package` that hold the mutant's text, each as often as it is there."""
    top = package / mutant.where
    files = [top] if top.is_file() else sorted(top.rglob("*.py"))
    return [file for file in files for _ in range(file.read_text().count(mutant.old))]


def break_it(package: Path, mutant: Mutant) -> None:
    """Change the one file that holds the mutant's text."""
    files = found(package, mutant)
    if len(files) != 1:
        raise SystemExit(f"{mutant.law}: {len(files)} times in {mutant.where}: {mutant.old!r}")
    files[0].write_text(files[0].read_text().replace(mutant.old, mutant.new))


def passes(tests: Iterable[str], mutant: Mutant | None = None) -> bool:
    """Whether test files pass in a copy of the checkout, as it is or as a mutant makes it."""
    with tempfile.TemporaryDirectory(prefix="mutant.") as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(CHECKOUT, copy, ignore=NOT_COPIED)
        if mutant:
            break_it(copy / "spoold", mutant)
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        ended = subprocess.run(
            [*words, f"--basetemp={folder}/tests", *(f"tests/{name}.py" for name in tests)],
            cwd=copy, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
    if ended.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.returncode == 0


def main(wanted: Sequence[str]) -> int:
    """Run the mutants whose law has one of these words, or all; the exit code."""
    chosen = [one for one in MUTANTS if not wanted or any(word in one.law for word in wanted)]
    files = sorted({name for one in chosen for name in one.tests.split()})
    if not passes(files):
        raise SystemExit("The tests fail without a mutant.")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        survived = list(pool.map(lambda one: passes(one.tests.split(), one), chosen))
    for mutant, alive in zip(chosen, survived, strict=True):
        print("SURVIVED" if alive else "killed  ", mutant.law)
    print(f"{len(chosen) - sum(survived)} of {len(chosen)} mutants killed")
    return int(any(survived))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
