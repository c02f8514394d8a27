"""Reads that follow no link, wait for no pipe and stop at the limit."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoold.disk import reading


@given(st.binary(max_size=300), st.integers(0, 300))
@settings(max_examples=60)
def test_a_file_is_read_whole_or_not_at_all(tmp_path_factory, data, limit):
    """Up to the limit every byte is read; one byte more, and it is refused with its size."""
    path = tmp_path_factory.mktemp("f") / "x"
    path.write_bytes(data)
    if len(data) <= limit:
        read = reading.read_regular(str(path), limit)
        assert read.data == data
        assert read.status.st_size == len(data)
    else:
        with pytest.raises(reading.TooLarge) as error:
            reading.read_regular(str(path), limit)
        assert error.value.size == len(data)


def _make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.mkdir, "directory"),
        (lambda path: path.symlink_to("secret"), "symlink"),
        (lambda path: path.symlink_to("nowhere"), "symlink"),
        (os.mkfifo, "special-file"),
        (_make_socket, "special-file"),
        (Path.touch, "file"),
    ],
    ids=["folder", "link", "dangling link", "fifo", "socket", "file"],
)
def test_only_a_regular_file_is_opened(tmp_path, make, kind):
    """Folders, links, FIFOs and sockets are refused by their kind, without waiting."""
    path = tmp_path / "x"
    (tmp_path / "secret").write_text("s")
    make(path)
    assert reading.kind_of(reading.status(str(path))) == kind
    if kind == "file":
        assert reading.read_regular(str(path), 1).data == b""
        return
    with pytest.raises(reading.NotRegular) as error:
        reading.read_regular(str(path), 1 << 20)
    assert (error.value.kind, error.value.filename) == (kind, str(path))


def test_a_device_is_not_read():
    """What never ends is refused before it is opened."""
    with pytest.raises(reading.NotRegular, match="special-file"):
        reading.read_regular("/dev/zero", 1 << 20)


def test_a_missing_file_says_so(tmp_path):
    """What is gone is told apart from what may not be read."""
    with pytest.raises(FileNotFoundError):
        reading.read_regular(str(tmp_path / "x"), 1)


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_file_that_is_swapped_at_the_last_moment_is_not_followed(tmp_path, monkeypatch, kind):
    """Between the look and the opening the name may become a link or a FIFO: neither is read."""
    path = tmp_path / "x"
    path.write_text("mine")
    (tmp_path / "secret").write_text("secret")
    look = os.lstat

    def swap(name):
        status = look(name)
        path.unlink()
        path.symlink_to("secret") if kind == "link" else os.mkfifo(path)
        return status

    monkeypatch.setattr(os, "lstat", swap)
    with pytest.raises(OSError, match=r"symbolic links|special-file"):
        reading.read_regular(str(path), 100)


@pytest.mark.parametrize("more", [1, 2, 100_000])
def test_a_file_that_grows_while_it_is_read_stays_within_the_limit(tmp_path, monkeypatch, more):
    """What is appended after the size was asked for counts too, from the first byte on."""
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10)
    ask = os.fstat

    def grow(descriptor):
        status = ask(descriptor)
        with path.open("ab") as out:
            out.write(b"y" * more)
        return status

    monkeypatch.setattr(os, "fstat", grow)
    with pytest.raises(reading.TooLarge):
        reading.read_regular(str(path), 10)


def test_reading_leaves_no_descriptor_open(tmp_path):
    """Whether it is read or refused, nothing stays open."""
    path = tmp_path / "x"
    path.write_bytes(b"x" * 10)
    before = len(os.listdir("/proc/self/fd"))
    for limit in (5, 10):
        for _ in range(20):
            with suppress(reading.TooLarge):
                reading.read_regular(str(path), limit)
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_that_are_not_utf8_are_listed(tmp_path):
    """Every entry is found, and its name leads back to the very file."""
    names = [b"a", b"\xff\xfe", "é".encode(), b"x\ny"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    found = list(reading.entries(str(tmp_path)))
    assert sorted(os.fsencode(entry.name) for entry in found) == sorted(names)
    assert all(os.path.exists(entry.path) for entry in found)


def test_a_time_of_the_file_system_is_in_utc(tmp_path):
    """The same moment, whatever the time zone of the machine is."""
    path = tmp_path / "x"
    path.touch()
    found = reading.utc(path.stat().st_mtime)
    assert found.utcoffset().total_seconds() == 0
    assert found.timestamp() == pytest.approx(path.stat().st_mtime)
