"""Two keys: the same delivery makes no second request, the same intent folds while one waits."""

import shutil

import orjson
import pytest

from spoold.disk import fs
from spoold.spool.seal_key import SEAL_KEY
from tests.conftest import route

FOLD = route(more="intent_key = 'record.facts.decision_type'")
SUPERSEDE = route(more="intent_key = 'record.facts.decision_type'\non_repeat = 'supersede'")
SEPARATE = route(more="intent_key = 'record.facts.decision_type'\non_repeat = 'separate'")


def decision(number, **more):
    return {"decision_id": f"d-{number}", "decision_type": "cutover", "n": number, **more}


def lose_index(lab):
    for path in (lab.root / "archive").glob(".index*"):
        path.unlink()


def spoil_index(lab):
    (lab.root / "archive" / ".index.sqlite3").write_bytes(b"not a database" * 1000)
    for suffix in ("-wal", "-shm"):
        (lab.root / "archive" / f".index.sqlite3{suffix}").unlink(missing_ok=True)


def nothing(lab):
    pass


@pytest.mark.parametrize("between", [nothing, lose_index, spoil_index])
def test_the_same_delivery_makes_no_second_request(lab, between):
    """A repeat is archived with a reason that names the request, with any index or none."""
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    made = lab.request("awaiting-approval")["dispatch_id"]
    between(lab)
    lab.drop("decisions", "b.json", decision(1))
    lab.drain()
    assert lab.request("awaiting-approval")["asked"] == 1
    repeat = next(p for p in lab.files("archive") if p.name == "b.json")
    why = lab.reason(repeat)
    assert (why["code"], why["dispatch_id"]) == ("repeat", made)


def test_a_delivery_seen_long_ago_is_still_known_when_all_is_done(lab):
    """A repeat of what was done, rejected or expired makes no new request either."""
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    lab.approve()
    lab.drain()
    lose_index(lab)
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    assert lab.files("awaiting-approval") == []
    assert len(lab.recorder.calls) == 1


@pytest.mark.parametrize("between", [nothing, lose_index, spoil_index])
@pytest.mark.parametrize("together", [True, False])
def test_an_outage_gives_one_waiting_request(make_lab, between, together):
    """Four records with one intent give one request that says it was asked four times."""
    lab = make_lab(FOLD)
    for number in range(4):
        lab.drop("decisions", f"{number}.json", decision(number))
        if not together:
            lab.drain()
            between(lab)
    lab.drain()
    made = lab.request("awaiting-approval")
    assert made["asked"] == 4
    assert [r["id"] for r in made["repeats"]] == ["d-1", "d-2", "d-3"]
    assert len(lab.files("archive")) == 4
    for repeat in made["repeats"]:
        assert (lab.root / repeat["archived"]).exists()


def test_a_folded_request_is_still_what_was_sealed(make_lab):
    """Folding renews the seal: the request can be approved and runs."""
    lab = make_lab(FOLD)
    for number in range(3):
        lab.drop("decisions", f"{number}.json", decision(number))
        lab.drain()
    lab.approve()
    lab.drain()
    assert lab.request("done")["asked"] == 3


def test_a_repeated_delivery_is_not_counted_twice(make_lab):
    """The same delivery that folded once does not fold again, also after the index is lost."""
    lab = make_lab(FOLD)
    for name, number in (("a", 1), ("b", 2), ("c", 2)):
        lab.drop("decisions", f"{name}.json", decision(number))
        lab.drain()
        lose_index(lab)
    assert lab.request("awaiting-approval")["asked"] == 2


def test_after_a_decision_the_same_intent_asks_anew(make_lab):
    """Folding is for requests that still wait; afterwards a new record makes a new request."""
    lab = make_lab(FOLD)
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    lab.approve()
    lab.drop("decisions", "b.json", decision(2))
    lab.drain()
    assert lab.request("awaiting-approval")["source"]["id"] == "d-2"
    assert lab.request("done")["source"]["id"] == "d-1"


def test_nothing_folds_into_what_is_about_to_expire(make_lab):
    """A request past its time takes no repeats with it: the new record asks anew."""
    lab = make_lab(FOLD)
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    lab.clock.advance(8 * 86400)
    lab.drop("decisions", "b.json", decision(2))
    lab.drain()
    assert lab.request("awaiting-approval")["source"]["id"] == "d-2"
    assert lab.request("expired")["source"]["id"] == "d-1"


def test_a_tampered_request_takes_no_repeats(make_lab):
    """Folding never renews the seal of a file that somebody changed."""
    lab = make_lab(FOLD)
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    waiting = lab.only("awaiting-approval")
    waiting.write_bytes(waiting.read_bytes().replace(b'"executor": "rec"', b'"executor": "xxx"'))
    lab.drop("decisions", "b.json", decision(2))
    lab.drain()
    assert len(lab.files("awaiting-approval")) == 2
    assert b'"xxx"' in waiting.read_bytes()


def test_supersede_keeps_only_the_newest_waiting(make_lab):
    """The newest record's request waits; the older ones are in expired/, each saying by which."""
    lab = make_lab(SUPERSEDE)
    for number in range(2):
        lab.drop("decisions", f"{number}.json", decision(number))
    lab.drain()
    lab.drop("decisions", "2.json", decision(2))
    lab.drain()
    made = lab.request("awaiting-approval")
    assert made["source"]["id"] == "d-2"
    old = lab.files("expired")
    assert len(old) == 2
    assert {lab.reason(p)["code"] for p in old} == {"superseded"}
    by = {orjson.loads(p.read_bytes())["source"]["id"]: lab.reason(p)["by"] for p in old}
    assert by["d-1"] == made["dispatch_id"]


def test_separate_never_folds(make_lab):
    """With on_repeat = separate every event makes a request."""
    lab = make_lab(SEPARATE)
    for number in range(3):
        lab.drop("decisions", f"{number}.json", decision(number))
    lab.drain()
    assert len(lab.files("awaiting-approval")) == 3


def test_one_name_dropped_twice_a_day_keeps_both_originals(lab):
    """A file name that is used again does not replace the earlier original."""
    for number in range(2):
        lab.drop("decisions", "same.json", decision(number))
        lab.drain()
    ids = {orjson.loads(p.read_bytes())["decision_id"] for p in lab.files("archive")}
    assert ids == {"d-0", "d-1"}


@pytest.mark.parametrize("keeps_its_key", [True, False])
def test_the_same_event_gives_the_same_digits(lab, keeps_its_key):
    """The last eight digits of an id come from the event and the spool's own key, not from time."""
    lab.drop("decisions", "a.json", decision(1))
    lab.drain()
    first = lab.only("awaiting-approval").stem[-8:]
    key = (lab.root / SEAL_KEY).read_bytes()
    shutil.rmtree(lab.root)
    lab.root.mkdir()
    if keeps_its_key:
        fs.create(str(lab.root / SEAL_KEY), key)
    lab.clock.advance(1000)
    lab.drop("decisions", "z.json", decision(1))
    lab.drain()
    assert (lab.only("awaiting-approval").stem[-8:] == first) is keeps_its_key
