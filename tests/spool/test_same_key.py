"""One key, two deliveries: the same is a repeat, another is a conflict; nothing is swallowed."""

import os
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from spoold.cli import cli
from spoold.spool.decisions import user_name
from spoold.stages.intake import Intake
from spoold.stages.intake.commit import Committer
from spoold.states import REASON_SUFFIX
from spoold.testing import Lab
from tests.conftest import route
from tests.spool.test_keys import lose_index, nothing, spoil_index

#: A record without an id of its own.
ALERT = {"groupKey": "db", "status": "firing", "alerts": [{"labels": {"instance": "db1"}}]}
ALERTS = {"source": "webhooks", "match": 'record.body.status == "firing"'}


def decision(number, **more):
    return {"decision_id": number, "decision_type": "cutover", **more}


def reasons(lab, folder="archive"):
    """The code beside each original of a folder, by the name of the file."""

    def code(path):
        return lab.reason(path)["code"] if Path(f"{path}{REASON_SUFFIX}").exists() else None

    return {path.name: code(path) for path in lab.files(folder)}


def take(lab, source, name, record):
    lab.drop(source, name, record)
    lab.drain()


@pytest.mark.parametrize("between", [nothing, lose_index, spoil_index])
@pytest.mark.parametrize("together", [True, False])
def test_the_same_key_with_other_content_is_a_conflict(lab, between, together):
    """The second order under one id goes to quarantine, with the first and how they differ."""
    lab.drop("decisions", "1.json", decision("d-1", chosen="create"))
    if not together:
        lab.drain()
        between(lab)
    lab.drop("decisions", "2.json", decision("d-1", chosen="delete", more=1))
    lab.drain()
    made = lab.request("awaiting-approval")
    assert made["params"] is not None
    (set_aside,) = [p for p in lab.files("quarantine") if p.name == "2.json"]
    why = lab.reason(set_aside)
    assert (why["code"], why["dispatch_id"]) == ("conflict", made["dispatch_id"])
    assert why["differs"]["fields"] == ["chosen", "more"]
    assert why["differs"]["sha256"][0] == made["source"]["sha256"]
    assert "chosen, more" in why["what"]
    assert reasons(lab) == {"1.json": None}


def test_a_conflict_is_loud(lab, caplog):
    """What has the key of another is a warning in the log, not a line of routine."""
    take(lab, "decisions", "1.json", decision("d-1", a=1))
    take(lab, "decisions", "2.json", decision("d-1", a=2))
    (line,) = [one for one in caplog.records if getattr(one, "code", "") == "conflict"]
    assert line.levelname == "WARNING"


def test_junk_under_the_key_of_an_alarm_does_not_swallow_the_alarm(lab):
    """Whatever became of what a stranger sent first, the real one is not filed as a repeat."""
    take(lab, "decisions", "junk.json", decision("alarm-7", note="junk"))
    lab.only("awaiting-approval").rename(lab.root / "rejected" / lab.only("awaiting-approval").name)
    take(lab, "decisions", "real.json", decision("alarm-7", note="fire"))
    assert reasons(lab, "quarantine") == {"real.json": "conflict"}


def test_the_same_bytes_are_a_repeat_for_good(lab):
    """With an id of its own, what was done once is not asked for again by the same bytes."""
    take(lab, "decisions", "1.json", decision("d-1"))
    lab.approve()
    lab.drain()
    take(lab, "decisions", "2.json", decision("d-1"))
    assert reasons(lab) == {"1.json": None, "2.json": "repeat"}
    assert lab.files("awaiting-approval") == []


def test_numbered_decisions_are_two(lab):
    """Two decisions with numbers for ids are two, though their files have one name."""
    take(lab, "decisions", "latest.json", decision(1, chosen="a"))
    take(lab, "decisions", "latest.json", decision(2, chosen="b"))
    assert len(lab.files("awaiting-approval")) == 2


@pytest.mark.parametrize("ends", ["approve", "reject", "expire", "expire unseen"])
@pytest.mark.parametrize("between", [nothing, lose_index])
def test_content_asks_anew_when_its_request_has_ended(make_lab, ends, between):
    """A record without an id is a repeat while its request is open, and a new one afterwards."""
    lab = make_lab(route(**ALERTS, more='expires_after = "1h"'))
    take(lab, "webhooks", "a.json", ALERT)
    first = lab.only("awaiting-approval").stem
    take(lab, "webhooks", "a.json", ALERT)
    assert [p.stem for p in lab.files("awaiting-approval")] == [first]
    assert "repeat" in reasons(lab).values()
    if ends == "approve":
        lab.approve()
    elif ends == "reject":
        waiting = lab.only("awaiting-approval")
        waiting.rename(lab.root / "rejected" / waiting.name)
    else:
        lab.clock.advance(3601)
    if ends != "expire unseen":
        lab.drain()
    between(lab)
    lab.drop("webhooks", "a.json", ALERT)
    lab.drain()
    second = lab.only("awaiting-approval").stem
    assert second != first
    assert second[-8:] != first[-8:], "or nobody could call it by its digits"
    between(lab)
    take(lab, "webhooks", "a.json", ALERT)
    assert lab.only("awaiting-approval").stem == second


