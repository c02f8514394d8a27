"""Renames that lose nothing, reads that follow nothing, syncs that are not forgotten."""

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoold.disk import fs, locks, reading
from spoold.disk.durable import Unsynced
from spoold.errors import StorageError, TryLater

CHECKOUT = Path(__file__).resolve().parents[2]


def python(text, *arguments, **more):
    """Start a Python program that can import spoold."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **more,
    )  # fmt: skip


# Renaming


@pytest.mark.parametrize("kind", ["file", "folder", "link", "fifo"])
def test_a_new_name_is_never_somebody_elses(tmp_path, kind):
    """Whatever has the name keeps it, and the file that should have got it stays where it was."""
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"mine")
    {
        "file": target.touch,
        "folder": target.mkdir,
        "link": lambda: target.symlink_to("/nowhere"),
        "fifo": lambda: os.mkfifo(target),
    }[kind]()
    before = target.lstat()
    with pytest.raises(FileExistsError) as error:
        fs.rename_new(str(source), str(target))
    assert (error.value.filename, error.value.filename2) == (str(source), str(target))
    assert source.read_bytes() == b"mine"
    assert target.lstat().st_ino == before.st_ino


def test_a_rename_says_that_the_file_is_gone(tmp_path):
    """Of two who try, one gets the file, and the other is told which one was gone."""
    source = tmp_path / "a"
    source.write_bytes(b"x")
    fs.rename_new(str(source), str(tmp_path / "b"))
    with pytest.raises(FileNotFoundError) as error:
        fs.rename_new(str(source), str(tmp_path / "c"))
    assert error.value.filename == str(source)


def test_a_rename_changes_the_name_and_nothing_else(tmp_path):
    """The same inode with the same bytes and times has the new name; odd names work too."""
    source = os.fsencode(tmp_path) + b"/\xff\n"
    Path(os.fsdecode(source)).write_bytes(b"x")
    before = os.stat(source)
    fs.rename_new(os.fsdecode(source), str(tmp_path / "b"))
    after = (tmp_path / "b").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
        before.st_ino, before.st_mtime_ns, before.st_size,
    )  # fmt: skip


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


def test_an_exchange_swaps_two_files(tmp_path):
    """Each has the other's name in one step, and both are still there."""
    one, two = tmp_path / "a", tmp_path / "b"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    fs.exchange(str(one), str(two))
    assert (one.read_bytes(), two.read_bytes()) == (b"2", b"1")


@pytest.mark.parametrize("gone", ["a", "b"])
def test_an_exchange_brings_nothing_back(tmp_path, gone):
    """If one of the two is gone, the other one stays as it is and no name appears."""
    for name in ("a", "b"):
        if name != gone:
            (tmp_path / name).write_bytes(b"here")
    with pytest.raises(FileNotFoundError):
        fs.exchange(str(tmp_path / "a"), str(tmp_path / "b"))
    assert os.listdir(tmp_path) == [name for name in ("a", "b") if name != gone]


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
    fs.make_folder(str(tmp_path / "a/b"), 0o1730)
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o1730
    (tmp_path / "a/b").chmod(0o700)
    fs.make_folder(str(tmp_path / "a/b"), 0o777)
    assert (tmp_path / "a/b").stat().st_mode & 0o7777 == 0o700


# Reading


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


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link", "fifo", "socket", "device"])
def test_only_a_regular_file_is_opened(tmp_path, kind):
    """Folders, links, FIFOs, sockets and devices are refused by their kind, without waiting."""
    path = tmp_path / "x"
    (tmp_path / "secret").write_text("s")
    sock = socket.socket(socket.AF_UNIX)
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("secret")
        case "dangling link":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
        case "socket":
            sock.bind(str(path))
        case "device":
            path = Path("/dev/zero")
    with pytest.raises(reading.NotRegular) as error:
        reading.read_regular(str(path), 1 << 20)
    sock.close()
    expected = {"folder": "directory", "link": "symlink", "dangling link": "symlink"}
    assert error.value.kind == expected.get(kind, "special-file")
    assert error.value.filename == str(path)


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


