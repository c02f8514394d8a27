"""The model of a disk that loses power: what it keeps, what it may lose, and what it may not."""

import random

import pytest

from tests.crash.power_disk import WHOLE, Disk, Names, Write, choices


@pytest.fixture
def disk():
    """Folders a, b and tmp, all durable; tmp has only drafts."""
    made = Disk(scratch=frozenset({b"tmp"}))
    for name in (b"a", b"b", b"tmp"):
        made.create(name, folder=True)
    made.sync()
    return made


def wrote(disk, path, data=b"data"):
    node = disk.create(path)
    disk.write(node, 0, data)
    return node


def names(disk):
    return [step for step in disk.unsure if isinstance(step, Names)]


def files(image):
    return {path: entry[0] for path, entry in image.items() if entry is not None}


def test_what_is_not_synced_may_be_gone(disk):
    """A file that was not synced has neither its name nor its bytes."""
    wrote(disk, b"a/x")
    assert files(disk.image({})) == {}
    assert files(disk.image()) == {b"a/x": b"data"}


def test_a_synced_file_has_no_sure_name(disk):
    """The sync of a file makes its bytes sure, and the sync of its folder the name."""
    node = wrote(disk, b"a/x")
    disk.sync(node)
    assert files(disk.image({})) == {}
    disk.sync(disk.find(b"a"))
    assert files(disk.image({})) == {b"a/x": b"data"}


def test_a_name_may_be_there_before_the_bytes(disk):
    """A folder that is synced shows an empty file where the file was not synced."""
    wrote(disk, b"a/x")
    disk.sync(disk.find(b"a"))
    assert files(disk.image({})) == {b"a/x": b""}


@pytest.mark.parametrize(
    ("part", "left"), [("whole", b"12345678"), ("half", b"1234"), ("zeros", bytes(8))]
)
def test_a_write_may_be_torn(disk, part, left):
    """What was written and not synced is there whole, by half, or as zeros."""
    node = wrote(disk, b"a/x", b"12345678")
    disk.sync(disk.find(b"a"))
    (write,) = (step for step in disk.unsure if isinstance(step, Write))
    assert files(disk.image({write: part})) == {b"a/x": left}
    disk.sync(node)
    assert files(disk.image({})) == {b"a/x": b"12345678"}


def test_a_rename_happens_whole_or_not_at_all(disk):
    """Between two folders a file is in one of them, and surely moved when both are synced."""
    disk.sync(wrote(disk, b"a/x"))
    disk.sync(disk.find(b"a"))
    disk.rename(b"a/x", b"b/y")
    for folder in (b"a", b"b"):
        assert files(disk.image({})) == {b"a/x": b"data"}
        assert files(disk.image(dict.fromkeys(disk.unsure, WHOLE))) == {b"b/y": b"data"}
        disk.sync(disk.find(folder))
    assert files(disk.image({})) == {b"b/y": b"data"}


def test_a_name_that_leaves_scratch_needs_one_sync(disk):
    """A draft has its name for sure once the folder that it came to is synced."""
    disk.sync(wrote(disk, b"tmp/d"))
    disk.rename(b"tmp/d", b"b/y")
    disk.sync(disk.find(b"b"))
    assert files(disk.image({})) == {b"b/y": b"data"}


def test_what_a_sure_change_needs_is_sure(disk):
    """A file whose last move is sure was made and moved before."""
    disk.sync(wrote(disk, b"a/x"))
    disk.rename(b"a/x", b"b/x")
    disk.rename(b"b/x", b"tmp/x")
    disk.sync(disk.find(b"b"))
    assert files(disk.image({})) == {b"tmp/x": b"data"}


def test_a_change_is_impossible_without_the_one_before(disk):
    """Where the first of two moves is lost, the second one does not happen either."""
    wrote(disk, b"a/x")
    disk.sync()
    disk.rename(b"a/x", b"b/x")
    disk.rename(b"b/x", b"b/y")
    first, second = names(disk)
    assert files(disk.image({second: WHOLE})) == {b"a/x": b"data"}
    assert files(disk.image({first: WHOLE})) == {b"b/x": b"data"}
    assert disk.with_needs(second).keys() == {first, second}


def test_independent_changes_come_in_any_order(disk):
    """The later one of two changes may be there without the earlier one."""
    wrote(disk, b"a/x")
    wrote(disk, b"b/y")
    disk.sync()
    disk.rename(b"a/x", b"a/z")
    disk.rename(b"b/y", b"b/z")
    first, second = names(disk)
    assert files(disk.image({second: WHOLE})).keys() == {b"a/x", b"b/z"}
    assert files(disk.image({first: WHOLE})).keys() == {b"a/z", b"b/y"}


