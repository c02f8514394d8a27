"""Plane's webhooks in both versions, as the webhook format reads them."""

import json
from pathlib import Path

import pytest

from spoold import sources
from spoold.sources import Origin, webhook

RECORDS = Path(__file__).parents[1] / "records" / "webhook"
ISSUE = "0e9f8d7c-6b5a-4c3d-9e2f-1a0b9c8d7e6f"
TODO = "2a3b4c5d-6e7f-4a8b-9c0d-1e2f3a4b5c6d"
READY = "9f8e7d6c-5b4a-4938-8271-605f4e3d2c1b"
API = "5a4b3c2d-1e0f-4d9c-8b7a-6958473625a1"
PROJECT = "7c6b5a49-3827-4165-8f0e-9d8c7b6a5948"
NAMES = {
    "states": {TODO: {"name": "Todo", "group": "unstarted"}},
    "labels": {READY: "Ready", API: "comp:billing api"},
    "projects": {PROJECT: {"identifier": "KEYS", "url": "https://p.example/{sequence_id}?i={id}"}},
}


def read(document, plane=None):
    options = webhook.Options.model_validate({"plane": plane or {}})
    return webhook.read(document, Origin("hooks", "w.json", options))


def example(name, plane=None):
    options = webhook.Options.model_validate({"plane": plane or {}})
    return sources.read("webhook", (RECORDS / name).read_bytes(), Origin("hooks", name, options))


def v1(data, action="updated", **more):
    return {"event": "issue", "action": action, "webhook_id": "w", "data": data, **more}


def v2(data, event="workitem.updated", **more):
    return {
        "version": "v2",
        "event": event,
        "event_id": "e",
        "entity_id": "i",
        "data": data,
        **more,
    }


def test_an_updated_ticket_gives_its_facts():
    """State, labels, component and actor of a real update are what routes ask for."""
    record = example("plane-v1-issue-updated.json")
    assert record.type == "plane.issue"
    assert record.occurred_at == "2026-05-04T08:30:00.104417Z"
    assert record.headers["x-plane-event"] == "issue"
    facts = record.facts
    assert (facts["event"], facts["action"]) == ("issue", "updated")
    assert facts["state"] == {"name": "Todo", "group": "unstarted", "slug": "todo"}
    assert facts["labels"] == ["ready", "comp-billing-api"]
    assert facts["component"] == "billing-api"
    assert facts["agent"] == ""
    assert facts["title"] == "Rotate the signing keys"
    assert facts["priority"] == "high"
    assert (facts["changed_field"], facts["actor"]) == ("state", "mira")
    assert facts["ticket_ref"] == facts["issue_id"] == ISSUE


def test_the_two_posts_of_one_edit_are_one_event():
    """`state` and `state_id` of one edit have one identity, although their delivery ids differ."""
    post, twin = example("plane-v1-issue-updated.json"), example("plane-v1-issue-updated-twin.json")
    assert post.headers["x-plane-delivery"] != twin.headers["x-plane-delivery"]
    assert post.facts["changed_field"] != twin.facts["changed_field"]
    assert (
        post.id
        == twin.id
        == (
            "plane:4d1f9c70-52be-4f0e-9a5c-0b7c3d8e2f11:issue:updated:"
            "0e9f8d7c-6b5a-4c3d-9e2f-1a0b9c8d7e6f:2026-05-04T08:30:00.104417Z"
        )
    )


@pytest.mark.parametrize(
    "other",
    [
        v1({"id": "i", "updated_at": "2"}),
        v1({"id": "j", "updated_at": "1"}),
        v1({"id": "i", "updated_at": "1"}, "created"),
        v1({"id": "i", "updated_at": "1"}, webhook_id="x"),
        v1({"id": "i", "updated_at": "1"}, event="cycle"),
    ],
)
def test_different_changes_are_different_events(other):
    """Webhook, event, action, entity and time all tell changes apart."""
    assert read(v1({"id": "i", "updated_at": "1"})).id != read(other).id is not None


@pytest.mark.parametrize(
    ("verb", "action"),
    [
        ("create", "created"),
        ("UPDATED", "updated"),
        ("Delete", "deleted"),
        ("archived", "archived"),
    ],
)
def test_old_and_new_verbs_are_one_action(verb, action):
    """Old and new releases give the same action, in the facts and in the identity."""
    record = read(v1({"id": "i", "updated_at": "1"}, verb))
    assert record.facts["action"] == action
    assert f":{action}:" in str(record.id)


def test_a_deletion_has_no_identity_and_all_facts():
    """Nothing tells two deletions apart, so the content has to; no fact is missing."""
    deleted, updated = (
        example("plane-v1-issue-deleted.json"),
        example("plane-v1-issue-updated.json"),
    )
    assert deleted.id is None
    assert deleted.facts["issue_id"] == ISSUE
    assert deleted.facts.keys() == updated.facts.keys()
    assert deleted.facts["state"] == {"name": "", "group": "", "slug": ""}


