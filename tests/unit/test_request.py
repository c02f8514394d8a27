"""The request file: one spelling, and a seal over all that was rendered."""

import re
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spoold import request
from spoold.errors import BadInput
from spoold.identity import digits, dispatch_id, event_digest, intent_digest
from spoold.request import (
    Approval,
    Attempt,
    Policy,
    Repeat,
    Request,
    Result,
    Source,
    latest,
    parse,
    parse_time,
    seal,
    timestamp,
)

KEY = b"k" * 64
AT = "2026-01-02T03:04:05.000006+00:00"

#: What intake renders: nobody may change any of it.
SEALED = [
    "schema", "dispatch_id", "timestamp_utc", "route", "execution_plane", "target_kind",
    "target_ref", "target_env", "requires_approval", "rationale", "checks", "decision_type",
    "source_decision_id", "source_decision_file", "source", "executor", "params", "preflight",
    "approval", "event_key", "intent_key", "lane", "supersedes", "asked", "repeats",
]  # fmt: skip

#: What the gate and executors add.
OPEN = ["status", "approvals", "attempts", "result"]

#: The contract's order: first what people know, then what was added.
ORDER = [
    "schema", "dispatch_id", "timestamp_utc", "status", "route", "execution_plane", "target_kind",
    "target_ref", "target_env", "requires_approval", "rationale", "checks", "decision_type",
    "source_decision_id", "source_decision_file", "source", "executor", "params", "preflight",
    "approval", "event_key", "intent_key", "lane", "supersedes", "asked", "repeats", "seal",
    "approvals", "attempts", "result",
]  # fmt: skip


def make(**changes):
    """A request in which every field has a value."""
    fields = {
        "schema": request.SCHEMA,
        "dispatch_id": "dispatch-20260102T030405Z-cutover-0123abcd",
        "timestamp_utc": AT,
        "status": "awaiting-approval",
        "route": "cutover",
        "execution_plane": "runner-local",
        "target_kind": "blueprint",
        "target_ref": "dr/x@v1",
        "target_env": "dev",
        "requires_approval": True,
        "rationale": "why",
        "checks": [{"name": "wan", "ok": False}],
        "decision_type": "cutover",
        "source_decision_id": "d-1",
        "source_decision_file": "archive/decisions/2026-01-02/d.json",
        "source": Source(inbox="decisions", file="d.json", id="d-1", sha256="00", received_at=AT,
                         archived="archive/decisions/2026-01-02/d.json"),
        "executor": "runner",
        "params": {"argv": ["x", "é"], "env": {}, "timeout": "10m", "n": 1.5},
        "preflight": [{"argv": ["y"]}],
        "approval": Policy(policy="move", quorum=1, approvers=[], expires_at=AT),
        "event_key": "d-1",
        "intent_key": "cutover",
        "lane": "l",
        "supersedes": ["dispatch-0"],
        "asked": 2,
        "repeats": [Repeat(at=AT, id="d-2", event_key="d-2", archived="archive/x")],
        "seal": "",
        "approvals": [],
        "attempts": [],
        "result": None,
    }  # fmt: skip
    return Request(**{**fields, **changes})


YES = Approval(policy="move", at=AT, by="ada", note="go", checked_at=AT, seal="")
TRIED = Attempt(
    number=1, started_at=AT, ended_at=AT, outcome="done", code="ok", summary="d", details={}
)
ENDED = Result(
    outcome="done",
    code="ok",
    started_at=AT,
    ended_at=AT,
    summary="d",
    evidence=None,
    output=None,
    details={"x": [1]},
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner,
                                                                max_size=3),
    max_leaves=8,
)  # fmt: skip
PARAMS = st.dictionaries(st.text(max_size=5), JSON, max_size=4)


def spelled(fields):
    """Fields as spoold spells them."""
    return orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def refused(data):
    """The code with which bytes are refused."""
    with pytest.raises(BadInput) as error:
        parse(data)
    return error.value.code


# One spelling


def test_every_field_is_either_sealed_or_open():
    """No field is forgotten: what this file does not know, it cannot have checked."""
    assert set(SEALED) | set(OPEN) | {"seal"} == {field.name for field in fields(Request)}


