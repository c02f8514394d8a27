"""Whatever is dropped where the example's routes are: one place, one answer, no harm."""

import json
import random

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spoold import request, routing
from spoold.config import configuration as config
from spoold.errors import ADVICE
from spoold.service.drain import drain
from spoold.stages.intake import Intake
from spoold.stages.stage import StageContext
from spoold.states import FOLDERS
from spoold.testing import Clock
from tests.contract import BAD_BYTES
from tests.crash.fuzz import HOSTILE, configure, mutated, seeds, typed, written
from tests.invariants import violations

SOURCES = ["decisions", "webhooks", "tasks"]
SEEDS = list(seeds())
KNOWN = {folder.path("x").split("/")[0] for folder in FOLDERS.values()}

LEAVES = (
    st.sampled_from(HOSTILE)
    | st.text()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def shaped(*needed, **constant):
    """Objects with the keys that a source looks for, and anything behind them."""
    keys = {key: VALUES | st.sampled_from(["issue", "created", "x"]) for key in needed}
    fixed = {key: st.just(value) for key, value in constant.items()}
    return st.fixed_dictionaries(fixed, optional=keys)


TICKET = shaped(
    *("id", "name", "state", "state_detail", "state_id", "labels", "label_ids", "project"),
    *("project_id", "project_detail", "sequence_id", "identifier", "priority", "url", "issue"),
    *("updated_at", "created_at", "updated_by_id", "work_item_id"),
)
SHAPES = st.one_of(
    shaped("decision_type", "chosen", "decision_id", "rationale", "checks", "scores", "degraded"),
    st.builds(lambda a, b: {**a, "data": b}, shaped("event", "action", "webhook_id"), TICKET),
    st.builds(
        lambda a, b, c: {**a, "data": b, "previous_attributes": c},
        shaped("event", "entity_id", "event_id", version="v2"), TICKET, TICKET,
    ),
    shaped("repository", "sender", "issue", "pull_request", "label", "ref", "head_commit"),
    shaped("id", "type", "source", "specversion", "time", "event", "action"),
    shaped("action", "accountId", "customer_id", "containerId", "name", "imageTag", "config"),
    shaped("agent", "agent_id", "model", "prompt", "title", "id", "status"),
    shaped("type", "params", "description", "domain", "run_immediately", "id"),
)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(["X-GitHub-Event", "x-github-delivery", "X-Plane-Event", "ce-id", "ce-source",
                     "Webhook-Id", "Idempotency-Key", "X-A", "x-a", " x-A "]) | st.text(),
    LEAVES | st.lists(LEAVES, max_size=3), max_size=4,
)  # fmt: skip
ENVELOPES = st.one_of(
    SHAPES,
    st.builds(lambda headers, body: {"headers": headers, "body": body}, HEADERS, SHAPES | VALUES),
    st.builds(lambda body: {"payload": {"provider": "plane", "body": body}}, SHAPES),
)
CHANCE = st.randoms(use_true_random=False)


def _cut(raw, chance):
    """Bytes with some of them lost, doubled or replaced."""
    for _ in range(chance.randrange(1, 4)):
        at, length = chance.randrange(len(raw) + 1), chance.choice((0, 1, 1, 2, 9))
        put = chance.choice(
            (b"", b"\0", b"\xff", b'"', b"{", b"]", b"\\", b"9" * 20, raw[at : at + 9])
        )
        raw = raw[:at] + put + raw[at + length :]
    return raw


SHAPED = st.builds(written, ENVELOPES, CHANCE)
MUTATED = st.builds(
    lambda raw, chance: written(mutated(json.loads(raw), chance), chance),
    st.sampled_from(SEEDS), CHANCE,
)  # fmt: skip
FILES = st.one_of(
    *(SHAPED, SHAPED, SHAPED, MUTATED, MUTATED, MUTATED),
    st.builds(_cut, st.sampled_from(SEEDS) | SHAPED, CHANCE),
    st.binary(max_size=200),
    st.sampled_from(HOSTILE).map(lambda value: json.dumps({"decision_type": value}).encode()),
    st.just(b'{"decision_type":"' + b"x" * 100_000 + b'"}'),
    st.sampled_from([60, 62, 63, 64, 1000, 2000]).map(
        lambda deep: b'{"chosen":"c","x":%s%s}' % (b"[" * deep, b"]" * deep)
    ),
)


