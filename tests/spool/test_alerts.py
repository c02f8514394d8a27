"""The example alerts: each fires in the situation that it is about, none while all is well."""

import datetime as dt
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from spoold.request import now, timestamp
from spoold.service import heartbeat, metrics
from spoold.service.drain import drain
from spoold.service.heartbeat import Board
from tests.spool._promql import Look, Query

CHECKOUT = Path(__file__).resolve().parents[2]
RULES = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((CHECKOUT / "packaging/examples/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
}
CUTOVER = {"decision_id": "a", "decision_type": "cutover"}
STAGES = ("intake", "sweep", "gate", "execute rec")


class Scene:
    """A lab whose stages show how they do, and what Prometheus has seen of it before."""

    def __init__(self, lab, monkeypatch):
        self.lab = lab
        self.spool = lab.root
        self._patch = monkeypatch
        self.stages = lab.stages()
        self.board = Board(self.stages, lab.routing.config)
        for pulse in self.board.pulses:
            pulse.say("ready")
        lab.drop("decisions", "first.json", {**CUTOVER, "decision_id": "first"})
        # An error of that code must have been seen before another one counts as more.
        lab.drop("decisions", "bad.json", b"[]")
        self.drain()
        for path in (self.spool / "quarantine/decisions").iterdir():
            path.unlink()
        self.show()
        self.later, self.extra, self.is_served = 0.0, {}, True
        self.before = self.look()

    def drain(self):
        """Let these very stages do what there is to do."""
        assert drain(self.stages, self.lab.context) == 0

    def show(self):
        """Write the heartbeats."""
        self.board._next = 0.0
        self.board.publish()

    def heartbeat(self, stage, **facts):
        """Change what a stage's heartbeat says."""
        path = self.spool / "status" / heartbeat.folder_of(stage) / heartbeat.FILE
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **facts}))

    def gone(self, stage):
        """A stage's service is stopped: systemd takes away the folder of its heartbeat."""
        shutil.rmtree(self.spool / "status" / heartbeat.folder_of(stage))

    def look(self):
        """What is scraped, `later` seconds from now."""
        found = Look(time.time() + self.later)
        clock = SimpleNamespace(time=lambda: found.at, monotonic=time.monotonic)
        with self._patch.context() as patch:
            patch.setattr(metrics, "time", clock)
            text = metrics.Metrics(self.lab.routing.config).text().decode()
        for family in text_string_to_metric_families(text if self.is_served else ""):
            for sample in family.samples:
                found.add(sample.name, sample.labels, sample.value)
        for name, (labels, value) in self.extra.items():
            found.add(name, labels, value)
        return found

    @property
    def firing(self):
        """Alert → the labels that it fires with."""
        seen = self.look()
        answers = {name: Query(text, self.before, seen).value() for name, text in RULES.items()}
        return {name: [dict(key) for key in found] for name, found in answers.items() if found}


@pytest.fixture
def scene(lab, monkeypatch):
    """All is well, and one request waits."""
    return Scene(lab, monkeypatch)


def silent(scene):
    scene.is_served = False


def written_long_ago(scene):
    labels = {"file": "/run/spoold/metrics/spoold.prom"}
    scene.extra["node_textfile_mtime_seconds"] = (labels, time.time() - 1000)


def sweep_gone(scene):
    scene.gone("sweep")


def sweep_old(scene):
    counts = {"values": [["swept", time.time() - 1000]]}
    scene.heartbeat("sweep", counts=counts)


def hangs(scene):
    scene.heartbeat("gate", heard_at=timestamp(now() - dt.timedelta(seconds=90)))


def waits(scene):
    scene.board.pulses[0].say("waits", "the disk is full")
    scene.show()


def an_hour_later(scene):
    scene.later = 3700


def bad_drop(scene):
    scene.lab.drop("decisions", "bad.json", b"[]")
    scene.drain()


def many_bad_drops(scene):
    for number in range(11):
        scene.lab.drop("decisions", f"bad-{number}.json", b"[]")
    scene.drain()
    scene.show()


def in_folder(name):
    return lambda scene: (scene.spool / name / "x.json").write_text("{}")


def not_taken(scene):
    scene.lab.drop("decisions", "half.json", b'{"decision_id":')
    scene.stages[0].step()
    scene.show()
    scene.later = 400


def unannounced(scene):
    scene.stages[0].context.arrivals.missed += 1
    scene.show()


def on_hold(scene):
    (scene.spool / "HOLD").touch()


def checked(scene, **fields):
    """What `spoold health` has found of one container."""
    one = {"customer": "c", "name": "customer-c", **fields}
    state = {"executor": "docker", "checked_at": timestamp(now()), "containers": [one]}
    (scene.spool / "health/docker.json").write_text(json.dumps(state))


def container_down(scene):
    checked(scene, passed=False, stopped=False)


SITUATIONS = [
    ("SpooldMetricsOld", silent),
    ("SpooldMetricsOld", written_long_ago),
    ("SpooldStageDown", sweep_gone),
    ("SpooldStageDown", hangs),
    ("SpooldStageHangs", hangs),
    ("SpooldStageNotReady", waits),
    ("SpooldAwaitingApproval", an_hour_later),
    ("SpooldQuarantine", bad_drop),
    ("SpooldUnknown", in_folder("unknown/rec")),
    ("SpooldHeld", in_folder("held")),
    ("SpooldInboxNotTaken", not_taken),
    ("SpooldEventsMissed", unannounced),
    ("SpooldErrors", many_bad_drops),
    ("SpooldSweepOld", sweep_gone),
    ("SpooldSweepOld", sweep_old),
    ("SpooldHold", on_hold),
    ("SpooldContainerDown", container_down),
]


def test_every_alert_has_a_situation():
    """None is left out of the tests below."""
    assert {name for name, _ in SITUATIONS} == RULES.keys()


def test_while_all_is_well_nothing_fires(scene):
    """Stages that are ready, and one request that has just come, are no reason to wake anybody."""
    assert scene.firing == {}


@pytest.mark.parametrize(("alert", "happens"), SITUATIONS)
def test_an_alert_fires_when_it_should(scene, alert, happens):
    """What it is about makes it true, with the metrics that there are then."""
    happens(scene)
    assert alert in scene.firing


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_stopped_is_named(scene, stage):
    """Its own numbers go with it, so somebody else must say that it is down."""
    before = scene.look().series.keys()
    scene.gone(stage)
    assert scene.firing["SpooldStageDown"] == [{"stage": stage}]
    gone = before - scene.look().series.keys()
    for name, text in RULES.items():
        about_age = {metric for metric in gone if f"time() - {metric}" in text}
        assert not about_age or name in scene.firing


def test_of_an_intake_that_is_stopped_no_inbox_is_seen(scene):
    """As the alert about drops that are not taken says: it is not the one that fires then."""
    not_taken(scene)
    scene.gone("intake")
    assert "SpooldInboxNotTaken" not in scene.firing
    assert "SpooldStageDown" in scene.firing


def test_a_container_that_a_request_has_stopped_wakes_nobody(scene):
    """It does not work, and should not."""
    checked(scene, passed=False, stopped=True)
    assert scene.firing == {}


def test_a_container_of_an_older_version_wakes_somebody(scene):
    """A file of a version that does not tell what was stopped says enough for an alert."""
    checked(scene, passed=False)
    assert scene.firing["SpooldContainerDown"] == [{"executor": "docker", "customer": "c"}]
