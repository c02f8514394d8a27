"""What must hold of a spool after any crash and a restart, whatever was dropped and decided."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spoold import request
from spoold.errors import BadInput
from spoold.states import FOLDERS, REASON_SUFFIX, STATES

_DRAFT = re.compile(r"(intake|gate|sweep|person|execute(-[a-z0-9-]+)?)\.\d+\.[0-9a-f]{12}")


def violations(
    root: Path,
    dropped: Iterable[bytes],
    calls: Mapping[str, Iterable[bytes]] | None = None,
    *,
    drained: bool = True,
) -> list[str]:
    """Every law that the spool at `root` breaks, a sentence each; empty if it keeps them all.

    Args:
        root: the spool.
        dropped: the bytes of every file that was dropped, repeats included.
        calls: idempotency key → the bodies that the far side saw with it.
        drained: whether every stage has run to its end since, so that no drop may still wait.
    """
    found = [*_originals(root, dropped, drained=drained), *_requests(root), *_whole(root)]
    found += [
        f"the far side saw {key} with {len(set(bodies))} different bodies"
        for key, bodies in (calls or {}).items()
        if len(set(bodies)) > 1
    ]
    return found


def picture(root: Path) -> dict[str, str]:
    """Path → what is there, for comparing two moments; the index is only a cache of the files."""
    seen = {}
    for path in sorted(root.rglob("*")):
        if path.name.startswith(".index.sqlite3"):
            continue
        name = str(path.relative_to(root))
        is_file = path.is_file() and not path.is_symlink()
        seen[name] = hashlib.sha256(path.read_bytes()).hexdigest() if is_file else "-"
    return seen


def requests(root: Path) -> Iterator[tuple[str, Path]]:
    """Every request there is, with its state."""
    for state in STATES:
        folder = FOLDERS[state]
        top = folder.path("*" if folder.per else "")
        for path in sorted(root.glob(f"{top}/*.json")):
            if not path.name.endswith(REASON_SUFFIX):
                yield state, path


def _drops(root: Path) -> Iterator[tuple[str, Path]]:
    for place in ("inbox", "archive", "quarantine"):
        for path in sorted((root / place).rglob("*")):
            ours = path.name.endswith(REASON_SUFFIX) or path.name.startswith(".index")
            if path.is_file() and not path.is_symlink() and not ours:
                yield place, path


def _originals(root: Path, dropped: Iterable[bytes], *, drained: bool) -> Iterator[str]:
    wanted = Counter(hashlib.sha256(data).hexdigest() for data in dropped)
    found: Counter[str] = Counter()
    for place, path in _drops(root):
        found[hashlib.sha256(path.read_bytes()).hexdigest()] += 1
        claimed = path.parent.name == ".taking"
        if drained and (place == "inbox" or claimed):
            yield f"{path.relative_to(root)} was not answered for"
        if place == "quarantine" and not _beside(path).exists():
            yield f"{path.relative_to(root)} has no reason beside it"
    for digest in wanted.keys() | found.keys():
        if wanted[digest] != found[digest]:
            yield f"{wanted[digest]} drops with digest {digest[:12]} are {found[digest]} files now"


def _requests(root: Path) -> Iterator[str]:
    key = (root / ".seal.key").read_bytes() if (root / ".seal.key").exists() else b""
    where: dict[str, list[str]] = defaultdict(list)
    events: dict[tuple[str, str], list[str]] = defaultdict(list)
    answered: set[str] = set()
    for state, path in requests(root):
        name = str(path.relative_to(root))
        try:
            found = request.parse(path.read_bytes())
        except BadInput as problem:
            if state != "held":
                yield f"{name} is no request: {problem}"
            continue
        where[found.dispatch_id].append(name)
        events[found.source.inbox, found.event_key].append(found.dispatch_id)
        answered.add(found.source.archived)
        if not (found.seal_holds(key) and found.approvals_hold(key) and found.history_holds):
            yield f"{name} is not as it was sealed"
        if found.name != path.name and state != "held":
            yield f"{name} is {found.dispatch_id}"
        if not (root / found.source.archived).exists() and not _is_claimed(root, found):
            yield f"the original of {name} is not at {found.source.archived}"
    yield from (f"{one} is in {places}" for one, places in where.items() if len(places) > 1)
    yield from (f"one event made {ids}" for ids in events.values() if len(set(ids)) > 1)
    yield from _answers(root, answered, where.keys())


def _is_claimed(root: Path, found: request.Request) -> bool:
    return (root / "archive" / found.source.inbox / ".taking" / found.source.file).exists()


def _answers(root: Path, answered: set[str], known: Iterable[str]) -> Iterator[str]:
    for place, path in _drops(root):
        name = str(path.relative_to(root))
        if place != "archive" or path.parent.name == ".taking" or name in answered:
            continue
        reason = _json(_beside(path)) or {}
        if reason.get("dispatch_id") not in set(known):
            yield f"{name} made no request, and no reason beside it names one"


def _whole(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*.json")):
        name = str(path.relative_to(root))
        top = name.split("/", 1)[0]
        ours = path.name.endswith(REASON_SUFFIX) or top in STATES
        if ours and top != "held" and path.is_file() and _json(path) is None:
            yield f"{name} is half-written"
    for path in sorted((root / "tmp").iterdir()):
        if not _DRAFT.fullmatch(path.name):
            yield f"tmp/{path.name} is nobody's draft"


def _beside(path: Path) -> Path:
    return path.with_name(path.name + REASON_SUFFIX)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
