"""Status reports: who is told of what, once, and whatever happens in between."""

import os

import orjson
import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import Result
from spoold.service.drain import drain
from spoold.stages.intake import Intake
from spoold.stages.report import Report
from spoold.testing import Lab, Recorder

SETTINGS = """
[sources.decisions]
format = "decision"
[sources.told]
format = "report"
{on}
[executors.work]
kind = "recorder"
[executors.tell]
kind  = "recorder"
retry = {{ tries = 3, base = "1s" }}
"""

WORK = """
name = "work"
source = "decisions"
match = "true"
executor = "work"
[params]
say = "=record.id"
"""

TELL = """
name = "tell"
source = "told"
match = "true"
executor = "tell"
requires_approval = false
[params]
say = "=record.facts.state + ' ' + record.facts.route + ' ' + record.facts.code"
"""


class Two(Recorder):
    """One kind for both executors: what is told, and what is worked."""

    def __init__(self):
        super().__init__()
        self.telling = Result("ok", "Told.")

    def run(self, params, context):
        self.calls.append((context.dispatch_id, params.say))
        if "-tell-" in context.dispatch_id:
            return self._end(self.telling)
        return self._end(self.outcomes.pop(0) if self.outcomes else Result("ok", "Done."))

    @property
    def told(self):
        return [said for id_, said in self.calls if "-tell-" in id_]


@pytest.fixture
def lab(tmp_path):
    """A lab whose changes are told."""
    made = Lab(tmp_path, SETTINGS.format(on=""), {"1.toml": WORK, "2.toml": TELL}, recorder=Two())
    assert made.drain() == 0
    return made


def drop(lab, name="d"):
    """One decision, until it waits."""
    lab.drop("decisions", f"{name}.json", {"decision_id": name, "decision_type": "x"})
    assert lab.drain() == 0


@pytest.mark.parametrize(
    ("ends", "told"),
    [(Result("ok", "Done."), "done work ok"), (Permanent("exit-3", "No."), "failed work exit-3"),
     (KeyError("x"), "unknown work executor-bug")],
)  # fmt: skip
def test_each_state_on_the_way_is_told_once(lab, ends, told):
    """That a request waits, and how it ended, is told with its code, and told once."""
    lab.recorder.outcomes = [ends]
    drop(lab)
    assert lab.recorder.told == ["awaiting-approval work "]
    lab.approve()
    lab.drain()
    lab.drain()
    assert lab.recorder.told == ["awaiting-approval work ", told]


def test_what_comes_within_the_tick_of_a_look_is_told(lab):
    """A file is told that came after a look, or shortly before the mark, at the same time stamp."""
    for number in "12":
        lab.drop("decisions", f"{number}.json", {"decision_id": number, "decision_type": "x"})
    drain([Intake(lab.context)], lab.context)
    first, second = lab.files("awaiting-approval")
    folder, other = first.parent, lab.root / second.name
    second.rename(other)
    report = Report(lab.context)
    report.recover()
    report._until["awaiting-approval"] = first.stat().st_ctime + 1.0
    seen = os.stat(folder)
    assert report.step().moved == 1, "it came a second before the mark"
    other.rename(second)
    os.utime(folder, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    report._rests_until.clear()
    assert report.step().moved == 1, "the folder looks as it did at the look before"


def test_what_expires_and_what_is_held_is_told_with_its_reason(lab):
    """The code of the reason beside a file is told."""
    drop(lab, "late")
    lab.clock.advance(8 * 86400)
    lab.drain()
    assert lab.recorder.told[-1] == "expired work expired"
    drop(lab, "edited")
    file = lab.only("awaiting-approval")
    data = orjson.loads(file.read_bytes()) | {"rationale": "another"}
    file.write_bytes(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    lab.approve(file)
    lab.drain()
    assert lab.recorder.told[-1] == "held work altered"


def test_a_receiver_that_is_down_holds_up_nothing(lab):
    """The request goes its way while its report waits in a queue of its own."""
    lab.recorder.telling = Transient("down", "Nobody there.")
    drop(lab)
    lab.approve()
    lab.drain()
    assert len([f for f in lab.files("done") if "-work-" in f.name]) == 1
    assert len(lab.files("deferred")) == 2
    lab.recorder.telling = Result("ok", "Told.")
    lab.clock.advance(60)
    for file in lab.files("deferred"):
        os.utime(file, (1, 1))
    lab.drain()
    assert not lab.files("deferred")
    assert sorted(set(lab.recorder.told)) == ["awaiting-approval work ", "done work ok"]


def test_what_changed_while_nobody_looked_is_told_at_the_next_start(lab):
    """A report stage that was down for a while misses nothing, and repeats nothing."""
    drop(lab, "one")
    lab.approve()
    stages = [stage for stage in lab.stages() if stage.name != "report"]
    drain(stages, stages[0].context)
    before = len(lab.recorder.told)
    lab.drain()
    assert lab.recorder.told[before:] == ["done work ok"]
    # The mark is lost: all that is there counts as old, and nothing is told twice.
    (lab.root / "reports/until.json").unlink()
    lab.drain()
    assert len(lab.recorder.told) == before + 1


def test_a_mark_that_is_older_tells_nothing_twice(lab):
    """After a crash before the mark was written, intake knows the repeats by their ids."""
    mark = (lab.root / "reports/until.json").read_bytes()
    drop(lab)
    lab.approve()
    lab.drain()
    told = list(lab.recorder.told)
    (lab.root / "reports/until.json").write_bytes(mark)
    lab.drain()
    assert lab.recorder.told == told


def test_only_the_states_that_are_asked_for_are_told(tmp_path):
    """`on` lists what is told."""
    toml = SETTINGS.format(on='on = ["done"]')
    lab = Lab(tmp_path, toml, {"1.toml": WORK, "2.toml": TELL}, recorder=Two())
    lab.drain()
    drop(lab)
    lab.approve()
    lab.drain()
    assert lab.recorder.told == ["done work ok"]


def test_a_report_holds_nothing_of_what_is_done(lab):
    """Neither parameters nor output are told: whoever is told need not be trusted with them."""
    lab.recorder.outcomes = [Result("ok", "Fine.", {"secret": "s3cr3t"}, output={"o": "s3cr3t"})]
    lab.drop("decisions", "d.json", {"decision_id": "s3cr3t-id", "decision_type": "x"})
    lab.drain()
    lab.approve(next(f for f in lab.files("awaiting-approval") if "-work-" in f.name))
    lab.drain()
    archived = list((lab.root / "archive" / "told").rglob("*.json"))
    assert len(archived) == 2
    assert not any(b"s3cr3t" in file.read_bytes() for file in archived)


def test_a_report_that_is_none_is_quarantined(lab):
    """What somebody else drops there does not pass as spoold's."""
    lab.drop("told", "x.json", {"state": "done"})
    lab.drain()
    assert lab.reason(lab.only("quarantine"))["code"] == "bad-record"


def test_folding_is_no_news(lab):
    """A request that is asked for again while it waits is told of once."""
    lab.configure(SETTINGS.format(on=""), {
        "1.toml": WORK.replace("executor", 'intent_key = "record.type"\nexecutor'), "2.toml": TELL,
    })  # fmt: skip
    drop(lab, "a")
    drop(lab, "b")
    assert lab.request("awaiting-approval")["asked"] == 2
    assert lab.recorder.told == ["awaiting-approval work "]