def test_a_writer_is_noticed(tmp_path):
    """A file is written to exactly while somebody has it open for writing, here or elsewhere."""
    path = tmp_path / "x"
    path.write_text("x")
    if locks.written_to_now(str(path)) is None:
        pytest.skip("this file system has no leases")
    assert locks.written_to_now(str(path)) is False
    with path.open("ab"):
        assert locks.written_to_now(str(path)) is True
    assert locks.written_to_now(str(path)) is False
    with path.open("rb"):
        assert locks.written_to_now(str(path)) is False
    with python(
        "import sys; f = open(sys.argv[1], 'ab'); print(1, flush=True); input()", path
    ) as p:
        p.stdout.readline()
        assert locks.written_to_now(str(path)) is True
        p.communicate("\n")
    assert locks.written_to_now(str(path)) is False


def test_asking_keeps_nobody_out(tmp_path):
    """The lease is given back: a writer that comes afterwards is not made to wait."""
    path = tmp_path / "x"
    path.write_text("x")
    locks.written_to_now(str(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.close(descriptor)


def test_what_is_no_file_has_no_answer(tmp_path):
    """A missing file, a link and a folder: nobody can say, and nothing is opened by following."""
    (tmp_path / "link").symlink_to(__file__)
    for path in (tmp_path / "none", tmp_path / "link", tmp_path):
        assert locks.written_to_now(str(path)) is None


def test_names_that_are_not_utf8_are_listed(tmp_path):
    """Every entry is found, and its name leads back to the very file."""
    names = [b"a", b"\xff\xfe", "é".encode(), b"x\ny"]
    for name in names:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    found = list(reading.entries(str(tmp_path)))
    assert sorted(os.fsencode(entry.name) for entry in found) == sorted(names)
    assert all(os.path.exists(entry.path) for entry in found)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(Path.touch, "file"), (Path.mkdir, "directory"), (os.mkfifo, "special-file"),
     (lambda p: p.symlink_to("/"), "symlink")],
)  # fmt: skip
def test_a_kind_is_that_of_the_name_itself(tmp_path, make, kind):
    """A link is a link, whatever it leads to."""
    make(tmp_path / "x")
    assert reading.kind_of(reading.status(str(tmp_path / "x"))) == kind


# One instance


HOLD = """
import sys
from spoold.disk.locks import FolderLock
lock = FolderLock(sys.argv[1])
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_a_lock_keeps_another_process_out_until_it_dies(tmp_path):
    """While it lives nobody else gets the lock, and after SIGKILL the next one does at once."""
    lock = locks.FolderLock(str(tmp_path))
    with python(HOLD, tmp_path) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(TryLater, match=str(tmp_path)):
            lock.acquire()
        other.send_signal(signal.SIGKILL)
        other.wait()
    lock.acquire()
    lock.release()


def test_a_lock_is_not_left_to_children(tmp_path):
    """A program that outlives the service that started it does not keep the next service out."""
    lock = locks.FolderLock(str(tmp_path))
    lock.acquire()
    child = subprocess.Popen(["sleep", "30"], close_fds=False)
    try:
        lock.release()
        other = locks.FolderLock(str(tmp_path))
        other.acquire()
        other.release()
    finally:
        child.kill()
        child.wait()


def test_a_lock_can_be_taken_again(tmp_path):
    """Taking what one has, and giving back what one has not, are no errors."""
    lock, other = locks.FolderLock(str(tmp_path)), locks.FolderLock(str(tmp_path))
    lock.release()
    for _ in range(2):
        lock.acquire()
        lock.acquire()
        with pytest.raises(TryLater):
            other.acquire()
        lock.release()
        lock.release()
    other.acquire()
    other.release()


def test_a_lock_leaves_nothing_behind(tmp_path):
    """Locking a folder writes nothing into it."""
    lock = locks.FolderLock(str(tmp_path))
    lock.acquire()
    assert os.listdir(tmp_path) == []
    lock.release()


# Durability


@pytest.fixture
def synced(monkeypatch):
    """What is synced, in order: the paths behind the descriptors."""
    found: list[str] = []
    real = os.fsync  # noqa: TID251 - watched, not used

    def note(descriptor):
        found.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
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
def test_everything_is_synced_in_the_cheaper_way(tmp_path, drafts, folders, expected):
    """Few drafts and folders cost a sync each, many cost one for all, and none is left out."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    text = """
