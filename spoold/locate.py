"""Where the configuration is."""

import os
from contextlib import suppress
from pathlib import Path

from spoold.errors import ConfigError


def find(given: str | None) -> Path:
    """The configuration file: `given`, else the usual places.

    Raises:
        ConfigError: there is none.
    """
    if chosen := given or os.environ.get("SPOOLD_CONFIG"):
        return Path(chosen)
    places = [Path("config/spoold.toml"), Path("/etc/spoold/spoold.toml")]
    with suppress(RuntimeError):  # a user without a home
        places.insert(1, user_folder("XDG_CONFIG_HOME", ".config") / "spoold.toml")
    for place in places:
        # Not `Path.is_file`: what is in somebody else's home is not for us.
        if os.path.isfile(place):
            return place
    looked = ", ".join(str(place) for place in places)
    raise ConfigError(f"no configuration found; looked for {looked}. `spoold init DIR` makes one")


def user_folder(variable: str, default: str) -> Path:
    """A user's own folder of spoold, as the XDG base directory specification says.

    Raises:
        RuntimeError: the user has no home.
    """
    given = os.environ.get(variable, "")
    # A relative one is to be ignored, by the specification.
    return (Path(given) if given.startswith("/") else Path.home() / default) / "spoold"
