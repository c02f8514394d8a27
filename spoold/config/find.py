"""Where the configuration is.

Security: the writer of a configuration says what runs. So one that merely lies in the working
directory counts only if it is the user's own, or root's.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from spoold.errors import ConfigError

_HERE = Path("config/spoold.toml")
_OTHERS_MAY_WRITE = stat.S_IWOTH


def find(given: str | None) -> Path:
    """The configuration file: `given`, else the usual places.

    Raises:
        ConfigError: there is none, or one in the working directory is another user's.
    """
    if chosen := given or os.environ.get("SPOOLD_CONFIG"):
        return Path(chosen)
    places = [_HERE, Path("/etc/spoold/spoold.toml")]
    with suppress(RuntimeError):  # a user without a home
        places.insert(1, user_folder("XDG_CONFIG_HOME", ".config") / "spoold.toml")
    for place in places:
        # Not `Path.is_file`: that fails in the home of another user, which cannot be looked into.
        if os.path.isfile(place):
            if place == _HERE:
                _must_be_own(place)
            return place
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(f"no configuration found; looked for {looked}. `spoold init DIR` makes one")


def _must_be_own(file: Path) -> None:
    for path in (file, file.parent):
        status = os.stat(path)
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & _OTHERS_MAY_WRITE:
            raise ConfigError(
                f"{path.absolute()}: uid {status.st_uid} owns it, and whoever may write it says "
                f"what runs. If you trust it: spoold --config {file}"
            )


def user_folder(variable: str, default: str) -> Path:
    """A user's own folder of spoold, as the XDG base directory specification says.

    Raises:
        RuntimeError: the user has no home.
    """
    given = os.environ.get(variable, "")
    # A relative one is to be ignored, by the specification.
    return (Path(given) if given.startswith("/") else Path.home() / default) / "spoold"