import os, sys
from spoold.disk.durable import Unsynced
unsynced = Unsynced(sys.argv[1])
drafts = [unsynced.write(sys.argv[1], "x", b"data") for _ in range(int(sys.argv[2]))]
for number in range(int(sys.argv[3])):
    os.mkdir(f"{sys.argv[1]}/{number}")
    unsynced.note_rename(f"{sys.argv[1]}/x", f"{sys.argv[1]}/{number}/x", temporary=True)
os.write(2, b"flush\\n")
unsynced.flush()
for draft in drafts:
    unsynced.note_rename(draft, draft + ".json", temporary=True)
"""
    log = tmp_path / "log"
    words = ["strace", "-f", "-o", str(log), "-e", "trace=write,fsync,fdatasync,syncfs,sync"]
    words += [sys.executable, "-c", text, str(tmp_path), str(drafts), str(folders)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ran = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if "ptrace" in ran.stderr.lower():
        pytest.skip("strace may not trace here")
    assert ran.returncode == 0, ran.stderr
    _, _, after = log.read_text().partition('"flush')
    few, many = after.count(" fsync("), after.count(" syncfs(")
    assert (few, many) == expected


@pytest.mark.parametrize("count", [1, 40])
def test_flushing_closes_every_draft(tmp_path, count):
    """No descriptor is left open, however many drafts there were."""
    before = len(os.listdir("/proc/self/fd"))
    unsynced = Unsynced(str(tmp_path))
    for _ in range(count):
        unsynced.write(str(tmp_path), "x", b"data")
    unsynced.flush()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("count", [1, 40])
def test_a_failed_sync_is_an_error_and_is_never_tried_again(tmp_path, monkeypatch, count):
    """The kernel may have dropped the pages, and would report success the second time."""
    tried = []

    def fail(descriptor):
        tried.append(descriptor)
        fs.ctypes.set_errno(errno.EIO)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def fail_all(descriptor):
        tried.append(descriptor)
        fs.ctypes.set_errno(errno.EIO)
        return -1

    class Libc:
        syncfs = staticmethod(fail_all)

    before = len(os.listdir("/proc/self/fd"))
    unsynced = Unsynced(str(tmp_path))
    for _ in range(count):
        unsynced.write(str(tmp_path), "x", b"data")
    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(fs, "_libc", Libc)
    with pytest.raises(StorageError, match="Input/output error") as error:
        unsynced.flush()
    assert error.value.exit_code == os.EX_IOERR
    with pytest.raises(StorageError):
        unsynced.flush()
    with pytest.raises(StorageError):
        unsynced.write(str(tmp_path), "x", b"data")
    assert len(tried) == 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_draft_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    """When the disk is full, no half file lies in tmp/, and nothing stays open."""
    before = len(os.listdir("/proc/self/fd"))
    unsynced = Unsynced(str(tmp_path))
    monkeypatch.setattr(os, "write", lambda *_: no_space(0))
    with pytest.raises(OSError, match="No space"):
        unsynced.write(str(tmp_path), "x", b"data")
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_draft_is_written_to_the_last_byte(tmp_path, monkeypatch):
    """A write that takes only a part is gone on with; a draft's time can be set."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:3])))
    draft = Unsynced(str(tmp_path)).write(str(tmp_path), "x", b"0123456789", mtime=1234.5)
    assert Path(draft).read_bytes() == b"0123456789"
    assert Path(draft).stat().st_mtime == 1234.5


def test_a_time_of_the_file_system_is_in_utc(tmp_path):
    """The same moment, whatever the time zone of the machine is."""
    path = tmp_path / "x"
    path.touch()
    found = reading.utc(path.stat().st_mtime)
    assert found.utcoffset().total_seconds() == 0
    assert found.timestamp() == pytest.approx(path.stat().st_mtime)


def test_a_new_folder_is_durable_in_every_folder_above_it(tmp_path, monkeypatch):
    """Each folder that got a new name is synced, also where the path ends with a slash."""
    synced = []
    monkeypatch.setattr(fs, "sync_folder", synced.append)
    fs.make_folder(f"{tmp_path}/a/b/", 0o700)
    assert {f"{tmp_path}/a", str(tmp_path)} <= set(synced)
