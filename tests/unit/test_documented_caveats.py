"""ASSUMPTIONS and CAVEATS of the man pages: there, each page's own, and true of the code."""

import os
import re
from datetime import UTC, datetime

import orjson
import pytest

from spoold import executors, request
from spoold.cel.expression import Expression, Scope
from spoold.cel.result import EvalError
from spoold.config import find
from spoold.config.settings import Retry, SourceTable
from spoold.errors import BadInput
from spoold.executors.instance import Instance
from spoold.identity import event_digest
from spoold.spool import decisions
from spoold.testing import Lab
from tests.conftest import route
from tests.unit._manual import MAN, page

PAGES = sorted(path.name for path in MAN.iterdir())
SECTIONS = ("ASSUMPTIONS", "CAVEATS")
#: So many a section has at least; fewer would be for the form.
FEWEST = 4
RULES = [
    route("strict", match="record.body.kind == 'x'"),
    route("loose", match="true", more="requires_approval = false"),
]


def bullets(name, section):
    """The points of a section in plain words, without mdoc's macros."""
    _, found, rest = page(name).partition(f".Sh {section}\n")
    text = rest.partition("\n.Sh ")[0] if found else ""
    points = re.split(r"^\.It\n", text, flags=re.MULTILINE)[1:]
    return [plain(one) for one in points]


def plain(text):
    """Lines of mdoc as a reader sees their words."""
    lines = [re.sub(r"^\.(?:[A-Z][a-z] )?", "", line) for line in text.splitlines()
             if line not in (".El", ".Bl -bullet")]  # fmt: skip
    words = " ".join(re.sub(r"\b(?:Ns|No|Cm|Li|Pa|Fl|Xr|Pq) ", "", line) for line in lines)
    words = words.replace("\\(dq", '"')
    return re.sub(r" +([,.;:])", r"\1", " ".join(words.split()))


def says(name, section, words):
    """Whether one of a section's points has these words."""
    return any(words in point for point in bullets(name, section))


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("name", PAGES)
def test_every_page_says_what_it_assumes_and_where_one_gets_burnt(name, section):
    """Each has both sections, with several points."""
    assert len(bullets(name, section)) >= FEWEST


def test_no_point_is_copied_from_page_to_page():
    """What a page says there is about what that page is about."""
    every = [point for name in PAGES for section in SECTIONS for point in bullets(name, section)]
    assert len(every) == len({*every})


# Routes


def value(text, **body):
    """What an expression gives for a record."""
    return Expression(text).value(Scope({"body": body}))


def test_types_are_as_the_page_of_routes_says():
    """Numbers compare across their two types and do not add up; a text is no number; no clock."""
    where = ("spoold-routes.5", "ASSUMPTIONS")
    assert says(*where, "they compare with each other 5 == 5.0")
    assert value("record.body.n == 5", n=5.0) is True
    assert says(*where, "write double(record.body.n)")
    assert value("double(record.body.n) + 0.5", n=5) == 5.5
    assert says(*where, "A number and a text are never equal, and < between them fails")
    assert value("record.body.n == 5", n="5") is False
    for text, body in (("record.body.n + 0.5", {"n": 5}), ("record.body.n < 5", {"n": "4"})):
        with pytest.raises(EvalError):
            value(text, **body)
    assert says("spoold-routes.5", "CAVEATS", "There is no now()")
    with pytest.raises(ValueError, match="now"):
        Expression("now()")


def test_a_match_that_fails_lets_a_looser_route_have_the_record(make_lab):
    """A sender who leaves out a key comes to the route after, which may ask nobody."""
    assert says("spoold-routes.5", "CAVEATS", "leaving out a key")
    lab = make_lab(*RULES)
    for number, more in enumerate(({"kind": "x"}, {})):
        record = {"decision_id": f"c-{number}", "decision_type": "cutover", **more}
        lab.drop("decisions", f"{number}.json", record)
    lab.drain()
    assert len(lab.files("awaiting-approval")) == 1
    assert [call[0].rpartition("-")[0][-5:] for call in lab.recorder.calls] == ["loose"]


def test_files_of_routes_are_in_the_order_of_text(tmp_path):
    """A name that begins with 9 comes after one that begins with 10."""
    assert says("spoold-routes.5", "CAVEATS", "9-x.toml comes after 10-x.toml")
    files = {f"{name}.toml": route(f"r{name}") for name in ("9-x", "10-x")}
    found = [one.table.name for one in Lab(tmp_path, routes=files).routing.routes]
    assert found == ["r10-x", "r9-x"]


