"""The configuration → settings of services that only the machine's owner can make: drop-ins.

One template unit serves executors of all kinds. What a kind needs beyond it, and which credentials
an executor is given, is in a drop-in of its own; `spoold.target` wants the executors there are.
"""

from dataclasses import dataclass
from pathlib import Path

from spoold import rights
from spoold.config.secrets import references
from spoold.disk import fs
from spoold.host.permissions import Finding
from spoold.host.root_only import NO_ACCESS, NO_WRITE
from spoold.routing import Routing

#: The configuration that the packaged units run with.
CONFIG = Path("/etc/spoold/spoold.toml")
_UNITS = Path("/etc/systemd/system")
#: What the package has for each kind: the rights that it needs beyond the template's.
KINDS = Path("/usr/share/spoold/kinds")
_CREDENTIALS = Path("/etc/spoold/credentials")
_NAME = "50-spoold.conf"
_HEAD = "# Written by `spoold check --permissions --fix`; a file 60-*.conf beside it is yours.\n"


@dataclass(frozen=True, slots=True)
class Unit:
    """A file in /etc/systemd/system: its text, or what it links to; None where none may be."""

    path: Path
    text: str | None = None
    link: str | None = None


def wanted(routing: Routing) -> list[Unit]:
    """The files that the configuration asks for, and those that are too many."""
    found = []
    executors = routing.executors
    for name, instance in executors.items():
        values = [value for _, value in instance.settings(routing.params_of(name))]
        text = _HEAD + _kind(instance.kind_name) + _credentials(values)
        found.append(Unit(_UNITS / f"spoold-execute@{name}.service.d" / _NAME, text))
        link = "/usr/lib/systemd/system/spoold-execute@.service"
        found.append(Unit(_wants(name), link=link))
    containers = [name for name, one in executors.items() if one.kind_name == "container"]
    health = _UNITS / "spoold-health.service.d" / _NAME
    if containers:
        # A user with the engine's socket has all of it, so one may look at all containers.
        user = f"{_HEAD}[Service]\nUser={rights.user_of(containers[0])}\n"
        found.append(Unit(health, user + _kind("container").replace("[Service]\n", "")))
    else:
        found.append(Unit(health))
    known = {unit.path for unit in found}
    ours = [
        *sorted(_UNITS.glob(f"spoold-execute@*.service.d/{_NAME}")),
        *sorted(_wants("x").parent.glob("spoold-execute@*.service")),
    ]
    return [*found, *(Unit(path) for path in ours if path not in known)]


def guarded() -> dict[str, int]:
    """What the packaged services believe in, or get their secrets from: see `guarded.py`."""
    routes = CONFIG.parent / "routes.d"
    believed = [CONFIG.parent, CONFIG, routes, *sorted(routes.glob("*.toml"))]
    secret = [_CREDENTIALS, *sorted(path for path in _CREDENTIALS.rglob("*"))]
    return {str(p): NO_WRITE for p in believed} | {str(p): NO_ACCESS for p in secret}


def compare(units: list[Unit]) -> list[Finding]:
    """Which files are not as they should be."""
    return [
        Finding(str(unit.path), _is(unit) or "missing", "there" if _should_be(unit) else "gone")
        for unit in units
        if _is(unit) != _should_be(unit)
    ]


def mend(units: list[Unit]) -> None:
    """Write, link and remove them; `systemctl daemon-reload` makes them count."""
    for unit in units:
        if _is(unit) == _should_be(unit):
            continue
        fs.remove(str(unit.path))
        if not _should_be(unit):
            fs.remove_if_empty(str(unit.path.parent))
        if unit.text is not None:
            fs.make_folder(str(unit.path.parent), 0o755)
            fs.create(str(unit.path), unit.text.encode(), 0o644)
        elif unit.link is not None:
            fs.make_folder(str(unit.path.parent), 0o755)
            fs.make_link(str(unit.path), unit.link)


def _is(unit: Unit) -> str:
    if unit.path.is_symlink():
        return str(unit.path.readlink())
    try:
        return unit.path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _should_be(unit: Unit) -> str:
    return unit.text or unit.link or ""


def _wants(executor: str) -> Path:
    return _UNITS / "spoold.target.wants" / f"spoold-execute@{executor}.service"


def _kind(kind: str) -> str:
    try:
        return (KINDS / f"{kind}.conf").read_text(encoding="utf-8")
    except FileNotFoundError:
        return "[Service]\n"


def _credentials(values: list[object]) -> str:
    """What the executor's settings and its routes refer to; no other service gets it."""
    names = {ref.credential for ref in references(values) if ref.credential}
    return "".join(f"LoadCredential={name}:{_CREDENTIALS}/{name}\n" for name in sorted(names))
