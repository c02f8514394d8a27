"""Where to measure: a file system that nobody has used before, if one can be made."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The largest it may grow; the file behind it takes no more than what is written.
_BYTES = 24 << 30


@contextmanager
def fresh(above: Path) -> Iterator[Path]:
    """An empty folder on a fresh ext4 with a journal, as a host has it; it is gone afterwards.

    What a file system has been through decides how fast it is. ext4 without a journal, for one,
    looks at every inode that was removed in the last minute before it takes another one, and each
    run would be slower than the one before it.

    Args:
        above: where the file that holds it lies; without root, or without mkfs.ext4, the folder
            itself is made there.
    """
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=above))
    mounted = _mounted(folder)
    try:
        yield folder / "mount" if mounted else folder
    finally:
        if mounted:
            subprocess.run(["umount", folder / "mount"], check=True)
        shutil.rmtree(folder, ignore_errors=True)


def _mounted(folder: Path) -> bool:
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        return False
    image, mount = folder / "image", folder / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(min(_BYTES, shutil.disk_usage(folder).free * 8 // 10))
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image],
                   check=True)  # fmt: skip
    made = subprocess.run(["mount", "-o", "loop", image, mount], check=False, capture_output=True)
    if made.returncode != 0:
        image.unlink()
    return made.returncode == 0
