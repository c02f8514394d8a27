"""A disk whose power can be cut: an image on btrfs, copied in no time while it is written to.

The spool's file system lies on a loop device over a file on btrfs. `cp --reflink` of that file is
one moment of the disk: all that the file system has sent to it and that was confirmed, and nothing
of what is still in memory. (A disk that loses what it has confirmed but not flushed is worse; the
file systems' own flushes guard against that.)
"""

import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from tests.crash.mounting import run
from tests.e2e.conftest import until

#: File system → how to make it, and how to mount it so that it writes nothing before it must.
KINDS = {
    "ext4": (("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
             "commit=300"),
    "xfs": (("mkfs.xfs", "-q"), "nouuid"),
    "btrfs": (("mkfs.btrfs", "-q"), "commit=300"),
}  # fmt: skip
_IMAGE = 320 << 20
_OUTER = 4 << 30


def missing(kind: str) -> str:
    """The first program, right or device that is not here; empty if all is."""
    if os.geteuid():
        return "root"
    for program in ("losetup", "mount", "mkfs.btrfs", KINDS[kind][0][0]):
        if shutil.which(program) is None:
            return program
    free = subprocess.run(["losetup", "-f"], check=False, capture_output=True)
    return "loop device" if free.returncode else ""


class Cuttable:
    """A file system of some kind, mounted at `mount`, on a disk that can be copied.

    Args:
        kind: one of `KINDS`.
        folder: an empty folder; everything lies in it.
        undo: unmounts and detaches.
    """

    def __init__(self, kind: str, folder: Path, undo: ExitStack) -> None:
        self._options = KINDS[kind][1]
        self._undo = undo
        self._folder = folder
        self._outer = folder / "outer"
        # A container that starts meanwhile has a copy of every mount: shared, they go with ours.
        run("mount", "--bind", "--make-shared", folder, folder)
        undo.callback(_unmount, folder)
        _sparse(folder / "outer.img", _OUTER)
        run("mkfs.btrfs", "-q", folder / "outer.img")
        # Without checksums, for with them direct writes are not direct; still copied by reference.
        self._attach(folder / "outer.img", self._outer, "nodatasum", undo)
        self._image = self._outer / "image"
        _sparse(self._image, _IMAGE)
        run(*KINDS[kind][0], self._image)
        self.mount = folder / "disk"
        self._live = undo.enter_context(ExitStack())
        self._attach(self._image, self.mount, self._options, self._live)

    def _attach(self, image: Path, mount: Path, options: str, undo: ExitStack) -> None:
        mount.mkdir(exist_ok=True)
        device = run("losetup", "--direct-io=on", "--show", "-f", image).strip()
        undo.callback(run, "losetup", "-d", device)
        run("mount", "-o", options, device, mount)
        undo.callback(_unmount, mount)

    def cut(self, number: int) -> Path:
        """What is on the disk at this moment."""
        copy = self._outer / f"cut-{number}"
        run("cp", "--reflink=always", self._image, copy)
        return copy

    def close(self) -> None:
        """Unmount the live file system; its copies have the same identity."""
        self._live.close()

    def open_cut(self, copy: Path, undo: ExitStack) -> Path:
        """Mount a copy, as after the power came back."""
        mount = self._folder / copy.name
        self._attach(copy, mount, self._options, undo)
        return mount


def _unmount(mount: Path) -> None:
    """Unmount, once every process has let go."""
    words = ["umount", str(mount)]
    until(lambda: not subprocess.run(words, check=False).returncode, f"unmounted {mount}", 60)


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)
