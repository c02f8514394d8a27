"""What it was measured on."""

import os
import platform
import statistics
from pathlib import Path
from time import perf_counter

_TRIES = 64


def describe(folder: Path) -> dict[str, object]:
    """The machine, the file system of a folder, and what a sync costs there."""
    kind, device = file_system(folder)
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "folder": str(folder),
        "file_system": kind,
        "device": device,
        "fsync_ms": round(_fsync(folder) * 1000, 3),
    }


def line(about: dict[str, object]) -> str:
    """The same for people."""
    return (
        "{file_system} on {device}, fsync {fsync_ms} ms; {processors} processors, "
        "Linux {kernel}, Python {python}"
    ).format(**about)


def file_system(folder: Path) -> tuple[str, str]:
    """Its type and its device, from the table of mounts."""
    best = ("", "unknown", "unknown")
    where = str(folder.resolve())
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            device, mount, kind = line.split(" ")[:3]
            mount = mount.replace("\\040", " ")
            inside = f"{where}/".startswith(f"{mount.rstrip('/')}/")
            if inside and len(mount) >= len(best[0]):
                best = (mount, kind, device)
    return best[1], best[2]


def _fsync(folder: Path) -> float:
    """The median seconds for one new small file."""
    spent = []
    for number in range(_TRIES):
        path = folder / f".sync-{number}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, b"x" * 1500)
        begun = perf_counter()
        os.fsync(descriptor)
        spent.append(perf_counter() - begun)
        os.close(descriptor)
        path.unlink()
    return statistics.median(spent)
