"""What the bench compares intake with is the work that intake does, and no more."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks import records, site

MANY = 640
#: Where Python may use the one or the other.
SAME = {"pwrite64": "write", "rename": "renameat2", "fdatasync": "fsync", "faccessat": "faccessat2"}
OF_INTEREST = (
    "renameat2", "openat", "close", "read", "write", "newfstatat", "faccessat2", "fsync", "syncfs",
)  # fmt: skip

BARE = """
import sys
from pathlib import Path
from benchmarks import bare, records
count = int(sys.argv[2])
drops = records.decisions(count, "c")
tree = bare.plant(Path(sys.argv[1]), drops, [b"x" * 2000] * count)
sys.stdin.readline()
bare.measure(bare.intake_grouped(), tree)
"""


def calls(strace, log, words, environment):
    """How often a process made each call after it had read its line."""
    trace = [strace, "-f", "-qq", "-o", str(log), *words]
    subprocess.run(
        trace, input="\n", text=True, env=environment, cwd=log.parent,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=300,
    )  # fmt: skip
    lines = log.read_text(errors="replace").splitlines()
    begun = next(i for i, line in enumerate(lines) if 'read(0, "\\n"' in line)
    names = (line.split(None, 1)[1].partition("(")[0] for line in lines[begun + 1 :])
    return Counter(SAME.get(name, name) for name in names)


def per_drop(few, many):
    """What more drops cost, for each of them."""
    return {name: (many[name] - few[name]) / MANY for name in OF_INTEREST}


def of_intake(strace, folder, count):
    """The calls of intake for so many drops."""
    made = site.Site(folder / f"site-{count}", site.COMMAND)
    made.drop_all(records.names(count, "c"), records.decisions(count, "c"))
    words = made.worker_words("intake")
    return calls(strace, folder / f"intake-{count}.txt", words, made.environment)


def of_bare(strace, folder, count):
    """The bare calls for so many drops."""
    environment = {**os.environ, "PYTHONPATH": str(Path(site.CHECKOUT))}
    words = [sys.executable, "-c", BARE, str(folder / f"tree-{count}"), str(count)]
    return calls(strace, folder / f"bare-{count}.txt", words, environment)


def test_the_bare_calls_are_those_of_intake(strace, tmp_path):
    """For each drop the bare loop makes the calls that intake makes, none of them more often."""
    intake = per_drop(*(of_intake(strace, tmp_path, count) for count in (64, 64 + MANY)))
    bare = per_drop(*(of_bare(strace, tmp_path, count) for count in (64, 64 + MANY)))
    more = {name: (bare[name], intake[name]) for name in bare if bare[name] > intake[name] + 0.05}
    assert not more
    assert sum(bare.values()) > 0.9 * sum(intake.values())
