"""Configured agents → whether their programs are there, in which version, and logged in.

Any program may be an agent, also one that takes no notice of `--version` and begins to work. So a
probe has little time, little of what it prints is kept, and nothing that it started goes on.
"""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from spoold.executors import Finding
from spoold.executors.agent.commands import Command
from spoold.executors.child import begin, supervise
from spoold.text import printable

_TIMEOUT = 20.0
_SHOWN = 60
_SHOWN_OF_A_PROBLEM = 400
#: How shells and `env` say that a program, or its interpreter, cannot be run or is not there.
_NOT_RUN = frozenset({126, 127})
#: Bytes of what a probe prints that are looked at.
_READ = 4096
#: Agents that are looked at side by side.
_AT_ONCE = 16


def findings(
    commands: Mapping[str, Command], path: str, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """What `spoold doctor` says of agents, in their order. Closing the iterator ends the probes.

    Args:
        commands: by name, how each is run; at least one.
        path: where programs are.
        environment: what an agent gets, with its secrets; only the login probe gets it too.
    """
    stopping = threading.Event()
    probe = _Probe(path, stopping)
    with ThreadPoolExecutor(min(len(commands), _AT_ONCE)) as pool:
        try:
            for found in pool.map(
                lambda slug: list(_of_one(slug, commands[slug], probe, environment)), commands
            ):
                yield from found
        finally:
            stopping.set()


def _of_one(
    slug: str, command: Command, probe: "_Probe", environment: Mapping[str, str]
) -> Iterator[Finding]:
    name = command.argv[0]
    program = shutil.which(name, path=probe.path)
    if program is None:
        yield Finding(slug, ok=False, detail=f"runtime not available on this host: {name}")
        return
    home = {"HOME": os.environ.get("HOME", "/")}
    code, said = probe.ask(command.version or [name, "--version"], home)
    if problem := _does_not_run(code, said):
        yield Finding(slug, ok=False, detail=f"{program} does not run: {problem}")
        return
    version = said.splitlines()[0][:_SHOWN] if said else "version unknown"
    if code:
        what = f"{version} ({program}), but it exited with {code} when asked for its version"
        yield Finding(slug, ok=True, warning=True, detail=what)
    if command.login is None:
        if not code:
            yield Finding(slug, ok=True, detail=f"{version} ({program})")
        what = "login not checked: no probe is configured (`login` of this command)"
        yield Finding(slug, ok=True, warning=True, detail=what)
        return
    code, said = probe.ask(command.login, home | dict(environment))
    if code != 0 or not re.search(command.logged_in or "", said):
        yield Finding(slug, ok=False, detail=f"{version} ({program}) is not logged in")
        return
    yield Finding(slug, ok=True, detail=f"{version} ({program}), logged in")


def _does_not_run(code: int | None, said: str) -> str | None:
    """Why a program that was asked for its version is none that could be an agent."""
    if code is None:
        return said
    if code >= 0 and code not in _NOT_RUN:
        return None
    how = f"it was killed by signal {-code}" if code < 0 else f"it exited with {code}"
    return f"{how}: {said[:_SHOWN_OF_A_PROBLEM]}" if said else how


class _Probe:
    """Runs programs that are asked something.

    Args:
        path: where they are.
        stopping: ends them at once.
    """

    def __init__(self, path: str, stopping: threading.Event) -> None:
        self.path = path
        self._stopping = stopping

    def ask(self, argv: list[str], environment: Mapping[str, str]) -> tuple[int | None, str]:
        """The exit code and what was printed; None and why, if it could not be run."""
        program = shutil.which(argv[0], path=self.path)
        if program is None:
            return None, f"there is no {argv[0]}"
        try:
            process = begin(
                [program, *argv[1:]],
                {**environment, "PATH": self.path},
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            return None, os.strerror(error.errno or 0)
        said = _Beginning()
        ending = supervise(process, b"", [said, said], _TIMEOUT, self._stopping)
        if ending.why == "timeout":
            return None, f"no answer in {_TIMEOUT:g} s"
        if ending.lost:
            return None, "how it ended is not known"
        code = ending.exit_code if ending.exit_code is not None else -(ending.signal or 0)
        return code, printable(bytes(said.kept)).strip()


class _Beginning:
    """An `Output` of which only the first bytes are kept."""

    name = "probe"

    def __init__(self) -> None:
        self.total = 0
        self.kept = bytearray()

    @property
    def truncated(self) -> bool:
        """Whether there was more."""
        return self.total > len(self.kept)

    def write(self, data: bytes) -> None:
        """Append what still fits."""
        self.total += len(data)
        self.kept += data[: _READ - len(self.kept)]

    def tail(self, limit: int = 4000) -> str:
        """The last characters that are kept."""
        return printable(bytes(self.kept))[-limit:] if limit > 0 else ""
