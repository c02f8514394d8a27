"""What is kept of a stream, and what is only counted."""

import os
import stat
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spoold.disk.capped_file import Capture
from spoold.text import printable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "1.out"


@given(st.lists(st.binary(max_size=50)), st.integers(0, 100))
def test_the_file_holds_all_or_both_ends_and_the_rest_is_counted(tmp_path_factory, chunks, cap):
    """However the bytes arrive: what fits is kept whole; of more, both ends and the number."""
    path = tmp_path_factory.mktemp("logs") / "1.out"
    capture, whole = Capture(path, cap), b"".join(chunks)
    for chunk in chunks:
        capture.write(chunk)
    capture.close()
    assert path.exists() == bool(whole and cap), "what kept nothing leaves no file"
    kept = path.read_bytes() if path.exists() else b""
    if len(whole) <= cap:
        assert kept == whole
    elif cap:
        gap = f"\n… {len(whole) - cap} bytes are left out here …\n".encode()
        assert kept == whole[: cap // 2] + gap + whole[-(cap - cap // 2) :]
    assert capture.total == len(whole)
    assert capture.truncated == (len(whole) > cap)
    assert capture.tail(16_000).endswith(printable(whole[-1000:]))


def test_the_end_of_a_long_stream_can_be_read_while_it_goes_on(path, monkeypatch):
    """A stream over its cap shows its newest bytes in the file, a second later at most."""
    capture = Capture(path, 100)
    capture.write(b"a" * 90)
    capture.write(b"b" * 90)
    assert path.read_bytes().endswith(b"b" * 50)
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2)
    capture.write(b"c" * 10)
    assert path.read_bytes().startswith(b"a" * 50)
    assert path.read_bytes().endswith(b"b" * 40 + b"c" * 10)
    capture.close()


def test_memory_does_not_grow_with_the_stream(path):
    """A gigabyte costs no more than what is kept of it."""
    capture, chunk = Capture(path, 1 << 20), bytes(1 << 16)
    tracemalloc.start()
    for _ in range(2000):
        capture.write(chunk)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    capture.close()
    assert most < 4 << 20
    assert path.stat().st_size < (1 << 20) + 100


def test_the_file_is_not_for_everybody(path):
    """Output may hold what only the operators' group should read."""
    path.parent.chmod(0o755)
    before = os.umask(0)
    try:
        (capture := Capture(path, 10)).write(b"x")
    finally:
        os.umask(before)
    capture.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("occupy", ["file", "symlink", "dangling"])
def test_a_name_that_is_taken_is_an_error(path, tmp_path, occupy):
    """Neither another attempt's output nor what a link points to is ever written over."""
    target = tmp_path / "target"
    if occupy != "dangling":
        target.write_text("before")
    if occupy == "file":
        target.rename(path)
        target = path
    else:
        path.symlink_to(target)
    with pytest.raises(FileExistsError):
        Capture(path, 10).write(b"after")
    assert not target.exists() if occupy == "dangling" else target.read_text() == "before"


def test_a_full_disk_costs_output_but_not_the_attempt(monkeypatch, path):
    """When writing fails, the bytes are still counted and remembered, and it is known why."""
    capture = Capture(path, 100)
    capture.write(b"first ")
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        capture.write(b"second ")
    capture.write(b"third")
    capture.close()
    assert (capture.total, capture.tail()) == (18, "first second third")
    assert path.read_bytes() == b"first "  # and no hole where the second should be
    assert capture.truncated
    assert capture.error is not None
    assert capture.error.errno == 28


def test_after_the_end_bytes_are_only_counted(path):
    """A late write neither fails nor opens the file again."""
    capture = Capture(path, 100)
    capture.write(b"a")
    capture.close()
    capture.write(b"b")
    capture.close()
    assert (path.read_bytes(), capture.total, capture.tail()) == (b"a", 2, "ab")


@pytest.mark.parametrize(
    ("data", "limit", "tail"),
    [
        (b"0123456789", 4, "6789"),
        (b"abc", 0, ""),
        ("ä€😀".encode() * 5000, 3, "ä€😀"),
        ("😀".encode() * 5000, 4000, "😀" * 4000),
        (b"a\xffb", 9, "a\ufffdb"),
        (b"a\x1b[0m\x00\r\n\tb\x7f", 99, "a\\x1b[0m\\x00\\r\n\tb\\x7f"),
        ("\u202eevil\u2028\x85".encode(), 99, "\\u202eevil\\u2028\\x85"),
    ],
)
def test_a_tail_is_the_end_as_text_that_is_safe_to_show(path, data, limit, tail):
    """The last characters are whole, and none of them steers a terminal."""
    capture = Capture(path, 0)
    capture.write(data)
    assert capture.tail(limit) == tail
    assert not path.exists()
