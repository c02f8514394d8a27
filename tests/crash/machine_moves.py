"""What people do to a spool with nothing but `mv`, `cp` and an editor."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from spoold.states import FOLDERS, MOVES, REASON_SUFFIX, Role
from tests.crash.machine_data import EDITS, ODD
from tests.crash.machine_files import (
    FOLDER_AT,
    STATE_PATHS,
    identity,
    is_candidate,
    look,
    split,
)

Act = Callable[[], object]


class Moves:
    """Finds things to do in the spool at `root`; does none of them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def pick(self, which: int, folders: tuple[str, ...]) -> str | None:
        """One of the files in these folders; each folder that has any is as likely."""
        found = defaultdict(list)
        for path in sorted(look(self.root)):
            folder = path.rpartition("/")[0]
            if folder in folders and is_candidate(path) and not path.endswith(REASON_SUFFIX):
                found[folder].append(path)
        if not found:
            return None
        paths = list(found.values())[which % len(found)]
        return paths[which // len(found) % len(paths)]

    def decision(self, which: int, move: int) -> Act | None:
        """A move that the table gives to a person, and that overwrites nothing."""
        path = self.pick(which, STATE_PATHS)
        if path is None:
            return None
        folder, name = split(path)
        # Nothing ends here without its evidence, so nothing that is held is resolved.
        possible = [m.target for m in MOVES if (m.source, m.who) == (folder, Role.PERSON)
                    and not (folder.startswith("held") and m.why == "resolve")]  # fmt: skip
        if not possible:
            return None
        target = possible[move % len(possible)]
        key = path.split("/")[1] if FOLDERS[target].per else ""
        new = self.root / FOLDERS[target].path(key) / name
        return None if new.exists() else lambda: (self.root / path).rename(new)

    def misplacing(self, which: int, folder: int, name: int, *, copy: bool) -> Act | None:
        """Anything, moved or copied to anywhere, over whatever is there."""
        paths = [path for path, data in sorted(look(self.root).items()) if identity(path, data)]
        if not paths:
            return None
        path, targets = paths[which % len(paths)], [*FOLDER_AT, "archive", ""]
        names = [split(path)[1], split(path)[1], split(paths[name % len(paths)])[1],
                 ODD[name % len(ODD)]]  # fmt: skip
        new = self.root / targets[folder % len(targets)] / names[name % len(names)]
        return lambda: misplace(self.root / path, new, copy=copy)


def misplace(old: Path, new: Path, *, copy: bool) -> None:
    """`mv` or `cp`, which overwrite."""
    if not copy:
        old.rename(new)
    elif old.is_file() and not old.is_symlink() and not new.is_fifo():
        shutil.copyfile(old, new)


def edit(file: Path, how: str) -> None:
    """Write to a file in place."""
    if file.is_file() and not file.is_symlink():
        file.write_bytes(EDITS[how](file.read_bytes()))
