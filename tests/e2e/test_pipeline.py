"""From a dropped record to a finished action, with one receiver that behaves in every way."""

import json
import re
import time

import pytest

from tests.contract import CONTRACT, CONTRACT_ROUTE
from tests.e2e.conftest import CHECKOUT, TOKEN, hook, reason, route, until

MINIMAL = {
    "decision_id": "outage-17",
    "decision_type": "cutover",
    "rationale": "primary region does not answer",
    "checks": [{"name": "wan_state", "status": "degraded"}],
}
REAL = CHECKOUT.parent / "shared/samples/hybridops"
REAL /= "decision.record.minimal.test-cutover-001.json"

ROUTE = """
name   = "cutover"
source = "decisions"
match  = 'record.facts.decision_type == "cutover"'
executor        = "gateway"
execution_plane = "runner-local"
target_kind     = "blueprint"
target_ref      = "dr/postgresql-ha-failover-gcp@v1"
target_env      = "dev"
[params.body]
decision = "=record.id"
checks   = "=record.facts.checks"
"""


@pytest.fixture
def serving(site, receiver):
    """A site with a running service, where one cutover waits for a yes."""
    site.configure(hook(receiver.url), ROUTE)
    site.drop("decisions", "c.json", MINIMAL)
    site.start("run")
    site.wait_for("awaiting-approval")
    return site


def one_more(site):
    """Another request goes the whole way: time enough for what should not happen to happen."""
    before = len(site.files("done"))
    site.drop("decisions", "more.json", {**MINIMAL, "decision_id": "one-more"})
    (made,) = site.wait_for("awaiting-approval")
    site.approve(made)
    site.wait_for("done", before + 1)


def test_the_contracts_example_configuration_loads(site):
    """The example of the contract, verbatim, passes `check` and takes a ready ticket."""
    (site.folder / "config/routes.d").mkdir(parents=True)
    site.config.write_text(CONTRACT)
    (site.folder / "config/routes.d/10-ready-ticket.toml").write_text(CONTRACT_ROUTE)
    assert "route ready-ticket: webhooks → openclaw" in site.spoold("check").stdout
    record = CHECKOUT / "tests/records/webhook/plane-v1-issue-updated.json"
    site.drop("webhooks", "issue.json", record.read_bytes())
    site.drain()
    made = site.request("awaiting-approval")
    assert made["params"]["body"]["message"].startswith("Ticket ")
    assert made["params"]["body"]["deliver"] is False
    assert made["params"]["url"] == "http://127.0.0.1:18789/hooks/agent"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(MINIMAL).encode(),
        pytest.param(
            REAL.read_bytes() if REAL.exists() else b"",
            marks=pytest.mark.skipif(not REAL.exists(), reason="the samples are not here"),
        ),
    ],
    ids=["own", "real"],
)
def test_a_decision_becomes_one_request_and_after_a_mv_one_call(site, receiver, content):
    """A minimal cutover waits as one request; `mv` makes exactly one call, with token and key."""
    site.configure(hook(receiver.url), ROUTE)
    site.drop("decisions", "c.json", content)
    site.drain()
    file = site.only("awaiting-approval")
    assert re.fullmatch(r"dispatch-\d{8}T\d{6}Z-cutover-[0-9a-f]{8}\.json", file.name)
    made = site.request("awaiting-approval")
    given = json.loads(content)
    assert made["status"] == "awaiting-approval"
    assert made["target_ref"] == "dr/postgresql-ha-failover-gcp@v1"
    assert made["execution_plane"] == "runner-local"
    assert (made["rationale"], made["checks"]) == (given["rationale"], given["checks"])
    assert made["source_decision_id"] == given["decision_id"]
    assert (site.root / made["source"]["archived"]).read_bytes() == content
    assert receiver.calls == []
    site.approve(file)
    site.drain()
    (call,) = receiver.calls
    assert call.headers["authorization"] == f"Bearer {TOKEN}"
    assert call.key == made["dispatch_id"]
    body = {"decision": given["decision_id"], "checks": given["checks"]}
    assert json.loads(call.body) == body
    done = site.request("done")
    assert done["result"]["code"] == "http-200"
    assert done["result"]["details"]["body"] == {"ok": True}
    assert [(a["number"], a["outcome"]) for a in done["attempts"]] == [(1, "done")]
    assert site.where() == {"done": 1}