def test_what_is_approved_and_not_ended_is_still_open(make_lab):
    """Identical content asks for nothing new while the first still waits for its turn."""
    lab = make_lab(route(**ALERTS))
    take(lab, "webhooks", "a.json", ALERT)
    (lab.root / "HOLD").touch()
    lab.approve()
    take(lab, "webhooks", "b.json", ALERT)
    assert lab.files("awaiting-approval") == []
    assert reasons(lab)["b.json"] == "repeat"


@pytest.mark.parametrize(
    ("repeats", "seconds", "asked"),
    [("forever", 10**7, 1), ("1h", 3599, 1), ("1h", 3601, 2), ("while-open", 0, 2)],
)
@pytest.mark.parametrize("where", ["route", "source"])
def test_how_long_a_key_is_a_repeat_can_be_said(make_lab, repeats, seconds, asked, where):
    """`repeats` of the route, or else of the source, says how long a key counts as seen."""
    line = f'repeats = "{repeats}"'
    settings = Lab.SETTINGS.replace('format = "decision"', f'format = "decision"\n{line}')
    lab = make_lab(route(more=line)) if where == "route" else make_lab(route(), toml=settings)
    take(lab, "decisions", "1.json", decision("d-1"))
    lab.approve()
    lab.drain()
    lab.clock.advance(seconds)
    take(lab, "decisions", "2.json", decision("d-1"))
    assert len(lab.files("awaiting-approval")) + 1 == asked


def test_a_key_of_ones_own_can_be_made_of_time_and_name(make_lab):
    """`record.received_at` and `record.file` tell two drops apart that are alike to the byte."""
    lab = make_lab(
        route(**ALERTS, more="event_key = 'record.file + record.received_at'"),
        route(name="other", source="tasks", match="true", more="event_key = 'record.file'"),
    )
    for _ in range(2):
        take(lab, "webhooks", "a.json", ALERT)
    assert len(lab.files("awaiting-approval")) == 2
    for name in ("a.json", "b.json", "a.json"):
        take(lab, "tasks", name, {"id": "t"})
    assert len(lab.files("awaiting-approval")) == 4


def test_two_posts_of_one_edit_are_no_conflict(make_lab):
    """Plane posts one edit twice, in other words; it asks for the same, so it is a repeat."""
    lab = make_lab(route(source="webhooks", match="true", more='target_ref = "=record.body.event"'))
    edit = {"event": "issue", "action": "updated", "webhook_id": "w",
            "data": {"id": "I", "updated_at": "2026-01-01T10:05:00Z", "name": "n"}}  # fmt: skip
    take(lab, "webhooks", "a.json", {**edit, "activity": {"field": "state"}})
    take(lab, "webhooks", "b.json", {**edit, "activity": {"field": "state_id"}})
    assert reasons(lab)["b.json"] == "repeat"
    edit["data"]["name"] = "another"
    take(lab, "webhooks", "c.json", edit)
    assert reasons(lab, "quarantine") == {"c.json": "conflict"}


def test_alike_content_with_other_headers_that_ask_for_other_things_is_a_conflict(make_lab):
    """What a route renders from headers is compared, too, before anything is called a repeat."""
    lab = make_lab(
        route(source="webhooks", match="true", more="target_ref = \"=record.headers['x-who']\"")
    )
    for name, who in (("a.json", "me"), ("b.json", "me"), ("c.json", "you")):
        headers = {"x-who": who, "x-n": name, "webhook-id": "1"}
        take(lab, "webhooks", name, {"headers": headers, "body": ALERT})
    assert reasons(lab)["b.json"] == "repeat"
    assert reasons(lab, "quarantine") == {"c.json": "conflict"}


def crash_before(lab, monkeypatch, method):
    """Let intake die just before it calls a method of its own, then start anew."""

    class Died(BaseException):
        """As a kill would."""

    def die(*_):
        raise Died

    intake = Intake(lab.context)
    with monkeypatch.context() as patched:
        patched.setattr(Committer, method, die)
        with pytest.raises(Died):
            (intake.recover(), intake.step())
    intake.close()


