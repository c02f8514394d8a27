"""A service and its manager: ready, watchdog, reload, status, end; and `spoold status`."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from datetime import datetime, timedelta

import pytest

from spoold.request import timestamp
from spoold.service import heartbeat, loop, stage_status
from spoold.spool.spool import Place
from spoold.stages.stage import StageContext, Step
from spoold.states import Role
from tests.e2e.conftest import PRE_APPROVED, argv, command, route, until

OTHER = route("runner", PRE_APPROVED, params=argv("/usr/bin/true")).replace("cutover", "other")


class Manager:
    """The socket that systemd listens on, and what was said there."""

    def __init__(self, folder):
        self.said = []
        self.path = str(folder / "notify")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.path)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while data := self._socket.recv(4096):
            self.said.append(data.decode())

    def heard(self, what, after=0, seconds=60):
        """Wait for a message that holds this; its number."""

        def there():
            found = [n for n, one in enumerate(self.said) if n >= after and what in one]
            return found[0] + 1 if found else 0

        return until(there, (what, self.said), seconds) - 1


@pytest.fixture
def manager(tmp_path, site):
    """A service manager that the site's processes talk to."""
    manager = Manager(tmp_path)
    site.env["NOTIFY_SOCKET"] = manager.path
    site.configure(
        command("/usr/bin/true"),
        route("runner", params=argv("/usr/bin/true")),
        rescan="200ms",
        runtime=str(tmp_path / "run"),
    )
    return manager


@pytest.mark.real
def test_ready_means_that_everything_was_looked_at(manager, site):
    """When a service says READY, what lay there when it began has been taken."""
    site.drop_many(150)
    site.start("intake", ready=0)
    manager.heard("READY=1")
    assert len(site.files("awaiting-approval")) == 150
    assert not site.files("inbox")


@pytest.mark.real
def test_a_wrong_configuration_is_never_ready(manager, site):
    """A service that cannot start well does not say READY, and ends with EX_CONFIG."""
    (site.config.parent / "routes.d" / "20.toml").write_text("name = ")
    assert site.spoold("intake", ok=False).returncode == os.EX_CONFIG
    assert not manager.said


def test_the_watchdog_is_told_while_all_get_on(manager, site):
    """The manager hears WATCHDOG again and again, also while nothing happens."""
    site.env["WATCHDOG_USEC"] = "2000000"
    site.start("run")
    manager.heard("READY=1")
    for _ in range(3):
        count = len(manager.said)
        manager.heard("WATCHDOG=1", after=count)


def test_a_reload_takes_on_new_routes(manager, site):
    """After SIGHUP a record that no route took makes a request; RELOADING comes before READY."""
    site.config.parent.joinpath("routes.d/10.toml").write_text(OTHER.replace('"true"', '"false"'))
    process = site.start("run")
    ready = manager.heard("READY=1")
    site.drop("decisions", "a.json", {"decision_id": "a", "decision_type": "cutover"})
    site.wait_for("quarantine")
    site.config.parent.joinpath("routes.d/10.toml").write_text(OTHER)
    process.send_signal(signal.SIGHUP)
    reloading = manager.heard("RELOADING=1\nMONOTONIC_USEC=", after=ready + 1)
    manager.heard("READY=1", after=reloading)
    site.drop("decisions", "b.json", {"decision_id": "b", "decision_type": "cutover"})
    site.wait_for("done")


MORE = '[executors.more]\nkind = "command"\nprograms = ["/usr/bin/true"]\n'


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("routes.d/20.toml", 'name = "x"\nmatch = \n', "20.toml:2"),
        ("routes.d/20.toml", "name = " + "9" * 6000, "20.toml"),
        ("routes.d/20.toml", "name = " + "[" * 100_000, "20.toml"),
        ("routes.d/20.toml", None, "20.toml"),
        ("spoold.toml", 'root = "../other"', "by a restart only"),
        ("spoold.toml", '[sources.more]\nformat = "task"\n', "by a restart only"),
        ("spoold.toml", MORE, "by a restart only"),
    ],
    ids=["syntax", "digits", "brackets", "fifo", "root", "source", "executor"],
)  # fmt: skip
def test_a_reload_that_is_refused_keeps_the_old_and_says_why(manager, site, file, text, said):
    """Whatever is new, the service goes on as before, and names the mistake until it is mended."""
    process = site.start("intake")
    ready = manager.heard("READY=1")
    path = site.config.parent / file
    old = path.read_text() if path.exists() else None
    if text is None:
        os.mkfifo(path)
    else:
        root = 'root = "../spool"'
        path.write_text(old.replace(root, text) if old and "root" in text else (old or "") + text)
    process.send_signal(signal.SIGHUP)
    manager.heard("READY=1", after=ready + 1)
    status = manager.said[manager.heard("the old configuration stays", after=ready + 1)]
    assert said in status
    assert said in site.log()
    site.drop_many(1)
    site.wait_for("awaiting-approval")
    (seen,) = [one for one in site.lines("status", ok=False) if one["stage"] == "intake"]
    assert (seen["state"], said in seen["detail"]) == ("ready", True)
    path.unlink()
    if old:
        path.write_text(old)
    process.send_signal(signal.SIGHUP)
    # What it says of the drop may still be on its way.
    until(lambda: "stays" not in [said for said in manager.said if "STATUS=" in said][-1], "mended")


