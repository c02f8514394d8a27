"""Renames that lose nothing, files that are whole or not there, syncs that are not forgotten."""

import errno
import os
import threading
from pathlib import Path

import pytest

from spoold.disk import fs, reading
from spoold.disk.durable import Unsynced
from spoold.errors import StorageError

# Renaming


@pytest.mark.parametrize(
    "make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("/nowhere"), os.mkfifo]
)
def test_a_name_that_is_taken_is_never_taken_over(tmp_path, make):
    """Whatever has the name keeps it, and the file that should have got it stays where it was."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"mine")
    make(target)
    before = target.lstat()
    with pytest.raises(FileExistsError) as error:
        fs.rename_new(str(source), str(target))
    assert (error.value.filename, error.value.filename2) == (str(source), str(target))
    assert source.read_bytes() == b"mine"
    assert target.lstat().st_ino == before.st_ino


def test_a_rename_changes_the_name_and_nothing_else(tmp_path):
    """The same inode has the new name, odd names work, and a second try says what is gone."""
    source = os.fsencode(tmp_path) + b"/\xff\n"
    Path(os.fsdecode(source)).write_bytes(b"x")
    before = os.stat(source)
    fs.rename_new(os.fsdecode(source), str(tmp_path / "b"))
    after = (tmp_path / "b").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
        before.st_ino, before.st_mtime_ns, before.st_size,
    )  # fmt: skip
    with pytest.raises(FileNotFoundError) as error:
        fs.rename_new(os.fsdecode(source), str(tmp_path / "c"))
    assert error.value.filename == os.fsdecode(source)


def test_a_file_is_not_copied_to_another_mount(tmp_path):
    """Across mounts there is no rename, so there is an error and no copy."""
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second mount here")
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="cross-device") as error:
        fs.rename_new(str(tmp_path / "a"), str(elsewhere / f"spoold-test-{os.getpid()}"))
    assert error.value.errno == errno.EXDEV


def test_many_claimants_share_files_without_loss(tmp_path):
    """Each of 200 files goes to exactly one of eight who claim all of them at once."""
    (tmp_path / "in").mkdir()
    for number in range(200):
        (tmp_path / "in" / f"{number}").write_text(str(number))
    won: list[list[str]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def claim(me):
        (tmp_path / f"{me}").mkdir()
        start.wait()
        for number in range(200):
            try:
                fs.rename_new(f"{tmp_path}/in/{number}", f"{tmp_path}/{me}/{number}")
                won[me].append(str(number))
            except FileNotFoundError:
                pass

    in_parallel(claim, 8)
    assert sorted(name for names in won for name in names) == sorted(map(str, range(200)))
    assert all(sorted(os.listdir(tmp_path / f"{me}")) == sorted(won[me]) for me in range(8))


def in_parallel(work, count):
    """Run `work(n)` in threads; fail with the first error of any."""
    errors: list[BaseException] = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_an_exchange_swaps_two_files_and_brings_nothing_back(tmp_path):
    """Each has the other's name in one step; if one is gone, the other stays as it is."""
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    fs.exchange(str(one), str(two))
    assert (one.read_bytes(), two.read_bytes()) == (b"2", b"1")
    one.unlink()
    for names in ((one, two), (two, one)):
        with pytest.raises(FileNotFoundError):
            fs.exchange(*map(str, names))
        assert (os.listdir(tmp_path), two.read_bytes()) == (["b"], b"1")


def test_a_replacement_is_always_whole(tmp_path):
    """Whoever reads while a file is replaced sees the old content or the new, never a mixture."""
    target = tmp_path / "x"
    target.write_bytes(b"0" * 5000)
    over = threading.Event()

    def write(_):
        for number in range(300):
            draft = tmp_path / "draft"
            draft.write_bytes(str(number % 10).encode() * 5000)
            fs.replace(str(draft), str(target))
        over.set()

    def read(_):
        while not over.is_set():
            data = reading.read_regular(str(target), 5000).data
            assert len(data) == 5000
            assert len(set(data)) == 1

    in_parallel(lambda n: (write if n == 0 else read)(n), 3)


