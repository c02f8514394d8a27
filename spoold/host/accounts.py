"""The users and groups that the table of folders speaks of: made, and compared with this machine.

A member of a group has its rights everywhere, so a service's user may be in no more of spoold's
groups than the table says. People are in whichever they are put into.
"""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator

from spoold import rights
from spoold.errors import ConfigError
from spoold.host.permissions import Finding, account
from spoold.rights import EVERYBODY, GROUPS

#: Groups of which a service's user is a member only if the table says so. A member of Debian's
#: `docker` is as good as root; an executor of containers is given it by its unit alone.
_GUARDED = (EVERYBODY, *GROUPS.values(), "docker")


def compare(executors: dict[str, str]) -> Iterator[Finding]:
    """Which users are in other groups than they should be.

    Args:
        executors: name → kind.

    Raises:
        ConfigError: a user does not exist.
    """
    for name, wanted in rights.groups_of(executors).items():
        has = _groups(name)
        if has != wanted:
            yield Finding(f"user {name}", f"in {_listed(has)}", f"in {_listed(wanted)}")


def make(executors: dict[str, str]) -> None:
    """Make users and groups that are missing, and take users out of groups that are not theirs.

    Raises:
        ConfigError: it cannot be done here; which users are missing.
    """
    lines = rights.accounts(executors)
    command = shutil.which("systemd-sysusers")
    if not command:
        missing = [line.split()[1] for line in lines if line[0] == "u" and not _exists(line)]
        if missing:
            raise ConfigError(
                f"there is no systemd-sysusers here, so make these users: {', '.join(missing)}"
            )
    else:
        _run([command, "-"], "\n".join([*lines, ""]))
    for name, wanted in rights.groups_of(executors).items():
        if _guarded([account(name).pw_gid]) != {EVERYBODY}:
            _run(["usermod", "--gid", EVERYBODY, name])
        for group in sorted(_groups(name) - wanted):
            _run(["gpasswd", "--delete", name, group])


def _groups(user: str) -> set[str]:
    return _guarded(os.getgrouplist(user, account(user).pw_gid))


def _guarded(numbers: list[int]) -> set[str]:
    guarded = {}
    for name in _GUARDED:
        try:
            guarded[grp.getgrnam(name).gr_gid] = name
        except KeyError:
            continue
    return {guarded[number] for number in numbers if number in guarded}


def _listed(groups: set[str]) -> str:
    return ", ".join(sorted(groups)) or "none of spoold's groups"


def _exists(line: str) -> bool:
    try:
        pwd.getpwnam(line.split()[1])
    except KeyError:
        return False
    return True


def _run(command: list[str], text: str = "") -> None:
    try:
        done = subprocess.run(  # noqa: S603 - as root, by its name or found in PATH
            command, input=text, text=True, capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise ConfigError(f"{command[0]} is not here, so do this by hand: {command}") from error
    if done.returncode:
        raise ConfigError(f"{' '.join(command)} failed: {done.stderr.strip()}")
