"""A Debian tree that is booted with systemd, and the package installed in it.

`make host-tree` makes the tree, which takes two minutes. $SPOOLD_HOST, if it is set, is where it is
kept for the next time.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import until

CHECKOUT = Path(__file__).resolve().parents[2]
SPOOL = "/var/spool/spoold"
_UP = ("running", "degraded")
NEEDED = ("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb")

TOML = """
root           = "/var/spool/spoold"
runtime        = "/run/spoold"
separate_users = true
rescan         = "1s"

[sources.decisions]
format = "decision"

[executors.runner]
kind     = "command"
programs = ["/usr/local/bin/act"]

[executors.other]
kind     = "command"
programs = ["/usr/local/bin/act"]

[executors.gateway]
kind    = "hook"
url     = "http://127.0.0.1:9/hooks/agent"
token   = { credential = "gateway" }
"""
ROUTE = """
name     = "act"
source   = "decisions"
match    = "record.body.decision_type == 'act'"
executor = "runner"
lane     = "record.id"
[params]
argv = ["/usr/local/bin/act", "=record.id", "=record.body.seconds"]
"""
CALL = """
name     = "call"
source   = "decisions"
match    = "record.body.decision_type == 'call'"
executor = "gateway"
[params.body]
message = "=record.id"
"""
#: What requests have done: a line each in a file of its own user's.
ACT = """#!/bin/sh
echo "$1" >> /var/lib/spoold/runner/acts
sleep "$2"
"""


class Host:
    """A booted tree.

    Args:
        tree: its root.
    """

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._init = 0

    def boot(self) -> None:
        """Start it, and wait until systemd says that it is up."""
        self._nspawn = subprocess.Popen(
            ["systemd-nspawn", "-D", self.tree, "--register=no", "--keep-unit",
             "--private-network", "-b"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        until(self._is_up, _Said(self), 90)

    def _is_up(self) -> bool:
        # Its first children are there for a moment only.
        self._find_init()
        return (
            self._init > 0
            and self.run("systemctl is-system-running", ok=False).stdout.strip() in _UP
        )

    def _find_init(self) -> None:
        assert self._nspawn
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        found = children.read_text().split()
        self._init = int(found[0]) if found else 0

    def halt(self) -> None:
        """Let it end as a machine that is switched off, in order."""
        if self._nspawn:
            # SIGRTMIN+4: systemd powers off.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGRTMIN + 4)
            try:
                self._nspawn.wait(60)
            except subprocess.TimeoutExpired:
                self._nspawn.kill()
                self.cut()
            self._nspawn = None

    def cut(self) -> None:
        """End it as a machine whose plug is pulled."""
        if self._nspawn:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._init, signal.SIGKILL)
            self._nspawn.wait(60)
            self._nspawn = None

    def run(
        self, command: str, user: str = "root", *, ok: bool = True, seconds: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a line of shell inside, as a user."""
        words = ["nsenter", "-t", str(self._init), "-m", "-u", "-i", "-n", "-p", "--"]
        words += ["/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        if user != "root":
            words += ["setpriv", f"--reuid={user}", f"--regid={_group_of(user)}", "--init-groups"]
        ended = subprocess.run(
            [*words, "sh", "-c", f"cd /; {command}"], capture_output=True, text=True,
            timeout=seconds, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not ok or ended.returncode == 0, (command, ended.stdout, ended.stderr)
        return ended

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file in the tree, as root."""
        target = self.tree / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def files(self, folder: str) -> list[str]:
        """The requests or drops in a folder and below."""
        top = self.tree / SPOOL.lstrip("/") / folder
        return sorted(p.name for p in top.rglob("*.json") if not p.name.endswith("reason.json"))

    def spool(self, path: str) -> Path:
        """A path of the spool, from outside."""
        return self.tree / SPOOL.lstrip("/") / path

    def drop(self, name: str, **record: Any) -> None:
        """Drop a decision as a submitter would: elsewhere on the file system, then a rename."""
        text = json.dumps({"decision_id": name, "decision_type": "act", "seconds": "0", **record})
        inbox = f"{SPOOL}/inbox/decisions"
        self.run(
            f"echo '{text}' > {inbox}/.{name} && mv {inbox}/.{name} {inbox}/{name}.json", "sam"
        )

    def drop_many(self, names: list[str], **record: Any) -> None:
        """The same for many, in one go."""
        record = {"decision_type": "act", "seconds": "0", **record}
        script = (
            "import json, os, sys\n"
            f"os.chdir('{SPOOL}/inbox/decisions')\n"
            f"for name in {names!r}:\n"
            "    with open('.' + name, 'w') as out:\n"
            f"        json.dump({{'decision_id': name, **{record!r}}}, out)\n"
            "    os.rename('.' + name, name + '.json')\n"
        )
        self.write("/usr/local/share/drop.py", script)
        self.run("python3 /usr/local/share/drop.py", "sam")

    def wait_for(self, folder: str, count: int = 1, seconds: float = 60) -> list[str]:
        """The files in a folder, once there are that many."""
        until(lambda: len(self.files(folder)) >= count, _Log(self, folder), seconds)
        return self.files(folder)

    @property
    def where(self) -> dict[str, int]:
        """How many files each folder has."""
        found = {p.name: len(self.files(p.name)) for p in self.spool("").iterdir() if p.is_dir()}
        return {name: count for name, count in found.items() if count}

    def approve(self) -> None:
        """`mv` by an approver."""
        # One by one: mv(1) of several looks at each once more, and the gate may be faster.
        waiting = f"{SPOOL}/awaiting-approval/*.json"
        self.run(f"for one in {waiting}; do mv $one {SPOOL}/approved/; done", "ann")

    def status(self) -> dict[str, str]:
        """What `spoold status` says of each stage, asked by an approver."""
        ended = self.run("spoold status --json", "ann", ok=False)
        rows = [json.loads(line) for line in ended.stdout.splitlines() if '"stage"' in line]
        return {row["stage"]: row["state"] for row in rows}

    def wait_ready(self, seconds: float = 90) -> None:
        """Wait until every stage is ready."""
        until(lambda: {*self.status().values()} == {"ready"}, self.status, seconds)

    def acts(self) -> list[str]:
        """Which records were acted on."""
        path = self.tree / "var/lib/spoold/runner/acts"
        return path.read_text().split() if path.exists() else []

    def reset(self) -> None:
        """Begin anew: no requests, the configuration of these tests, every service running."""
        self.run("systemctl stop spoold.target 'spoold-*'", ok=False)
        self.run("systemctl reset-failed", ok=False)
        self.run(f"rm -rf {SPOOL} /var/lib/spoold/runner/acts /etc/systemd/system/spoold-*.d/60-*")
        shutil.rmtree(self.tree / "etc/spoold/routes.d")
        self.write("/etc/spoold/spoold.toml", TOML)
        self.write("/etc/spoold/routes.d/10-act.toml", ROUTE)
        self.write("/etc/spoold/routes.d/20-call.toml", CALL)
        self.write("/etc/spoold/credentials/gateway", "s3cret-5f1d", 0o600)
        self.write("/usr/local/bin/act", ACT, 0o755)
        self.run("spoold check --permissions --fix && systemctl daemon-reload")

    def start(self) -> None:
        """Start what the target wants, and wait."""
        self.run("systemctl start spoold.target")
        self.wait_ready()


class _Log:
    """What the host says when files do not come."""

    def __init__(self, host: Host, folder: str) -> None:
        self._host, self._folder = host, folder

    def __str__(self) -> str:
        log = self._host.run("journalctl -n 40 -o cat --no-pager -t spoold").stdout
        return f"{self._folder}: {self._host.where}\n{log}"


class _Said:
    """What the host says of itself, when it is too late."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __str__(self) -> str:
        asked = "systemctl is-system-running; systemctl list-jobs; systemctl --failed"
        ended = self._host.run(asked, ok=False)
        return f"a booted system: {ended.stdout} {ended.stderr}"


def _group_of(user: str) -> str:
    return "spoold" if user.startswith("spoold-") else user


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built by the one command; or the one that $SPOOLD_DEB names."""
    if given := os.environ.get("SPOOLD_DEB"):
        return Path(given)
    work = tmp_path_factory.mktemp("deb") / "checkout"
    ignored = shutil.ignore_patterns(".venv", ".git", "dist", "*cache*", "__pycache__")
    shutil.copytree(CHECKOUT, work, ignore=ignored, symlinks=True)
    subprocess.run([work / "packaging/deb/build"], check=True, timeout=600,
                   stdin=subprocess.DEVNULL)  # fmt: skip
    (found,) = (work / "dist").glob("*.deb")
    return found


@pytest.fixture(scope="session")
def tree(require: Callable[[bool, str], None]) -> Iterator[Path]:
    """A Debian tree of our own, from one that may be kept."""
    require(os.geteuid() == 0, "root")
    for name in NEEDED:
        require(shutil.which(name) is not None, name)
    with contextlib.ExitStack() as closing:
        kept = os.environ.get("SPOOLD_HOST")
        work = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="host.")))
        made = Path(kept) if kept else work / "made"
        subprocess.run(
            ["make", "host-tree", f"SPOOLD_HOST={made}"], cwd=CHECKOUT, check=True, timeout=900,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        if not kept:
            yield made
            return
        copy = work / "tree"
        subprocess.run(["cp", "-a", "--reflink=auto", made, copy], check=True)
        yield copy


@pytest.fixture(scope="session")
def installed(tree: Path, package: Path) -> Iterator[Host]:
    """A booted tree with the package, a submitter, two approvers and a stranger."""
    host = Host(tree)
    shutil.copy(package, tree / "root")
    try:
        host.boot()
        host.run(f"dpkg -i /root/{package.name}")
        for name, groups in (("sam", "spoold-submit"), ("ann", "spoold-approve"),
                             ("bob", "spoold-approve"), ("eve", "eve")):  # fmt: skip
            host.run(f"groupadd {name}; useradd -g {name} -G {groups} -s /bin/sh {name}")
        yield host
    finally:
        host.halt()


@pytest.fixture
def host(installed: Host) -> Host:
    """The same with an empty spool, and nothing running yet."""
    installed.reset()
    return installed


@pytest.fixture
def running(host: Host) -> Host:
    """The same with every stage ready."""
    host.start()
    return host


def now() -> float:
    """Seconds; for how long something took."""
    return time.monotonic()