@pytest.mark.parametrize("method", ["_note", "_move"])
@pytest.mark.parametrize("lost", [nothing, lose_index])
def test_a_crash_makes_no_conflict_of_what_was_published(make_lab, monkeypatch, method, lost):
    """Killed between request and index, or index and archive, each drop gets the same answer."""
    lab = make_lab(
        route(**ALERTS),
        route(name="tasks", source="tasks", match="true",
              more="event_key = 'record.file + record.received_at'"),
        route(name="more"),
    )  # fmt: skip
    take(lab, "webhooks", "a.json", ALERT)
    waiting = lab.only("awaiting-approval")
    waiting.rename(lab.root / "rejected" / waiting.name)
    lab.drop("webhooks", "a.json", ALERT)
    lab.drop("webhooks", "b.json", ALERT)
    lab.drop("tasks", "t.json", {"id": "t"})
    lab.drop("decisions", "1.json", decision("d", n=1))
    lab.drop("decisions", "2.json", decision("d", n=2))
    for _ in range(3):
        crash_before(lab, monkeypatch, method)
        lost(lab)
    lab.drain()
    assert len(lab.files("awaiting-approval")) == 3
    assert reasons(lab)["b.json"] == "repeat"
    assert list(reasons(lab, "quarantine").values()) == ["conflict"]


def take_as_new(lab, name):
    """`spoold retry --as-new` for a quarantined file; the name that it has in the inbox."""
    ended = CliRunner().invoke(
        cli, ["--config", str(lab.file), "retry", "--as-new", f"quarantine/decisions/{name}"]
    )
    assert ended.exit_code == 0, ended.output
    return next(path.name for path in (lab.root / "inbox/decisions").glob("*.json"))


@pytest.mark.parametrize("between", [nothing, lose_index])
@pytest.mark.parametrize("folds", ["", "intent_key = 'record.facts.decision_type'"])
def test_a_conflict_can_be_taken_as_a_new_event(make_lab, monkeypatch, between, folds):
    """`retry --as-new` makes a request of it once, over crashes and a lost index; its id stays."""
    lab = make_lab(route(more=folds))
    take(lab, "decisions", "1.json", decision("d-1", n=1))
    take(lab, "decisions", "2.json", decision("d-1", n=2))
    name = take_as_new(lab, "2.json")
    crash_before(lab, monkeypatch, "_note")
    between(lab)
    crash_before(lab, monkeypatch, "_move")
    between(lab)
    lab.drain()
    made = [orjson.loads(path.read_bytes()) for path in lab.files("awaiting-approval")]
    made.sort(key=lambda one: one["source"]["file"])
    assert [one["source"]["id"] for one in made] == ["d-1", "d-1"]
    assert len({one["event_key"] for one in made}) == 2
    assert made[1]["source"]["file"] == name
    assert lab.files("quarantine") == []
    assert (lab.root / made[1]["source"]["archived"]).read_bytes() == orjson.dumps(
        decision("d-1", n=2)
    )
    between(lab)
    for again, code in ((1, "repeat"), (2, "conflict")):
        take(lab, "decisions", f"again-{again}.json", decision("d-1", n=again))
        found = {**reasons(lab), **reasons(lab, "quarantine")}
        assert found[f"again-{again}.json"] == code


def test_a_file_name_that_is_the_id_stays_the_id_as_new(lab):
    """A decision without an id is known by its file's name, and that is not the name it gets."""
    take(lab, "decisions", "latest.json", {"decision_type": "c", "n": 1})
    take(lab, "decisions", "latest.json", {"decision_type": "c", "n": 2})
    take_as_new(lab, lab.only("quarantine").name)
    lab.drain()
    made = [orjson.loads(path.read_bytes()) for path in lab.files("awaiting-approval")]
    assert [one["source"]["id"] for one in made] == ["latest", "latest"]


def test_only_what_is_in_quarantine_is_taken_as_new(lab):
    """A request is not copied by `--as-new`; the error says what it is for."""
    take(lab, "decisions", "1.json", decision("d-1"))
    words = ["--config", str(lab.file), "retry", "--as-new", lab.only("awaiting-approval").stem]
    ended = CliRunner().invoke(cli, words)
    assert ended.exit_code != 0
    assert len(lab.files("awaiting-approval")) == 1


# Folding and superseding

INTENT = "intent_key = 'record.facts.decision_type'\n"
SAYS = "[params]\nsay = '=record.body.n'"