def test_the_same_content_without_an_id_is_a_repeat(make_lab):
    """The same job, word for word, makes no second request while the first one waits."""
    assert says("spoold-routes.5", "CAVEATS", "while the first waits or runs, makes one request")
    lab = make_lab(route(source="webhooks"))
    for name in ("january.json", "february.json"):
        lab.drop("webhooks", name, {"job": "report"})
        lab.drain()
    assert len(lab.files("awaiting-approval")) == 1


# The configuration


def hook(url, timeout):
    """An executor of kind hook."""
    module, raw = executors.load("hook"), {"url": url, "timeout": timeout}
    return Instance("x", "hook", module, module.Config.model_validate(raw), raw, 1, Retry())


def test_what_was_approved_stays_as_it_was_or_is_held():
    """Another time limit is for new requests; an address that is no longer allowed is refused."""
    where = ("spoold.toml.5", "CAVEATS")
    assert says(*where, "What was rendered stays as it was approved")
    here, there = "http://127.0.0.1:1/a", "http://127.0.0.1:2/a"
    sealed = hook(here, "20s").complete({"body": {}}, {}).model_dump(mode="json")
    hook(here, "30s").approved(sealed, {})
    assert says(*where, "params-refused")
    with pytest.raises(BadInput) as refused:
        hook(there, "20s").approved(sealed, {})
    assert refused.value.code == "params-refused"


def test_a_source_is_part_of_what_a_delivery_is():
    """The same key in another inbox is another delivery."""
    assert says("spoold.toml.5", "CAVEATS", "After it was renamed the same delivery is a new one")
    assert event_digest("one", "key") != event_digest("two", "key")
    assert SourceTable(format="task").settle == 2.0


def test_the_folder_that_one_is_in_comes_first(tmp_path, monkeypatch):
    """A configuration that somebody has put into the current folder is the one that is found."""
    assert says("spoold.1", "CAVEATS", "./config/spoold.toml comes before")
    monkeypatch.delenv("SPOOLD_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    for place in ("home/spoold", "here/config"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "spoold.toml").write_text("")
    monkeypatch.chdir(tmp_path / "here")
    assert find.find(None).resolve() == tmp_path / "here/config/spoold.toml"


# Requests


@pytest.fixture
def waiting(lab):
    """The file of a request that waits."""
    lab.drop("decisions", "c.json", {"decision_id": "c-1", "decision_type": "cutover"})
    lab.drain()
    return lab.only("awaiting-approval")


def test_any_rewriting_is_noticed(waiting):
    """One more line end is another spelling, and refused as altered."""
    assert says("spoold-request.5", "CAVEATS", "an editor's that only adds a line end")
    data = waiting.read_bytes()
    assert request.parse(data)
    with pytest.raises(BadInput) as refused:
        request.parse(data + b"\n")
    assert refused.value.code == "altered"


def test_a_key_of_a_later_version_is_refused(waiting):
    """What reads requests of another version must be more patient than spoold itself."""
    assert says("spoold-request.5", "ASSUMPTIONS", "as not-a-request")
    fields = {**orjson.loads(waiting.read_bytes()), "new_key": 1}
    with pytest.raises(BadInput) as refused:
        request.parse(orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    assert refused.value.code == "not-a-request"


def test_the_seal_covers_all_but_what_the_page_names(waiting):
    """Status, attempts and result may say anything; one letter of the rest breaks the seal."""
    (point,) = [p for p in bullets("spoold-request.5", "CAVEATS") if "The seal does not cover" in p]
    key = (waiting.parents[1] / ".seal.key").read_bytes().strip()
    found = request.parse(waiting.read_bytes()).sealed(key)
    assert found.seal_holds(key)
    open_fields = {"status": "done", "attempts": [], "result": None}
    for name, other in open_fields.items():
        assert name in point
        assert found.with_(**{name: other}).seal_holds(key)
    assert not found.with_(rationale="another").seal_holds(key)


def test_a_slip_names_who_wrote_it_within_the_time_that_the_page_gives(lab, waiting):
    """One that was written earlier than that before the move names nobody."""
    assert says(
        "spoold-request.5", "CAVEATS", f"within {decisions._SECONDS:.0f} seconds of the move"
    )
    id_ = waiting.stem
    slip = lab.root / "approvals" / f"{id_}.1.json"
    slip.write_bytes(orjson.dumps({"dispatch_id": id_, "decision": "approve"}))
    moved_at = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()
    spool = lab.stages()[0].spool
    for before, named in ((decisions._SECONDS - 1, True), (decisions._SECONDS + 1, False)):
        os.utime(slip, (moved_at - before,) * 2)
        assert (decisions.decision_for(spool, id_, moved_at) is not None) == named
