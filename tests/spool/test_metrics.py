"""Numbers for Prometheus: what happened is counted once, and what is there is seen."""

import http.client
import json
import os
import re
import socket
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spoold import request
from spoold.errors import ConfigError, Transient
from spoold.service import heartbeat, metrics
from spoold.service.drain import drain
from spoold.service.heartbeat import Board
from spoold.service.stage_status import read_stages
from spoold.spool.counters import BUCKETS, Counts
from spoold.spool.spool import Place
from spoold.view.counts import came_at
from tests.conftest import route


def samples(text):
    """Every sample: its name and labels → its value."""
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.fixture
def stages(lab):
    """The stages of a lab, and a board that shows them."""
    return lab.stages()


def published(lab, stages):
    """What there is to see after the stages have shown how they do."""
    board = Board(stages, lab.routing.config)
    for pulse in board.pulses:
        pulse.say("ready")
    board.publish()
    return samples(metrics.Metrics(lab.routing.config).text())


def drained(lab, stages):
    """Let these very stages do what there is to do."""
    assert drain(stages, lab.context) == 0


def drop(lab, stages, name="a"):
    """Drop a decision, and let the stages make a request of it."""
    lab.drop("decisions", f"{name}.json", {"decision_id": name, "decision_type": "cutover"})
    drained(lab, stages)


def test_each_move_and_attempt_is_counted_once(lab, stages):
    """From a drop to its end every arrow shows one move, and the attempt its executor and time."""
    drop(lab, stages)
    lab.approve()
    drained(lab, stages)
    found = published(lab, stages)
    for stage, source, target in [
        ("intake", "inbox", "taking"), ("intake", "tmp", "awaiting-approval"),
        ("intake", "taking", "archive"), ("gate", "approved", "checking"),
        ("gate", "checking", "queued"), ("execute rec", "queued", "running"),
        ("execute rec", "running", "done"),
    ]:  # fmt: skip
        assert found["spoold_moves_total", *sorted((stage, source, target))] == 1
    assert found["spoold_attempt_duration_seconds_count", "done", "rec"] == 1
    assert found["spoold_files", "done/rec"] == 1
    assert found["spoold_files", "inbox/decisions"] == 0
    assert ("spoold_oldest_seconds", "inbox/decisions") not in found


def test_what_is_set_aside_is_counted_by_its_code(lab, stages):
    """A drop that cannot be taken is an error of intake, under its code; its folder shows it."""
    lab.drop("decisions", "a.json", b"[]")
    drained(lab, stages)
    found = published(lab, stages)
    assert found["spoold_errors_total", "intake", "not-an-object"] == 1
    assert found["spoold_files", "quarantine/decisions"] == 1
    assert 0 <= found["spoold_oldest_seconds", "quarantine/decisions"] < 60


def test_what_the_gate_refuses_is_counted_and_said_with_its_id(lab, stages, caplog):
    """An altered request is an error of the gate under its code; the line of the log names it."""
    drop(lab, stages)
    path = lab.approve()
    path.write_bytes(path.read_bytes().replace(b'"asked": 1', b'"asked": 7'))
    path.write_bytes(path.read_bytes().replace(b"cutover", b"failback"))
    (lab.root / "approved" / "stray.json").write_bytes(b"{}")
    caplog.set_level("INFO", "spoold.gate")
    drained(lab, stages)
    found = published(lab, stages)
    assert found["spoold_errors_total", "altered", "gate"] == 1
    assert found["spoold_errors_total", "gate", "not-a-request"] == 1
    said = {vars(record)["dispatch_id"] for record in caplog.records if record.levelname == "ERROR"}
    assert said == {path.name.removesuffix(".json"), None}


