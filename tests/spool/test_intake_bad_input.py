"""What strangers drop: every bad file ends in quarantine/ with its own code, and nothing stops."""

import hashlib
import os
import stat
import tracemalloc
from datetime import UTC, datetime

import pytest

from spoold.errors import ADVICE
from spoold.spool.spool import Spool
from spoold.testing import Clock, Lab
from tests.conftest import route
from tests.contract import BAD_BYTES

GOOD = {"decision_type": "cutover"}


def settle(lab):
    """Let the settle time of half-written files pass."""
    lab.clock.advance(5)
    lab.drain()


@pytest.mark.parametrize("code", BAD_BYTES)
def test_each_kind_of_bad_content_has_its_own_code(lab, code):
    """A bad file is kept to the byte, with a reason that names the code and what to do."""
    lab.drop("decisions", "bad.json", BAD_BYTES[code])
    lab.drop("decisions", "good.json", GOOD)
    settle(lab)
    kept = lab.only("quarantine")
    assert kept.read_bytes() == BAD_BYTES[code]
    why = lab.reason(kept)
    assert why["code"] == code
    assert why["advice"] == ADVICE[code]
    assert why["what"].endswith(".")
    assert len(lab.files("awaiting-approval")) == 1


@pytest.mark.parametrize("kind", ["directory", "symlink", "fifo", "socket"])
def test_what_is_no_file_is_never_opened(lab, kind, tmp_path):
    """Directories, links, FIFOs and sockets are moved aside as they are, without being followed."""
    lab.drain()
    path = lab.root / "inbox" / "decisions" / "x.json"
    secret = tmp_path / "secret.json"
    secret.write_text('{"decision_type": "cutover"}')
    if kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    lab.drop("decisions", "good.json", GOOD)
    lab.drain()
    kept = lab.root / "quarantine" / "decisions" / "x.json"
    wanted = {"fifo": "special-file", "socket": "special-file"}.get(kind, kind)
    assert lab.reason(kept)["code"] == wanted
    assert os.path.lexists(kept)
    assert secret.exists()
    assert len(lab.files("awaiting-approval")) == 1


@pytest.mark.parametrize(
    "name",
    [b"\xff\xfe.json", b"a\nb.json", b"-rf.json", "a\u202eb.json".encode(), b"x" * 250 + b".json"],
)
def test_an_odd_name_is_set_aside_under_one_that_can_be_typed(lab, name):
    """A name that could mislead is replaced; the reason says what it was; the bytes stay."""
    lab.drain()
    folder = os.fsencode(lab.root / "inbox" / "decisions")
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b'{"decision_type": "cutover"}')
    lab.drain()
    kept = lab.only("quarantine")
    assert kept.name.isascii()
    assert kept.name.isprintable()
    assert lab.reason(kept)["code"] == "odd-name"
    assert kept.read_bytes() == b'{"decision_type": "cutover"}'
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("made", "code", "named"),
    [
        (route(match="record.type == 'something else'"), "no-route", ["decision"]),
        (route(match="record.body.nothing == 1"), "route-error", ["any", "nothing"]),
        (route(more="[params]\nsay = '=record.body.nothing'"), "route-error", ["params.say"]),
        (route(more="[params]\nsay = '=record.body.word'"), "params-refused", ["no"]),
    ],
)
def test_what_no_route_can_render_never_reaches_a_person(make_lab, made, code, named):
    """No route, a failing expression, a value that its executor refuses: the reason names it."""
    lab = make_lab(made)
    lab.drop("decisions", "c.json", {**GOOD, "word": "no"})
    lab.drain()
    why = lab.reason(lab.only("quarantine"))
    assert why["code"] == code
    assert all(word in why["what"] for word in named)
    assert lab.files("awaiting-approval") == []


def test_a_file_that_is_being_written_is_left_alone_until_it_is_whole(lab):
    """A half-written file stays while its writer has it open, and is taken when it is whole."""
    lab.drain()
    path = lab.root / "inbox" / "decisions" / "slow.json"
    with path.open("wb") as file:
        file.write(b'{"decision_type": ')
        file.flush()
        settle(lab)
        assert path.exists()
        file.write(b'"cutover"}')
    lab.drain()
    assert lab.request("awaiting-approval")["decision_type"] == "cutover"


