"""Whether a request that a stage has claimed is the only one of its name, and has not run yet.

A request is one file in one folder. A person who restores a backup can make two of it, and so can a
file system that loses half of a rename in a power cut. Only one of them may run.
"""

from spoold.errors import BadInput
from spoold.request import Request
from spoold.spool.reader import Place, SpoolReader
from spoold.states import REASON_SUFFIX, Role, Standing, standing_in

#: A request that a stage has claimed is a copy if one of its name is in one of these folders, too.
#: The gate looks everywhere but where files are held and where it takes them from: a copy there
#: comes to it in turn. An executor may look only where its own requests end.
COPY_IF_ALSO = {
    Role.GATE: standing_in(Standing.WAITS, Standing.PRE_APPROVED, Standing.REFUSED,
                           Standing.IN_WORK, Standing.IN_DOUBT, Standing.ENDED),
    Role.EXECUTE: standing_in(Standing.IN_DOUBT, Standing.ENDED),
}  # fmt: skip
_REFUSED = standing_in(Standing.REFUSED)
#: What a request does not say of itself when it comes to a stage.
_NOT_WITH = {
    Role.GATE: ("running", "done"),
    Role.EXECUTE: ("awaiting-approval", "pre-approved", "running", "held", "unknown", "done",
                   "failed"),
}  # fmt: skip


def must_be_unfinished(role: Role, found: Request) -> None:
    """Refuse a request that a stage has claimed, and that says of itself that it was passed on.

    Raises:
        BadInput: `replayed`.
    """
    if found.status in _NOT_WITH[role]:
        raise BadInput("replayed", f"By its status it is {found.status}.")


def must_be_alone(spool: SpoolReader, role: Role, found: Request, came_from: str = "") -> None:
    """Refuse a request that a stage has claimed, if another one of its name counts.

    Args:
        spool: where to look.
        role: of the stage; `COPY_IF_ALSO` says where it looks.
        found: the request; what lies in the folders of another executor says nothing about it.
        came_from: the folder that it was claimed from.

    Raises:
        BadInput: `replayed`.
    """
    folders = [folder for folder in COPY_IF_ALSO[role] if folder != came_from]
    name = found.name
    if elsewhere := spool.find(name, folders, found.executor):
        raise BadInput.copy_of(str(elsewhere))
    if role is not Role.GATE:
        return
    for refused in map(Place, _REFUSED):
        if spool.exists(refused, name + REASON_SUFFIX):
            raise BadInput("replayed", f"It was in {refused}, and the reason still is.")
    # What a stage has held says where it came from, and may be released and come again.
    held = spool.find(name, standing_in(Standing.PARKED), found.executor)
    if held and "came_from" not in (spool.reason(held, name) or {}):
        raise BadInput("replayed", "A person has put it on hold.")
