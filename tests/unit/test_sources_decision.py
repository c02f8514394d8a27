"""The decision format."""

from pathlib import Path

import pytest

from spoold import sources
from spoold.errors import BadInput
from spoold.sources import Origin, decision

RECORDS = Path(__file__).parents[1] / "records" / "decision"


def read(document, file="some-file.json"):
    return decision.read(document, Origin("decisions", file, decision.Options()))


def example(name):
    return sources.read(
        "decision", (RECORDS / name).read_bytes(), Origin("decisions", name, decision.Options())
    )


def test_a_full_decision_keeps_what_routes_need():
    """Identity, time, target and inputs of a decision reach the facts."""
    record = example("cutover-full.json")
    assert record.id == "decision-20260904T071530Z-cutover-5e0d91aa"
    assert record.type == "decision"
    assert record.occurred_at == "2026-09-04T07:15:30.418822+00:00"
    assert record.facts["decision_type"] == "cutover"
    assert record.facts["target_mode"] == "SECONDARY"
    assert record.facts["degraded"] is True
    assert record.facts["module_inputs"]["ttl"] == 30
    assert [check["ok"] for check in record.facts["checks"]] == [False, False]


def test_a_minimal_decision_has_the_same_facts_as_a_full_one():
    """A route never finds a fact of a decision missing."""
    minimal, full = example("cutover-minimal.json"), example("cutover-full.json")
    assert minimal.facts.keys() == full.facts.keys()
    assert minimal.facts["desired"] == ""
    assert minimal.facts["degraded"] is None
    assert minimal.facts["module_inputs"] == {}
    assert minimal.facts["checks"][0] == {"name": "primary_site", "status": "down"}


def test_the_older_form_is_routed_by_what_was_chosen():
    """A record of the ancestor becomes `chosen:<provider>`, with its reason as the rationale."""
    record = example("legacy-chosen.json")
    assert record.facts["decision_type"] == "chosen:gcp"
    assert record.facts["chosen"] == "gcp"
    assert record.facts["rationale"] == "lowest_weighted_score"
    assert record.facts["scores"]["azure"] == 0.61
    assert record.id == "legacy-chosen"


@pytest.mark.parametrize("decision_id", [None, "", "  ", True, ["x"], {"id": 7}])
def test_the_file_name_stands_in_for_a_missing_id(decision_id):
    """Without a usable decision_id, the name of the file identifies the decision."""
    record = read({"decision_type": "cutover", "decision_id": decision_id}, "night.7.json")
    assert record.id == record.facts["decision_id"] == "night.7"


@pytest.mark.parametrize(("decision_id", "known"), [(7, "7"), (0, "0"), (-1, "-1"), (1.5, "1.5")])
def test_a_number_is_an_id(decision_id, known):
    """A decision that is numbered is known by its number, whatever its file is called."""
    record = read({"decision_type": "cutover", "decision_id": decision_id}, "latest.json")
    assert record.id == record.facts["decision_id"] == known


def test_names_are_trimmed_and_keep_their_case():
    """Route keys are exact, so only the white space around a name goes."""
    record = read({"decision_type": " CutOver ", "decision_id": " d-1 "})
    assert record.facts["decision_type"] == "CutOver"
    assert record.id == "d-1"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"decision_type": ""},
        {"decision_type": "  "},
        {"decision_type": 5},
        {"decision_type": ["cutover"], "chosen": "gcp"},
        {"chosen": None, "scores": {}, "reason": "no_candidates_met_constraints"},
        {"chosen": 3, "scores": {}},
    ],
)
def test_a_record_that_decides_nothing_is_refused(document):
    """Nothing is ever routed by a decision type that is not there."""
    with pytest.raises(BadInput) as caught:
        read(document)
    assert caught.value.code == "bad-record"


@pytest.mark.parametrize("checks", [None, "x", {"name": "a"}, 3])
def test_checks_that_are_no_list_are_dropped(checks):
    """A wrong type in an optional field costs the field, not the decision."""
    assert read({"decision_type": "a", "checks": checks}).facts["checks"] == []


def test_only_objects_count_as_checks():
    """Checks of any shape stay, and what is no object goes."""
    checks = [{"a": 1}, "x", None, [], {"metric": {"deep": []}}]
    facts = read({"decision_type": "a", "checks": checks}).facts
    assert facts["checks"] == [{"a": 1}, {"metric": {"deep": []}}]


def test_the_rationale_wins_over_the_reason():
    """`reason` counts only where there is no rationale."""
    assert read({"decision_type": "a", "rationale": "r", "reason": "s"}).facts["rationale"] == "r"
    assert read({"decision_type": "a", "rationale": "", "reason": "s"}).facts["rationale"] == "s"
    assert read({"decision_type": "a", "reason": 4.5}).facts["rationale"] == ""
