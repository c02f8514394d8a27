"""With real users, every act that the table does not give is tried, and fails."""

import json
import os

import pytest

from spoold import rights
from spoold.rights import ENTER, READ, WRITE
from tests.e2e.conftest import until
from tests.host.conftest import SPOOL

pytestmark = pytest.mark.timeout(900)

SOURCES, EXECUTORS = ["decisions"], ["gateway", "other", "runner"]
TABLE = {entry.path: entry for entry in rights.of_spool(SOURCES, EXECUTORS)}
#: Every user, and the groups that count.
USERS = {
    **{name: [] for name in rights.USERS.values()},
    **{rights.user_of(name): ["spoold-execute"] for name in EXECUTORS},
    "sam": ["spoold-submit"], "ann": ["spoold-approve"], "eve": [],
}  # fmt: skip

#: Tries to list, to enter and to write each folder; prints what worked.
PROBE = """
import json, os, sys
found = {}
for path in json.load(open('/usr/local/share/paths.json')):
    rights = 0
    try:
        os.listdir(path); rights |= 4
    except PermissionError: pass
    try:
        os.stat(path + '/.nothing')
    except FileNotFoundError: rights |= 1
    except PermissionError: pass
    name = f'{path}/.probe-{os.getuid()}'
    try:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY)); os.unlink(name); rights |= 2
    except PermissionError: pass
    found[path] = rights
print(json.dumps(found))
"""


def expected(user, path):
    """What a user may do in a folder by the table: nothing, if not the one that it lies in."""
    above = path.rpartition("/")[0]
    if path and above in TABLE and not expected(user, above) & ENTER:
        return 0
    entry, groups = TABLE[path], USERS[user]
    if user == entry.owner:
        return entry.mode >> 6 & 7
    if user in entry.users:
        return entry.users[user]
    mine = [entry.groups[group] for group in groups if group in entry.groups]
    mine += [entry.group_may] if entry.group in groups else []
    if mine:
        return max(mine)
    return entry.mode & 7


@pytest.mark.parametrize("user", USERS)
def test_everybody_may_do_what_the_table_says_and_nothing_else(host, user):
    """In each folder listing, entering and writing are tried as that user, and answered right."""
    host.write(
        "/usr/local/share/paths.json", json.dumps([f"{SPOOL}/{path}".rstrip("/") for path in TABLE])
    )
    host.write("/usr/local/share/probe.py", PROBE)
    found = json.loads(host.run("python3 /usr/local/share/probe.py", user).stdout)
    wanted = {f"{SPOOL}/{path}".rstrip("/"): expected(user, path) for path in TABLE}
    assert found == wanted


def test_the_table_gives_what_the_issue_is_about():
    """Only intake lists an inbox; only people and the gate write where yes is said."""
    assert expected("sam", "inbox/decisions") == WRITE | ENTER
    assert [user for user in USERS if expected(user, "inbox/decisions") & READ] == ["spoold-intake"]
    assert {user for user in USERS if expected(user, "approved") & WRITE} == {"ann", "spoold-gate"}
    for one, other in (("runner", "other"), ("other", "gateway")):
        for folder in ("queued", "running", "deferred"):
            assert expected(rights.user_of(one), f"{folder}/{other}") == 0
    assert all(expected("eve", path) == 0 for path in TABLE if path)
    writers = {user for user in USERS if expected(user, "queued/runner") & WRITE}
    assert writers == {"spoold-gate", "spoold-sweep", "spoold-x-runner", "ann"}


def fails(host, user, command, why="Permission denied|Operation not permitted"):
    """A command that this user must not be able to do."""
    ended = host.run(command, user, ok=False)
    assert ended.returncode != 0, command
    assert any(text in ended.stderr for text in why.split("|")), ended.stderr


