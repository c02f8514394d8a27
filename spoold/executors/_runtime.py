"""A configured agent → whether its program is there, in which version, and logged in."""

import os
import shutil
import subprocess

from spoold.capture import printable
from spoold.executors import Finding
from spoold.executors._agents import Command

_TIMEOUT = 20.0
_SHOWN = 60


def findings(slug: str, command: Command, path: str) -> Finding:
    """What `spoold doctor` says of one agent."""
    name = command.argv[0]
    program = shutil.which(name, path=path)
    if program is None:
        return Finding(slug, ok=False, detail=f"runtime not available on this host: {name}")
    code, said = _asked(command.version or [name, "--version"], path)
    if code is None:
        return Finding(slug, ok=False, detail=f"{program} does not run: {said}")
    version = said.splitlines()[0][:_SHOWN] if said else "version unknown"
    if command.login is None:
        return Finding(slug, ok=True, detail=f"{version} ({program}), login not checked")
    code, said = _asked(command.login, path)
    if code != 0:
        return Finding(slug, ok=False, detail=f"{version} ({program}) is not logged in")
    return Finding(slug, ok=True, detail=f"{version} ({program}), logged in")


def _asked(argv: list[str], path: str) -> tuple[int | None, str]:
    """The exit code and what was printed; None and why, if it could not be run."""
    program = shutil.which(argv[0], path=path)
    if program is None:
        return None, f"there is no {argv[0]}"
    try:
        done = subprocess.run(  # noqa: S603 - an argument list of the configuration
            [program, *argv[1:]],
            env={"PATH": path, "HOME": os.environ.get("HOME", "/")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer in {_TIMEOUT:g} s"
    except OSError as error:
        return None, os.strerror(error.errno or 0)
    return done.returncode, printable(done.stdout[:4096]).strip()
