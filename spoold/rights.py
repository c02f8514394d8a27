"""The table of states → which user and group may do what in which folder of a spool.

Everything here follows from `states.py`. A role may write to the folders that it moves files into
or out of, and may look into those that the table lets it read. It has no other right. Folders
guard, not files: a user who may enter a folder may read the files in it. Producers may drop files
into an inbox, but not list it.
"""

from dataclasses import dataclass, field, replace

from spoold.states import FOLDERS, MOVES, Folder, Per, Role

READ, WRITE, ENTER = 4, 2, 1

#: Begins the names of executors' users.
_EXECUTOR = "spoold-x-"
#: A user's name has at most 31 characters; see useradd(8).
_LONGEST = 31

USERS = {
    Role.INTAKE: "spoold-intake",
    Role.GATE: "spoold-gate",
    Role.SWEEP: "spoold-sweep",
    Role.REPORT: "spoold-report",
}
GROUPS = {
    Role.SUBMITTER: "spoold-submit",
    Role.PERSON: "spoold-approve",
    Role.EXECUTE: "spoold-execute",
    Role.HEALTH: "spoold-health",
}
#: They look for a request in every state: for copies, after a crash, to show it and to report it.
_LOOK_AT_REQUESTS = frozenset({Role.INTAKE, Role.GATE, Role.REPORT, Role.PERSON})
#: The primary group of all of spoold's own users; it has no right anywhere.
EVERYBODY = "spoold"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what in one folder, or with one file.

    Attributes:
        path: from the spool root.
        owner: a user's name.
        group: a group's name.
        mode: all permission bits; those of the group are the most that any of `users` and `groups`
            has, as chmod(1) shows it where there are access control lists.
        group_may: what the group itself may do.
        users: what other users may do (bits of `READ`, `WRITE`, `ENTER`).
        groups: what other groups may do.
    """

    path: str
    owner: str
    group: str
    mode: int
    group_may: int
    users: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)


def user_of(executor: str) -> str:
    """The user that an executor runs as.

    Raises:
        ValueError: the executor's name is too long for that.
    """
    name = f"{_EXECUTOR}{executor}"
    if len(name) > _LONGEST:
        most = _LONGEST - len(_EXECUTOR)
        raise ValueError(
            f"executor {executor}: with users of their own, names have at most {most} characters"
        )
    return name


def uses(who: Role, folder: str) -> bool:
    """Whether `who` moves files into or out of a folder, or writes there."""
    found = FOLDERS[folder]
    moves = any(move.who == who and folder in (move.source, move.target) for move in MOVES)
    return moves or who == found.owner or who in found.writers


def may(role: Role, folder: Folder) -> int:
    """What a role may do in a folder, as bits."""
    drops = folder.name == "inbox" and role == Role.SUBMITTER
    if drops or uses(role, folder.name):
        everything = role == folder.owner or folder.name != "inbox"
        return READ | WRITE | ENTER if everything else WRITE | ENTER
    if role in _readers(folder):
        return READ | ENTER
    return ENTER if any(may(role, inner) for inner in _inside(folder)) else 0


def _readers(folder: Folder) -> frozenset[Role]:
    """The roles that may look into a folder, besides those that move files into or out of it."""
    return folder.readers | (_LOOK_AT_REQUESTS if folder.holds_requests else frozenset())


def _inside(folder: Folder) -> list[Folder]:
    """Folders of executors that lie in this one, beside its files."""
    above = f"{folder.path()}/" if not folder.per else "//"
    return [one for one in FOLDERS.values() if one.per and one.under.startswith(above)]


def of_folder(folder: Folder, key: str = "") -> Access:
    """Who may do what in a folder; `key` names the source or the executor."""
    group = Role.SUBMITTER if folder.name == "inbox" else Role.PERSON
    owner = _principal(folder.owner, folder, key)
    # A group cannot own a folder: then root does, and the group has its right like any other.
    found = Access(folder.path(key), owner[1] if owner[0] == "user" else "root", GROUPS[group],
                   folder.mode, may(group, folder))  # fmt: skip
    for role in Role:
        kind, name = _principal(role, folder, key)
        rights = may(role, folder)
        if rights and role != group and name not in (found.owner, found.group):
            (found.users if kind == "user" else found.groups)[name] = rights
    return found


def of_spool(sources: list[str], executors: list[str]) -> list[Access]:
    """Every folder of a spool and who may do what there, each after the one it lies in."""
    keys = {Per.NOTHING: [""], Per.SOURCE: sources, Per.EXECUTOR: executors}
    folders = [of_folder(folder, key) for folder in FOLDERS.values() for key in keys[folder.per]]
    # What lies beside the folders of executors in held/ makes it a folder of the table itself.
    above = {f.path("x").rpartition("/x")[0] for f in _KEYED} - {one.path for one in folders}
    parents = [_above(name) for name in sorted(above)]
    root = Access("", "root", GROUPS[Role.PERSON], 0o1775, READ | WRITE | ENTER)
    return [root, *sorted([*parents, *folders], key=lambda one: one.path)]


_KEYED = [folder for folder in FOLDERS.values() if folder.per]
#: The folders that only hold those in which executors leave what has ended.
OF_RESULTS = ("done", "failed", "unknown", "logs")


def _above(path: str) -> Access:
    """A folder that only holds folders: a role that may enter one of those may list them."""
    below = [folder for folder in _KEYED if folder.path("x").startswith(f"{path}/x")]
    found = Access(path, "root", GROUPS[Role.PERSON], 0o2750, READ | ENTER)
    if path == "archive":
        # Intake's index lies there.
        found = replace(found, owner=USERS[Role.INTAKE])
    for role in Role:
        if role != Role.PERSON and any(may(role, folder) for folder in below):
            named = found.users if role in USERS else found.groups
            name = USERS.get(role) or GROUPS[role]
            if name != found.owner:
                named[name] = READ | ENTER
    return found


def of_former(above: Access, path: str) -> Access:
    """Who may do what in a folder of an executor that the configuration has no more: only look."""
    groups = {name: may for name, may in above.groups.items() if name != GROUPS[Role.EXECUTE]}
    return replace(above, path=path, groups=groups)


def of_seal_key(path: str) -> Access:
    """Who may read the key of the seals."""
    intake, gate = USERS[Role.INTAKE], USERS[Role.GATE]
    return Access(path, intake, "root", 0o440, 0, {gate: READ})


def _principal(role: Role, folder: Folder, key: str) -> tuple[str, str]:
    """`user` or `group`, and the name of those who have the role in a folder."""
    if role == Role.EXECUTE and folder.per == Per.EXECUTOR:
        return "user", user_of(key)
    if role in USERS:
        return "user", USERS[role]
    return "group", GROUPS[role]


def groups_of(executors: dict[str, str]) -> dict[str, set[str]]:
    """Each user of a service, and the groups it is in; executors as name → kind."""
    found = {name: {EVERYBODY} for name in USERS.values()}
    for executor, kind in executors.items():
        more = {GROUPS[Role.EXECUTE]} | ({GROUPS[Role.HEALTH]} if kind == "container" else set())
        found[user_of(executor)] = {EVERYBODY} | more
    return found


def accounts(executors: dict[str, str]) -> list[str]:
    """Lines for sysusers.d(5): the users and groups, and those of executors (name → kind)."""
    lines = [f"g {name} -" for name in (EVERYBODY, *GROUPS.values())]
    for role, name in USERS.items():
        lines.append(f'u {name} -:{EVERYBODY} "spoold {role.value}"')
    groups = groups_of(executors)
    for executor in executors:
        name = user_of(executor)
        home = f"/var/lib/spoold/{executor}"
        lines.append(f'u {name} -:{EVERYBODY} "spoold execute {executor}" {home}')
        lines += [f"m {name} {group}" for group in sorted(groups[name] - {EVERYBODY})]
    return lines


def tmpfiles(root: str) -> list[str]:
    """Lines for tmpfiles.d(5): the folders that every spool has; keyed ones come with `--fix`."""
    lines = []
    for one in of_spool([], []):
        path = f"{root}/{one.path}".rstrip("/")
        lines.append(f"d {path} {one.mode:04o} {one.owner} {one.group} -")
        if one.users or one.groups:
            entries = [f"u::{letters(one.mode >> 6)}", f"g::{letters(one.group_may)}"]
            entries += [f"u:{name}:{letters(bits)}" for name, bits in one.users.items()]
            entries += [f"g:{name}:{letters(bits)}" for name, bits in one.groups.items()]
            entries += [f"m::{letters(one.mode >> 3)}", f"o::{letters(one.mode)}"]
            lines.append(f"a {path} - - - - {','.join(entries)}")
    return lines


def letters(bits: int) -> str:
    """`rwx` and the like."""
    return "".join(c if bits & bit else "-" for c, bit in (("r", READ), ("w", WRITE), ("x", ENTER)))