@pytest.mark.real
def test_the_end_is_announced(manager, site):
    """SIGTERM is answered with STOPPING, and nothing says afterwards that the stage runs."""
    process = site.start("gate")
    until(lambda: status_of(site)["gate"] == "ready", "ready")
    assert site.stop(process) == 0
    manager.heard("STOPPING=1")
    assert status_of(site)["gate"] == "gone"


def test_the_end_may_take_as_long_as_what_runs_is_given(manager, site):
    """A `stop_grace` beyond the unit's own patience is not cut short by the manager."""
    site.configure(
        command("/usr/bin/true"),
        route("runner", params=argv("/usr/bin/true")),
        runtime=str(site.folder / "run"),
        stop_grace="300s",
    )
    process = site.start("execute", "runner")
    assert site.stop(process) == 0
    stopping = manager.heard("STOPPING=1")
    asked = manager.said[manager.heard("EXTEND_TIMEOUT_USEC=", after=stopping)]
    assert int(asked.partition("=")[2]) > 300e6


def test_one_that_waits_for_its_turn_is_not_given_up(manager, site):
    """While another process has its stage, a start is extended, and a reload comes to its end."""
    first = site.start("gate")
    ready = manager.heard("READY=1")
    second = site.start("gate", ready=0)
    standing = manager.heard("standing-by", after=ready)
    manager.heard("EXTEND_TIMEOUT_USEC=", after=standing + 1)
    second.send_signal(signal.SIGHUP)
    reloading = manager.heard("RELOADING=1", after=standing)
    manager.heard("READY=1", after=reloading)
    for process in (first, second):
        site.stop(process)


def test_numbers_go_on_after_a_reload(manager, site):
    """SIGHUP, which all of them are sent, does not end the service that serves metrics."""
    process = site.start("metrics", "--serve", ready=0)
    manager.heard("READY=1")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert site.stop(process) == 0


# The journal


