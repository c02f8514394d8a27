"""`spoold health`: what is remembered of containers, and when a restart is asked for."""

import orjson
import pytest
from click.testing import CliRunner

from spoold import executors
from spoold.cli.app import App
from spoold.cli.health import Unhealthy, command
from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import Model, Result
from spoold.health import metrics
from spoold.health.check import check_containers, container_executors
from spoold.stages.stage import StageContext
from spoold.testing import Lab

SETTINGS = """
[sources.tasks]
format = "task"
[executors.docker]
kind = "container"
[health]
{health}
"""

ROUTE = """
name = "container"
source = "tasks"
match = 'record.type == "task.container"'
executor = "docker"
requires_approval = {asks}
intent_key = "record.facts.customer + record.facts.action"
[params]
action = "=record.facts.action"
customer = "=record.facts.customer"
"""


#: What is wrong with a container about which the engine does not answer: nobody knows.
SILENT = "the engine does not answer"


class Engine:
    """A kind `container` whose world is a dictionary: customer → what is wrong, if anything."""

    class Config(Model):
        """No settings."""

    class Params(Model):
        """As far as needed here."""

        action: str
        customer: str | None = None

    def __init__(self):
        self.world = {}
        self.done = []
        self.away = False
        self.stops = []
        self.facts = {}
        self.prefix = "customer"

    def check(self, params, config):
        """All is allowed."""

    def run(self, params, context):
        if self.away:
            raise Transient("engine-unreachable", "It is away.", counts=False)
        if params.action != "health-check":
            self.done.append((params.action, params.customer))
            if params.action == "stop" and self.stops:
                raise self.stops.pop(0)
            return Result("ok", "Done.")
        checks = [
            {"name": f"{self.prefix}-{c}", "customer": c, "containerId": "x",
             "passed": None if wrong is SILENT else not wrong,
             **({"errorMessage": wrong} if wrong else {}), **self.facts}
            for c, wrong in self.world.items()
        ]  # fmt: skip
        if any(check["passed"] is False for check in checks):
            raise Permanent("unhealthy", "Some fail.", {"checks": checks})
        if any(self.world.values()):
            raise Transient("engine-error", "Some are not known.", {"checks": checks})
        return Result("healthy", "All pass.", {"checks": checks})

    def probe(self, params, context):
        return Result("ok", "Done.")


@pytest.fixture
def engine(monkeypatch):
    """The kind, for this test only."""
    made = Engine()
    monkeypatch.setitem(executors._registered, "container", made)
    return made


@pytest.fixture
def lab(tmp_path, engine):
    """A lab in which three failures in a row are asked about."""
    health = 'inbox = "tasks"\nbreaker = { restarts = 2, within = "1h" }'
    made = Lab(tmp_path, SETTINGS.format(health=health), {"1.toml": ROUTE.format(asks="true")})
    made.drain()
    return made


def look(lab, times=1):
    """Look, and give what the last look found, by customer."""
    found = []
    for _ in range(times):
        context = StageContext(lab.routing, lab.clock)
        (instance,) = container_executors(context)
        found = check_containers(context, instance)
        lab.clock.advance(30)
    return {one.customer: one for one in found}


def health(lab, *, as_json=False):
    """How `spoold health` ended."""
    return CliRunner().invoke(command, obj=App(str(lab.file), as_json=as_json))


def exposed(lab):
    """What Prometheus reads of the containers."""
    return (lab.root / "health/docker.prom").read_text()


@pytest.mark.parametrize("asks", ["true", "false"])
def test_a_restart_is_asked_for_after_so_many_failures_in_a_row(lab, engine, asks):
    """Two failures are not three; the third makes one request, and its route says who is asked."""
    lab.configure(lab.file.read_text().partition("\n")[2],
                  {"1.toml": ROUTE.format(asks=asks)})  # fmt: skip
    engine.world = {"a": "exited", "b": ""}
    look(lab, 2)
    lab.drain()
    assert not lab.files("awaiting-approval")
    assert engine.done == []
    look(lab)
    lab.drain()
    if asks == "true":
        made = lab.request("awaiting-approval")
        assert made["params"] == {"action": "restart", "customer": "a"}
        assert engine.done == []
        lab.approve()
        lab.drain()
    assert engine.done == [("restart", "a")]


def test_no_two_restarts_have_a_name_or_an_id_in_common(lab, engine):
    """Each restart that is asked for is a record of its own, also long after the ones before."""
    engine.world = {"a": "exited"}
    look(lab, 6)
    lab.clock.advance(7200)
    look(lab, 6)
    drops = list((lab.root / "inbox" / "tasks").iterdir())
    assert len(drops) == 4
    assert len({orjson.loads(drop.read_bytes())["id"] for drop in drops}) == 4


