"""What all formats have in common."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoold import sources
from spoold.errors import BadInput
from spoold.strict_json import parse

RECORDS = Path(__file__).parents[1] / "records"
SAMPLES = Path(__file__).parents[3] / "shared" / "samples"

FACTS = {
    "decision": [
        "status",
        "execution_mode",
        "runtime_env",
        "module_ref",
        "desired",
        "target_mode",
        "chosen",
        "decision_id",
        "decision_type",
        "rationale",
        "checks",
        "degraded",
        "signal_ready",
        "module_inputs",
        "scores",
    ],
    "plane": [
        "issue_id",
        "title",
        "ticket_ref",
        "state",
        "labels",
        "component",
        "agent",
        "priority",
        "project",
        "url",
        "unmapped",
        "event",
        "action",
        "changed_field",
        "actor",
    ],
    "github": [
        "event",
        "action",
        "repo",
        "number",
        "title",
        "url",
        "labels",
        "label",
        "ref",
        "sha",
        "conclusion",
        "sender",
        "org",
    ],
    "webhook": ["event", "action"],
    "task.platform": [
        "task_type",
        "description",
        "domain",
        "params",
        "status",
        "snapshot_id",
        "run_immediately",
        "assigned_agent",
    ],
    "task.agent": [
        "agent",
        "model",
        "model_family",
        "title",
        "prompt",
        "execution",
        "status",
        "task_id",
    ],
    "task.container": [
        "action",
        "customer",
        "container_id",
        "plan",
        "port",
        "name",
        "image",
        "config",
    ],
    "task.unknown": [],
}

# Names that some adapter looks at, so that random documents reach more than the first branch.
NAMES = [
    "headers",
    "body",
    "payload",
    "provider",
    "event",
    "action",
    "data",
    "version",
    "entity_id",
    "event_id",
    "webhook_id",
    "activity",
    "previous_attributes",
    "project_detail",
    "state_detail",
    "state_id",
    "label_ids",
    "project_id",
    "identifier",
    "sequence_id",
    "updated_at",
    "name",
    "group",
    "id",
    "issue",
    "repository",
    "sender",
    "head_commit",
    "label",
    "pull_request",
    "head",
    "comment",
    "specversion",
    "source",
    "type",
    "params",
    "interaction",
    "agent_slug",
    "agent_id",
    "model",
    "customer",
    "accountId",
    "imageTag",
    "config",
    "assignedPort",
    "X-GitHub-Event",
    "x-plane-event",
]
NAMES += [*FACTS["decision"], *FACTS["plane"], *FACTS["github"]]
WORDS = [
    "issue",
    "updated",
    "created",
    "v2",
    "plane",
    "None",
    "workitem.updated",
    "create",
    "delete",
    "restart",
    "p",
    "c",
]


def texts(size):
    """Texts without the NUL, which is refused before a record is made of it."""
    return st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=size)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
    | texts(8)
)
KEYS = st.sampled_from(NAMES) | texts(4)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=25,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=10)
SHAPES = st.sampled_from(
    [
        {},
        {"event": "issue", "action": "updated", "data": {}},
        {"version": "v2", "event": "workitem.updated", "entity_id": "x"},
        {"repository": {}, "sender": {}},
        {"action": "create", "customer": "c"},
        {"agent": "a"},
        {"type": "t", "params": {}},
        {"decision_type": "d"},
    ]
)


def origin(name, file="drop.json"):
    return sources.Origin("box", file, sources.load(name).Options())


def outcome(read, *args):
    try:
        return read(*args)
    except BadInput as error:
        return error.code


def expected_facts(type_):
    return set(FACTS[type_ if type_ in FACTS else type_.partition(".")[0]])


#: Formats that ask for fields; any object is a record of the others.
_STRICT = {("decision", "bad-record"), ("report", "bad-record")}


def test_the_formats_are_these():
    """A module with a public name is a format, and nothing else is."""
    assert list(sources.FORMATS) == ["decision", "report", "task", "webhook"]


@pytest.mark.parametrize("name", sources.FORMATS)
@settings(max_examples=50)
@given(document=DOCUMENTS, shape=SHAPES)
def test_any_object_is_a_record_or_bad_input(name, document, shape):
    """No JSON object makes an adapter fail otherwise, and a type's facts are all there as JSON."""
    document = {**shape, **document} if len(document) % 2 else {**document, **shape}
    record = outcome(sources.load(name).read, document, origin(name))
    if isinstance(record, str):
        assert (name, record) in _STRICT
        return
    assert set(record.facts) == expected_facts(record.type)
    assert parse(json.dumps(record.as_dict()).encode(), max_depth=900) == record.as_dict()
    assert record.id is None or (isinstance(record.id, str) and record.id.strip())
    assert record.source == "box"


@pytest.mark.parametrize("name", sources.FORMATS)
@settings(max_examples=50)
@given(document=DOCUMENTS, shape=SHAPES)
def test_reading_changes_nothing_and_repeats(name, document, shape):
    """An adapter is a function: the document stays as it was and gives the same record again."""
    document = {**document, **shape}
    before = json.dumps(document)
    first = outcome(sources.load(name).read, document, origin(name))
    assert json.dumps(document) == before
    assert outcome(sources.load(name).read, document, origin(name)) == first


@pytest.mark.parametrize(
    "file", sorted(RECORDS.glob("*/*.json")), ids=lambda file: f"{file.parent.name}/{file.stem}"
)
def test_every_example_is_read_by_its_format(file):
    """The example records of a format are records of that format."""
    name = file.parent.name
    record = sources.read(name, file.read_bytes(), origin(name, file.name))
    assert set(record.facts) == expected_facts(record.type)
    assert record.type.partition(".")[0] in {name, "plane", "github"}


def test_every_sample_from_the_field_is_read_by_every_format():
    """Real input, where it is at hand, gives a record, or the complaint of a strict format."""
    for file in sorted(SAMPLES.glob("*/*.json")):
        for name in sources.FORMATS:
            record = outcome(sources.read, name, file.read_bytes(), origin(name, file.name))
            if isinstance(record, str):
                assert (name, record) in _STRICT, file
            else:
                assert set(record.facts) == expected_facts(record.type), file


@pytest.mark.parametrize("name", sources.FORMATS)
def test_bytes_that_are_no_record_are_refused_before_any_format(name):
    """Every format starts from strict JSON."""
    with pytest.raises(BadInput) as caught:
        sources.read(name, b'{"decision_type":"a","decision_type":"b"}', origin(name))
    assert caught.value.code == "duplicate-key"


@pytest.mark.parametrize("name", sources.FORMATS)
def test_options_refuse_unknown_keys(name):
    """A misspelled key of a source is an error and never ignored."""
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        sources.load(name).Options.model_validate({"colour": "red"})