def test_a_fold_that_asks_for_something_else_shows_in_the_waiting_request(make_lab):
    """What would have been done otherwise is counted, and shown, where the person decides."""
    lab = make_lab(route(more=INTENT + SAYS))
    for number, says in enumerate((1, 1, 2)):
        take(lab, "decisions", f"{number}.json", decision(f"d-{number}", n=says))
    made = lab.request("awaiting-approval")
    assert made["asked"] == 3
    assert [one.get("differs") for one in made["repeats"]] == [None, {"params.say": "2"}]
    folded = next(path for path in lab.files("archive") if path.name == "2.json")
    why = lab.reason(folded)
    assert (why["code"], why["differs"]) == ("folded", {"params.say": "2"})
    words = ["--config", str(lab.file), "ls"]
    assert "asked 3 times, 1 differs" in CliRunner().invoke(cli, words).output


def test_a_difference_stays_in_sight_whatever_comes_after_it(make_lab):
    """Hundreds of repeats that ask for the same push none out that asks for something else."""
    lab = make_lab(route(more=INTENT + SAYS))
    for number in range(250):
        lab.drop("decisions", f"{number:03}.json", decision(f"d-{number}", n=int(number == 3)))
    lab.drain()
    made = lab.request("awaiting-approval")
    assert made["asked"] == 250
    assert [one["id"] for one in made["repeats"] if "differs" in one] == ["d-3"]
    assert made["repeats"][-1]["id"] == "d-249"


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("between", [nothing, lose_index])
def test_an_older_event_never_supersedes_a_newer_one(make_lab, together, between):
    """What happened earlier and comes later is counted in the newer request, which goes on."""
    lab = make_lab(route(more="on_repeat = 'supersede'\n" + INTENT + SAYS))
    times = {"new": "2026-01-01T10:05:00Z", "old": "2026-01-01T12:00:00+02:00"}
    for name, at in times.items():
        lab.drop("decisions", f"{name}.json", decision(name, timestamp_utc=at, n=name))
        if not together:
            lab.drain()
            between(lab)
    lab.drain()
    made = lab.request("awaiting-approval")
    assert (made["source"]["id"], made["asked"]) == ("new", 2)
    assert made["repeats"][0]["differs"] == {"params.say": '"old"'}
    assert lab.files("expired") == []
    take(lab, "decisions", "newest.json", decision("newest", timestamp_utc="2026-01-01T10:06:00Z"))
    assert reasons(lab, "quarantine") == {"newest.json": "route-error"}, "it has no n"
    take(lab, "decisions", "last.json", decision("last", n=1, timestamp_utc="1767262800"))
    assert lab.request("awaiting-approval")["source"]["id"] == "last"
    assert len(lab.files("expired")) == 1


def dropped_by(lab, uid, name, record):
    """Drop a file as another user, take it, and say what is waiting."""
    os.chown(lab.drop("decisions", name, record), uid, -1)
    lab.drain()
    return [orjson.loads(p.read_bytes())["source"]["id"] for p in lab.files("awaiting-approval")]


@pytest.fixture
def as_root(require):
    """Only root can give files away."""
    require(os.geteuid() == 0, "root")


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("between", [nothing, lose_index])
def test_nobody_supersedes_what_another_has_dropped(make_lab, between):
    """Requests of two users wait side by side; each replaces its own, unless the route says so."""
    lab = make_lab(route(more="on_repeat = 'supersede'\n" + INTENT))
    dropped_by(lab, 1001, "1.json", decision("alices"))
    between(lab)
    assert set(dropped_by(lab, 1002, "2.json", decision("bobs"))) == {"alices", "bobs"}
    between(lab)
    assert set(dropped_by(lab, 1001, "3.json", decision("alices-2"))) == {"alices-2", "bobs"}


@pytest.mark.usefixtures("as_root")
def test_a_route_may_let_anybody_supersede(make_lab):
    """With `supersede_others` the last word counts, whoever has it."""
    lab = make_lab(route(more="supersede_others = true\non_repeat = 'supersede'\n" + INTENT))
    dropped_by(lab, 1001, "1.json", decision("alices"))
    assert dropped_by(lab, 1002, "2.json", decision("bobs")) == ["bobs"]


@pytest.mark.usefixtures("as_root")
@pytest.mark.parametrize("between", [nothing, lose_index])
def test_the_same_bytes_from_another_user_are_a_conflict(make_lab, between):
    """Who repeats somebody else's drop has not sent the same: the reason names both."""
    lab = make_lab(route(**ALERTS), route(name="decisions"))
    dropped_by(lab, 1001, "1.json", decision("d"))
    between(lab)
    dropped_by(lab, 1002, "2.json", decision("d"))
    why = lab.reason(lab.only("quarantine"))
    assert why["code"] == "conflict"
    assert why["differs"]["dropped_by"] == [user_name(1001), user_name(1002)]
    assert why["dropped_by"] == {"uid": 1002, "user": user_name(1002)}
    dropped_by(lab, 1001, "3.json", decision("d"))
    assert reasons(lab)["3.json"] == "repeat"
