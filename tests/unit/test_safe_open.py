"""Files below a folder, and nowhere else."""

import os

import pytest

from spoold.linux.safe_open import mark, opened


def read(folder, name):
    """The content of a file below a folder."""
    with opened(name, str(folder)) as (descriptor, _):
        return os.read(descriptor, 100)


@pytest.mark.parametrize("name", ["a/b/c", "./a//b/./c", "a/b/c/"])
def test_a_file_is_found_however_its_path_is_written(tmp_path, name):
    """Empty parts and dots change nothing."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_text("x")
    assert read(tmp_path, name) == b"x"


@pytest.mark.parametrize("name", ["link", "in/f", "deep/in/f", "missing", "f/g"])
def test_a_link_on_the_way_leads_nowhere(tmp_path, name):
    """Neither the last part nor one before it may be a link, and no descriptor is left open."""
    (tmp_path / "real").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "f").write_text("x")
    (tmp_path / "real/f").write_text("x")
    (tmp_path / "link").symlink_to("f")
    (tmp_path / "in").symlink_to("real")
    (tmp_path / "deep/in").symlink_to("../real")
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=r"Errno (2|20|40)"):
        read(tmp_path, name)
    assert mark(str(tmp_path), name) is None
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", ["..", "../f", "a/../../f", "/etc/hostname", "", "."])
def test_a_path_that_leads_out_is_refused(tmp_path, name):
    """A path is below its folder by its words alone."""
    with pytest.raises(ValueError, match="is not below"):
        read(tmp_path, name)


def test_a_mark_is_the_same_until_somebody_writes(tmp_path):
    """Reading changes nothing; writing, and another file in its place, do."""
    file = tmp_path / "f"
    file.write_text("x")
    os.utime(file, ns=(1, 1))
    first = mark(str(tmp_path), "f")
    file.read_text()
    assert mark(str(tmp_path), "f") == first
    file.write_text("x")
    second = mark(str(tmp_path), "f")
    assert second != first
    (tmp_path / "g").write_text("x")
    os.utime(tmp_path / "g", ns=(second["mtime_ns"], second["mtime_ns"]))
    (tmp_path / "g").rename(file)
    assert mark(str(tmp_path), "f") != second
