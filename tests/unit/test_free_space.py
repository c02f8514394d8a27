"""Free space: a floor that fits the file system, and errors that a stage waits out."""

import errno
import os
from types import SimpleNamespace

import pytest

from spoold.config.quantities import parse_size
from spoold.disk.free_space import Floor, ran_out
from spoold.errors import NoRoom, StorageError

MIB = 1 << 20


def system(monkeypatch, free, size, files, all_files):
    """A file system with so many bytes and files free."""
    found = SimpleNamespace(
        f_bavail=free // 4096, f_frsize=4096, f_blocks=size // 4096, f_favail=files,
        f_files=all_files,
    )  # fmt: skip
    monkeypatch.setattr(os, "statvfs", lambda path: found)


@pytest.mark.parametrize(
    ("floor", "free", "size", "files", "enough"),
    [
        (None, 65, 10_000, (1000, 10_000), True), (None, 63, 10_000, (1000, 10_000), False),
        (None, 3, 20, (1000, 10_000), True), (None, 1, 20, (1000, 10_000), False),
        (10 * MIB, 11, 20, (1000, 10_000), True), (10 * MIB, 9, 10_000, (1000, 10_000), False),
        (0, 0, 20, (1000, 10_000), True),
        (None, 900, 10_000, (999, 1_000_000), False), (None, 900, 10_000, (1000, 1_000_000), True),
        (None, 900, 10_000, (9, 100), False), (None, 900, 10_000, (10, 100), True),
        (None, 900, 10_000, (0, 0), True),
    ],
)  # fmt: skip
def test_the_floor_fits_the_file_system(monkeypatch, floor, free, size, files, enough):
    """64 MiB or a tenth of a small file system stay free, or what was configured; inodes too."""
    system(monkeypatch, free * MIB, size * MIB, *files)
    if enough:
        Floor("/spool", floor).check()
    else:
        with pytest.raises(NoRoom, match="/spool.*inodes" if free == 900 else "/spool.*MiB free"):
            Floor("/spool", floor).check()


def test_only_what_may_come_back_is_waited_for():
    """A full disk or too many open files pass; a failed sync or a broken disk stops the stage."""
    passing = [OSError(code, "x") for code in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE)]
    assert all(map(ran_out, [*passing, NoRoom("x")]))
    lasting = [OSError(errno.EIO, "x"), OSError(errno.EROFS, "x"), StorageError("x")]
    assert not any(map(ran_out, lasting))


@pytest.mark.parametrize(
    ("text", "size"), [(0, 0), (4096, 4096), ("512KiB", 512 << 10), ("64MiB", 64 * MIB)]
)
def test_a_size_is_read(text, size):
    """A size is a number of bytes or has a unit."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", [-1, True, "64", "64MB", "64 MiB", "1.5GiB", None, ""])
def test_anything_else_is_no_size(text):
    """A size in a unit that could mean two things is refused, with one that works."""
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(text)