def test_what_was_stopped_by_a_request_stays_stopped(lab, engine):
    """Nobody is asked to restart what somebody has stopped; after a start it is watched again."""
    run(lab, ask(lab, "s.json", "stop"))
    engine.world = {"a": "exited"}
    assert look(lab, 5)["a"].note == "it was stopped by a request"
    lab.clock.advance(60)
    run(lab, ask(lab, "t.json", "start"))
    assert look(lab, 2)["a"].asked == []
    assert len(look(lab)["a"].asked) == 1


def test_what_is_not_known_is_told_everywhere(lab, engine):
    """The file says null, the metrics say not known and not down, and the command exits 69."""
    engine.world = {"a": SILENT, "b": ""}
    look(lab)
    seen = orjson.loads((lab.root / "health/docker.json").read_bytes())
    assert [one["passed"] for one in seen["containers"]] == [None, True]
    text = exposed(lab)
    assert 'spoold_container_known{customer="a",executor="docker"} 0.0\n' in text
    assert 'spoold_container_known{customer="b",executor="docker"} 1.0\n' in text
    assert 'spoold_container_up{customer="a",executor="docker"}' not in text
    families = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert families == set(metrics.NAMES)
    said = health(lab)
    assert isinstance(said.exception, Unhealthy)
    assert f"unknown customer-a: {SILENT}" in said.output
    rows = health(lab, as_json=True).output.splitlines()
    assert [orjson.loads(row)["passed"] for row in rows] == [None, True]


@pytest.mark.parametrize("stopped", [True, False])
def test_what_a_request_has_stopped_is_shown_and_no_failure(lab, engine, stopped):
    """A timer is told of what should work and does not, and of nothing else."""
    engine.world, engine.facts = {"a": "exited"}, {"stopped": stopped}
    said = health(lab)
    assert said.exit_code == (0 if stopped else 1)
    assert isinstance(said.exception, Unhealthy) != stopped
    assert ("stopped  customer-a" in said.output) == stopped
    (row,) = health(lab, as_json=True).output.splitlines()
    assert (orjson.loads(row)["passed"], orjson.loads(row)["stopped"]) == (False, stopped)
    text = exposed(lab)
    assert f'spoold_container_stopped{{customer="a",executor="docker"}} {int(stopped)}.0\n' in text
    engine.world, engine.facts = {"a": ""}, {"stopped": False}
    assert not look(lab)["a"].stopped


def ask(lab, name, action):
    """A request for an action, made now; its file."""
    lab.drop("tasks", name, {"action": action, "accountId": "a"})
    lab.drain()
    lab.clock.advance(60)
    return max(lab.files("awaiting-approval"))


def run(lab, file):
    """Let it run now."""
    lab.approve(file)
    lab.drain()
    lab.clock.advance(60)


@pytest.mark.parametrize(("first", "last"), [("restart", "stop"), ("stop", "restart")])
def test_what_was_done_last_counts_not_what_was_asked_for_last(lab, engine, first, last):
    """A stop that was asked for before a restart, and approved after it, has stopped it."""
    later, sooner = ask(lab, "1.json", last), ask(lab, "2.json", first)
    run(lab, sooner)
    run(lab, later)
    assert engine.done == [(first, "a"), (last, "a")]
    engine.world = {"a": "exited"}
    assert bool(look(lab, 3)["a"].asked) == (last == "restart")


def test_a_stop_that_may_have_worked_is_not_undone(lab, engine):
    """As long as nobody knows how a stop ended, nobody is asked to undo it."""
    engine.stops = [OutcomeUnknown("lost", "Nobody knows.")]
    run(lab, ask(lab, "1.json", "stop"))
    engine.world = {"a": "exited"}
    last = look(lab, 5)["a"]
    assert (last.asked, last.stopped) == ([], False)
    assert last.note == "a stop in unknown/ has stopped it, perhaps"
    engine.facts = {"stopped": False}
    assert len(look(lab)["a"].asked) == 1
    engine.facts = {}
    lab.clock.advance(7200)
    look(lab, 5)
    file = lab.only("unknown")
    file.rename(lab.root / "failed" / file.name)
    assert len(look(lab)["a"].asked) == 1


