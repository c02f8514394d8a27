"""Mounts for a test: loop devices, tmpfs, bind mounts; all of them gone at the end of it."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.crash import MEMORY

#: The least that mkfs takes.
_SIZE = {"ext4": "64M", "xfs": "320M", "btrfs": "128M"}


def run(*words: object) -> str:
    """Run a command that must succeed; what it says."""
    done = subprocess.run(
        [str(word) for word in words], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


class Mounts:
    """Mounts things below a folder.

    Args:
        folder: for images and mount points.
        undo: unmounts, the last one first, whatever happens.
        require: skips the test, or fails it, where a tool is missing.
    """

    def __init__(self, folder: Path, undo: ExitStack, require: Callable[[bool, str], None]) -> None:
        self.folder, self.require = folder, require
        self._undo = undo

    def __call__(self, point: Path, *words: object) -> Path:
        """`mount WORDS POINT`."""
        point.mkdir(parents=True, exist_ok=True)
        run("mount", *words, point)
        self._undo.callback(self.off, point)
        return point

    def off(self, point: Path) -> None:
        """`umount POINT`, even while a process still has it open; gone already is fine."""
        if f" {point} " in Path("/proc/mounts").read_text():
            run("umount", "--lazy", point)

    def file_system(self, kind: str, point: Path | None = None, size: str = "") -> Path:
        """A new file system of that kind; all of its room is for everybody."""
        point = point or self.folder / kind
        if kind == "tmpfs":
            return self(point, "-t", "tmpfs", "-o", f"size={size or '32M'}", "tmpfs")
        make = shutil.which(f"mkfs.{kind}")
        self.require(make is not None, f"mkfs.{kind}")
        # In memory where that can be had: what is tried is the file system, not the disk.
        with NamedTemporaryFile(dir=MEMORY or self.folder) as image:
            run("truncate", "-s", size or _SIZE[kind], image.name)
            run(make, "-q", *(("-m", "0") if kind == "ext4" else ()), image.name)
            # A loop device that mount made is detached with the mount.
            return self(point, "-o", "loop", "-t", kind, image.name)

    def bindfs(self, below: Path) -> Path:
        """The folder below once more, by a file system in user space that knows no renameat2."""
        tool = shutil.which("bindfs")
        self.require(tool is not None and Path("/dev/fuse").exists(), "bindfs")
        point = self.folder / "fuse"
        point.mkdir()
        run(tool, below, point)
        self._undo.callback(self.off, point)
        return point