def test_an_approver_can_alter_nothing(running):
    """A waiting request can be moved by an approver; not one byte or right of it can be changed."""
    running.drop("one")
    (name,) = running.wait_for("awaiting-approval")
    path = f"{SPOOL}/awaiting-approval/{name}"
    for command in (f"echo x >> {path}", f": > {path}", f"chmod 666 {path}", f"chown ann {path}",
                    f"ln {path} {SPOOL}/tmp/x"):  # fmt: skip
        fails(running, "ann", command, "ermission denied|not permitted|cannot create")
    assert running.run(f"mv {path} {SPOOL}/approved/", "ann").returncode == 0
    running.wait_for("done")


def test_what_an_approver_writes_does_not_run(running):
    """A request that a person wrote, changed or brought back is refused at every door."""
    running.drop_many(["one", "two"])
    first, second = running.wait_for("awaiting-approval", 2)
    forge = f"sed s/one/evil/ {SPOOL}/awaiting-approval/{first} > {SPOOL}/approved/{first}"
    running.run(forge, "ann")
    until(lambda: first in running.files("held"), running.where)
    running.run(f"mv {SPOOL}/awaiting-approval/{second} {SPOOL}/approved/", "ann")
    running.wait_for("done")
    # Straight into a queue, past the gate: as it was, and as a copy of what is done.
    copy = second.replace("two", "xxx")
    running.run(f"cp {SPOOL}/done/runner/{second} {SPOOL}/queued/runner/{copy}", "ann")
    running.run(f"cp {SPOOL}/awaiting-approval/{first} {SPOOL}/queued/runner/{first}", "ann")
    until(lambda: not running.files("queued"), running.where)
    until(lambda: len(running.files("held")) >= 3, running.where)
    assert [*{*running.acts()}] in (["one"], ["two"])
    assert len(running.acts()) == 1


def test_intake_cannot_approve_and_an_executor_cannot_forge(running):
    """The users of services can do only their own arrows, whatever a bug in them would try."""
    running.drop("one")
    (name,) = running.wait_for("awaiting-approval")
    waits = f"{SPOOL}/awaiting-approval/{name}"
    fails(running, "spoold-intake", f"mv {waits} {SPOOL}/approved/")
    fails(running, "spoold-sweep", f"mv {waits} {SPOOL}/approved/")
    fails(running, "spoold-report", f"mv {waits} {SPOOL}/approved/")
    for folder in ("approved", "awaiting-approval", "pre-approved", "checking", "queued/other",
                   "running/other", "rejected", "archive"):  # fmt: skip
        fails(running, "spoold-x-runner", f"touch {SPOOL}/{folder}/x.json")
    fails(running, "spoold-x-runner", f"ls {SPOOL}/queued/other")
    fails(running, "spoold-x-runner", f"cat {waits}")


def test_a_submitter_can_only_drop(running):
    """A submitter sees nothing, not even other drops, and can take nothing back from others."""
    inbox = f"{SPOOL}/inbox/decisions"
    running.run("systemctl stop spoold-intake")
    running.run("usermod -aG spoold-submit bob")
    running.run(f"echo '{{}}' > {inbox}/bobs.json", "bob")
    fails(running, "sam", f"ls {inbox}")
    fails(running, "sam", f"rm -f {inbox}/bobs.json")
    fails(running, "sam", f"mv {inbox}/bobs.json {inbox}/mine.json")
    fails(running, "sam", f"echo x > {inbox}/bobs.json")
    for folder in ("awaiting-approval", "approved", "done", "archive/decisions", "tmp"):
        fails(running, "sam", f"ls {SPOOL}/{folder}")
    running.run("gpasswd -d bob spoold-submit")


def test_only_intake_and_the_gate_read_the_seals_key(host):
    """Whoever has the key can make requests; no other user can read it, and none can change it."""
    key = f"{SPOOL}/.seal.key"
    for user in USERS:
        if user in ("spoold-intake", "spoold-gate"):
            assert host.run(f"cat {key}", user).stdout.strip()
        else:
            fails(host, user, f"cat {key}")
        fails(host, user, f"echo x > {key}", "ermission denied|cannot create")
        fails(host, user, f"rm -f {key}")


