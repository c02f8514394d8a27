"""The package on a booted host: installed, enabled, killed, rebooted, upgraded, short of things."""

import json
import os
import re
import subprocess
import time

import pytest

from tests.e2e.conftest import until
from tests.host.conftest import SPOOL

pytestmark = pytest.mark.timeout(900)

SERVICES = ("intake", "gate", "sweep", "execute@runner")


def journal(host, since="-10min"):
    """What the services have said: each line as the journal has it."""
    ended = host.run(f"journalctl -o json --no-pager --since={since} -t spoold", seconds=60)
    lines = []
    for raw in ended.stdout.splitlines():
        entry = json.loads(raw)
        said = entry["MESSAGE"]
        assert str(said).startswith("{"), (entry.get("_CMDLINE"), said)
        lines.append((entry["PRIORITY"], entry.get("_SYSTEMD_UNIT"), json.loads(said)))
    return lines


def test_a_submitter_drops_an_approver_moves_and_it_is_done(running):
    """From a plain write by a plain `mv` to the effect, through five users, with a trail."""
    running.drop("one")
    running.wait_for("awaiting-approval")
    running.approve()
    (name,) = running.wait_for("done")
    assert running.acts() == ["one"]
    said = running.run(f"cat {SPOOL}/done/runner/{name}", "bob").stdout
    assert json.loads(said)["result"]["outcome"] == "done"
    shown = running.run(f"spoold show {name[-13:-5]} --json", "bob").stdout
    assert json.loads(shown)["request"]["dispatch_id"] == name.removesuffix(".json")
    owners = {line.split()[2] for line in
              running.run(f"ls -l {SPOOL}/done/runner", "bob").stdout.splitlines()[1:]}  # fmt: skip
    assert owners == {"spoold-x-runner"}


def test_every_line_of_the_journal_has_a_priority_and_says_what_it_is_about(running):
    """JSON lines, of every unit: a syslog priority, and for each step of a request its id."""
    running.run("systemctl start spoold-health.service")
    running.drop("one")
    running.wait_for("awaiting-approval")
    running.approve()
    (name,) = running.wait_for("done")
    lines = until(lambda: [one for one in journal(running)
                           if one[2]["dispatch_id"] == name.removesuffix(".json")
                           and one[2]["stage"] == "execute"], "lines")  # fmt: skip
    assert lines
    every = journal(running)
    assert {int(priority) for priority, _, _ in every} <= {2, 3, 4, 6, 7}
    assert all(int(priority) == line["priority"] for priority, _, line in every)
    assert all("dispatch_id" in line for _, _, line in every)


def test_no_service_is_root_and_each_has_a_user_of_its_own(running):
    """Every process of spoold has a user of its own, and no capability."""
    shown = running.run("ps -eo user:32,args | grep '[/]opt/spoold'").stdout.splitlines()
    users = [line.split()[0] for line in shown]
    assert "root" not in users
    expected = {"spoold-intake", "spoold-gate", "spoold-sweep", "spoold-report",
                "spoold-x-runner", "spoold-x-other", "spoold-x-gateway"}  # fmt: skip
    assert expected <= {*users}
    assert len(users) == len(expected) + 1, "report and metrics are one user's"


def test_the_units_are_clean(running):
    """The manager finds nothing to complain about in any of them."""
    ended = running.run(
        "systemd-analyze verify --man=no /usr/lib/systemd/system/spoold* "
        "spoold-execute@runner.service", ok=False,
    )  # fmt: skip
    complaints = [line for line in ended.stderr.splitlines() if "spoold" in line]
    assert (ended.returncode, complaints) == (0, [])


