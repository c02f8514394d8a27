"""Who may drop into an inbox → whether a user is one of them.

The kernel says who owns a file, and nobody but root can give one away. What spoold itself drops
(reports, wishes for a restart) is taken from the users of those stages alone: whoever could forge
it would speak for spoold.
"""

import grp
import os
import pwd
from dataclasses import dataclass

from spoold.config.settings import Settings
from spoold.rights import GROUPS, USERS
from spoold.states import Role

#: Where one user runs all: that user.
_OURSELVES = ""


@dataclass(frozen=True, slots=True)
class Producers:
    """Users, and groups with an `@` before the name; nobody in it means everybody."""

    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For a message."""
        return ", ".join(name or "the user that spoold runs as" for name in self.names)

    def include(self, uid: int) -> bool:
        """Whether this user may drop here; one that is in no list of this machine may not."""
        return not self.names or any(_is(uid, name) for name in self.names)


def producers_of(settings: Settings, source: str) -> Producers:
    """Whose drops an inbox takes: what is configured, or for spoold's own what must be."""
    table = settings.sources[source]
    own = _OURSELVES
    if table.format == "report":
        own = USERS[Role.REPORT]
    elif source == settings.health.inbox:
        own = f"@{GROUPS[Role.HEALTH]}"
    else:
        return Producers(tuple(table.producers))
    return Producers((own if settings.separate_users else _OURSELVES,))


def _is(uid: int, name: str) -> bool:
    if name == _OURSELVES:
        return uid == os.geteuid()
    try:
        if name.startswith("@"):
            user = pwd.getpwuid(uid)
            return grp.getgrnam(name[1:]).gr_gid in os.getgrouplist(user.pw_name, user.pw_gid)
        return pwd.getpwnam(name).pw_uid == uid
    except KeyError:
        return False
