"""A part of an id → the one request that is meant."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from spoold.errors import Ambiguous, UsageError
from spoold.spool.reader import Place, SpoolReader
from spoold.states import STATES
from spoold.text import shown

_MANY = 8
_LOOKS = 3


class Found(NamedTuple):
    """A file and where it lies."""

    place: Place
    name: str

    @property
    def id(self) -> str:
        """The name without its ending."""
        return self.name.removesuffix(".json")

    @property
    def shown(self) -> str:
        """The same, fit for a terminal and for JSON."""
        return shown(self.id)

    def __str__(self) -> str:
        """The path from the spool root."""
        return f"{self.place}/{shown(self.name)}"


def find(
    spool: SpoolReader,
    part: str,
    folders: Iterable[str] = STATES,
    wants: Callable[[str], bool] | None = None,
) -> Found:
    """The file that `part` names: a whole id, any part of it, a file name or a path.

    Args:
        spool: where to look.
        part: what the person typed.
        folders: in which folders of it.
        wants: prefers folders for which this is true, such as those where a verb applies.

    Raises:
        UsageError: nothing matches, or more than one file; then the message lists them.
    """
    matches: list[Found] = []
    for _ in range(_LOOKS):
        # Files move on while the folders are read: one can be seen twice, or not at all.
        seen = _matches(spool, part, folders, wants)
        matches = [found for found in seen if spool.exists(found.place, found.name)]
        if len(matches) == 1:
            return matches[0]
    if not matches:
        raise UsageError(f"no request matches {shown(part)!r}; `spoold ls` lists what there is")
    listed = "\n".join(f"  {found}" for found in sorted(matches)[:_MANY])
    more = f"\n  … and {len(matches) - _MANY} more" if len(matches) > _MANY else ""
    raise Ambiguous(f"{shown(part)!r} matches {len(matches)} files:\n{listed}{more}")


def _matches(
    spool: SpoolReader, part: str, folders: Iterable[str], wants: Callable[[str], bool] | None
) -> list[Found]:
    folder, _, name = part.rpartition("/")
    wanted = name.removesuffix(".json")
    matches = [
        found
        for place in spool.places(*folders)
        for found in _in(spool, place)
        if wanted and wanted in found.id and f"/{folder}".endswith(f"/{place}" if folder else "")
    ]
    matches = [found for found in matches if found.id == wanted] or matches
    if wants:
        matches = [found for found in matches if wants(found.place.folder)] or matches
    return matches


def _in(spool: SpoolReader, place: Place) -> list[Found]:
    try:
        return [Found(place, name) for name in spool.scan(place)]
    except FileNotFoundError:
        return []