def test_killed_in_mid_work_every_service_comes_back_and_nothing_is_lost(running):
    """While 60 requests pass each service is killed again and again: each is done, and once."""
    names = [f"k{number}" for number in range(60)]
    running.drop_many(names, seconds="0.2")
    deadline = time.monotonic() + 180
    round_ = 0
    while len(running.files("done")) + len(running.files("unknown")) < len(names):
        assert time.monotonic() < deadline, running.where
        service = SERVICES[round_ % len(SERVICES)]
        round_ += 1
        running.run(f"systemctl kill -s KILL spoold-{service}", ok=False)
        if running.files("awaiting-approval"):
            running.run(f"mv {SPOOL}/awaiting-approval/*.json {SPOOL}/approved/", "ann", ok=False)
        time.sleep(2.5)
    done, unknown = running.files("done"), running.files("unknown")
    assert len(done) + len(unknown) == len(names)
    acts = running.acts()
    assert len(acts) == len({*acts}), "nothing ran twice"
    assert len({*acts}) >= len(done)
    # What a killed executor had claimed may have run, and a person is asked.
    assert len(unknown) <= 4 * (round_ // len(SERVICES) + 1)


def test_after_a_reboot_everything_goes_on(running):
    """Requests that waited or were approved are where they were, and go on by themselves."""
    running.drop_many(["w1", "w2"])
    running.wait_for("awaiting-approval", 2)
    running.run("systemctl enable spoold.target")
    running.run("systemctl stop spoold-gate")
    running.run(f"mv {SPOOL}/awaiting-approval/*.json {SPOOL}/approved/", "ann")
    running.drop("w3")
    running.wait_for("awaiting-approval")
    running.halt()
    running.boot()
    running.wait_ready()
    running.wait_for("done", 2)
    assert sorted(running.acts()) == ["w1", "w2"]
    assert len(running.files("awaiting-approval")) == 1


def test_with_the_plug_pulled_everything_goes_on(running):
    """The same when everything dies at once."""
    running.run("systemctl enable spoold.target")
    names = [f"p{number}" for number in range(20)]
    running.drop_many(names)
    running.wait_for("awaiting-approval", 20)
    running.approve()
    running.wait_for("done", 3)
    running.cut()
    running.boot()
    running.wait_ready()
    until(lambda: len(running.files("done")) + len(running.files("unknown")) == 20, running.where,
          60)  # fmt: skip
    assert len(running.acts()) == len({*running.acts()})


def test_an_upgrade_keeps_what_waits_and_what_the_operator_wrote(running, package):
    """1,000 requests wait while the package is replaced; the configuration and the trail stay."""
    names = [f"u{number}" for number in range(1000)]
    running.drop_many(names)
    running.wait_for("awaiting-approval", 1000, 120)
    waiting = running.files("awaiting-approval")
    newer = running.tree / "root/newer"
    subprocess.run(["dpkg-deb", "-R", package, newer], check=True)
    control = newer / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: ", "Version: 9."))
    subprocess.run(["dpkg-deb", "-b", "-Zgzip", newer, running.tree / "root/newer.deb"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    before = (running.tree / "etc/spoold/spoold.toml").read_bytes()
    running.run("dpkg --force-confdef --force-confold -i /root/newer.deb", seconds=300)
    assert (running.tree / "etc/spoold/spoold.toml").read_bytes() == before
    running.wait_ready()
    assert running.files("awaiting-approval") == waiting
    running.drop("after")
    running.wait_for("awaiting-approval", 1001)
    running.approve()
    running.wait_for("done", 1001, 240)
    assert sorted(running.acts()) == sorted([*names, "after"])


def test_a_service_that_was_stopped_by_hand_stays_so_over_an_upgrade(running, package):
    """An upgrade starts what it has stopped, and nothing else."""
    running.run("systemctl stop spoold-gate")
    running.run(f"dpkg --force-confdef --force-confold -i /root/{package.name}", seconds=300)
    until(lambda: running.status()["intake"] == "ready", running.status, 60)
    assert running.run("systemctl is-active spoold-gate", ok=False).stdout.strip() == "inactive"


def test_purge_keeps_the_spool(running, package):
    """Nothing of the trail goes with the package; the units and the configuration do."""
    running.drop("one")
    running.wait_for("awaiting-approval")
    held = running.files("awaiting-approval")
    said = running.run("dpkg --purge spoold 2>&1").stdout
    try:
        assert "is kept" in said
        assert running.files("awaiting-approval") == held
        assert not running.run("ls /etc/systemd/system/ | grep spoold", ok=False).stdout
        assert not (running.tree / "opt/spoold/bin").exists()
    finally:
        running.run(f"dpkg -i /root/{package.name}", seconds=300)


def test_as_it_comes_everything_starts(host, package):
    """After a purge and a new installation, with nothing configured yet, every stage is ready."""
    host.run("dpkg --purge spoold; rm -rf /etc/spoold")
    host.run(f"rm -rf {SPOOL}; dpkg -i /root/{package.name}", seconds=300)
    assert host.run("spoold check --permissions").returncode == 0
    host.start()
    assert {"execute openclaw", "execute runner", "execute platform"} <= {*host.status()}
    assert host.run("systemctl is-active spoold-health.timer").stdout.strip() == "active"
    host.run("systemctl start spoold-health.service")
    host.drop("one", decision_type="cutover")
    host.wait_for("awaiting-approval")


def test_removed_and_installed_again_it_is_as_before(running, package):
    """A removal stops and disables all, keeps configuration and spool, and agents go on."""
    running.run("systemctl enable spoold.target")
    running.drop("one")
    held = running.wait_for("awaiting-approval")
    running.run("systemd-run --scope --unit=spoold-dispatch-x sleep 600 >/dev/null 2>&1 &")
    active = "systemctl list-units --plain --no-legend 'spoold*'"
    until(lambda: "spoold-dispatch-x.scope" in running.run(active).stdout, "it runs", 10)
    running.run("dpkg --remove spoold")
    assert running.run(active).stdout.split()[:1] == ["spoold-dispatch-x.scope"]
    assert not running.run(
        "ls /etc/systemd/system/multi-user.target.wants | grep spoold", ok=False
    ).stdout
    running.run(f"dpkg -i /root/{package.name}", seconds=300)
    running.run("systemctl stop spoold-dispatch-x.scope")
    running.start()
    assert running.files("awaiting-approval") == held
    running.approve()
    running.wait_for("done")


def test_a_user_has_a_service_of_their_own(host):
    """What `spoold init --user` writes runs under a user's own manager, in their own folders."""
    number = host.run("id -u eve").stdout.strip()
    host.run("mkdir -p /home/eve && chown eve:eve /home/eve")
    host.run(f"systemctl start user@{number}")
    env = f"export HOME=/home/eve XDG_RUNTIME_DIR=/run/user/{number}; cd; "
    try:
        host.run(env + "spoold init --user && systemctl --user enable --now spoold", "eve")
        until(lambda: host.run(env + "spoold status", "eve", ok=False).returncode == 0,
              lambda: host.run("journalctl -n 30 -o cat --no-pager").stdout, 60)  # fmt: skip
        spool = "/home/eve/.local/state/spoold/spool"
        text = json.dumps({"decision_id": "own", "decision_type": "cutover"})
        host.run(f"echo '{text}' > {spool}/inbox/decisions/own.json", "eve")
        here = f"ls {spool}/awaiting-approval"
        until(lambda: "cutover" in host.run(here, "eve").stdout, "it is taken", 30)
        assert "ready" in host.run(env + "systemctl --user status spoold", "eve").stdout
    finally:
        host.run(f"systemctl stop user@{number}; rm -rf /home/eve")


def waiting(host):
    """How many requests wait, on a spool that only the host sees."""
    return len(host.run(f"ls {SPOOL}/awaiting-approval").stdout.split())


def test_a_full_disk_is_waited_out(host):
    """With no room drops stay in the inbox, status says why, and all goes on when there is room."""
    host.run(f"mv {SPOOL} {SPOOL}.old && mkdir {SPOOL}")
    host.run(f"mount -t tmpfs -o size=24m,mode=755 tmpfs {SPOOL}")
    try:
        host.run("spoold check --permissions --fix")
        host.run("systemctl start spoold.target")
        host.wait_ready()
        host.drop("before")
        until(lambda: waiting(host) == 1, "taken", 30)
        host.run(f"head -c 40000000 /dev/zero > {SPOOL}/fill", ok=False)
        host.run(f"rm {SPOOL}/fill; head -c 23000000 /dev/zero > {SPOOL}/fill", ok=False)
        host.drop("during")
        until(lambda: host.status().get("intake") == "waits", host.status, 30)
        ended = host.run("spoold status", "ann", ok=False)
        assert ended.returncode == os.EX_TEMPFAIL
        assert "min_free" in ended.stdout + ended.stderr
        assert host.run(f"ls {SPOOL}/inbox/decisions").stdout.split() == ["during.json"]
        host.run(f"rm {SPOOL}/fill")
        until(lambda: waiting(host) == 2, "it goes on", 30)
        host.wait_ready()
    finally:
        host.run("systemctl stop spoold.target 'spoold-*'", ok=False)
        host.run(f"umount {SPOOL}; rmdir {SPOOL}; mv {SPOOL}.old {SPOOL}", ok=False)


def test_without_its_credential_an_executor_does_not_start_and_loses_nothing(running):
    """The service fails, and what was approved waits; it goes on when it is there again."""
    running.run("mv /etc/spoold/credentials/gateway /root/gateway")
    running.run("systemctl restart spoold-execute@gateway", ok=False)
    shown = running.run("systemctl status spoold-execute@gateway", ok=False).stdout
    assert "CREDENTIALS" in shown
    running.drop("one", decision_type="call")
    running.wait_for("awaiting-approval")
    running.approve()
    running.wait_for("queued")
    assert running.status()["execute gateway"] == "gone"
    assert running.run("spoold status", "ann", ok=False).returncode == os.EX_UNAVAILABLE
    running.run("mv /root/gateway /etc/spoold/credentials/gateway")
    running.run("systemctl reset-failed; systemctl restart spoold-execute@gateway")
    running.wait_for("deferred")
    assert "s3cret" not in running.run(f"cat {SPOOL}/deferred/gateway/*").stdout


def test_a_stage_that_hangs_is_restarted(running):
    """A stage that stops answering is killed by the watchdog and started again."""
    running.write(
        "/etc/systemd/system/spoold-gate.service.d/60-test.conf", "[Service]\nWatchdogSec=4s\n"
    )
    running.run("systemctl daemon-reload; systemctl restart spoold-gate")
    running.wait_ready()
    before = running.run("systemctl show -p MainPID --value spoold-gate").stdout.strip()
    running.run("systemctl kill -s STOP spoold-gate")
    until(lambda: running.run("systemctl show -p MainPID --value spoold-gate").stdout.strip()
          not in ("0", before), "a new one", 40)  # fmt: skip
    running.wait_ready()


def test_routes_are_reloaded_and_a_bad_file_is_refused(running):
    """`systemctl reload` takes on a new route; a bad one is named, and the old ones stay."""
    running.drop("one", decision_type="new")
    running.wait_for("quarantine")
    new = 'name = "new"\nsource = "decisions"\nmatch = "record.body.decision_type == \'new\'"\n'
    new += 'executor = "runner"\n[params]\nargv = ["/usr/local/bin/act", "=record.id", "0"]\n'
    running.write("/etc/spoold/routes.d/30-new.toml", new)
    says = "journalctl -u spoold-intake -o cat --no-pager | grep -c 'was read again'"
    before = running.run(says, ok=False).stdout
    running.run("systemctl reload spoold-intake spoold-gate")
    until(lambda: running.run(says, ok=False).stdout != before, "intake has read it", 60)
    running.drop("two", decision_type="new")
    running.wait_for("awaiting-approval")
    running.write("/etc/spoold/routes.d/30-new.toml", "name = ")
    running.run("systemctl reload spoold-intake")
    show = "systemctl show -p StatusText --value spoold-intake"
    until(lambda: "30-new.toml:1" in running.run(show).stdout, "STATUS says it", 20)
    running.drop("three", decision_type="new")
    running.wait_for("awaiting-approval", 2)


def test_a_wrong_configuration_is_not_tried_again_and_again(running):
    """A service that cannot start for its configuration stays failed, and its log says where."""
    running.write("/etc/spoold/routes.d/10-act.toml", "name = ")
    running.run("systemctl restart spoold-intake", ok=False)
    time.sleep(7)
    shown = running.run("systemctl show -p ActiveState -p NRestarts spoold-intake").stdout
    assert "ActiveState=failed" in shown
    said = running.run("journalctl -u spoold-intake -p err -n 20 -o cat --no-pager").stdout
    assert "10-act.toml:1" in said
    assert journal(running)


def test_the_numbers_are_there_without_being_asked_for(running):
    """A text file for Prometheus with what every stage has done, and no log file anywhere."""
    running.drop("one")
    running.wait_for("awaiting-approval")
    running.approve()
    running.wait_for("done")
    wanted = [
        'spoold_moves_total{source="running",stage="execute runner",target="done"} 1.0',
        'spoold_files{folder="done/runner"} 1.0',
        'spoold_stage_up{stage="gate"} 1.0',
        'spoold_attempt_duration_seconds_count{executor="runner",outcome="done"} 1.0',
    ]
    path = "/run/spoold/metrics/spoold.prom"
    until(lambda: all(line in running.run(f"cat {path}", "eve").stdout for line in wanted),
          lambda: running.run(f"cat {path}").stdout, 60)  # fmt: skip
    assert not (running.tree / "var/log/spoold").exists()


def test_the_index_that_root_has_rebuilt_is_intakes(running):
    """After `spoold reindex` by root intake goes on with it, and still knows what it has seen."""
    running.drop("one")
    running.wait_for("awaiting-approval")
    running.run("systemctl stop spoold-intake; spoold reindex; systemctl start spoold-intake")
    owner = running.run(f"stat -c %U {SPOOL}/archive/.index.sqlite3").stdout.strip()
    assert owner == "spoold-intake"
    running.drop("one")
    running.drop("two")
    running.wait_for("awaiting-approval", 2)
    assert len(running.files("awaiting-approval")) == 2


def test_root_makes_no_folder_that_shuts_the_others_out(host):
    """A verb of root's on a spool that lacks a folder says so instead of making it root's."""
    host.run(f"rmdir {SPOOL}/inbox/decisions")
    ended = host.run("spoold reindex", ok=False)
    assert ended.returncode == os.EX_CONFIG
    assert "check --permissions --fix" in ended.stderr
    assert host.run(f"test -e {SPOOL}/inbox/decisions", ok=False).returncode == 1


def test_an_upgrade_that_fails_leaves_everything_running(running, package):
    """A package that cannot be unpacked, and one that comes during a reload: services run after."""
    broken = running.tree / "root/broken"
    subprocess.run(["dpkg-deb", "-R", package, broken], check=True)
    control = broken / "DEBIAN/control"
    control.write_text(control.read_text().replace("Version: ", "Version: 8."))
    script = broken / "DEBIAN/preinst"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)
    subprocess.run(["dpkg-deb", "-b", "-Zgzip", broken, running.tree / "root/broken.deb"],
                   check=True, stdout=subprocess.DEVNULL)  # fmt: skip
    ended = running.run("dpkg --force-confold -i /root/broken.deb", ok=False, seconds=300)
    assert ended.returncode != 0
    running.wait_ready()
    assert not (running.tree / "run/spoold.restart").exists()


def test_the_package_has_no_tests_of_its_dependencies(package):
    """What is installed is what runs: no test folder and no test module of anybody's."""
    listed = subprocess.run(["dpkg-deb", "-c", package], check=True, capture_output=True, text=True)
    files = [line.split(None, 5)[5] for line in listed.stdout.splitlines()]
    libraries = [name for name in files if "/site-packages/" in name]
    assert any("/site-packages/spoold/" in name for name in libraries)
    assert any("/site-packages/pydantic/" in name for name in libraries)
    tests = re.compile(r"/_?tests?/|/test_[^/]*$|_test\.(py|[^/]*pyc)$|/conftest\.")
    assert [name for name in libraries if tests.search(name)] == []