def test_the_fields_are_in_the_order_of_the_contract():
    """The file reads the same every time: the known names first, in one fixed order."""
    assert list(orjson.loads(make().to_bytes())) == ORDER


def test_only_a_decision_speaks_of_decisions():
    """A request that came from no decision has none of the three fields; all others are there."""
    made = make(decision_type=None, source_decision_id=None, source_decision_file=None)
    decision = {"decision_type", "source_decision_id", "source_decision_file"}
    assert list(orjson.loads(made.to_bytes())) == [key for key in ORDER if key not in decision]
    assert parse(made.to_bytes()) == made


def test_the_file_is_for_people():
    """Two-space indent, one line end at the end, letters as they are."""
    text = make().to_bytes().decode()
    assert text.startswith('{\n  "schema": "spoold.request/1",\n  "dispatch_id": ')
    assert text.endswith("}\n")
    assert "é" in text


@settings(max_examples=50)
@given(PARAMS, st.lists(JSON, max_size=3))
def test_a_request_survives_its_file(params, checks):
    """What was written is read as the same request, whatever the parameters are, to the byte."""
    made = make(params=params, checks=checks, approvals=[YES], attempts=[TRIED], result=ENDED)
    again = parse(made.to_bytes())
    assert again == made
    assert again.to_bytes() == made.to_bytes()


@pytest.mark.parametrize(
    "respell",
    [
        lambda data: data.rstrip(),
        lambda data: data + b"\n",
        lambda data: b" " + data,
        lambda data: data.replace(b"  ", b"\t", 1),
        lambda data: data.replace(b": ", b":", 1),
        lambda data: data.replace("é".encode(), b"\\u00e9"),
        lambda data: data.replace(b'"n": 1.5', b'"n": 1.50'),
        lambda data: data.replace(b'"asked": 2', b'"asked": 3,\n  "asked": 2'),
        lambda data: orjson.dumps(orjson.loads(data)),
        lambda data: spelled(dict(reversed(orjson.loads(data).items()))),
    ],
)
def test_another_spelling_of_the_same_is_refused(respell):
    """Two readers could disagree about it, so only the bytes that spoold writes are a request."""
    data = make().to_bytes()
    assert respell(data) != data
    assert refused(respell(data)) == "altered"


@pytest.mark.parametrize("key", [*ORDER[:12], *ORDER[15:]])
def test_a_missing_field_is_refused(key):
    """A file without one of the fields is no request."""
    fields = orjson.loads(make().to_bytes())
    del fields[key]
    assert refused(spelled(fields)) == "not-a-request"