def test_a_comment_names_its_ticket_and_has_no_title():
    """A comment's ticket is an id, and the comment is not mistaken for it."""
    record = example("plane-v1-comment-created.json")
    assert record.type == "plane.issue_comment"
    assert record.facts["issue_id"] == ISSUE
    assert record.facts["title"] == ""
    assert record.id is not None


def test_the_message_of_a_bus_is_unwrapped():
    """A ticket that came over the bus is read as if Plane had posted it."""
    record = example("infra-bus-issue.json")
    assert record.type == "plane.issue"
    assert record.body["event"] == "issue"
    facts = record.facts
    assert facts["ticket_ref"] == "DOCK-12"
    assert facts["state"] == {"name": "Unstarted", "group": "unstarted", "slug": "unstarted"}
    assert facts["labels"] == ["automation-go", "agent-hermes", "comp-dockside"]
    assert (facts["component"], facts["agent"]) == ("dockside", "hermes")
    assert facts["url"] == "https://plane.example/issues/DOCK-12"


def test_version_2_with_names_says_the_same_as_version_1():
    """One route serves both versions."""
    old = example("plane-v1-issue-updated.json", NAMES)
    new = example("plane-v2-workitem-updated.json", NAMES)
    assert new.type == old.type == "plane.issue"
    assert new.id == "plane:31415926-5358-4979-8323-846264338327"
    same = old.facts.keys() - {"event", "changed_field", "actor"}
    assert {key: new.facts[key] for key in same} == {key: old.facts[key] for key in same}
    assert new.facts["ticket_ref"] == "KEYS-42"
    assert new.facts["url"] == f"https://p.example/42?i={ISSUE}"
    assert new.facts["event"] == "workitem.updated"
    assert new.facts["changed_field"] == "state_id"
    assert new.facts["unmapped"] == []


def test_version_2_without_names_lists_what_has_none():
    """An id nobody named stays visible and passes for no name."""
    facts = example("plane-v2-workitem-updated.json").facts
    assert facts["state"] == {"name": TODO, "group": "", "slug": ""}
    assert facts["labels"] == []
    assert facts["project"] == PROJECT
    assert facts["unmapped"] == [TODO, READY, API, PROJECT]


def test_a_deletion_in_version_2_is_known_by_what_was_there_before():
    """The facts of what is gone come from its previous attributes."""
    record = example("plane-v2-workitem-deleted.json", NAMES)
    assert record.facts["issue_id"] == ISSUE
    assert record.facts["action"] == "deleted"
    assert record.facts["labels"] == ["ready"]
    assert record.facts["state"]["group"] == "unstarted"
    assert record.facts["changed_field"] == ""


def test_the_string_none_is_null_in_version_2_only():
    """Version 2 writes null as a string; in version 1 it is a title like any other."""
    record = read(v2({"name": "None", "updated_by_id": "None", "label_ids": ["None"]}))
    assert (record.facts["title"], record.facts["actor"], record.facts["labels"]) == ("", "", [])
    assert record.facts["unmapped"] == []
    assert record.body["data"]["name"] == "None"
    assert read(v1({"id": "i", "name": "None"})).facts["title"] == "None"


@pytest.mark.parametrize(
    ("header", "event", "type_"),
    [
        ("", "WebhookScope.ScopeChoices.WORK_ITEM_UPDATED", "plane.issue"),
        ("workitem.created", "WebhookScope.ScopeChoices.CYCLE_UPDATED", "plane.issue"),
        ("", "WebhookScope.ScopeChoices.CYCLE_UPDATED", "plane.cycle"),
        ("", "workitem.comment.created", "plane.issue_comment"),
        ("", "project.deleted", "plane.project"),
    ],
)
def test_the_type_of_version_2_comes_from_the_header_or_the_body(header, event, type_):
    """A leaked constant names the event too, and a comment is no change of its ticket."""
    headers = {"X-Plane-Event": header} if header else {}
    assert read({"headers": headers, "body": v2({}, event)}).type == type_


@pytest.mark.parametrize(
    ("data", "name", "group"),
    [
        ({"state": {"name": "In Progress"}}, "In Progress", "started"),
        ({"state": {"name": "Review", "group": "Started"}}, "Review", "started"),
        ({"state": "Todo"}, "Todo", "unstarted"),
        ({"state_detail": {"name": "Done"}, "state": {"name": "Todo"}}, "Done", "completed"),
        ({"state_detail": {"name": "Done"}, "state": TODO}, "Done", "completed"),
        ({"state": {"name": "Cancelled"}}, "Cancelled", "cancelled"),
        ({"state": {"name": "Elsewhere"}}, "Elsewhere", ""),
        ({"state": {}}, "", ""),
        ({"state": None}, "", ""),
        ({"state": [1]}, "", ""),
    ],
)
def test_state_and_group_are_found_wherever_they_are(data, name, group):
    """The group comes with the state or follows from a name that Plane itself gives."""
    state = read(v1({"id": "i", **data})).facts["state"]
    assert (state["name"], state["group"]) == (name, group)


