"""A configured agent → whether its program is there, in which version, and logged in."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping

from spoold.capture import printable
from spoold.executors import Finding
from spoold.executors._agents import Command

_TIMEOUT = 20.0
_SHOWN = 60


def findings(
    slug: str, command: Command, path: str, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """What `spoold doctor` says of one agent.

    Args:
        slug: its name.
        command: how it is run.
        path: where programs are.
        environment: what an agent gets, with its secrets; only the login probe gets it too.
    """
    name = command.argv[0]
    program = shutil.which(name, path=path)
    if program is None:
        yield Finding(slug, ok=False, detail=f"runtime not available on this host: {name}")
        return
    home = {"HOME": os.environ.get("HOME", "/")}
    code, said = _asked(command.version or [name, "--version"], path, home)
    if code is None:
        yield Finding(slug, ok=False, detail=f"{program} does not run: {said}")
        return
    version = said.splitlines()[0][:_SHOWN] if said else "version unknown"
    if command.login is None:
        yield Finding(slug, ok=True, detail=f"{version} ({program})")
        what = "login not checked: no probe is configured (`login` of this command)"
        yield Finding(slug, ok=True, warning=True, detail=what)
        return
    code, said = _asked(command.login, path, home | dict(environment))
    if code != 0 or not re.search(command.logged_in or "", said):
        yield Finding(slug, ok=False, detail=f"{version} ({program}) is not logged in")
        return
    yield Finding(slug, ok=True, detail=f"{version} ({program}), logged in")


def _asked(argv: list[str], path: str, environment: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit code and what was printed; None and why, if it could not be run."""
    program = shutil.which(argv[0], path=path)
    if program is None:
        return None, f"there is no {argv[0]}"
    try:
        done = subprocess.run(  # noqa: S603 - an argument list of the configuration
            [program, *argv[1:]],
            env={**environment, "PATH": path},
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