def test_what_was_seen_is_a_file_for_people_and_one_for_prometheus(lab, engine):
    """`health/` has all that is known, in both forms."""
    engine.world = {"a": "exited", 'b"\n': ""}
    look(lab)
    seen = orjson.loads((lab.root / "health/docker.json").read_bytes())
    assert [(c["customer"], c["passed"]) for c in seen["containers"]] == [
        ("a", False), ('b"\n', True),
    ]  # fmt: skip
    text = exposed(lab)
    assert 'spoold_container_up{customer="a",executor="docker"} 0.0\n' in text
    assert '{customer="b\\"\\n",executor="docker"} 1.0\n' in text


def test_a_restart_that_is_asked_for_twice_is_one_request(lab, engine):
    """A look that dies after it has asked, and before it has noted that, asks the same again."""
    engine.world = {"a": "exited"}
    look(lab, 2)
    state = (lab.root / "health/docker.json").read_bytes()
    look(lab)
    lab.drain()
    (lab.root / "health/docker.json").write_bytes(state)
    look(lab)
    lab.drain()
    assert len(lab.files("awaiting-approval")) == 1


def gone(found):
    """Whose containers are missed."""
    return [one.customer for one in found.values() if "it is gone" in one.message]


def test_what_somebody_has_removed_is_missed_until_it_is_deleted(lab, engine):
    """A container that vanishes is a failure at each look, and a delete by a request ends that."""
    engine.world = {"a": "", "b": ""}
    look(lab)
    engine.world = {"b": ""}
    missed = look(lab, 6)["a"]
    assert (missed.passed, missed.failures, missed.asked) == (False, 5, [])
    said = health(lab)
    assert isinstance(said.exception, Unhealthy)
    assert "failed customer-a: it is gone (create it again, or delete it)" in said.output
    text = exposed(lab)
    assert 'spoold_container_up{customer="a",executor="docker"} 0.0\n' in text
    run(lab, ask(lab, "1.json", "delete"))
    assert look(lab).keys() == {"b"}
    assert health(lab).exit_code == 0
    assert not list((lab.root / "inbox" / "tasks").iterdir())


def test_what_a_request_has_deleted_is_not_missed(lab, engine):
    """A delete that was done before the look that finds nothing is why there is nothing."""
    engine.world = {"a": ""}
    look(lab)
    run(lab, ask(lab, "1.json", "delete"))
    engine.world = {}
    assert look(lab) == {}
    engine.world = {"a": ""}
    run(lab, ask(lab, "2.json", "create"))
    look(lab)
    engine.world = {}
    assert gone(look(lab)) == ["a"]


def test_an_engine_that_is_away_says_nothing_about_containers(lab, engine):
    """A check that finds out nothing forgets nothing, fails nothing and misses nothing."""
    engine.world = {"a": "", "b": "exited"}
    look(lab, 2)
    engine.away = True
    with pytest.raises(Transient):
        look(lab)
    engine.away, engine.world = False, {"b": "exited"}
    found = look(lab)
    assert gone(found) == ["a"]
    assert found["b"].wishes == 1


@pytest.mark.parametrize("deleted", [True, False])
def test_a_delete_by_another_executor_counts(lab, engine, deleted):
    """Two executors may have one engine: what either has deleted is not missed by the other."""
    run(lab, ask(lab, "1.json", "create"))
    engine.world = {"a": ""}
    look(lab)
    other = '[executors.other]\nkind = "container"\n[health]'
    lab.configure(lab.file.read_text().partition("\n")[2].replace("[health]", other),
                  {"1.toml": ROUTE.format(asks="true").replace('"docker"', '"other"')})  # fmt: skip
    lab.drain()
    run(lab, ask(lab, "2.json", "delete" if deleted else "restart"))
    engine.world = {}
    context = StageContext(lab.routing, lab.clock)
    found = check_containers(context, next(container_executors(context)))
    assert [one.customer for one in found] == ([] if deleted else ["a"])


def test_under_a_new_prefix_nobody_is_missed(lab, engine, monkeypatch):
    """A customer whose container has another name now has one, and one sample."""
    engine.world = {"a": ""}
    look(lab)
    monkeypatch.setattr(engine, "prefix", "new")
    assert [one.name for one in look(lab, 2).values()] == ["new-a"]
    text = exposed(lab)
    assert text.count('spoold_container_known{customer="a",executor="docker"}') == 1


def test_a_broken_memory_is_no_memory(lab, engine):
    """A file that cannot be read costs the count, not the look."""
    (lab.root / "health/docker.json").write_bytes(b"{")
    engine.world = {"a": "exited"}
    assert look(lab)["a"].failures == 1