def test_no_secret_is_written_anywhere(serving, receiver):
    """The token is in the call and in no file of the spool, even if the far side repeats it."""
    receiver.answers = [(400, {"X-Said": TOKEN}, f"you said {TOKEN}".encode())]
    serving.approve()
    serving.wait_for("failed")
    assert receiver.calls[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert "you said" in serving.request("failed")["result"]["details"]["body"]
    assert [name for name, data in serving.tree().items() if TOKEN in str(data)] == []
    assert TOKEN not in serving.log()


def test_a_503_is_deferred_as_asked_and_retried_with_the_same_bytes(site, receiver):
    """Retry-After is the deferred file's mtime; the retry is not before it, and the same call."""
    site.configure(hook(receiver.url), ROUTE)
    site.drop("decisions", "c.json", MINIMAL)
    site.drain()
    receiver.answers = [(503, {"Retry-After": "1"}, b"busy")]
    site.approve()
    site.drain()
    not_before = site.only("deferred/gateway").stat().st_mtime
    assert 0.95 < not_before - receiver.calls[0].at < 6
    assert site.request("deferred")["attempts"][0]["code"] == "http-503"
    assert len(receiver.calls) == 1
    site.start("run")
    site.wait_for("done")
    first, second = receiver.calls
    assert second.at >= not_before
    assert second.body == first.body
    assert second.key == first.key
    assert second.headers["authorization"] == first.headers["authorization"]
    assert [a["outcome"] for a in site.request("done")["attempts"]] == ["deferred", "done"]


def test_a_400_is_final_and_its_answer_is_kept(serving, receiver):
    """What the receiver calls wrong goes to failed/ with its words, and is not tried again."""
    receiver.answers = [(400, {"Content-Type": "application/json"}, b'{"error": "sessionKey"}')]
    serving.approve()
    serving.wait_for("failed")
    failed = serving.request("failed")
    assert (failed["status"], failed["result"]["code"]) == ("failed", "http-400")
    assert failed["result"]["details"]["body"] == {"error": "sessionKey"}
    one_more(serving)
    assert receiver.keys()[failed["dispatch_id"]] == 1
    assert serving.where() == {"failed": 1, "done": 1}


def test_a_redirect_is_not_followed(serving, receiver):
    """Where a receiver points elsewhere, nothing is sent there, and the request fails."""
    receiver.answers = [(307, {"Location": receiver.url}, b"")]
    serving.approve()
    serving.wait_for("failed")
    assert serving.request("failed")["result"]["code"] == "http-307"
    assert len(receiver.calls) == 1


def test_tries_at_a_receiver_that_is_down_are_deferred_counted_and_end(site, refusing):
    """A refused connection is deferred, into the future, until `retry.tries` are used up."""
    retry = 'retry = { tries = 3, base = "500ms", cap = "500ms" }'
    site.configure(hook(refusing, retry), ROUTE)
    site.drop("decisions", "c.json", MINIMAL)
    site.start("run")
    site.approve(*site.wait_for("awaiting-approval"))
    (later,) = site.wait_for("deferred/gateway")
    assert later.stat().st_mtime > time.time() - 0.4
    site.wait_for("failed")
    tried = site.request("failed")["attempts"]
    assert [one["outcome"] for one in tried] == ["deferred", "deferred", "failed"]
    assert {one["details"]["sent"] for one in tried} == {"nothing"}


def test_a_missing_secret_is_deferred_and_nothing_is_sent(site, receiver):
    """Without its token an executor sends nothing, says which one is missing, and tries later."""
    del site.env["HOOK_TOKEN"]
    site.configure(hook(receiver.url), ROUTE)
    site.drop("decisions", "c.json", MINIMAL)
    site.start("run")
    site.approve(*site.wait_for("awaiting-approval"))
    site.wait_for("deferred")
    assert receiver.calls == []
    assert "HOOK_TOKEN" in site.request("deferred")["attempts"][0]["summary"]


@pytest.mark.parametrize(
    ("how", "folder", "calls"), [("done", "done", 1), ("failed", "failed", 1), ("again", "done", 2)]
)
def test_a_reset_after_sending_is_unknown_until_a_person_resolves_it(
    serving, receiver, how, folder, calls
):
    """A call that may have worked is not repeated; `resolve` ends it, or asks for a new yes."""
    receiver.answers = [(0, {}, b"")]
    serving.approve()
    (file,) = serving.wait_for("unknown")
    assert serving.request("unknown")["status"] == "unknown"
    serving.spoold("resolve", "--yes", file.stem[-8:], "--as", how, "--reason", "I asked them")
    assert len(receiver.calls) == 1
    if how == "again":
        assert serving.where() == {"awaiting-approval": 1}
        serving.approve()
        serving.wait_for("done")
        assert len(receiver.bodies()[file.stem]) == 1
    assert serving.where() == {folder: 1}
    assert receiver.keys() == {file.stem: calls}
    (slip,) = serving.files("approvals")
    assert "I asked them" in slip.read_text()


def test_a_call_in_doubt_is_repeated_only_while_its_key_is_remembered(site, receiver):
    """Once the receiver may have forgotten the key, a call that may have worked is unknown."""
    more = 'idempotency_window = "1s"\nretry = { base = "2s", cap = "2s" }'
    site.configure(hook(receiver.url, more), ROUTE)
    site.drop("decisions", "c.json", MINIMAL)
    site.start("run")
    receiver.answers = [(0, {}, b"")]
    site.approve(*site.wait_for("awaiting-approval"))
    site.wait_for("deferred")
    until(lambda: site.files("unknown", "done", "failed"), "the second attempt's end")
    assert len(receiver.calls) == 1
    assert site.request("unknown")["result"]["code"] == "key-forgotten"


def test_what_is_not_what_was_sealed_is_held_and_nothing_runs(serving, receiver):
    """A changed byte, another name, an empty file, a replayed one: all are held, none runs."""
    approved = serving.root / "approved"
    file = serving.only("awaiting-approval")
    data = file.read_bytes()

    def held(*codes):
        def there():
            beside = [*serving.root.glob("held/*.reason.json")]
            return len(serving.files("held")) == len(beside) == len(codes)

        until(there, f"{codes} in held")
        found = serving.files("held")
        assert sorted(reason(path)["code"] for path in found) == sorted(codes)
        for path in found:
            path.unlink()
            path.with_name(path.name + ".reason.json").unlink()

    def put(name, content):
        # Whole at once: the gate may take a file before its writer has written to it.
        (serving.folder / "draft").write_bytes(content)
        (serving.folder / "draft").rename(approved / name)

    place = data.index(b"outage-17")
    file.write_bytes(data[:place] + b"O" + data[place + 1 :])
    serving.approve()
    held("altered")
    put("dispatch-20260101T000000Z-cutover-01234567.json", data)
    (approved / file.name).touch()
    held("empty", "renamed")
    assert receiver.calls == []
    file.write_bytes(data)
    serving.approve()
    serving.wait_for("done")
    put(file.name, serving.only("done").read_bytes())
    held("replayed")
    put(f"{file.stem}.copy.json", data)
    held("renamed")
    assert serving.where() == {"done": 1}
    assert len(receiver.calls) == 1


def test_an_outage_gives_one_request_that_was_asked_four_times(site, receiver):
    """Four records with one intent fold into one waiting request, also across a restart."""
    site.configure(
        hook(receiver.url), route("gateway", 'intent_key = "record.facts.decision_type"')
    )
    site.drop_many(2)
    site.drain()
    site.drop_many(2, first=2)
    site.drain()
    assert site.request("awaiting-approval")["asked"] == 4
    assert len(site.files("archive")) == 4
    site.approve()
    site.drain()
    assert len(receiver.calls) == 1


def test_silence_never_approves(site, receiver):
    """What nobody decides in time expires by itself, and a late yes runs nothing."""
    site.configure(hook(receiver.url), route("gateway", 'expires_after = "2s"'))
    site.drop_many(1)
    site.start("run")
    (file,) = site.wait_for("awaiting-approval")
    late = file.read_bytes()
    site.wait_for("expired")
    until(lambda: [*site.root.glob("expired/*.reason.json")], "a reason")
    assert reason(site.only("expired"))["code"] == "expired"
    site.only("expired").unlink()
    (site.root / "approved" / file.name).write_bytes(late)
    site.wait_for("held")
    assert reason(site.only("held"))["code"] == "expired-approval"
    assert receiver.calls == []
