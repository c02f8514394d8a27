"""The webhook format: envelopes, GitHub and senders nobody knows."""

from pathlib import Path

import pytest

from spoold import sources
from spoold.sources import Origin, webhook

RECORDS = Path(__file__).parents[1] / "records" / "webhook"


def read(document):
    return webhook.read(document, Origin("hooks", "w.json", webhook.Options()))


def example(name):
    return sources.read(
        "webhook", (RECORDS / name).read_bytes(), Origin("hooks", name, webhook.Options())
    )


def test_an_envelope_gives_its_headers_and_its_body():
    """Delivery identities survive, whatever else the receiver wrote beside them."""
    headers = {"X-Request": "a", "X-Many": ["a", "b", 3], "X-Number": 7, "X-Bad": None, "X-Obj": {}}
    record = read({"headers": headers, "body": {"a": 1}, "method": "POST", "query": {}})
    assert record.headers == {"x-request": "a", "x-many": "a, b, 3", "x-number": "7"}
    assert record.body == {"a": 1}


def test_a_header_spelled_twice_is_one_header():
    """Two spellings of a name cannot hide one another."""
    record = read({"headers": {"X-A": "1", "x-a": "2"}, "body": {}})
    assert record.headers == {"x-a": "1, 2"}


@pytest.mark.parametrize(
    "document",
    [{"headers": {"a": "b"}}, {"headers": "x", "body": {}}, {"headers": {}, "body": "x"}],
)
def test_half_an_envelope_is_a_body(document):
    """Only an object of headers beside an object of a body is unwrapped."""
    record = read(document)
    assert record.headers == {}
    assert record.body == document


def test_a_push_with_headers_is_known_by_its_delivery():
    """GitHub's delivery id, the same on a redelivery, identifies the record."""
    record = example("github-push.json")
    assert record.type == "github.push"
    assert record.id == "github:0f0e0d0c-0b0a-11f0-8908-070605040302"
    assert record.occurred_at == "2026-04-02T12:00:00+02:00"
    assert record.facts["ref"] == "refs/heads/main"
    assert record.facts["sha"] == "2" * 40
    assert record.facts["title"] == "Retry the crane handshake"
    assert record.facts["org"] == "acme-labs"
    assert record.facts["number"] is None
    assert record.facts["action"] == ""


def test_a_bare_github_body_is_recognised_and_has_no_id():
    """Without headers the event is inferred and nothing poses as the delivery's identity."""
    record = example("github-issues-labeled.json")
    assert (record.type, record.id) == ("github.issues", None)
    assert record.facts["labels"] == ["bug", "agent-codex"]
    assert record.facts["label"] == "agent-codex"
    assert record.facts["number"] == 31
    assert record.facts["repo"] == "acme-labs/harbour"
    assert record.facts["sender"] == "noor"


def test_a_finished_run_has_its_conclusion():
    """A route can tell a failed run from a good one."""
    facts = example("github-workflow-run-completed.json").facts
    assert (facts["event"], facts["conclusion"]) == ("workflow_run", "failure")
    assert (facts["ref"], facts["title"]) == ("main", "Nightly integration")


@pytest.mark.parametrize(
    ("extra", "event"),
    [
        ({"issue": {}, "comment": {}}, "issue_comment"),
        ({"pull_request": {"head": {"ref": "b"}}}, "pull_request"),
        ({"pull_request": {}, "review": {}}, "pull_request_review"),
        ({"pull_request": {}, "comment": {}}, "pull_request_review_comment"),
        ({"deployment": {}, "workflow_run": None}, "deployment"),
        ({"deployment": {}, "deployment_status": {}, "workflow_run": {}}, "deployment_status"),
        ({"release": {"tag_name": "v1"}}, "release"),
        ({"ref": "v1", "ref_type": "tag", "master_branch": "main"}, "create"),
        ({"ref": "v1", "ref_type": "tag"}, "delete"),
        ({"check_run": {}}, "check_run"),
        ({"zen": "…", "hook_id": 1}, "ping"),
        ({}, "unknown"),
    ],
)
def test_github_events_are_inferred_from_their_keys(extra, event):
    """The keys that only one event has tell which it is."""
    record = read({"repository": {}, "sender": {}, **extra})
    assert record.type == f"github.{event}"


def test_the_event_header_wins_over_the_body():
    """What GitHub says it sent is not guessed again, and is safe in a type."""
    body = {"issue": {}, "repository": {}, "sender": {}}
    assert read({"headers": {"X-GitHub-Event": "Issue_Comment"}, "body": body}).type == (
        "github.issue_comment"
    )
    odd = read({"headers": {"X-GitHub-Event": "a b\n/../\x1b" + "c" * 99}, "body": body}).type
    assert odd.startswith("github.a-b-..")
    assert len(odd) < 80


def test_an_unknown_sender_gives_its_event_and_no_identity():
    """The id in a body may name the thing that changed, so it never identifies a delivery."""
    record = example("generic-order.json")
    assert record.type == "webhook.order.refund_requested"
    assert record.id is None
    assert record.facts == {"event": "order.refund_requested", "action": "review"}
    assert record.occurred_at == "2026-03-30T16:45:00Z"


@pytest.mark.parametrize(
    ("headers", "body", "identity"),
    [
        ({"webhook-id": "msg_1"}, {}, "webhook:msg_1"),
        ({"CE-Id": "7", "ce-source": "/a"}, {}, "cloudevent:/a:7"),
        ({"ce-id": "7"}, {}, None),
        ({}, {"specversion": "1.0", "source": "/a", "id": "7"}, "cloudevent:/a:7"),
        ({}, {"specversion": "1.0", "source": "/a"}, None),
        ({"Idempotency-Key": "k"}, {}, "idempotency:k"),
        ({"x-request-id": "r"}, {"id": "b"}, None),
    ],
)
def test_only_explicit_delivery_identities_count(headers, body, identity):
    """Standard Webhooks, CloudEvents and idempotency keys identify, nothing else does."""
    assert read({"headers": headers, "body": body}).id == identity


def test_identities_of_different_events_never_meet():
    """A colon in one part of an identity cannot make it that of another event."""
    one = {"specversion": "1.0", "source": "a:b", "id": "c"}
    other = {"specversion": "1.0", "source": "a", "id": "b:c"}
    assert read(one).id != read(other).id


def test_an_event_name_is_one_short_word_in_the_type():
    """A stranger's event name can put nothing odd into a type."""
    record = read({"event": "Order Paid!\n" + "x" * 500})
    assert record.type.startswith("webhook.order-paid-x")
    assert len(record.type) <= len("webhook.") + 64
    assert read({"event": "!!"}).type == "webhook"
    assert read({"event": 5, "type": ["x"]}).type == "webhook"
