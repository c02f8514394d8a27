"""Files and records built to be too much: an intake's memory and time are measured."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from spoold.cel.expression import EvalError, Expression, Scope
from tests.conftest import route
from tests.crash.fuzz import CHECKOUT

CAP = 1 << 20
#: MiB. An intake without work has 60; the largest tree that a file of CAP bytes can become, 40.
MEMORY = 350
GOOD = b'{"decision_id":"good","decision_type":"cutover"}'


class Spent:
    """What a process took: processor seconds, and MiB at its largest."""

    def __init__(self, usage):
        self.seconds = usage.ru_utime + usage.ru_stime
        self.memory = usage.ru_maxrss / 1024


class Site:
    """A spool, and the processes that are let loose on it."""

    SETTINGS = """
        root = "../spool"
        [sources.decisions]
        format = "decision"
        [sources.webhooks]
        format = "webhook"
        [executors.runner]
        kind = "command"
        programs = ["true"]
        [executors.gateway]
        kind = "hook"
        url = "http://127.0.0.1:9/"
        """

    def __init__(self, folder):
        self.folder = folder
        self.root = folder / "spool"
        self.file = folder / "config/spoold.toml"
        self.inbox = self.root / "inbox/decisions"
        self.inbox.mkdir(parents=True)
        (folder / "config/routes.d").mkdir(parents=True)
        self.file.write_text(self.SETTINGS)
        self.route("90", route(executor="runner", more='[params]\nargv = ["true", "=record.id"]'))

    def route(self, name, text):
        (self.file.parent / f"routes.d/{name}.toml").write_text(text)

    def drain(self, *before):
        """`spoold intake --drain`, to its end."""
        words = [*before, sys.executable, "-m", "spoold", "--config", str(self.file), "intake"]
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1"}
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen([*words, "--drain"], stderr=log, env=env)
            try:
                _, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, (self.folder / "log").read_text()[-2000:]
        assert os.listdir(self.inbox) == []
        return Spent(usage)

    def codes(self):
        """How many files have been set aside, by their reason."""
        reasons = self.root.glob("quarantine/*/*.reason.json")
        return Counter(json.loads(path.read_bytes())["code"] for path in reasons)

    def waiting(self):
        return len(list(self.root.glob("awaiting-approval/*.json")))


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def filled(unit, end, size=CAP):
    """A decision of `size` bytes at most, made of one thing again and again."""
    start = b'{"decision_type":"c","x":['
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


UNITS = [
    b"[],",
    b"{},",
    b'{"":0},',
    b'"",',
    b"0,",
    b"1e300,",
    rb'"\n",',
    b"[" * 60 + b"]" * 60 + b",",
]
ENDS = {
    "not-a-number": b"NaN]}",
    "not-utf8": rb'"\ud800"]}',
    "number-out-of-range": b"9223372036854775808]}",
    "duplicate-key": b'0],"a":0,"a":0}',
    "not-json": b"0]}x",
    "too-deep": b"[" * 70 + b"]" * 70 + b"]}",
}


HEAVY = pytest.mark.timeout(600)


@HEAVY
def test_one_hostile_file_after_another(site):
    """Each is refused by its name and soon, and memory does not grow with them."""
    made = [(unit, code) for unit in UNITS for code in ENDS]
    wanted = Counter()
    for number in range(150):
        unit, code = made[number % len(made)]
        path = site.inbox / f"{number}.json"
        if number < len(made):
            path.write_bytes(filled(unit, ENDS[code]))
        elif number < 2 * len(made):
            path.write_bytes(filled(unit, ENDS[code], CAP // 8))
        else:
            # A name of its own for the same bytes: a hard link is a file like any other.
            path.hardlink_to(site.inbox / f"{number % len(made) + len(made)}.json")
        wanted[code] += 1
    (site.inbox / "good.json").write_bytes(GOOD)
    spent = site.drain()
    assert site.codes() == wanted
    assert site.waiting() == 1
    assert spent.memory < MEMORY
    assert spent.seconds < 60


@HEAVY
def test_one_sound_megabyte_after_another(site):
    """However much sound files become when they are read, memory stays bounded."""
    for number in range(32):
        start = b'{"decision_id":"%d","decision_type":"c","x":[' % number
        raw = start + b'{"":0},' * ((CAP - 100) // 7) + b"0]}"
        (site.inbox / f"{number}.json").write_bytes(raw)
    spent = site.drain()
    assert site.waiting() == 32
    assert spent.memory < MEMORY


@HEAVY
def test_a_flood_of_small_files(site):
    """Thousands of small files take no more memory than a few."""
    for number in range(8_000):
        (site.inbox / f"{number}.json").write_bytes(b'{"decision_type":"c","n":%d}' % number)
    spent = site.drain()
    assert site.waiting() == 8_000
    assert spent.memory < 150


def test_sizes_around_the_cap(site):
    """A file of exactly the cap is taken, one byte more is not, nor are ten sparse gigabytes."""
    for name, more in (("exact", 0), ("more", 1)):
        start = b'{"decision_type":"%s","x":"' % name.encode()
        raw = start + b"x" * (CAP - len(start) - 2 + more) + b'"}'
        assert len(raw) == CAP + more
        (site.inbox / f"{name}.json").write_bytes(raw)
    with (site.inbox / "sparse.json").open("wb") as file:
        file.truncate(10 << 30)
    with (site.inbox / "zeros.json").open("wb") as file:
        file.truncate(CAP)
    (site.inbox / "good.json").write_bytes(GOOD)
    spent = site.drain()
    assert site.codes() == {"too-large": 2, "empty": 1}
    assert site.waiting() == 2
    assert spent.memory < 150
    assert (site.root / "quarantine/decisions/sparse.json").stat().st_size == 10 << 30


def test_what_is_no_file_is_not_opened(site, tmp_path, strace, monkeypatch):
    """Folders, FIFOs, devices, sockets and links are set aside without being opened."""
    secret = tmp_path / "secret.json"
    secret.write_bytes(GOOD)
    (site.inbox / "folder.json").mkdir()
    (site.inbox / "full.json").mkdir()
    (site.inbox / "full.json/inner.json").write_bytes(GOOD)
    os.mkfifo(site.inbox / "fifo.json")
    os.mknod(site.inbox / "zero.json", 0o666 | 0o020000, os.makedev(1, 5))
    os.mknod(site.inbox / "disk.json", 0o666 | 0o060000, os.makedev(7, 250))
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(site.inbox)  # a socket's path is short
        listening.bind("socket.json")
    links = {
        "link": secret, "passwd": "/etc/passwd", "itself": "itself.json", "nowhere": "/nowhere/x",
        "fifo-link": "fifo.json", "device": "/dev/zero", "up": "..", "memory": "/proc/self/mem",
    }  # fmt: skip
    for name, target in links.items():
        (site.inbox / f"{name}.json").symlink_to(target)
    (site.inbox / "hard.json").hardlink_to(secret)
    trace = tmp_path / "trace"
    site.drain(strace, "-f", "-e", "trace=open,openat,openat2,creat", "-o", str(trace))
    assert site.codes() == {"directory": 2, "special-file": 4, "symlink": len(links)}
    assert site.waiting() == 1
    opened = re.findall(r'"([^"]*)"', trace.read_text())
    special = [*links, "folder", "full", "fifo", "zero", "disk", "socket"]
    names = {f"{name}.json" for name in special} | {"secret.json", "passwd", "inner.json"}
    assert {os.path.basename(path) for path in opened} & names == {"passwd"} & _own(opened)
    assert (site.root / "quarantine/decisions/full.json/inner.json").exists()
    assert secret.read_bytes() == GOOD


def _own(opened):
    """What the interpreter itself looks up, with or without us."""
    return {os.path.basename(path) for path in opened if path == "/etc/passwd"}


WORD = "a" * 60
#: Records built to blow up what routes typically say, by what they are built of.
BOMBS = {
    "a list of 100,000": {"items": [1] * 100_000, "text": "a"},
    "names": {"items": [{"name": WORD, "id": n} for n in range(9_000)], "text": WORD},
    "texts": {"items": [WORD * 30] * 500, "text": "a" * 900_000},
    "many texts": {"items": [WORD] * 9_999, "text": WORD},
    "a text of a megabyte": {"items": ["a"] * 400, "text": "ab" * 500_000},
    "lists of lists": {"items": [[[1] * 40] * 40] * 40, "text": WORD},
    "an object of 50,000": {"items": {str(n): WORD for n in range(9_000)}, "text": "1" * 900_000},
    "nearly a search": {"items": ["a" * 400] * 500, "text": "a" * 30_000},
    "nothing but depth": {"items": [[[[[[[[[[]]]]]]]]]] * 8_000, "text": ""},
}
#: What authors write, and what they write when they are careless.
TYPICAL = [
    'record.body.items.exists(x, x == "go")',
    'record.body.items.exists(x, x.name == "go" && x.id > 3)',
    'record.body.items.all(x, x.matches("^[a-z]+-[0-9]{1,5}$"))',
    'record.body.items.exists(x, x.matches("(a|aa)+$") || x.matches("^(a?){40}a{40}b$"))',
    'record.body.text.matches("^(a+)+$") || record.body.text.matches(".*a.{20}z")',
    'record.body.items.exists(x, record.body.text.matches("(a|b)*a(a|b){12}c"))',
    r'record.body.items.exists(x, x.matches("(\\pL+[\\pN]*){50}!"))',
    'record.body.text.matches("(a{1,100}){1,10}b")',
    "record.body.items.exists(a, record.body.items.exists(b, record.body.items.exists(c, c == 7)))",
    "record.body.items.all(a, a.all(b, b.all(c, c == 1)))",
    "record.body.items.map(x, x).filter(x, x == 1).size() > 3",
    'record.body.items.map(x, "p-" + x).join(",").contains("go")',
    "record.body.items.exists(x, x in record.body.items)",
    "record.body.items.exists(x, record.body.text.contains(x))",
    "record.body.text.contains(record.body.items[0])",
    'record.body.items.all(x, record.body.text + record.body.text != "")',
    'record.body.text.replace("a", "aaaaaaaaaa").size() > 7',
    'record.body.text.split("a").size() > 7',
    "record.body.text.lowerAscii() == record.body.text.upperAscii()",
    "record.body.items == record.body.items && record.body == record.body",
    "int(record.body.text) > 7 || double(record.body.text) > 7.0",
    'timestamp(record.body.text) > timestamp("2026-01-01T00:00:00Z")',
]
RENDERED = [
    "record",
    "record.body.items",
    "[record.body, record.body, record.body]",
    "record.body.items.map(x, record.body)",
    "record.body.items.map(x, record.body.items.map(y, record.body.items))",
    "record.body.items.map(x, [x, x, x, x, x, x, x, x])",
    "record.body.text + record.body.text + record.body.text + record.body.text + record.body.text",
    'record.body.items.map(x, "p-" + x).join(", ")',
]


@pytest.mark.parametrize("text", TYPICAL + RENDERED)
def test_an_expression_ends_soon_whatever_the_record(text):
    """For every record built to blow it up, an expression ends within a second, or says why not."""
    expression = Expression(text)
    for name, body in BOMBS.items():
        scope = Scope({"source": "s", "type": "webhook", "headers": {}, "body": body, "facts": {}})
        # The conversion is paid once for a record, whatever its routes say.
        Expression("record.type").value(scope)
        start = time.process_time()
        with suppress(EvalError):
            expression.value(scope)
        assert time.process_time() - start < 1.5, name


@HEAVY
def test_expression_bombs_stop_no_intake(site):
    """Each bomb is set aside with a reason, or is what a route asks for; the good one is served."""
    for number, text in enumerate(TYPICAL):
        quoted = f"'''{text}'''"
        site.route(f"{number:02}", f'name = "r{number}"\nsource = "webhooks"\nmatch = {quoted}\n'
                   'executor = "gateway"\n[params.body]\nall = "=record.body.items"\n')  # fmt: skip
    inbox = site.root / "inbox/webhooks"
    inbox.mkdir()
    for number, body in enumerate(BOMBS.values()):
        raw = json.dumps(body, separators=(",", ":")).encode()
        (inbox / f"{number}.json").write_bytes(raw[: 1 << 20])
    (site.inbox / "good.json").write_bytes(GOOD)
    spent = site.drain()
    codes = site.codes()
    assert sum(codes.values()) + site.waiting() == len(BOMBS) + 1
    assert codes.keys() <= {"route-error", "params-refused", "truncated"}
    assert spent.memory < MEMORY
    assert spent.seconds < 30
    for path in site.root.glob("quarantine/webhooks/*.reason.json"):
        what = json.loads(path.read_bytes())["what"]
        assert what.isprintable()
        assert len(what) < 10_000


def test_repeats_cannot_make_a_request_unreadable(site):
    """Deliveries with huge identities that fold into a waiting request leave it fit to approve."""
    more = 'intent_key = "record.facts.decision_type"\n[params]\nargv = ["true"]'
    site.route("90", route(executor="runner", more=more))
    for number in range(30):
        raw = {"decision_type": "cutover", "decision_id": f"{number}-" + "\x01" * 150_000}
        (site.inbox / f"{number}.json").write_bytes(json.dumps(raw).encode())
    for number in range(150):
        raw = {"decision_type": "cutover", "decision_id": f"{number}-" + "\x01" * 1_000}
        (site.inbox / f"small-{number}.json").write_bytes(json.dumps(raw).encode())
    site.drain()
    (made,) = site.root.glob("awaiting-approval/*.json")
    assert site.codes() == {"bad-record": 30}
    assert json.loads(made.read_bytes())["asked"] == 150
    assert made.stat().st_size < 4 << 20
    shutil.rmtree(site.root / "archive/decisions")
