"""What a `kill -9` between take and acknowledge does to a job, and how often anything is synced.

Both are tried, not looked up. A queue that syncs nothing loses after a power cut what the kernel
had not written yet, which is what it was given in the last half minute; one that does sync may be
right about it. `strace` shows which it is.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import records, site
from benchmarks.peers import PEERS, measure, wait_out
from benchmarks.report import Survival

_SYNCS = "fsync,fdatasync,syncfs,sync,msync,sync_file_range"
_RECORDS = 192


def peer(name: str, folder: Path) -> Survival:
    """Try a peer."""
    folder.mkdir()
    taker = [sys.executable, "-m", "benchmarks.survival"]
    with subprocess.Popen([*taker, "take", name, folder / "k"], stdout=subprocess.PIPE,
                          env=_environment()) as child:  # fmt: skip
        assert child.stdout is not None
        if child.stdout.readline() != b"taken\n":
            raise RuntimeError(f"{name} did not give a job")
        child.send_signal(signal.SIGKILL)
    again: list[str | Path] = [*taker, "again", name, folder / "k"]
    said, survives = "no: it is gone", False
    if _run(again) == "found":
        said, survives = "yes", True
    elif (cleaning := PEERS[name].cleaning) is not None:
        time.sleep(1.1)
        cleaning(folder / "k")
        if _run(again) == "found":
            said = "not by itself: purge() frees it after 10 min"
    count = _syncs([*taker, "work", name, folder / "s"], folder / "trace")
    return Survival(said, survives, None if count is None else count / _RECORDS)


def spoold(folder: Path) -> Survival:
    """Try spoold: a command that never ends is killed together with spoold, which starts again."""
    made = site.Site(folder / "k", site.SLEEPER, approval=False)
    with made.start("run") as service:
        made.prepare("kill.json", records.decisions(1, "kill")[0])()
        service.until(lambda: bool(made.names("running/" + site.EXECUTOR)), "an attempt")
        time.sleep(0.1)
        service.process.kill()
    made.spoold("run", "--drain")
    folders = ("running", "queued", "unknown", "failed", "done")
    states = [f"{folder}/{site.EXECUTOR}" for folder in folders]
    where = [state for state in states for _ in made.names(state)]
    traced = site.Site(folder / "s", site.RECORDER_64, approval=False)
    traced.drop_all(records.names(_RECORDS, "s"), records.decisions(_RECORDS, "s"))
    count = _syncs(traced.worker_words("drained"), folder / "trace", traced.environment)
    said = f"yes: in {where[0]}/" if len(where) == 1 else f"no: it is in {where}"
    return Survival(said, len(where) == 1, None if count is None else count / _RECORDS)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(site.CHECKOUT)}


def _run(words: Sequence[str | Path]) -> str:
    return subprocess.run(
        words, env=_environment(), stdout=subprocess.PIPE, text=True, check=True, timeout=60
    ).stdout.strip()


def _syncs(
    words: Sequence[str | Path], trace: Path, environment: dict[str, str] | None = None
) -> int | None:
    """How many calls that sync a command makes; None without strace, or where it may not trace."""
    tracer = shutil.which("strace")
    if tracer is None:
        return None
    traced = [tracer, "-f", "-qq", "-e", f"trace={_SYNCS}", "-o", trace, *words]
    ended = subprocess.run(
        traced, env=environment or _environment(), capture_output=True, check=False, timeout=300
    )
    if ended.returncode != 0:
        return None
    text = trace.read_text(encoding="utf-8", errors="replace")
    return len(re.findall(rf"\b(?:{_SYNCS.replace(',', '|')})\(.*= 0$", text, re.MULTILINE))


def main() -> None:
    """`take`, `again` or `work`; a peer; a folder."""
    what, name, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    queue = PEERS[name].make(folder)
    if what == "take":
        queue.put(b"{}")
        queue.take()
        print("taken", flush=True)
        time.sleep(60)
    elif what == "again":
        print("found" if wait_out(queue) else "none")
    else:
        measure(queue, records.decisions(_RECORDS, "work"))


if __name__ == "__main__":
    main()