def test_an_executor_has_its_own_secrets_only(running):
    """The credential of one service is out of reach for the users of all others."""
    given = "/run/credentials/spoold-execute@gateway.service/gateway"
    for user in USERS:
        fails(running, user, "cat /etc/spoold/credentials/gateway")
        if user != "spoold-x-gateway":
            fails(running, user, f"cat {given}")
    asked = running.run("grep -rl LoadCredential=gateway: /etc/systemd/system").stdout.split()
    assert asked == ["/etc/systemd/system/spoold-execute@gateway.service.d/50-spoold.conf"]


def test_only_an_executor_of_containers_gets_the_engines_socket(host):
    """The group of the socket is in no account, and in the one service that needs it."""
    host.run("groupadd -f docker")
    toml = (host.tree / "etc/spoold/spoold.toml").read_text()
    dock = '[executors.dock]\nkind = "container"\nimage = "x"\ncontainer_port = 80\n'
    host.write("/etc/spoold/spoold.toml", f"{toml}\n{dock}[executors.dock.plans.p]\ncpus = 0.5\n"
               'memory = "64M"\n')  # fmt: skip
    host.run("spoold check --permissions --fix; systemctl daemon-reload")
    host.run("systemctl start spoold.target")
    host.wait_ready()
    docker = int(host.run("getent group docker").stdout.split(":")[2])
    groups = {}
    for unit in ("intake", "gate", "sweep", "report", "metrics", "execute@runner", "execute@dock"):
        pid = host.run(f"systemctl show -p MainPID --value spoold-{unit}").stdout.strip()
        status = host.run(f"cat /proc/{pid}/status").stdout
        line = next(line for line in status.splitlines() if line.startswith("Groups:"))
        groups[unit] = docker in map(int, line.split()[1:])
    assert groups == {unit: unit == "execute@dock" for unit in groups}
    assert not host.run("getent group docker").stdout.strip().partition(":x:")[2].partition(":")[2]
    # It is gone again when it is not configured any more, and so is what belongs to it.
    host.write("/etc/spoold/spoold.toml", toml)
    assert "execute@dock" in host.run("spoold check --permissions", ok=False).stdout
    host.run("spoold check --permissions --fix; systemctl daemon-reload")
    assert not host.run("ls /etc/systemd/system | grep dock", ok=False).stdout