@pytest.mark.parametrize("path", [(), ("source",), ("approval",), ("repeats", 0)])
def test_an_unknown_field_is_refused(path):
    """A field that nobody knows was written by somebody else, wherever it stands."""
    fields = inner = orjson.loads(make().to_bytes())
    for step in path:
        inner = inner[step]
    inner["more"] = 1
    assert refused(spelled(fields)) == "not-a-request"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "spoold.request/2"), ("schema_", "spoold.request/1"), ("status", "approved"),
        ("status", "checking"), ("requires_approval", "true"), ("requires_approval", 1),
        ("asked", "2"), ("asked", 2.0), ("params", []), ("params", "x"), ("checks", {}),
        ("target_ref", 5), ("supersedes", "x"), ("approval", None), ("attempts", {}),
        ("result", []), ("seal", None), ("dispatch_id", None), ("lane", 0),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused(key, value):
    """Nothing is converted: `"true"` is no boolean and 2.0 is no count."""
    fields = orjson.loads(make().to_bytes())
    assert refused(spelled({**fields, key: value})) == "not-a-request"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"), (b" \n", "empty"), (b"{}", "not-a-request"), (b"[]", "not-a-request"),
        (b"null", "not-a-request"), (b"\xff\xfe", "not-a-request"), (b"{", "not-a-request"),
        (b"[" * 100_000, "not-a-request"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_named(data, code):
    """An empty file approves nothing, and neither does anything else that is no request."""
    assert refused(data) == code


@pytest.mark.parametrize("depth", [100, 240, 250, 252, 253, 254, 255, 256, 300, 900, 1000, 5000])
def test_no_depth_of_nesting_is_too_much_for_the_reader(depth):
    """Whoever writes a file of any depth into a door gets it refused, and stops nothing."""
    data = make(params={"say": 0}).to_bytes()
    deep = data.replace(b'"say": 0', b'"say": ' + b"[" * depth + b"]" * depth)
    assert deep != data
    assert refused(deep) in {"altered", "not-a-request"}


def test_a_refusal_is_short():
    """What is said about a hostile file fits on a screen, whatever is in the file."""
    data = make(params={"say": 0}).to_bytes()
    deep = data.replace(b'"say": 0', b'"say": ' + b"[" * 900 + b"]" * 900)
    with pytest.raises(BadInput) as error:
        parse(deep)
    assert len(error.value.what) < 500


# The seal


def other(field, value):
    """A value of the same type that differs."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case list():
            return [*value, *(value[:1] or [None])]
        case dict():
            return {**value, "more": None}
        case Source():
            return replace(value, sha256="11")
        case Policy():
            return replace(value, expires_at="2099-01-01T00:00:00.000000+00:00")
    raise AssertionError(field)


@pytest.mark.parametrize("field", SEALED)
def test_the_seal_breaks_with_any_field_of_the_action(field):
    """No field that intake rendered can be changed, emptied or removed under its seal."""
    made = make().sealed(KEY)
    assert made.seal_holds(KEY)
    assert not made.with_(**{field: other(field, getattr(made, field))}).seal_holds(KEY)
    if isinstance(getattr(made, field), str):
        for value in ("", None):
            assert not made.with_(**{field: value}).seal_holds(KEY)


@pytest.mark.parametrize("part", [field.name for field in fields(Source)])
def test_the_seal_covers_where_it_came_from(part):
    """Each part of `source` is sealed."""
    made = make().sealed(KEY)
    changed = replace(made.source, **{part: "else"})
    assert not made.with_(source=changed).seal_holds(KEY)


@pytest.mark.parametrize(
    ("part", "value"),
    [("policy", "none"), ("quorum", 0), ("approvers", ["x"]), ("expires_at", "later")],
)
def test_the_seal_covers_what_must_happen_before_it_runs(part, value):
    """Each part of `approval` is sealed."""
    made = make().sealed(KEY)
    changed = replace(made.approval, **{part: value})
    assert not made.with_(approval=changed).seal_holds(KEY)


@settings(max_examples=50)
@given(PARAMS, PARAMS)
def test_different_parameters_have_different_seals(one, two):
    """Two requests have one seal only if they say the same."""
    seals = {make(params=params).sealed(KEY).seal for params in (one, two)}
    said = {orjson.dumps(params, option=orjson.OPT_SORT_KEYS) for params in (one, two)}
    assert len(seals) == len(said)


def test_the_seal_does_not_cover_what_happens_later():
    """Status, yeses, attempts and result are added after sealing, and the seal still holds."""
    made = make().sealed(KEY)
    later = made.with_(status="done", approvals=[YES], attempts=[TRIED], result=ENDED)
    assert later.seal_holds(KEY)


def test_a_seal_needs_its_key():
    """A seal made with another key, or copied from another request, does not hold."""
    made = make().sealed(KEY)
    assert not made.seal_holds(b"j" * 64)
    assert not make(lane="m").with_(seal=made.seal).seal_holds(KEY)
    assert not make().seal_holds(KEY)


@pytest.mark.parametrize("seal", ["", "hmac-sha256:", "é", "none"])
def test_what_is_no_seal_does_not_hold(seal):
    """Whatever a file says in `seal`, the answer is no, and never an error."""
    assert not make(seal=seal).seal_holds(KEY)


def test_a_seal_is_not_made_of_its_own_parts():
    """Sealing twice gives the same seal: it does not seal itself."""
    assert make().sealed(KEY).sealed(KEY) == make().sealed(KEY)


# Approvals


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("policy", "none"), ("at", "else"), ("by", "eve"), ("by", None), ("note", "no"),
        ("note", None), ("checked_at", "else"), ("seal", ""), ("seal", "é"),
    ],
)  # fmt: skip
def test_no_part_of_a_yes_can_be_changed(part, value):
    """Who, when and why are the gate's word; changed, they do not hold."""
    made = make().sealed(KEY).approved(KEY, YES)
    assert made.approvals_hold(KEY)
    changed = replace(made.approvals[0], **{part: value})
    assert not made.with_(approvals=[changed]).approvals_hold(KEY)


def test_one_forged_yes_spoils_all():
    """A yes that the gate did not write is not hidden among those that it did."""
    made = make().approved(KEY, YES)
    for entries in ([*made.approvals, YES], [YES, *made.approvals]):
        assert not made.with_(approvals=entries).approvals_hold(KEY)


def test_a_yes_is_for_one_request():
    """A yes that was copied to another request does not hold there."""
    made = make().approved(KEY, YES)
    moved = make(dispatch_id="dispatch-other").with_(approvals=made.approvals)
    assert not moved.approvals_hold(KEY)


def test_a_yes_keeps_the_ones_before():
    """Another yes is added; nothing else changes, and both hold."""
    once = make().sealed(KEY).approved(KEY, YES)
    twice = once.approved(KEY, replace(YES, by="bob"))
    assert twice.approvals[:1] == once.approvals
    assert [entry.by for entry in twice.approvals] == ["ada", "bob"]
    assert twice.approvals_hold(KEY)
    assert twice.seal_holds(KEY)


def test_a_seal_is_not_taken_for_a_yes():
    """The two kinds of seals differ although they are made with one key."""
    made = make().sealed(KEY)
    assert not made.with_(approvals=[replace(YES, seal=made.seal)]).approvals_hold(KEY)


def test_the_same_bytes_have_two_seals():
    """Even if a yes and a request could be the same bytes, the one's seal is not the other's."""
    assert seal.mac(KEY, "request", b"x") != seal.mac(KEY, "approval", b"x")
    assert seal.mac(KEY, "request", b"x") != seal.mac(KEY, "reques", b"t\0x")


# Names, keys and times


TIMES = st.datetimes(
    min_value=datetime(1971, 1, 1), max_value=datetime(9990, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)),
                               timezone(timedelta(hours=-11))]),
)  # fmt: skip