def test_an_exchange_swaps_or_does_not(disk):
    """Two files that change places are both old or both new."""
    wrote(disk, b"a/x", b"old")
    wrote(disk, b"b/y", b"new")
    disk.sync()
    disk.exchange(b"a/x", b"b/y")
    disk.unlink(b"b/y")
    swapped, gone = names(disk)
    assert files(disk.image({swapped: WHOLE})) == {b"a/x": b"new", b"b/y": b"old"}
    assert files(disk.image({gone: WHOLE})) == {b"a/x": b"old", b"b/y": b"new"}
    assert files(disk.image()) == {b"a/x": b"new"}


def test_a_file_that_is_replaced_is_the_old_or_the_new_one(disk):
    """A rename over a file leaves no moment without one."""
    wrote(disk, b"a/x", b"old")
    wrote(disk, b"tmp/d", b"new")
    disk.sync()
    disk.rename(b"tmp/d", b"a/x")
    assert files(disk.image({})) == {b"a/x": b"old", b"tmp/d": b"new"}
    disk.sync(disk.find(b"a"))
    assert files(disk.image({})) == {b"a/x": b"new"}


def test_a_rename_over_a_file_needs_no_file_there(disk):
    """Where a move is lost, what replaced the moved file may be there beside the old one."""
    wrote(disk, b"a/x", b"old")
    wrote(disk, b"tmp/d", b"new")
    disk.sync()
    disk.rename(b"a/x", b"b/x")
    disk.rename(b"tmp/d", b"b/x")
    _, replaced = names(disk)
    assert files(disk.image({replaced: WHOLE})) == {b"a/x": b"old", b"b/x": b"new"}


def test_a_name_is_free_only_if_what_had_it_has_left(disk):
    """A rename to a name that another file gave up does not happen where that still has it."""
    wrote(disk, b"a/x", b"one")
    wrote(disk, b"a/y", b"two")
    disk.sync()
    disk.rename(b"a/x", b"b/x")
    disk.rename(b"a/y", b"a/x")
    _, second = names(disk)
    assert files(disk.image({second: WHOLE})) == {b"a/x": b"one", b"a/y": b"two"}


def test_what_is_in_a_lost_folder_is_lost(disk):
    """The sync of a new folder keeps what is in it only if its own name is kept."""
    disk.create(b"a/new", folder=True)
    disk.sync(wrote(disk, b"a/new/x"))
    disk.sync(disk.find(b"a/new"))
    assert files(disk.image({})) == {}
    disk.sync(disk.find(b"a"))
    assert files(disk.image({})) == {b"a/new/x": b"data"}


def test_a_sync_covers_what_was_there_when_it_began(disk):
    """What is written while a sync goes on is not made sure by it."""
    node = wrote(disk, b"a/x", b"12")
    disk.sync(disk.find(b"a"))
    covered = disk.covered(node)
    disk.write(node, 2, b"34")
    disk.synced(node, covered)
    assert files(disk.image({})) == {b"a/x": b"12"}


def test_a_failed_sync_is_not_mended_by_another(disk):
    """What a sync could not write stays unsure, whatever the next one says."""
    node = wrote(disk, b"a/x")
    disk.sync(disk.find(b"a"))
    disk.failed(disk.covered(node))
    disk.sync(node)
    disk.sync()
    assert files(disk.image({})) == {b"a/x": b""}
    disk.write(node, 4, b"!")
    disk.sync(node)
    assert files(disk.image({})) == {b"a/x": b"\0\0\0\0!"}


def test_sizes_and_times_are_data(disk):
    """A new length and a new time are sure when the file is synced."""
    node = wrote(disk, b"a/x", b"123456")
    disk.sync()
    disk.truncate(node, 3)
    disk.touch(node, 5.5)
    assert disk.image({})[b"a/x"] == (b"123456", None)
    disk.sync(node)
    assert disk.image({})[b"a/x"] == (b"123", 5.5)


def test_every_choice_can_be_had_again(disk):
    """The same seed leaves the same disks, and there are both extremes among them."""
    for number in range(9):
        wrote(disk, b"a/%d" % number)
    disk.sync(disk.find(b"a"))
    for number in range(9):
        disk.rename(b"a/%d" % number, b"b/%d" % number)

    def images(seed):
        return [disk.image(kept) for _, kept in choices(disk, random.Random(seed), 5)]

    assert images(1) == images(1) != images(2)
    assert disk.image({}) in images(1)
    assert disk.image() in images(1)
