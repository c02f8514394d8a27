"""Forks a copy of itself for each run of the command line: spoold without its start-up time.

It imports the package that `PYTHONPATH` finds first, and breaks it as the only argument says (see
`broken_laws.py`). It reads one job a line, as JSON: `argv`, which begins with `--config FILE`,
and the file `out` for what is said. It answers with a process id, waits for a line while a tracer
attaches, lets the process run, and answers with its exit code, negative for a signal.
"""

import functools
import gc
import importlib
import importlib.metadata
import json
import os
import pkgutil
import select
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# What is installed does not change, and looking takes a quarter of a run.
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)

import spoold  # noqa: E402
from spoold import cli, routing  # noqa: E402
from spoold.config import configuration  # noqa: E402
from tests.crash.broken_laws import BREAKS  # noqa: E402


def _warm_up(modules: list[str]) -> None:
    """Import what a run had to import, so that the next one need not."""
    for name in modules:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    # Collecting in a fork would copy every page that the forks share.
    gc.freeze()


def _child(job: Mapping[str, Any], here: int, go: int, tell: int) -> None:
    """Become the process that the job asks for; does not return."""
    out = os.open(job["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    # From here to `main` nothing is called that is ever counted, wherever the tracer attaches.
    os.write(here, b".")
    select.select([go], [], [])
    for descriptor in (out, nothing, here, go):
        os.close(descriptor)
    before = set(sys.modules)
    sys.argv = ["spoold", *job["argv"]]
    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(tell, "\n".join(set(sys.modules) - before).encode())
    # All files are closed or synced by now; the interpreter's own end takes longer than the run.
    os._exit(code if isinstance(code, int) else 1)


def _run(job: Mapping[str, Any]) -> None:
    (there, here), (held, go), (told, tell) = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if not pid:
        for descriptor in (there, go, told):
            os.close(descriptor)
        _child(job, here, held, tell)
    for descriptor in (here, held, tell):
        os.close(descriptor)
    os.read(there, 1)
    os.close(there)
    print(pid, flush=True)
    sys.stdin.readline()
    os.close(go)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    with open(told, encoding="utf-8") as modules:
        found = modules.read().split()
    if found:
        _warm_up(found)


def main(law: str) -> None:
    """Serve until stdin ends."""
    _warm_up([module.name for module in pkgutil.walk_packages(spoold.__path__, "spoold.")
              if not module.name.endswith("__main__")])  # fmt: skip
    BREAKS[law]()
    print("ready", spoold.__file__, flush=True)
    loaded = ""
    for line in sys.stdin:
        job = json.loads(line)
        if loaded != job["argv"][1]:
            # What loading leaves in memory for the next time need not be made in every fork.
            loaded = job["argv"][1]
            routing.load(configuration.load(Path(loaded)))
            gc.freeze()
        _run(job)


if __name__ == "__main__":
    main(sys.argv[1])