DAMAGES = [
    f"chmod 777 {SPOOL}/approved",
    f"chown spoold-intake {SPOOL}/approved",
    f"chgrp spoold-submit {SPOOL}/held",
    f"setfacl -m u:eve:rwx {SPOOL}/queued/runner",
    f"setfacl -x u:spoold-x-runner {SPOOL}/queued/runner",
    f"setfacl -b {SPOOL}/held",
    f"chmod 644 {SPOOL}/.seal.key",
    f"rmdir {SPOOL}/rejected",
    f"rm -r {SPOOL}/failed && ln -s /tmp {SPOOL}/failed",
    "echo '[Service]' > /etc/systemd/system/spoold-execute@gateway.service.d/50-spoold.conf",
    "rm /etc/systemd/system/spoold.target.wants/spoold-execute@other.service",
    f"setfacl -d -m u:eve:rwx {SPOOL}/approved",
    "gpasswd --add spoold-intake spoold-approve",
    "gpasswd --delete spoold-x-runner spoold-execute",
    "usermod --gid spoold-approve spoold-sweep",
    "chmod 755 /etc/spoold/credentials",
    "umask 022; echo x > /etc/spoold/credentials/stray",
    "chown spoold-gate /etc/spoold/spoold.toml",
    "chmod 777 /etc/spoold/routes.d",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_differs_is_found_and_mended(host, damage):
    """Whatever right was added or lost, `check --permissions` names the path, `--fix` mends it."""
    host.run(damage)
    ended = host.run("spoold check --permissions", ok=False)
    words = reversed(damage.split())
    path = next(word for word in words if word.startswith("/") or word in USERS)
    assert ended.returncode == os.EX_NOPERM
    assert path in ended.stdout
    if "ln -s" in damage:
        # Who put a link there meant something by it: a person has to look.
        assert host.run("spoold check --permissions --fix", ok=False).returncode != 0
        host.run(f"rm {path}")
    host.run("spoold check --permissions --fix")
    assert host.run("spoold check --permissions").returncode == 0


def test_only_root_can_mend(host):
    """Whoever is not root is told so, and nothing has changed."""
    ended = host.run("spoold check --permissions --fix", "ann", ok=False)
    assert ended.returncode == os.EX_CONFIG
    assert "root" in ended.stderr


def test_a_stage_does_not_run_as_root(host):
    """Where each has a user of its own, root would leave files that no other user can move."""
    ended = host.run("spoold run --drain", ok=False)
    assert ended.returncode == os.EX_CONFIG
    assert "systemctl start spoold.target" in ended.stderr


STRAYS = [
    ("sam", f"{SPOOL}/inbox/decisions/x.json"),
    ("ann", f"{SPOOL}/deferred/runner/x.json"),
    ("ann", f"{SPOOL}/approvals/cancel/runner/x.json"),
    ("ann", f"{SPOOL}/approved/x.json"),
    ("ann", f"{SPOOL}/queued/runner/x.json"),
    ("spoold-x-other", f"{SPOOL}/held/other/x.json"),
]


def test_a_folder_that_was_left_stops_no_stage(running):
    """Folders that no stage can rename, where their users may leave them, are walked context."""
    for user, path in STRAYS:
        running.run(f"mkdir -m 755 {path} && touch -d yesterday {path}", user)
    running.drop("one")
    running.wait_for("awaiting-approval")
    running.approve()
    until(lambda: running.acts() == ["one"], lambda: running.where, 40)
    running.wait_ready()
    restarts = running.run("systemctl show -p NRestarts --value spoold-sweep").stdout
    assert restarts.strip() == "0"
    for _, path in STRAYS:
        running.run(f"rmdir {path}", ok=False)


def test_a_link_that_intake_puts_in_its_place_is_not_followed(host):
    """`--fix`, as root, changes nothing where a stage's user has put a link."""
    host.run(f"rm -rf {SPOOL}/archive/decisions; ln -s /etc {SPOOL}/archive/decisions")
    assert host.run("spoold check --permissions --fix", ok=False).returncode != 0
    assert host.run("stat -c %U /etc; ls -A /etc/.taking", ok=False).stdout.strip() == "root"
    host.run(f"rm {SPOOL}/archive/decisions; spoold check --permissions --fix")


def test_a_key_that_an_approver_made_is_not_believed_in(running):
    """With the seal's key gone, whoever may write into the root cannot put one of theirs there."""
    key = f"{SPOOL}/.seal.key"
    running.run(f"rm {key}")
    running.run(f"head -c 64 /dev/zero | tr '\\0' a > {key}; chmod 644 {key}", "ann")
    for stage in ("gate", "intake"):
        running.run(f"systemctl restart spoold-{stage}", ok=False)
        said = running.run(f"journalctl -u spoold-{stage} -p err -n 5 -o cat --no-pager").stdout
        assert "who could seal what runs" in said
    assert key in running.run("spoold check --permissions", ok=False).stdout
    assert running.run("spoold check --permissions --fix", ok=False).returncode == os.EX_CONFIG
    running.run(f"rm {key}; spoold check --permissions --fix; systemctl reset-failed")
    running.run("systemctl restart spoold-gate spoold-intake")
    running.wait_ready()


def test_a_configuration_in_the_spool_is_nobodys(host):
    """What an approver lays where root happens to stand says nothing about what runs."""
    host.run(f"mkdir {SPOOL}/config; echo 'root = \"/\"' > {SPOOL}/config/spoold.toml", "ann")
    for words in ("check", "check --permissions --fix", "doctor", "ls"):
        ended = host.run(f"cd {SPOOL}; spoold {words}", ok=False)
        assert ended.returncode == os.EX_CONFIG
        assert f"{SPOOL}/config" in ended.stderr
    assert host.run("stat -c %U /").stdout.strip() == "root"