def test_a_file_that_has_just_been_written_gets_time_to_become_whole(lab):
    """A cut-off file that nobody has open gets the settle time before it counts as truncated."""
    lab.drain()
    path = lab.root / "inbox" / "decisions" / "slow.json"
    path.write_bytes(b'{"decision_type": ')
    (intake, *_) = lab.stages()
    intake.lock.acquire()
    step = intake.step()
    assert path.exists()
    assert step.due is not None
    with path.open("ab") as file:
        file.write(b'"cutover"}')
    intake.step()
    intake.close()
    intake.lock.release()
    assert lab.request("awaiting-approval")["decision_type"] == "cutover"


def overwritten(path):
    """The same file with other bytes, of the same number, at a later time."""
    later = path.stat().st_mtime_ns + 10**9
    path.write_bytes(b'{"decision_type": "another"}')
    os.utime(path, ns=(later, later))


def replaced(path):
    """Another file of the same name, size and time."""
    times = path.stat().st_mtime_ns
    path.with_name("other").write_bytes(b'{"decision_type": "another"}')
    os.utime(path.with_name("other"), ns=(times, times))
    path.with_name("other").replace(path)


def spoiled(path):
    """No record any more."""
    path.write_bytes(b"[]")


def made_a_link(path):
    """A link to a sound file."""
    path.rename(path.with_name("sound"))
    path.symlink_to("sound")


@pytest.mark.parametrize(
    ("first", "change", "ends"),
    [
        (b'{"decision_type": "cutover"}', overwritten, "another"),
        (b'{"decision_type": "cutover"}', replaced, "another"),
        (b'{"decision_type": "cutover"}', spoiled, "not-an-object"),
        (b'{"decision_type": "cutover"}', made_a_link, "symlink"),
        (BAD_BYTES["too-large"], overwritten, "another"),
        (b"[1]", overwritten, "another"),
    ],
)
def test_what_changes_between_the_look_and_the_claim_is_read_again(
    lab, monkeypatch, first, change, ends
):
    """A request says what its archived original says, and a reason what its file is."""
    path = lab.drop("decisions", "c.json", first)
    move = Spool.move

    def changed_first(self, source, target, name, new_name=None):
        if source.folder == "inbox":
            change(path)
        return move(self, source, target, name, new_name)

    monkeypatch.setattr(Spool, "move", changed_first)
    lab.drain()
    if ends != "another":
        assert lab.reason(lab.root / "quarantine" / "decisions" / "c.json")["code"] == ends
        assert lab.files("awaiting-approval") == []
        return
    made, original = lab.request("awaiting-approval"), lab.only("archive").read_bytes()
    assert made["decision_type"] == "another"
    assert made["source"]["sha256"] == hashlib.sha256(original).hexdigest()


class Running(Clock):
    """A clock that goes."""

    def __call__(self):
        return datetime.now(UTC)


def test_a_drain_waits_for_the_settle_time(tmp_path):
    """A drain ends with a truncated file in quarantine, not with one that is left behind."""
    lab = Lab(tmp_path, routes={"10.toml": route()}, clock=Running())
    lab.drop("decisions", "cut.json", b'{"decision_type": ')
    lab.drain()
    assert lab.reason(lab.only("quarantine"))["code"] == "truncated"


def test_hundreds_of_bad_files_do_not_keep_a_good_one_back(lab):
    """A flood of bad drops is set aside in one pass, and the good one is served."""
    for number in range(300):
        lab.drop("decisions", f"{number:04}.json", b"{")
    lab.drop("decisions", "good.json", GOOD)
    settle(lab)
    assert len(lab.files("quarantine")) == 300
    assert len(lab.files("awaiting-approval")) == 1


def test_what_was_read_of_bad_files_is_not_kept(lab):
    """However many bad files come together, memory holds what was read of one of them."""
    for number in range(40):
        lab.drop("decisions", f"{number}.json", b'{"x":[' + b"[]," * 8_000 + b'0],"a":0,"a":0}')
    lab.drop("decisions", "good.json", GOOD)
    tracemalloc.start()
    try:
        lab.drain()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(lab.files("quarantine")) == 40
    assert peak < 8 << 20
