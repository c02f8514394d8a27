"""Who may drop where: the owner of a file is asked, whatever its name and its content."""

import grp
import json
import os
import pwd

import pytest

from spoold.config.settings import Settings
from spoold.rights import GROUPS, USERS
from spoold.sources.producers import Producers, producers_of
from spoold.states import Role
from tests.conftest import route

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")

DAEMON, NOBODY = pwd.getpwnam("daemon").pw_uid, pwd.getpwnam("nobody").pw_uid
RECORD = {"decision_id": "c-1", "decision_type": "cutover"}
SETTINGS = """
[sources.decisions]
format = "decision"
producers = {producers}
[sources.told]
format = "report"
[executors.rec]
kind = "recorder"
"""


def drop(lab, source, name, content, uid):
    path = lab.root / "inbox" / source / name
    path.write_text(json.dumps(content))
    os.chown(path, uid, -1)


@pytest.mark.parametrize(
    ("producers", "uid", "taken"),
    [
        ("[]", NOBODY, True), ('["daemon"]', DAEMON, True), ('["daemon"]', NOBODY, False),
        ('["root", "daemon"]', DAEMON, True), ('["@daemon"]', DAEMON, True),
        ('["@daemon"]', NOBODY, False), ('["@daemon"]', 54321, False), ('["gone"]', DAEMON, False),
        ('["@gone"]', DAEMON, False), ('["daemon"]', 54321, False),
    ],
)  # fmt: skip
def test_a_source_takes_what_its_producers_drop(lab, producers, uid, taken):
    """Users and groups by name; everybody if none is named; what others drop is set aside whole."""
    lab.configure(SETTINGS.format(producers=producers), {"10.toml": route()})
    lab.stages()
    drop(lab, "decisions", "a.json", RECORD, uid)
    lab.drain()
    if taken:
        made = lab.request("awaiting-approval")
        assert made["source"]["dropped_by"]["uid"] == uid
        return
    file = lab.only("quarantine")
    assert json.loads(file.read_text()) == RECORD
    reason = lab.reason(file)
    assert reason["code"] == "wrong-producer"
    assert reason["dropped_by"]["uid"] == uid


def test_nobody_but_spoold_reports(lab):
    """A forged report is set aside, whatever `producers` says, and tells nobody anything."""
    lab.configure(
        SETTINGS.format(producers="[]").replace('"report"', '"report"\nproducers = ["nobody"]'),
        {"10.toml": route(source="told")},
    )
    lab.stages()
    forged = {"type": "spoold.state", "id": "x", "dispatch_id": "x", "state": "done"}
    drop(lab, "told", "a.json", forged, NOBODY)
    lab.drain()
    assert lab.reason(lab.only("quarantine"))["code"] == "wrong-producer"
    assert lab.files("awaiting-approval") == []


@pytest.mark.parametrize("separate", [False, True])
def test_what_spoold_writes_is_taken_from_its_own_users(separate):
    """Reports come from the user of that stage, wishes from the group of health."""
    table = {"format": "decision", "producers": ["daemon"]}
    settings = Settings.model_validate({
        "root": "x", "separate_users": separate, "health": {"inbox": "wishes"},
        "sources": {"told": {**table, "format": "report"}, "wishes": table, "any": table},
    })  # fmt: skip
    own = ("", "") if not separate else (USERS[Role.REPORT], f"@{GROUPS[Role.HEALTH]}")
    assert [producers_of(settings, name).names for name in ("told", "wishes", "any")] == [
        (own[0],), (own[1],), ("daemon",),
    ]  # fmt: skip


def test_a_member_by_the_first_group_is_a_member():
    """A user's primary group counts like the others."""
    user = pwd.getpwuid(NOBODY)
    assert Producers((f"@{grp.getgrgid(user.pw_gid).gr_name}",)).include(NOBODY)


def test_a_route_can_ask_who_dropped_it(lab):
    """`record.dropped_by` is the owner of the file, by name and by number."""
    match = "record.dropped_by.user == 'daemon' && record.dropped_by.uid == 1"
    lab.configure(SETTINGS.format(producers="[]"), {"10.toml": route(match=match)})
    lab.stages()
    for name, uid in (("a.json", DAEMON), ("b.json", NOBODY)):
        drop(lab, "decisions", name, {**RECORD, "decision_id": name}, uid)
    lab.drain()
    assert lab.request("awaiting-approval")["source"]["file"] == "a.json"
    (refused,) = (lab.root / "quarantine/decisions").glob("b.json")
    assert lab.reason(refused)["code"] == "no-route"
