"""A drop's way through the folders, with stages in this process and real files."""

import orjson

from spoold.errors import OutcomeUnknown, Permanent, Transient
from tests.conftest import route

CUTOVER = {"decision_id": "c-1", "decision_type": "cutover", "rationale": "why", "checks": []}


def run_one(lab, decision_id="c-1"):
    """One drop that a person approves, as far as it gets."""
    lab.drop("decisions", "c.json", {**CUTOVER, "decision_id": decision_id})
    lab.drain()
    lab.approve()
    lab.drain()


def test_a_request_waits_for_a_yes_runs_once_and_tells_its_story(lab):
    """Nothing runs before; the file in done/ holds the sealed action, the yes, and the result."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    lab.drain()
    waiting = lab.request("awaiting-approval")
    assert waiting["status"] == "awaiting-approval"
    assert lab.recorder.calls == []
    lab.approve()
    lab.drain()
    done = lab.request("done")
    assert [call[0] for call in lab.recorder.calls] == [waiting["dispatch_id"]]
    assert done["seal"] == waiting["seal"]
    assert [a["policy"] for a in done["approvals"]] == ["move"]
    assert [(a["number"], a["outcome"]) for a in done["attempts"]] == [(1, "done")]
    assert (done["status"], done["result"]["code"]) == ("done", "ok")


def test_the_original_is_kept_to_the_byte(lab):
    """What was dropped lies in archive/ with the very bytes it came with."""
    data = b'{ "decision_type":\t"cutover" }\n'
    lab.drop("decisions", "odd spacing.json", data)
    lab.drain()
    assert lab.only("archive").read_bytes() == data
    archived = lab.request("awaiting-approval")["source"]["archived"]
    assert (lab.root / archived).read_bytes() == data


def test_the_request_has_the_field_names_people_know(lab):
    """A decision's request carries the fields of the older dispatchers, with their meaning."""
    lab.drop("decisions", "some-id.json", {"decision_type": "cutover", "reason": "r"})
    lab.drain()
    made = lab.request("awaiting-approval")
    assert made["source_decision_id"] == "some-id"
    assert made["source_decision_file"] == made["source"]["archived"]
    assert (made["decision_type"], made["rationale"], made["checks"]) == ("cutover", "r", [])
    assert list(made)[:3] == ["schema", "dispatch_id", "timestamp_utc"]


def test_a_request_that_needs_no_person_runs_by_itself(make_lab):
    """A route with requires_approval = false goes through pre-approved/ to done/."""
    lab = make_lab(route(more="requires_approval = false"))
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    done = lab.request("done")
    assert [a["policy"] for a in done["approvals"]] == ["none"]


def test_pre_approved_needs_a_route_that_says_so_now(make_lab, tmp_path):
    """The gate holds what intake pre-approved once the route in force asks for a person."""
    lab = make_lab(route(more="requires_approval = false"))
    lab.drop("decisions", "c.json", CUTOVER)
    (lab.root / "HOLD").touch()
    lab.drain()
    lab.only("pre-approved")
    lab.configure(lab.SETTINGS, {"10.toml": route()})
    (lab.root / "HOLD").unlink()
    lab.drain()
    assert lab.reason(lab.only("held"))["code"] == "not-pre-approved"
    assert lab.recorder.calls == []