@given(TIMES)
def test_a_time_survives_being_written(when):
    """A time is written in UTC to the microsecond, and read as the same time."""
    text = timestamp(when)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", text)
    assert parse_time(text) == when
    assert timestamp(parse_time(text)) == text


@settings(max_examples=50)
@given(TIMES, st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True), st.binary(min_size=32))
def test_an_id_has_its_form(when, route, event):
    """Time in UTC, route and eight digits of the event, in a name that sorts by time."""
    own = digits(b"key", event)
    made = dispatch_id(when, route, own)
    found = re.fullmatch(r"dispatch-(\d{8}T\d{6}Z)-(.+)-([0-9a-f]{8})", made)
    assert found
    assert found[2] == route
    assert found[3] == own
    assert parse_time(found[1]) == when.replace(microsecond=0).astimezone(UTC)
    assert len(f"{made}.json") <= 200


def test_ids_sort_by_time():
    """A later request's name comes later in a listing."""
    start = datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC)
    ids = [dispatch_id(start + timedelta(seconds=n), "r", "0" * 8) for n in range(5)]
    assert ids == sorted(ids)


TEXT = st.text(max_size=6)
NAMES = st.from_regex(r"[a-z0-9_-]{1,5}", fullmatch=True)


@settings(max_examples=50)
@given(NAMES, TEXT, NAMES, TEXT)
def test_two_deliveries_never_share_a_digest(source, key, other_source, other_key):
    """A source's name and a key cannot run into each other."""
    same = (source, key) == (other_source, other_key)
    assert (event_digest(source, key) == event_digest(other_source, other_key)) is same
    assert (intent_digest(source, key) == intent_digest(other_source, other_key)) is same


def test_the_digest_of_an_event_never_changes():
    """Ids and index of years ago must still find what is delivered today."""
    assert event_digest("decisions", "d-1").hex()[:8] == "2fe8e782"