def test_what_an_executor_holds_is_said_with_its_id(lab, stages, caplog):
    """A stranger's copy in its queue is named by the executor that sets it aside."""
    drop(lab, stages)
    path = lab.only("awaiting-approval")
    path.rename(lab.root / "queued/rec" / path.name)
    drained(lab, stages)
    (said,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert said.name == "spoold.execute"
    assert vars(said)["dispatch_id"] == path.name.removesuffix(".json")


def test_a_request_that_is_asked_for_again_does_not_become_younger(make_lab):
    """Its age counts from when it was made, though a repeat rewrites its file."""
    lab = make_lab(route(more="intent_key = 'record.facts.decision_type'"))
    stages = lab.stages()
    drop(lab, stages)
    place, name = Place("awaiting-approval"), lab.only("awaiting-approval").name
    made = lab.clock().replace(microsecond=0).timestamp()
    lab.clock.advance(600)
    drop(lab, stages, "b")
    assert json.loads(lab.only("awaiting-approval").read_bytes())["asked"] == len("ab")
    assert came_at(stages[0].spool, place, name) == made


def test_a_request_that_runs_is_as_old_as_its_attempt(lab, stages):
    """What is heard of a long attempt changes its file, and not since when it runs."""
    drop(lab, stages)
    lab.approve()
    drained(lab, stages)
    done = lab.only("done")
    began = json.loads(done.read_bytes())["attempts"][-1]["started_at"]
    here = Place("running", "rec")
    done.rename(stages[0].spool.path(here, done.name))
    assert came_at(stages[0].spool, here, done.name) == request.parse_time(began).timestamp()
    for odd in (b"{}", b'{"attempts": []}', b'{"attempts": [{"started_at": 1}]}', b"no"):
        path = Path(stages[0].spool.path(here, "odd.json"))
        path.write_bytes(odd)
        assert came_at(stages[0].spool, here, path.name) == path.stat().st_ctime


def test_a_second_attempt_is_a_retry(lab, stages):
    """What is tried again is counted as such, and its first end as an error."""
    lab.recorder.outcomes = [Transient("busy", "Later.", retry_after=0.0)]
    drop(lab, stages)
    lab.approve()
    for _ in range(3):
        drained(lab, stages)
        lab.clock.advance(60)
        for path in lab.files("deferred"):
            os.utime(path, (0, 0))
    found = published(lab, stages)
    assert found["spoold_retries_total", "execute rec", "rec"] == 1
    assert found["spoold_errors_total", "busy", "execute rec"] == 1
    assert found["spoold_attempt_duration_seconds_count", "deferred", "rec"] == 1


def test_how_stages_do_is_shown(lab, stages):
    """One that was never heard of is down; HOLD and the last look of the sweep are there."""
    (lab.root / "HOLD").touch()
    drained(lab, stages)
    found = published(lab, stages[1:])
    assert found["spoold_stage_up", "intake"] == 0
    assert found["spoold_stage_up", "gate"] == found["spoold_stage_ready", "gate"] == 1
    assert found["spoold_hold",] == 1
    assert abs(found["spoold_last_sweep_timestamp_seconds",] - time.time()) < 60


def test_the_file_is_whole_and_for_everybody(lab, stages):
    """The text file is where it should be, can be parsed, and is for all who may enter."""
    os.umask(0o077)
    (lab.root / "status").chmod(0o755)
    metrics.Metrics(lab.routing.config).write()
    path = lab.root / "status/metrics/spoold.prom"
    assert samples(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o644


def test_what_health_found_is_in_it_for_all_executors(lab):
    """Two executors' containers come in one family each; what is no metric is left out."""
    folder = lab.root / "health"
    lab.drain()
    for name, passed in (("one", True), ("two", False)):
        known = [{"customer": "c", "name": "x", "passed": passed, "of a later version": 1},
                 {"customer": "odd", "passed": "x"}, "odd"]  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps({"executor": name, "containers": known}))
    (folder / "odd.json").write_bytes(b"\xff{{{")
    (folder / "other.json").write_text('{"executor": 3, "containers": 3, "checked_at": 3}')
    text = metrics.Metrics(lab.routing.config).text()
    found = samples(text)
    assert found["spoold_container_up", "c", "one"] == 1
    assert found["spoold_container_up", "c", "two"] == 0
    assert text.count(b"# TYPE spoold_container_up") == 1
    assert not [name for name in found if "odd" in name]


@pytest.mark.parametrize("kind", ["127.0.0.1", "[::1]", "unix"])
def test_they_are_served_where_the_configuration_says(lab, tmp_path, kind):
    """A scrape over loopback or a socket gives the same text, also after a run that was killed."""
    if kind != "unix":
        family = socket.AF_INET6 if ":" in kind else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((kind.strip("[]"), 0))
            port = probe.getsockname()[1]
        metrics.listen(metrics.Metrics(lab.routing.config), f"{kind}:{port}")
        with urllib.request.urlopen(f"http://{kind}:{port}/metrics", timeout=5) as answer:
            text = answer.read()
    else:
        path = tmp_path / "m.sock"
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(path))
        left.close()
        metrics.listen(metrics.Metrics(lab.routing.config), f"unix:{path}")
        connection = http.client.HTTPConnection("localhost", timeout=5)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", "/metrics")
        text = connection.getresponse().read()
    assert ("spoold_hold",) in samples(text)


@pytest.mark.parametrize(
    "listen", ["0.0.0.0:9464", "192.0.2.1:9464", "localhost:9464", ":9464", "[::]:9464", "unix:x"]
)
def test_no_other_machine_is_served(make_lab, listen):
    """An address that others can reach is a mistake in the configuration."""
    with pytest.raises(ConfigError, match="listen"):
        make_lab(route(), toml=f'[metrics]\nlisten = "{listen}"\n')


def test_durations_fall_into_their_classes():
    """Each duration is counted in the class that it is in, and in the sum."""
    counts = Counts()
    for seconds in (0.05, 0.1, 0.2, 4000):
        counts.observe("attempt", "x", seconds=seconds)
    ((name, label, classes),) = counts.as_json()["durations"]
    assert (name, label) == ("attempt", "x")
    assert classes[:2] == [2, 1]
    assert classes[len(BUCKETS)] == 1
    assert classes[-1] == pytest.approx(4000.35)


def test_a_heartbeat_of_another_version_is_no_reason_to_fail(lab, stages):
    """Numbers that this version does not know are left out."""
    published(lab, stages)
    path = lab.root / "status/gate" / heartbeat.FILE
    facts = json.loads(path.read_bytes())
    facts |= {"busy": "x", "pid": [], "moved": None}
    facts["counts"] = {"sums": [["new-one", "x", 3], "?"], "values": 3, "durations": [["attempt"]]}
    path.write_text(json.dumps(facts))
    text = metrics.Metrics(lab.routing.config).text()
    assert samples(text)["spoold_stage_up", "gate"] == 1
    assert not re.search(rb"new-one", text)
    for odd in ([1], "x", 3, {"sums": {"a": 1}}):
        path.write_text(json.dumps({**facts, "counts": odd}))
        assert metrics.Metrics(lab.routing.config).text()


def test_a_state_that_is_none_is_not_shown(lab, stages):
    """What a file says that no stage would is not passed on to a terminal."""
    published(lab, stages)
    path = lab.root / "status/gate" / heartbeat.FILE
    facts = json.loads(path.read_bytes())
    path.write_text(json.dumps({**facts, "state": "\x1b[2J"}))
    (seen,) = [one for one in read_stages(lab.routing.config) if one.stage == "gate"]
    assert seen.state == "gone"
