"""A GitHub webhook → `github.<event>`."""

from spoold.record import JsonObject, Record
from spoold.sources.fields import (
    event_name,
    identity,
    integer,
    items,
    obj,
    optional_text,
    slug,
    text,
)

#: The keys that tell an event when no header does; the first line that fits counts.
_SIGNS = (
    ("issue_comment", ("comment", "issue")),
    ("pull_request_review_comment", ("comment", "pull_request")),
    ("discussion_comment", ("comment", "discussion")),
    ("commit_comment", ("comment",)),
    ("pull_request_review", ("review", "pull_request")),
    ("pull_request_review_thread", ("thread", "pull_request")),
    ("pull_request", ("pull_request",)),
    ("issues", ("issue",)),
    ("discussion", ("discussion",)),
    ("deployment_status", ("deployment_status",)),
    ("deployment", ("deployment",)),
    ("workflow_job", ("workflow_job",)),
    ("workflow_run", ("workflow_run",)),
    ("workflow_dispatch", ("workflow", "inputs", "ref")),
    ("check_run", ("check_run",)),
    ("check_suite", ("check_suite",)),
    ("release", ("release",)),
    ("push", ("ref", "before", "after")),
    ("create", ("ref", "ref_type", "master_branch")),
    ("delete", ("ref", "ref_type")),
    ("status", ("sha", "state", "context")),
    ("repository_dispatch", ("client_payload",)),
    ("fork", ("forkee",)),
    ("star", ("starred_at",)),
    ("label", ("label",)),
    ("ping", ("zen",)),
)
_SUBJECTS = (
    "issue",
    "pull_request",
    "discussion",
    "deployment",
    "workflow_job",
    "workflow_run",
    "check_run",
    "check_suite",
    "release",
)


def speaks(body: JsonObject) -> bool:
    """Whether a body without headers looks like GitHub's."""
    return isinstance(body.get("repository"), dict) and isinstance(body.get("sender"), dict)


def read(headers: dict[str, str], body: JsonObject, source: str) -> Record:
    """Turn a delivery into a record of type `github.<event>`.

    Args:
        headers: with names in lower case; `x-github-delivery` is the same on a redelivery.
        body: what GitHub sent.
        source: the inbox it was dropped in.
    """
    event = event_name(headers.get("x-github-event", "")) or _event(body)
    delivery = headers.get("x-github-delivery")
    # A deployment may carry the run that made it, so the subject is the first, not the only one.
    subject = next(filter(None, (obj(body.get(key)) for key in _SUBJECTS)), JsonObject())
    commit = obj(body.get("head_commit"))
    return Record(
        source=source,
        id=identity("github", delivery) if delivery else None,
        type=f"github.{event}",
        occurred_at=optional_text(
            subject.get("updated_at"),
            subject.get("created_at"),
            commit.get("timestamp"),
            body.get("updated_at"),
        ),
        headers=headers,
        body=body,
        content=body,
        facts={"event": event, **_facts(body, subject)},
    )


def _facts(body: JsonObject, subject: JsonObject) -> JsonObject:
    commit, head = obj(body.get("head_commit")), obj(subject.get("head"))
    return {
        "action": text(body.get("action")),
        "repo": text(obj(body.get("repository")).get("full_name")),
        "number": integer(subject.get("number"), body.get("number")),
        "title": text(
            subject.get("title"),
            subject.get("display_title"),
            subject.get("name"),
            text(commit.get("message")).partition("\n")[0],
        ),
        "url": text(subject.get("html_url"), body.get("compare")),
        "labels": _labels(subject),
        "label": slug(text(obj(body.get("label")).get("name"))),
        "ref": text(
            body.get("ref"),
            head.get("ref"),
            subject.get("head_branch"),
            subject.get("tag_name"),
            subject.get("ref"),
        ),
        "sha": text(
            body.get("after"),
            head.get("sha"),
            subject.get("head_sha"),
            body.get("sha"),
            subject.get("sha"),
        ),
        "conclusion": text(subject.get("conclusion")),
        "sender": text(obj(body.get("sender")).get("login")),
        "org": text(obj(body.get("organization")).get("login")),
    }


def _event(body: JsonObject) -> str:
    return next((name for name, keys in _SIGNS if all(key in body for key in keys)), "unknown")


def _labels(subject: JsonObject) -> list[str]:
    names = (slug(text(obj(label).get("name"), label)) for label in items(subject.get("labels")))
    return [name for name in dict.fromkeys(names) if name]