@pytest.mark.parametrize(
    ("label", "slug"),
    [
        ("automation:go", "automation-go"),
        ("  Comp: Blood Bank! ", "comp-blood-bank"),
        ("READY", "ready"),
        ("a__b--c", "a-b-c"),
    ],
)
def test_labels_are_compared_in_one_form(label, slug):
    """Case, spaces and punctuation do not matter, in any shape a label comes in."""
    for shape in (label, {"name": label}, {"label": label}, {"name": "", "slug": label}):
        assert read(v1({"id": "i", "labels": [shape]})).facts["labels"] == [slug]


def test_labels_that_vanish_are_dropped_and_repeated_ones_are_one():
    """Ids count before names, the order stays, and a label without a name is none."""
    labels = [
        {"id": "1", "name": "b"},
        {"id": "1", "name": "renamed"},
        {"id": "2", "name": "B!"},
        {"id": "3", "name": "準備"},
        {"id": "4"},
        "a",
        None,
        7.5,
        {"name": "0"},
        {"id": "0", "name": "zero"},
    ]
    facts = read(v1({"id": "i", "labels": labels})).facts
    assert facts["labels"] == ["b", "a", "0", "zero"]
    assert facts["unmapped"] == ["4"]


def test_the_first_label_with_a_prefix_counts_and_prefixes_are_free():
    """Component and agent come from the first label that has one, under the names configured."""
    data = {"id": "i", "labels": ["team:x", "comp", "comp:", "comp:One", "comp:two", "bot: 7"]}
    facts = read(v1(data)).facts
    assert (facts["component"], facts["agent"]) == ("one", "")
    facts = read(v1(data), {"component_prefix": "Team:", "agent_prefix": "bot"}).facts
    assert (facts["component"], facts["agent"]) == ("x", "7")
    assert read(v1(data), {"component_prefix": ""}).facts["component"] == ""


def test_a_ticket_is_called_by_the_best_name_there_is():
    """Its own identifier, else the project's with its number, else its id, else nothing."""
    project = {"project": "p", "sequence_id": 5}
    names = {"projects": {"p": {"identifier": "MAP"}}}
    detail = {"project_detail": {"identifier": "DET"}}

    def ref(data, plane=None):
        return read(v1(data), plane).facts["ticket_ref"]

    assert ref({"id": "i", "identifier": "ID-1", **project, **detail}, names) == "ID-1"
    assert ref({"id": "i", **project, **detail}, names) == "DET-5"
    assert ref({"id": "i", **project}, names) == "MAP-5"
    assert ref({"id": "i", **project}) == "i"
    assert ref({"id": "i", "project": "p"}, names) == "i"
    assert ref({}) == ""
    project_event = {"event": "project", "action": "updated", "data": {"identifier": "KEYS"}}
    assert read(project_event).facts["ticket_ref"] == ""


def test_a_link_is_filled_in_and_nothing_more():
    """Only the two places are replaced, what fills them is quoted, and half a link is none."""
    url = "https://p.example/{sequence_id}/{id}/{0.__class__}"
    names = {"projects": {"p": {"identifier": "P", "url": url}}}
    data = {"id": "../{sequence_id}?x=1", "project": "p", "sequence_id": 5}
    assert read(v1(data), names).facts["url"] == (
        "https://p.example/5/..%2F%7Bsequence_id%7D%3Fx%3D1/{0.__class__}"
    )
    assert read(v1({"id": "i", "project": "p"}), names).facts["url"] == ""


def test_others_who_send_event_action_and_data_are_not_plane():
    """Three common keys do not make a sender Plane, an event of Plane's or its header do."""
    body = {"event": "invoice", "action": "updated", "data": {"id": "x"}}
    assert read(body).type == "webhook.invoice"
    assert read({"headers": {"X-Plane-Event": "invoice"}, "body": body}).type == "plane.invoice"
    assert read({**body, "event": "Cycle"}).type == "plane.cycle"


def test_the_options_refuse_what_they_do_not_know():
    """A misspelled key or an impossible group is an error when the configuration is read."""
    for wrong in (
        {"plane": {"state": {}}},
        {"plane": {"states": {"x": {"name": "a", "group": "todo"}}}},
        {"plane": {"labels": {"x": 1}}},
        {"component_prefix": "comp"},
    ):
        with pytest.raises(ValueError, match="validation error"):
            webhook.Options.model_validate(wrong)


def test_deep_data_does_not_recurse():
    """Reading version 2 goes to every depth that the parser lets through."""
    raw = b'{"version":"v2","event":"workitem.updated","entity_id":"i","data":' + (
        b'{"a":[' * 440 + b'"None"' + b"]}" * 440 + b"}"
    )
    origin = Origin("hooks", "w.json", webhook.Options())
    record = sources.read("webhook", raw, origin, max_depth=900)
    assert record.type == "plane.issue"
    assert json.loads(raw) == record.body