def test_removing_what_is_gone_is_fine(tmp_path):
    """A draft that somebody swept already is no error; a folder is never removed."""
    (tmp_path / "a").touch()
    fs.remove(str(tmp_path / "a"))
    fs.remove(str(tmp_path / "a"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        fs.remove(str(tmp_path / "folder"))


# Creating


def test_a_created_file_is_whole_or_not_there(tmp_path):
    """Of sixteen who create one file at once, one succeeds, and nobody ever sees half of it."""
    target = tmp_path / "key"
    won = []
    start = threading.Barrier(17)

    def work(me):
        start.wait()
        if me == 16:
            for _ in range(2000):
                if target.exists():
                    assert len(target.read_bytes()) == 100_000
            return
        try:
            fs.create(str(target), bytes([me]) * 100_000)
            won.append(me)
        except FileExistsError:
            pass

    in_parallel(work, 17)
    assert len(won) == 1
    assert target.read_bytes() == bytes(won) * 100_000
    assert os.listdir(tmp_path) == ["key"]


def test_a_created_file_is_private_whatever_the_umask(tmp_path):
    """Nobody but its owner may read it, from the first moment."""
    os.umask(0)
    fs.create(str(tmp_path / "key"), b"x")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_synced_is_not_created(tmp_path, monkeypatch):
    """If the disk refuses, there is no file, no leftover, and an error that says what to check."""
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StorageError, match="dmesg"):
        fs.create(str(tmp_path / "key"), b"x")
    assert os.listdir(tmp_path) == []


def no_space(_):
    """A disk that is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_is_made_with_its_parents_and_its_mode(tmp_path):
    """The mode is exact whatever the umask is; a folder that exists is left as it is."""
    os.umask(0o077)
    tmp_path.chmod(0o755)
    fs.make_folder(str(tmp_path / "a/b"), 0o1730)
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o1730
    (tmp_path / "a/b").chmod(0o700)
    fs.make_folder(str(tmp_path / "a/b"), 0o777)
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o700


# Durability


@pytest.fixture
def synced(monkeypatch):
    """What is synced, in order: the paths behind the descriptors, or `everything`."""
    found: list[str] = []
    real = os.fsync  # noqa: TID251 - watched, not used

    def note(descriptor):
        found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    class Libc:
        @staticmethod
        def syncfs(descriptor):
            found.append("everything")
            return libc.syncfs(descriptor)

    libc = fs._libc
    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(fs, "_libc", Libc)
    return found


def test_an_unsynced_draft_gets_no_name(tmp_path):
    """A rename of a draft whose data is not durable yet is a bug, and is said to be one."""
    unsynced = Unsynced(str(tmp_path))
    draft = unsynced.write(str(tmp_path), "x", b"data")
    with pytest.raises(RuntimeError, match="before its data was synced"):
        unsynced.note_rename(draft, str(tmp_path / "name"), temporary=True)
    unsynced.flush()
    unsynced.note_rename(draft, str(tmp_path / "name"), temporary=True)
    unsynced.flush()


def test_data_first_then_the_folder_it_came_to_then_the_one_it_left(tmp_path, synced):
    """A power cut can leave a name twice for a moment of recovery, but never nowhere."""
    for name in ("a", "b", "tmp"):
        (tmp_path / name).mkdir()
    unsynced = Unsynced(str(tmp_path))
    draft = unsynced.write(str(tmp_path / "tmp"), "x", b"data")
    assert synced == []
    unsynced.flush()
    assert synced == [draft]
    synced.clear()
    unsynced.note_rename(draft, str(tmp_path / "a/x"), temporary=True)
    unsynced.note_rename(str(tmp_path / "a/x"), str(tmp_path / "b/x"))
    unsynced.flush()
    assert synced == [str(tmp_path / "b"), str(tmp_path / "a")]


def test_a_folder_is_synced_once_for_many_files(tmp_path, synced):
    """A hundred moves between two folders cost two syncs, and nothing is synced twice."""
    unsynced = Unsynced(str(tmp_path))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for number in range(100):
        unsynced.note_rename(str(tmp_path / f"a/{number}"), str(tmp_path / f"b/{number}"))
    unsynced.flush()
    assert synced == [str(tmp_path / "b"), str(tmp_path / "a")]
    unsynced.flush()
    assert len(synced) == 2


@pytest.mark.parametrize(
    ("drafts", "folders", "expected"),
    [(1, 0, (1, 0)), (3, 0, (3, 0)), (1, 2, (3, 0)), (4, 0, (0, 1)), (2, 2, (0, 1)),
     (64, 2, (0, 1)), (0, 4, (0, 1)), (0, 3, (3, 0))],
)  # fmt: skip
def test_everything_is_synced_in_the_cheaper_way(tmp_path, synced, drafts, folders, expected):
    """Few drafts and folders cost a sync each, many cost one for all, and none is left out."""
    unsynced = Unsynced(str(tmp_path))
    for _ in range(drafts):
        unsynced.write(str(tmp_path), "x", b"data")
    for number in range(folders):
        (tmp_path / f"{number}").mkdir()
        unsynced.note_rename(f"{tmp_path}/x", f"{tmp_path}/{number}/x", temporary=True)
    unsynced.flush()
    everything = synced.count("everything")
    assert (len(synced) - everything, everything) == expected


def descriptors():
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("count", [1, 40])
def test_every_draft_is_closed_and_what_is_discarded_leaves_no_file(tmp_path, count):
    """No descriptor is left open, however many drafts there were; a flushed draft stays."""
    before = descriptors()
    unsynced = Unsynced(str(tmp_path))
    for ended in (unsynced.flush, unsynced.discard_drafts):
        for _ in range(count):
            unsynced.write(str(tmp_path), "x", b"data")
        ended()
        assert descriptors() == before
        assert len(os.listdir(tmp_path)) == count


@pytest.mark.parametrize("count", [1, 40])
def test_a_failed_sync_is_an_error_and_is_never_tried_again(tmp_path, monkeypatch, count):
    """The kernel may have dropped the pages, and would report success the second time."""
    tried = []

    def fail(descriptor):
        tried.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    class Libc:
        @staticmethod
        def syncfs(descriptor):
            tried.append(descriptor)
            fs.ctypes.set_errno(errno.EIO)
            return -1

    before = descriptors()
    unsynced = Unsynced(str(tmp_path))
    for _ in range(count):
        unsynced.write(str(tmp_path), "x", b"data")
    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(fs, "_libc", Libc)
    with pytest.raises(StorageError, match="Input/output error") as error:
        unsynced.flush()
    assert error.value.exit_code == os.EX_IOERR
    for again in (unsynced.flush, lambda: unsynced.write(str(tmp_path), "x", b"data")):
        with pytest.raises(StorageError):
            again()
    assert len(tried) == 1
    assert descriptors() == before


def test_a_draft_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    """When the disk is full, no half file lies in tmp/, and nothing stays open."""
    before = descriptors()
    unsynced = Unsynced(str(tmp_path))
    monkeypatch.setattr(os, "write", lambda *_: no_space(0))
    with pytest.raises(OSError, match="No space"):
        unsynced.write(str(tmp_path), "x", b"data")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []
    assert descriptors() == before


def test_a_draft_is_written_to_the_last_byte(tmp_path, monkeypatch):
    """A write that takes only a part is gone on with; a draft's time can be set."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    draft = Unsynced(str(tmp_path)).write(str(tmp_path), "x", b"0123456789", mtime=1234.5)
    assert Path(draft).read_bytes() == b"0123456789"
    assert Path(draft).stat().st_mtime == 1234.5


def test_a_new_folder_is_durable_in_every_folder_above_it(tmp_path, monkeypatch):
    """Each folder that got a new name is synced, also where the path ends with a slash."""
    synced = []
    monkeypatch.setattr(fs, "sync_folder", synced.append)
    fs.make_folder(f"{tmp_path}/a/b/", 0o700)
    assert {f"{tmp_path}/a", str(tmp_path)} <= set(synced)


def test_in_a_closed_folder_all_is_made_closed(tmp_path):
    """Where only the owner may enter, no way of making a file or folder gives others a right."""
    tmp_path.chmod(0o700)
    before = os.umask(0)
    try:
        fs.make_folder(str(tmp_path / "a/b"), 0o1777)
        fs.create(str(tmp_path / "a/created"), b"", 0o644)
        fs.publish(str(tmp_path / "a/published"), b"")
        Unsynced(str(tmp_path)).write(str(tmp_path / "a"), "draft", b"")
        fs.make_empty(str(tmp_path / "a/empty"), 0o644)
    finally:
        os.umask(before)
    assert len(made := list(tmp_path.rglob("*"))) == 6
    assert [path for path in made if path.stat().st_mode & 0o077] == []