def test_hold_keeps_everything_where_it_is(lab):
    """While HOLD exists nothing passes the gate and nothing starts; without it, it goes on."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    (lab.root / "HOLD").touch()
    approved = lab.approve()
    lab.drain()
    assert approved.exists()
    (lab.root / "HOLD").unlink()
    lab.drain()
    lab.only("done")


def test_a_transient_error_is_tried_again_when_the_file_says(lab):
    """deferred/ holds the file until its mtime, which is what the far side asked for."""
    lab.recorder.outcomes = [Transient("http-503", "busy", retry_after=30)]
    run_one(lab)
    waiting = lab.only("deferred")
    assert waiting.stat().st_mtime - lab.clock().timestamp() == 30
    lab.clock.advance(29)
    lab.drain()
    assert waiting.exists()
    lab.clock.advance(2)
    lab.drain()
    done = lab.request("done")
    assert [a["outcome"] for a in done["attempts"]] == ["deferred", "done"]
    assert len(lab.recorder.calls) == 2


def test_backoff_doubles_up_to_its_cap(make_lab):
    """If the far side names no time, waits double, with a tenth of jitter, up to the cap."""
    toml = make_lab.__globals__["Lab"].SETTINGS + 'retry = { tries = 5, base = "10s", cap = "30s" }'
    lab = make_lab(route(), toml=toml)
    lab.recorder.outcomes = [Transient("later", "not now")] * 5
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    lab.approve()
    waits = []
    for _ in range(4):
        lab.drain()
        waits.append(lab.only("deferred").stat().st_mtime - lab.clock().timestamp())
        lab.clock.advance(waits[-1] + 1)
    for wait, wanted in zip(waits, [10, 20, 30, 30], strict=True):
        assert wanted * 0.9 <= wait <= wanted * 1.1
    lab.drain()
    failed = lab.request("failed")
    assert "Given up after 5 tries" in failed["result"]["summary"]


def test_a_permanent_error_is_final(lab):
    """A permanent error goes to failed/ at once and is not tried again."""
    lab.recorder.outcomes = [Permanent("http-400", "no", {"answer": "bad"})]
    run_one(lab)
    lab.clock.advance(100000)
    lab.drain()
    failed = lab.request("failed")
    assert failed["result"]["details"] == {"answer": "bad"}
    assert len(lab.recorder.calls) == 1


def test_what_may_have_happened_is_never_repeated(lab):
    """An unknown outcome, or an exception nobody planned, waits in unknown/ for a person."""
    for outcome in (OutcomeUnknown("reset", "after sending"), RuntimeError("bug")):
        lab.recorder.outcomes = [outcome]
        run_one(lab, repr(outcome))
    lab.clock.advance(100000)
    lab.drain()
    assert len(lab.files("unknown")) == 2
    assert len(lab.recorder.calls) == 2


def test_what_nobody_decides_expires(lab):
    """After expires_after a waiting request is in expired/, with the reason, for good."""
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    lab.clock.advance(8 * 86400)
    lab.drain()
    expired = lab.only("expired")
    assert lab.reason(expired)["code"] == "expired"
    expired.rename(lab.root / "approved" / expired.name)
    lab.drain()
    assert lab.reason(lab.only("held"))["code"] == "expired-approval"
    assert lab.recorder.calls == []


def test_one_lane_runs_one_at_a_time(make_lab):
    """Requests of one lane never overlap, others do."""
    import threading
    import time

    lab = make_lab(
        route(
            more="requires_approval = false\nlane = 'record.body.lane'\n"
            "[params]\nsay = '=record.body.lane'"
        )
    )
    active, most, lock = {}, {}, threading.Lock()
    run = lab.recorder.run

    def slow(params, context):
        with lock:
            active[params.say] = active.get(params.say, 0) + 1
            most[params.say] = max(most.get(params.say, 0), active[params.say])
            most["all"] = max(most.get("all", 0), sum(active.values()))
        time.sleep(0.03)
        with lock:
            active[params.say] -= 1
        return run(params, context)

    lab.recorder.run = slow
    for number in range(6):
        record = {"decision_type": "x", "decision_id": str(number), "lane": "ab"[number % 2]}
        lab.drop("decisions", f"{number}.json", record)
    lab.drain()
    assert len(lab.files("done")) == 6
    assert (most["a"], most["b"], most["all"]) == (1, 1, 2)


def test_the_first_route_in_file_order_wins(make_lab):
    """Of two routes that match, the one whose file sorts first makes the request."""
    lab = make_lab(route("first"), route("second"))
    lab.drop("decisions", "c.json", CUTOVER)
    lab.drain()
    assert lab.request("awaiting-approval")["route"] == "first"


def test_values_stay_typed_and_are_never_pasted(make_lab):
    """An expression gives one JSON value in one place, whatever characters a stranger sent."""
    lab = make_lab(
        route(more="[params]\nsay = { n = '=record.body.n', t = '=record.body.t', l = 'x' }")
    )
    nasty = "'; rm -rf / #\n{{7*7}} $(id) ="
    lab.drop("decisions", "c.json", {**CUTOVER, "n": 7, "t": nasty})
    lab.drain()
    assert lab.request("awaiting-approval")["params"]["say"] == {"l": "x", "n": 7, "t": nasty}


def test_names_that_are_not_for_us_are_left_alone(lab):
    """Files that begin with a dot or do not end in .json stay in the inbox, untouched."""
    lab.drop("decisions", "c.json", CUTOVER)
    inbox = lab.root / "inbox" / "decisions"
    for name in (".c.json", "c.json.tmp", "c.JSON", "README"):
        (inbox / name).write_bytes(orjson.dumps(CUTOVER))
    lab.drain()
    assert sorted(p.name for p in inbox.iterdir()) == [".c.json", "README", "c.JSON", "c.json.tmp"]
    assert len(lab.files("awaiting-approval")) == 1


def test_a_stage_rests_with_everything_durable(lab):
    """When intake and the gate have nothing more to move, no name and no draft awaits a sync."""
    drops = ({**CUTOVER, "decision_id": f"c-{number}"} for number in range(70))
    for number, drop in enumerate([*drops, CUTOVER, [], {"decision_type": "other"}]):
        lab.drop("decisions", f"{number}.json", drop)
    intake, _, gate, *_ = lab.stages()
    for stage in (intake, gate):
        with_lock(stage)
        if stage is gate:
            for file in lab.files("awaiting-approval"):
                lab.approve(file)
        while stage.step().moved:
            continue
        assert not stage.spool._unsynced._folders
        assert not stage.spool._unsynced._drafts
        stage.close()
        stage.lock.release()


def with_lock(stage):
    """What a service does before the first step."""
    stage.lock.acquire()
    stage.recover()