class Desk:
    """An intake on a spool of its own, fed again and again."""

    def __init__(self, folder):
        self.folder = folder
        self.routing = routing.load(config.load(configure(folder)))
        self.root = folder / "spool"
        self.root.mkdir()
        clock = Clock()
        # Ahead of every file's time, so that nothing has to settle.
        clock.advance(3600)
        self.context = StageContext(self.routing, clock)
        self.intake = Intake(self.context)
        self.intake.lock.acquire()
        self.intake.recover()
        self.key = self.intake.spool.seal_key()
        self.dropped = []
        self.requests = {}

    def feed(self, source, raw):
        """Drop a file; returns its name."""
        name = f"{len(self.dropped):06}.json"
        (self.root / "inbox" / source / name).write_bytes(raw)
        self.dropped.append(raw)
        return name

    def work(self):
        """Let intake take everything; it must come to an end."""
        assert any(self.intake.step().moved == 0 for _ in range(10))

    def look(self):
        """The requests that have come since, by where their originals went."""
        for path in [
            *self.root.glob("awaiting-approval/*.json"),
            *self.root.glob("pre-approved/*"),
        ]:
            if path.name not in self.requests:
                self.requests[path.name] = request.parse(path.read_bytes())
        return {made.source.archived: made for made in self.requests.values()}

    def check(self, source, name, raw):
        """One place, and there one answer."""
        found = [path for path in self.root.rglob(name) if path.parts[-3] != "tmp"]
        assert len(found) == 1, (raw, found)
        assert found[0].read_bytes() == raw
        place = found[0].relative_to(self.root)
        assert place.parts[:2] in {("archive", source), ("quarantine", source)}
        why = found[0].with_name(f"{name}.reason.json")
        made = self.look().get(str(place))
        assert why.exists() != (made is not None), (raw, place)
        if made is None:
            code = json.loads(why.read_bytes())["code"]
            assert code in ADVICE
            assert (code in {"repeat", "folded"}) == (place.parts[0] == "archive")
        else:
            self.check_request(made, raw)

    def check_request(self, made, raw):
        """It is sealed, reads back as it was written, and holds the record as it was."""
        assert request.parse(made.to_bytes()) == made
        assert made.seal_holds(self.key)
        if made.route.startswith("all-"):
            whole = json.loads(raw)
            bodies = [whole, whole.get("body"), whole.get("payload"), whole.get("headers")]
            bodies += [body.get("payload") for body in bodies if isinstance(body, dict)]
            bodies += [body.get("body") for body in bodies if isinstance(body, dict)]
            assert typed(made.params["body"]["all"]) in [typed(body) for body in bodies]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """One for all examples of a test, so that what came earlier is there."""
    made = Desk(tmp_path_factory.mktemp("desk"))
    yield made
    made.intake.close()
    made.intake.lock.release()


RELAXED = settings(
    deadline=None, max_examples=250, suppress_health_check=list(HealthCheck), print_blob=True
)


@RELAXED
@given(st.lists(st.tuples(st.sampled_from(SOURCES), FILES), min_size=1, max_size=8))
def test_whatever_is_dropped_gets_one_answer(desk, drops):
    """Each drop ends in one place with one answer, and no file appears elsewhere."""
    named = [(source, desk.feed(source, raw), raw) for source, raw in drops]
    desk.work()
    for source, name, raw in named:
        desk.check(source, name, raw)
    assert {path.name for path in desk.folder.iterdir()} == {"config", "spool"}
    assert {path.name for path in desk.root.iterdir()} - KNOWN == {".seal.key"}
    assert not list(desk.root.glob("tmp/*"))


def test_the_whole_spool_keeps_every_law(desk):
    """After all that was dropped above, no law is broken, and a drain ends at once."""
    chance = random.Random(0)
    for raw in SEEDS * 4:
        desk.feed(chance.choice(SOURCES), _cut(raw, chance))
    for raw in BAD_BYTES.values():
        desk.feed("decisions", raw)
    desk.work()
    desk.intake.close()
    desk.intake.lock.release()
    again = Intake(desk.context)
    assert drain([again], desk.context) == 0
    assert violations(desk.root, desk.dropped) == []
    codes = {orjson.loads(path.read_bytes())["code"] for path in desk.root.rglob("*.reason.json")}
    assert len(codes) >= 8, codes