def test_only_who_has_the_key_knows_the_digits_of_an_event():
    """The digits stay while the key does, another key gives others, and the event gives none."""
    event = event_digest("decisions", "d-1")
    assert digits(b"k" * 64, event) == digits(b"k" * 64, event)
    assert len({digits(b"k" * 64, event), digits(b"l" * 64, event), event.hex()[:8]}) == 3


def test_a_key_that_is_no_valid_text_has_a_digest_too():
    """Half a surrogate pair in a key is odd, and stops nothing."""
    assert len(event_digest("s", "\ud800")) == 32


def test_only_the_last_repeats_are_kept():
    """A request that is asked for a thousand times stays small; the newest are in it."""
    repeats = []
    for number in range(150):
        new = Repeat(at=AT, id=None, event_key=str(number), archived="x")
        repeats = latest(repeats, new)
    assert [r.event_key for r in repeats] == [str(n) for n in range(50, 150)]


@pytest.mark.parametrize(
    "what",
    ["plain", "\x1b[31m", "a\nb", "\udcff.json", "\ud800", "é\u202e"],
)
def test_a_reason_can_be_written_about_any_name(what):
    """Whatever a stranger's file is called, its reason is JSON that says so, and no error."""
    text = request.reason("renamed", f"It is named {what}.", "advice", datetime.now(UTC), by=None)
    fields = orjson.loads(text)
    assert list(fields) == ["code", "what", "advice", "at"]
    assert fields["what"].startswith("It is named ")


def test_a_reason_keeps_what_it_is_told_and_omits_what_is_not_known():
    """Extra fields follow the four that are always there; those without a value are left out."""
    text = request.reason("empty", "w", "a", parse_time(AT), file="f.json", sha256=None)
    assert list(orjson.loads(text).items())[3:] == [("at", AT), ("file", "f.json")]


# What executors add


@pytest.mark.parametrize(
    ("outcomes", "holds"),
    [
        ([], True),
        (["deferred", None], True),
        ([None, "done"], False),
        (["done", None, None], False),
    ],
)
def test_only_the_last_attempt_may_be_open(outcomes, holds):
    """A history with an attempt in the middle that never ended was not written by spoold."""
    attempts = [replace(TRIED, number=n, outcome=end) for n, end in enumerate(outcomes, 1)]
    assert make(status="queued", approvals=[YES], attempts=attempts).history_holds is holds


@given(details=st.dictionaries(st.text(max_size=5), JSON | st.floats() | st.tuples(JSON)))
def test_what_is_validated_needs_no_second_look_at_its_spelling(details):
    """Whatever an executor says: bytes that we wrote and that are valid can be read back."""
    data = make(attempts=[replace(TRIED, details=details)]).to_bytes()
    assert request.validated(data) == parse(data)


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "queued", "approvals": [YES], "attempts": [replace(TRIED, number=2)]},
        {"status": "queued", "approvals": []},
        {"status": "pre-approved", "approvals": []},
        {"status": "awaiting-approval", "approvals": [], "attempts": [replace(TRIED, number=1)]},
    ],
    ids=["a gap", "queued without a yes", "the other door", "tried without a yes"],
)
def test_a_story_that_spoold_cannot_have_written_does_not_hold(changes):
    """Attempts count from one, and what nobody has approved yet is new and was never tried."""
    fresh = {"attempts": [], "result": None, "requires_approval": True}
    assert not make(**fresh | changes).history_holds


def test_a_field_that_a_later_version_added_is_not_in_the_files_of_an_earlier_one():
    """What is None of such a field is neither written nor sealed, so that old files stay valid."""
    old = Repeat(at=AT, id=None, event_key="k", archived="x")
    assert list(old.as_fields()) == ["at", "id", "event_key", "archived"]
    assert "sha256" in Repeat(**vars(old) | {"sha256": "0"}).as_fields()
    made = make().with_(repeats=[old]).sealed(b"key")
    assert b'"differs"' not in made.to_bytes()
    assert parse(made.to_bytes()).seal_holds(b"key")