def journalled(site, *words):
    """What a unit's journal would get from a verb: the priority of each line, and its fields."""
    path = site.folder / "journal"
    with path.open("wb") as out:
        status = os.fstat(out.fileno())
        env = {**site.env, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        site.spoold(*words, ok=False, env=env, into=out)
    lines = path.read_text().splitlines()
    assert lines
    return [(int(line[1]), json.loads(line.partition(">")[2])) for line in lines]


@pytest.mark.parametrize("words", [["check"], ["intake"], ["nonsense"], ["execute", "nobody"]])
def test_what_a_unit_cannot_start_with_is_an_error_of_the_journal(manager, site, words):
    """The reason for a failed start has the priority by which people look for it."""
    broken = site.config.parent / "routes.d/20.toml"
    if words[-1] in ("check", "intake"):
        broken.write_text("name = ")
    ((priority, said),) = journalled(site, *words)
    assert (priority, said["priority"], said["dispatch_id"]) == (2, 2, None)
    assert said["stage"] in (words[0], "cli")
    assert (broken.name if broken.exists() else words[-1]) in said["message"]


def test_what_a_check_finds_is_in_the_journal_line_by_line(site):
    """A unit's check says with the right priority what would not work, and what is as it should."""
    hook = 'kind = "hook"\nurl = "http://127.0.0.1:1/"\ntoken = { env = "NONE" }\n'
    more = f"\n[executors.out]\n{hook}"
    site.configure(command("/usr/bin/true", more), route("out", params="params.body.x = 1\n"))
    said = journalled(site, "check")
    assert {priority for priority, one in said if "NONE" in one["message"]} == {4}
    assert {priority for priority, one in said if one["message"].startswith("ok ")} == {6}


# spoold status


def status_of(site):
    """The state of each stage."""
    return {one["stage"]: one["state"] for one in site.lines("status", ok=False)}


def exit_code(site):
    """What a monitor sees."""
    return site.spoold("status", ok=False).returncode


def test_a_monitor_is_told_by_the_exit_code(manager, site):
    """Nothing runs: 69. All ready: 0. One killed: 69 as soon as it was silent for a while."""
    assert exit_code(site) == os.EX_UNAVAILABLE
    stages = ["intake", "gate", "sweep", "execute runner"]
    running = [site.start(*stage.split()) for stage in stages]
    until(lambda: exit_code(site) == 0, "all ready")
    assert status_of(site) == dict.fromkeys(stages, "ready")
    running[1].kill()
    running[1].wait()
    assert status_of(site)["gate"] == "ready"
    file = site.folder / "run/gate/status.json"
    facts = json.loads(file.read_bytes())
    old = datetime.fromisoformat(facts["written_at"]) - timedelta(seconds=stage_status.GONE + 1)
    facts["written_at"] = timestamp(old)
    file.write_text(json.dumps(facts))
    assert status_of(site)["gate"] == "gone"
    assert exit_code(site) == os.EX_UNAVAILABLE


def test_one_that_stands_by_is_not_ready(manager, site):
    """While another process has the stage, its own process is healthy and idle: 75."""
    site.env["NOTIFY_SOCKET"] = ""
    first = site.start("run")
    until(lambda: exit_code(site) == 0, "all ready")
    second = site.start("gate", ready=0)
    until(lambda: status_of(site)["gate"] == "standing-by" or None, "it stands by")
    assert exit_code(site) == os.EX_TEMPFAIL
    site.stop(first)
    until(lambda: "gate is ready" in site.log(1), "it takes over")
    site.stop(second)


def test_routes_that_are_wrong_do_not_hide_how_the_stages_do(manager, site):
    """Looking and deciding do not need the routes."""
    site.start("gate")
    site.config.parent.joinpath("routes.d/20.toml").write_text("name = ")
    until(lambda: status_of(site)["gate"] == "ready", "ready")
    assert site.spoold("ls").returncode == 0


LATE = b'{"written_at": "9999-01-01T00:00:00+00:00", "heard_at": "9999-01-01T00:00:00+00:00"}'


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"written_at": 3}', b'{"written_at": "x"}', b"\xff", b"{}", LATE]
)
def test_an_odd_heartbeat_is_none(lab, content):
    """A file that is no heartbeat, whatever it holds, counts as no stage, and breaks nothing."""
    folder = lab.root / "status/gate"
    folder.mkdir(parents=True)
    (folder / "status.json").write_bytes(content)
    seen = {one.stage: one.state for one in stage_status.read_stages(lab.routing.config)}
    assert seen["gate"] == "gone"


class _Hanging:
    """A stage whose second step does not end until it is let go."""

    name = "gate"

    def __init__(self, context):
        self.context = context
        self.spool = context.spool(Role.GATE)
        self.spool.lay_out()
        self.lock = self.spool.lock(Place("checking"))
        self.let_go = threading.Event()
        self.steps = 0

    def inputs(self):
        return []

    hands = inputs

    def adopt(self):
        pass

    recover = close = adopt

    def step(self):
        self.steps += 1
        if self.steps == 2:
            self.let_go.wait(20)
        return Step(due=time.time())


def test_a_stage_that_hangs_is_seen_although_its_process_lives(lab, tmp_path, monkeypatch):
    """Its heartbeat says how long it is silent, the watchdog is not told, and then it is again."""
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.setenv("WATCHDOG_USEC", "1000000")
    monkeypatch.setattr(heartbeat, "EVERY", 0.1)
    monkeypatch.setattr(loop, "_TICK", 0.05)
    context = StageContext(lab.routing)
    stage = _Hanging(context)
    thread = threading.Thread(target=loop.serve, args=([stage], context))
    thread.start()
    manager.heard("STATUS=gate hangs")
    count = len(manager.said)
    time.sleep(1.2)
    assert "WATCHDOG=1" not in manager.said[count:]
    file = next((lab.root / "status").rglob("status.json"))
    silent = json.loads(file.read_bytes())
    assert silent["written_at"] > silent["heard_at"]
    stage.let_go.set()
    manager.heard("WATCHDOG=1", after=count)
    context.stop.set()
    context.wake.set()
    thread.join(10)
    assert not thread.is_alive()
