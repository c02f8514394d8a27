"""`spoold import`: what an older dispatcher had done is done, and its routes go on."""

import hashlib
import json
import os
import re
import shutil
import sys
import time
import tomllib
from pathlib import Path

import pytest

from spoold import cli, routing
from spoold.config import configuration as config
from spoold.disk import fs
from spoold.errors import BadInput, StorageError
from spoold.identity import digest
from spoold.request import now, timestamp
from spoold.spool.index import Index
from spoold.stages.intake import Intake, index_path
from spoold.stages.intake.reindex import reindex
from spoold.states import Role
from tests.conftest import route

TARGET = {
    "target_kind": "blueprint",
    "target_ref": "dr/postgresql-ha-failover@v1",
    "target_env": "dev",
    "execution_plane": "runner-local",
}
SETTINGS = """
[sources.decisions]
format = "decision"
[sources.webhooks]
format = "webhook"
[executors.rec]
kind = "recorder"
[executors.gateway]
kind = "hook"
url = "http://127.0.0.1:9/hooks/agent"
"""
TOKEN = "s3cret-0f-the-hook"
ENVIRONMENT = f"""# of the dispatcher
export OPENCLAW_HOOK_TOKEN="{TOKEN}"
OPENCLAW_HOOK_URL='http://127.0.0.1:9/hooks/agent'
OPENCLAW_HOOK_DELIVER=Yes
INFRA_READY_STATES=Ready To Go, todo
INFRA_READY_LABELS=ready,automation:go
RABBIT_URL=amqp://bus:{TOKEN}2@bus.example/
"""
SEEN_AT = "2026-02-07T13:00:00Z"


@pytest.fixture
def tmp_path(open_path):
    """Where other users can get at it."""
    return open_path


@pytest.fixture
def lab(make_lab):
    """A spool without routes."""
    made = make_lab(toml=SETTINGS)
    made.drain()
    return made


@pytest.fixture
def spoold(lab, monkeypatch, capfd):
    """Runs a verb on the lab as `main` does; the lab's routes are read again after it."""

    def run(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["spoold", "--config", str(lab.file), *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        sys.stdout.flush()
        out, err = capfd.readouterr()
        assert end.value.code == code, out + err
        assert "Traceback" not in err
        lab.routing = routing.load(config.load(lab.file))
        return out if code == 0 else err

    return run


class Old:
    """The files of a decision dispatcher."""

    def __init__(self, folder):
        self.folder = folder / "decision-dispatcher"
        self.config = self.folder / "config" / "config.json"
        self.state = self.folder / "state" / "state.json"
        self.consumer = folder / "decision-consumer" / "state"
        for path in (self.config, self.state, self.consumer / "approvals" / "x"):
            path.parent.mkdir(parents=True)
        (self.folder / "state" / "requests").mkdir()
        self.write(["cutover", "failback"], ["d-1"])

    def write(self, kinds, done, **settings):
        routes = kinds if isinstance(kinds, dict) else dict.fromkeys(kinds, TARGET)
        self.config.write_text(json.dumps({"poll_seconds": 15, "routes": routes, **settings}))
        entries = {one: {"status": "awaiting-approval", "dispatch_id": f"dispatch-{one}"}
                   for one in done}  # fmt: skip
        self.state.write_text(json.dumps({"processed_decision_ids": entries}))

    def request(self, name, decision):
        text = json.dumps({"dispatch_id": name, "source_decision_id": decision})
        (self.folder / "state" / "requests" / f"{name}.json").write_text(text)


@pytest.fixture
def old(tmp_path):
    return Old(tmp_path / "opt")


@pytest.fixture
def infra(tmp_path):
    """The words that import an infra dispatcher with these tickets."""

    def words(tickets=None, environment=ENVIRONMENT):
        (tmp_path / "infra.env").write_text(environment)
        known = {"t-1": f"update:{SEEN_AT}:todo:comp-api,ready"} if tickets is None else tickets
        (tmp_path / "tickets.json").write_text(json.dumps(known))
        return ("import", "infra-dispatcher", "--environment", tmp_path / "infra.env",
                "--state", tmp_path / "tickets.json", "--executor", "gateway")  # fmt: skip

    return words


def decision(number, kind="cutover"):
    return {"decision_id": f"d-{number}", "decision_type": kind}


def ticket(at=SEEN_AT, *, issue="t-1", state="Todo", labels=("ready",), action="updated", **more):
    data = {"id": issue, "state": {"name": state}, "labels": [{"name": one} for one in labels]}
    data |= {"updated_at": at} if at else {}
    return {"event": "issue", "action": action, "webhook_id": "w-9", "data": data, **more}


def picture(lab):
    """Every path with its content and times, without the index, which is made from the rest."""
    found = {}
    for folder in (lab.root, lab.file.parent):
        for path in sorted(folder.rglob("*")):
            if not path.name.startswith(".index"):
                status = path.lstat()
                content = path.read_bytes() if path.is_file() else b"-"
                found[str(path)] = (content, status.st_mode, status.st_mtime_ns * path.is_file())
    return found


def take(lab, source, *records):
    """Drop records, let intake take them, and say how many requests wait."""
    for number, record in enumerate(records):
        lab.drop(source, f"{time.monotonic_ns()}-{number}.json", record)
    lab.drain()
    assert lab.files("quarantine") == []
    return len(lab.files("awaiting-approval"))


def bring(spoold, old, *more, **options):
    return spoold(
        "import", "decision-dispatcher", old.folder, "--executor", "rec", *more, **options
    )


def written(lab):
    """The imports' files."""
    return sorted((lab.root / "archive").glob("*/imported.*.jsonl"))


def lose_index(lab, spoold):
    for path in (lab.root / "archive").glob(".index*"):
        path.unlink()


def spoil_index(lab, spoold):
    lose_index(lab, spoold)
    (lab.root / "archive" / ".index.sqlite3").write_bytes(b"not a database" * 1000)


def rebuild_index(lab, spoold):
    index = Index(index_path(str(lab.root)))
    reindex(lab.context.spool(Role.INTAKE), index)
    index.close()


def nothing(lab, spoold):
    pass


# What was done is done


@pytest.mark.parametrize("between", [nothing, lose_index, spoil_index, rebuild_index])
def test_what_the_old_one_had_processed_makes_no_request(lab, spoold, old, between):
    """A processed decision is archived with a reason that names the import; another one waits."""
    bring(spoold, old)
    between(lab, spoold)
    assert take(lab, "decisions", decision(1)) == 0
    (known,) = lab.files("archive")
    why = lab.reason(known)
    assert (why["code"], why["imported"]) == (
        "imported", str(written(lab)[0].relative_to(lab.root)))  # fmt: skip
    assert take(lab, "decisions", decision(2)) == 1
    between(lab, spoold)
    assert take(lab, "decisions", decision(1), decision(2)) == 1


def test_an_id_is_the_same_however_it_is_written(lab, spoold, old):
    """A padded id, an id that is a number and a name that stands in for an id are all known."""
    old.write(["cutover"], [" d-1 ", "7", "by-name", "7.5"])
    bring(spoold, old)
    for name, one in (("a", " d-1"), ("b", 7), ("by-name", None), ("c", "by-name"), ("d", 7.5)):
        lab.drop("decisions", f"{name}.json", {"decision_id": one, "decision_type": "cutover"})
    lab.drain()
    assert (lab.files("awaiting-approval"), len(lab.files("archive"))) == ([], 5)


def test_a_request_that_the_state_does_not_know_counts(lab, spoold, old):
    """The old one may have died between a request and its state: that decision is done too."""
    old.request("dispatch-x", "d-5")
    bring(spoold, old)
    assert take(lab, "decisions", decision(5)) == 0


def test_the_event_key_of_a_route_does_not_matter(lab, spoold, old):
    """A decision is known by its own id, whatever a route before it takes for the event's key."""
    text = route(name="first", more='event_key = "record.facts.rationale"')
    (lab.file.parent / "routes.d" / "10.toml").write_text(text)
    out = bring(spoold, old)
    assert "10.toml takes before it" in out
    assert take(lab, "decisions", {**decision(1), "rationale": "new"}) == 0


V2 = {"version": "v2", "event": "workitem.updated", "event_id": "e-1", "entity_id": "t-1"}


@pytest.mark.parametrize("between", [nothing, lose_index, rebuild_index])
@pytest.mark.parametrize(
    ("record", "asked"),
    [
        (ticket(), 0),
        (ticket(webhook_id="another"), 0),
        (ticket(action="update"), 0),
        (ticket("2026-02-07T12:59:59Z", labels=("ready", "more")), 0),
        (ticket("2026-02-07T15:00:00+02:00"), 0),
        (ticket(""), 0),
        (ticket("not a time"), 0),
        ({"payload": {"provider": "plane", "body": ticket()}}, 0),
        ({**V2, "data": {**ticket()["data"]}}, 0),
        (ticket("2026-02-07T13:00:00.001Z"), 1),
        (ticket("2026-02-07T14:00:00+02:00", issue="t-2"), 1),
        ({**V2, "data": {**ticket("2026-03-01T00:00:00Z")["data"]}}, 1),
    ],
)
def test_a_ticket_is_known_up_to_its_last_change(lab, spoold, infra, record, asked, between):
    """What is not newer than what the old one saw last makes no request, however it arrives."""
    spoold(*infra())
    between(lab, spoold)
    assert take(lab, "webhooks", record) == asked


def test_a_ticket_without_a_time_is_known_until_the_state_was_written(lab, spoold, infra):
    """An entry that does not say when counts up to the last word of the old one."""
    words = infra({"t-1": "update::todo:ready"})
    os.utime(words[5], (1770500000, 1770500000))
    assert "have no time" in spoold(*words)
    assert take(lab, "webhooks", ticket("2026-02-07T21:33:20Z")) == 0
    assert take(lab, "webhooks", ticket("2026-02-07T21:33:21Z")) == 1


@pytest.mark.parametrize("first", [0, 1])
def test_of_two_imports_the_later_word_counts(lab, spoold, infra, first):
    """A trial before the day of the move takes nothing back, in whatever order they are read."""
    states = [{"t-1": f"update:{at}:todo:ready"} for at in (SEEN_AT, "2026-02-08T00:00:00Z")]
    for known in (states[first], states[1 - first]):
        spoold(*infra(known))
    assert len(written(lab)) == 2
    rebuild_index(lab, spoold)
    assert take(lab, "webhooks", ticket("2026-02-08T00:00:00Z")) == 0


def test_explain_knows_before_anything_is_started(lab, spoold, old, tmp_path):
    """`spoold explain` says that a record was dealt with, and by which file it knows."""
    bring(spoold, old)
    (tmp_path / "r.json").write_text(json.dumps(decision(1)))
    out = spoold("explain", tmp_path / "r.json", "--source", "decisions")
    name = written(lab)[0].name
    assert f"dispatcher before spoold had dealt with it, says archive/decisions/{name}" in out


@pytest.mark.parametrize("change", [lambda b: b[:-40], lambda b: b.replace(b"d-1", b"d-9")])
def test_a_damaged_import_is_never_half_believed(lab, spoold, old, change):
    """Intake and reindex stop and say what to do, instead of forgetting what was done."""
    bring(spoold, old)
    (file,) = written(lab)
    file.write_bytes(change(file.read_bytes()))
    lose_index(lab, spoold)
    with pytest.raises(StorageError, match="Restore it"):
        rebuild_index(lab, spoold)
    lose_index(lab, spoold)
    with pytest.raises(StorageError, match="is not as"):
        Intake(lab.context).recover()


# Routes


def asked(lab, source, record):
    """The action that the routes make of a record, or the code of what is wrong with it."""
    try:
        found = lab.routing.inboxes[source].read(record, "x.json", timestamp(now()))
        scope = lab.routing.scope(found)
        return lab.routing.match(found, scope).render(found, scope)
    except BadInput as problem:
        return problem.code


KINDS = ["failback", "cutover", "Cutover", "scale out", 'a"b\\c', "d\ne", "ümlaut", "cut-over", "*"]


def test_routes_match_as_before_in_the_old_order(lab, spoold, old):
    """Each kind of decision goes where the old table sent it, and what it did not know nowhere."""
    kinds = {kind: {**TARGET, "target_ref": f"ref/{number}x", "target_env": f"={kind!r}"}
             for number, kind in enumerate(KINDS)}  # fmt: skip
    old.write(kinds, [])
    bring(spoold, old)
    assert [r.table.target_ref for r in lab.routing.routes] == [
        kinds[kind]["target_ref"] for kind in KINDS]  # fmt: skip
    for kind in [*KINDS, "cutover2", "", "cut", "failback cutover", "FAILBACK", " cutover "]:
        wanted = kinds.get(kind.strip())
        record = {"decision_type": kind or "-", "decision_id": "x"}
        made = asked(lab, "decisions", record)
        if wanted is None:
            assert made == "no-route"
        else:
            assert {key: made.targets[key] for key in TARGET} == wanted
            assert made.requires_approval


def gate(record, states=("ready-to-go", "todo"), labels=("ready", "automation-go")):
    """The ready gate of the old dispatcher, with both of its spellings of an action."""
    data = record["data"]
    slugs = {re.sub("[^a-z0-9]+", "-", one["name"].lower()).strip("-") for one in data["labels"]}
    state = re.sub("[^a-z0-9]+", "-", data["state"]["name"].lower()).strip("-")
    return (record["event"] == "issue" and record["action"] in ("created", "updated")
            and bool(data["id"]) and state in states and bool(slugs & set(labels)))  # fmt: skip


@pytest.mark.parametrize("state", ["Todo", "Ready to Go!", "Backlog", "In Progress", ""])
@pytest.mark.parametrize("labels", [("Ready",), ("automation:go", "x"), ("comp:api",), ()])
def test_the_ready_gate_is_the_old_one(lab, spoold, infra, state, labels):
    """A ticket comes to the hook exactly when the old gate let it through, and to its component."""
    spoold(*infra({}))
    for action in ("created", "updated", "deleted"):
        record = ticket(state=state, labels=(*labels, "comp:web"), action=action, issue=action)
        made = asked(lab, "webhooks", record)
        assert (made == "no-route") == (not gate(record))
        if gate(record):
            first = "api" if "comp:api" in labels else "web"
            assert (made.targets["target_ref"], made.params["body"]["deliver"]) == (first, True)


@pytest.mark.parametrize("more", ["INFRA_READY_LABELS=準備, !", "INFRA_READY_STATES=,"])
def test_a_gate_that_nothing_can_pass_is_refused(lab, spoold, infra, more):
    """Labels or states of which nothing is left would open the gate to all, or shut it for good."""
    assert "no ticket can be ready" in spoold(*infra({}, f"{more}\n"), code=65)


def test_a_gate_without_labels_needs_none(lab, spoold, infra):
    """No ready label at all was a setting of the old one: then the state is enough."""
    spoold(*infra({}, "INFRA_READY_LABELS=\nINFRA_READY_STATES=todo\n"))
    assert asked(lab, "webhooks", ticket(labels=("x",))).route == "infra-ready-ticket"


def test_a_state_that_is_a_group_matches_the_group_and_says_so(lab, spoold, infra):
    """The old default names a group, which was compared with names: the wider gate is announced."""
    out = spoold(*infra({}, "OPENCLAW_HOOK_TOKEN=x\n"))
    assert "also takes a state of that group" in out
    assert take(lab, "webhooks", ticket(state="Todo")) == 1
    assert asked(lab, "webhooks", ticket(state="Done")) == "no-route"


def test_a_route_that_asked_nobody_asks(lab, spoold, old):
    """Nothing ever ran in the old system, so no route comes over that would run without a yes."""
    old.write({"cutover": {**TARGET, "requires_approval": False}, "b": TARGET}, [],
              require_approval=False)  # fmt: skip
    out = bring(spoold, old)
    assert out.count("asked nobody") == 2
    assert take(lab, "decisions", decision(3), decision(4, "b")) == 2


def test_what_is_not_carried_over_is_named(lab, spoold, old):
    """Fields that mean nothing here are named in the output and in the route, without values."""
    old.write({"cutover": {**TARGET, "webhook": f"https://x/{TOKEN}"}}, [], extra=TOKEN)
    out = bring(spoold, old)
    (file,) = (lab.file.parent / "routes.d").iterdir()
    assert "not carried over: extra" in out
    assert "not carried over: webhook" in out
    assert "# Not carried over: webhook." in file.read_text()
    assert TOKEN not in out + file.read_text()


def test_a_file_that_is_there_is_never_overwritten(lab, spoold, old):
    """A route that a person has made their own stays, also when the state is imported again."""
    bring(spoold, old)
    file = lab.file.parent / "routes.d" / "50-001-cutover.toml"
    file.write_text(file.read_text() + '\nexpires_after = "1h"\n')
    old.write(["cutover", "failback"], ["d-1", "d-2"])
    first = written(lab)
    assert f"kept     {file}" in bring(spoold, old)
    (second,) = set(written(lab)) - set(first)
    header = json.loads(second.read_text().splitlines()[0])
    assert [Path(path).name for path in header["routes"]] == ["50-002-failback.toml"]
    assert file.read_text().endswith('"1h"\n')
    assert take(lab, "decisions", decision(1), decision(2)) == 0


# Nothing by half


def test_a_dry_run_shows_all_and_writes_nothing(lab, spoold, old, infra):
    """What a dry run shows is what the import then writes, and it touches nothing."""
    for words in (["import", "decision-dispatcher", old.folder, "--executor", "rec"], infra()):
        before = picture(lab)
        shown = [json.loads(line) for line in spoold("--json", *words, "--dry-run").splitlines()]
        assert picture(lab) == before
        would = {row["would_write"]: row["content"] for row in shown if "would_write" in row}
        spoold(*words)
        new = picture(lab).keys() - before.keys()
        assert would.keys() == new
        assert all(content == Path(path).read_text() for path, content in would.items())


def test_again_is_the_same(lab, spoold, old):
    """A second import changes nothing and says that all is there already."""
    bring(spoold, old)
    before = picture(lab)
    out = bring(spoold, old)
    assert out.count("already there") == 3
    assert picture(lab) == before


def test_undo_leaves_the_tree_as_it_was(lab, spoold, old):
    """What an import wrote is taken away again, and the old decision makes a request."""
    before = picture(lab)
    bring(spoold, old)
    undo = ("import", "--undo", written(lab)[0])
    with_import = picture(lab)
    assert "would remove" in spoold(*undo, "--dry-run")
    assert picture(lab) == with_import
    spoold(*undo)
    assert picture(lab) == before
    (lab.file.parent / "routes.d" / "10.toml").write_text(route())
    spoold("check")
    assert take(lab, "decisions", decision(1)) == 1


def test_undo_refuses_what_was_changed_since(lab, spoold, old):
    """One changed route, and nothing at all is taken back; the message names it."""
    bring(spoold, old)
    file = lab.file.parent / "routes.d" / "50-002-failback.toml"
    file.write_text(file.read_text() + "# mine\n")
    before = picture(lab)
    assert file.name in spoold("import", "--undo", written(lab)[0], code=65)
    assert picture(lab) == before


def test_undo_keeps_what_another_import_wrote_too(lab, spoold, old):
    """Routes that two imports brought go with the last of them."""
    bring(spoold, old)
    (first,) = written(lab)
    old.write(["cutover", "failback"], ["d-1", "d-2"])
    bring(spoold, old)
    assert spoold("import", "--undo", first).count("kept") == 2
    assert len(lab.routing.routes) == 2
    spoold("import", "--undo", written(lab)[0])
    assert lab.routing.routes == ()


@pytest.mark.parametrize("file", ["nothing", "spoold.toml", "imported.000000000000.jsonl"])
def test_undo_takes_only_what_an_import_wrote(lab, spoold, file):
    """A file that is no import of this spool is refused, and stays."""
    path = lab.file.parent / file
    path.touch()
    assert "imported" in spoold("import", "--undo", path, code=64)
    assert path.exists()


def killed(spoold, lab, at, *words):
    """Run a verb in a process that dies before its n-th change to a disk; whether it did."""
    child = os.fork()
    if child == 0:
        left = [at]

        def dying(real):
            def call(*arguments, **options):
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return real(*arguments, **options)

            return call

        for name in ("rename_new", "remove", "sync_folder", "sync"):
            setattr(fs, name, dying(getattr(fs, name)))
        try:
            spoold(*words)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("undo", [False, True])
def test_killed_anywhere_and_run_again_it_is_complete(lab, spoold, old, tmp_path, undo):
    """After a kill at any change, what was done stays known, and a second run ends as the first."""
    words = ["import", "decision-dispatcher", old.folder, "--executor", "rec"]
    before = picture(lab)
    spoold(*words)
    after = {path: found[0] for path, found in picture(lab).items()}
    done = ("import", "--undo", written(lab)[0])
    for at in range(100):
        if not undo:
            spoold(*done)
        dead = killed(spoold, lab, at, *(done if undo else words))
        if lab.file.parent.joinpath("routes.d", "50-001-cutover.toml").exists():
            # Never a route without the knowledge of what it had already done.
            assert written(lab)
        if written(lab) and not undo:
            index = Index(index_path(str(lab.root)))
            assert not index.complete or index.imported(digest("decisions", "decision:d-1"), 0.0)
            index.close()
        if undo and written(lab):
            spoold(*done)
        if undo:
            assert picture(lab) == before
        spoold(*words)
        assert {path: found[0] for path, found in picture(lab).items()} == after
        if not dead:
            break
    assert at > 5
    assert take(lab, "decisions", decision(1), decision(2)) == 1


def test_intake_must_be_stopped(lab, spoold, old):
    """While intake runs, import and undo change nothing, say who is in the way, and end with 75."""
    bring(spoold, old)
    (file,) = written(lab)
    old.write(["other"], ["d-2"])
    intake = Intake(lab.context)
    intake.lock.acquire()
    before = picture(lab)
    assert "intake runs" in bring(spoold, old, code=75)
    assert "intake runs" in spoold("import", "--undo", file, code=75)
    assert picture(lab) == before
    intake.lock.release()
    bring(spoold, old)


def test_what_root_writes_is_intakes(lab, spoold, old):
    """Whoever runs it, the import's file and the index belong to the archive's owner."""
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    lab.folder.chmod(0o755)
    lab.drain()
    for path in (lab.root, *lab.root.rglob("*")):
        os.chown(path, owner, -1)
    bring(spoold, old)
    index = lab.root / "archive" / ".index.sqlite3"
    assert {path.stat().st_uid for path in (index, *written(lab))} == {owner}
    assert os.geteuid() == (lab.file.parent / "routes.d" / "50-001-cutover.toml").stat().st_uid


# What a person is told


def test_requests_of_the_old_one_are_listed_and_never_approved(lab, spoold, old):
    """What waits, and what was approved but not handed on, is named; no yes counts here."""
    for number, name in enumerate(("waits", "said-yes", "handed-on")):
        old.request(f"dispatch-{name}", f"d-{number}")
    for name in ("said-yes", "handed-on"):
        (old.consumer / "approvals" / f"dispatch-{name}.approved.json").touch()
    ran = {"processed_request_ids": {"dispatch-handed-on": {}}}
    (old.consumer / "state.json").write_text(json.dumps(ran))
    out = bring(spoold, old)
    assert re.search(r"^waiting +dispatch-waits \(decision d-0\)", out, re.MULTILINE)
    assert re.search(r"^approved +dispatch-said-yes \(decision d-1\)", out, re.MULTILINE)
    assert "handed-on (" not in out
    assert take(lab, "decisions", *map(decision, range(3))) == 0
    assert [lab.files(name) for name in ("approved", "pre-approved", "queued")] == [[], [], []]


def tables(message):
    """The TOML in an error message."""
    lines = [line.removeprefix("spoold: ") for line in message.splitlines()]
    start = next(n for n, line in enumerate(lines) if line.startswith("["))
    return "\n".join(lines[start:]) + "\n"


def test_the_tables_that_are_missing_are_printed(lab, spoold, old, infra, monkeypatch):
    """Without a source and an executor it ends with 78; what it prints makes the next run work."""
    before = 'root = "../spool"\n[sources.x]\nformat = "task"\n'
    for words in (("import", "decision-dispatcher", old.folder), infra()[:-2]):
        lab.file.write_text(before)
        message = spoold(*words, code=78)
        lab.file.write_text(before + tables(message))
        assert TOKEN not in lab.file.read_text()
        spoold(*words)
        assert len(lab.routing.routes) == {0: 2, 1: 1}[words[1] == "infra-dispatcher"]
        shutil.rmtree(lab.file.parent / "routes.d")


def test_other_label_prefixes_must_be_configured(lab, spoold, infra):
    """Component labels with another prefix would be lost, so the table for them is asked for."""
    words = infra({}, "INFRA_COMPONENT_LABEL_PREFIX=part:\n")
    message = spoold(*words, code=78)
    lab.file.write_text(lab.file.read_text() + tables(message))
    spoold(*words)
    made = lab.routing.inboxes["webhooks"].read(
        ticket(labels=("part:api",)), "x.json", timestamp(now())
    )
    assert made.facts["component"] == "api"


def test_an_executor_that_cannot_take_the_routes_stops_it(lab, spoold, old):
    """Routes that their executor would refuse are not put in place; the table is shown."""
    more = '[executors.runner]\nkind = "command"\nprograms = ["hyops"]\n'
    lab.file.write_text(lab.file.read_text() + more)
    before = picture(lab)
    message = spoold("import", "decision-dispatcher", old.folder, code=78)
    assert picture(lab) == before
    lab.file.write_text(lab.file.read_text() + tables(message))
    spoold("import", "decision-dispatcher", old.folder)
    assert take(lab, "decisions", decision(2)) == 1
    assert lab.request("awaiting-approval")["params"]["argv"] == [
        "hyops", "apply", "--env", "dev", "--blueprint", TARGET["target_ref"]]  # fmt: skip


def test_a_name_that_is_taken_changes_nothing(lab, spoold, old):
    """A route of that name is there: 78 with its file, and not one file is written."""
    (lab.file.parent / "routes.d" / "10.toml").write_text(route(name="failback"))
    before = picture(lab)
    assert "'failback' is taken by" in bring(spoold, old, code=78)
    assert picture(lab) == before


def test_no_secret_comes_out(lab, spoold, infra):
    """No value of a secret is in the output, in the spool or in the configuration."""
    out = spoold(*infra())
    assert "not carried over: RABBIT_URL" in out
    for content, *_ in picture(lab).values():
        assert TOKEN.encode() not in content
    assert TOKEN not in out


@pytest.mark.parametrize(
    "more",
    [
        f"INFRA_DEFAULT_AGENT={TOKEN}",
        f"OPENCLAW_HOOK_URL=http://me:{TOKEN}@host/{TOKEN}/agent",
        f"OPENCLAW_HOOK_URL=http://host/hooks?token={TOKEN}",
        f"INFRA_READY_LABELS={TOKEN}",
        f"this is no assignment {TOKEN}",
    ],
)
def test_a_secret_in_another_setting_is_not_told_either(lab, spoold, infra, more, capfd):
    """Where a secret is a part of another setting, import refuses or leaves it out."""
    words = infra({}, f"OPENCLAW_HOOK_TOKEN={TOKEN}\n{more}\n")
    lab.file.write_text(lab.file.read_text().replace("[executors.gateway]", "[executors.other]"))
    before = picture(lab)
    code = 78 if "?token" in more else 65
    assert TOKEN not in spoold(*words, code=code)
    assert picture(lab) == before


BAD = {
    "missing": (None, 64),
    "empty": (b"", 65),
    "blank": (b" \n", 65),
    "half": (b'{"routes": {"cutover": {"target', 65),
    "list": (b"[]", 65),
    "binary": (b"\xff\xfe\x00", 65),
    "other": (b'{"seenIssueIds": ["a"]}', 65),
    "types": (b'{"routes": 7, "processed_decision_ids": []}', 65),
    "route": (b'{"routes": {"cutover": null}, "processed_decision_ids": 1}', 65),
    "ref": (json.dumps({"routes": {"cutover": {**TARGET, "target_ref": "../x"}}}).encode(), 65),
    "env": (json.dumps({"routes": {"cutover": {**TARGET, "target_env": 7}}}).encode(), 65),
    "asks": (json.dumps({"routes": {"c": {**TARGET, "requires_approval": "no"}}}).encode(), 65),
}


@pytest.mark.parametrize("which", ["config", "state", "tickets"])
@pytest.mark.parametrize("content", BAD)
def test_an_old_file_that_is_not_right_changes_nothing(lab, spoold, old, infra, which, content):
    """It ends with an exit code of its kind, names the file, and has written nothing."""
    data, code = BAD[content]
    words = ["import", "decision-dispatcher", old.folder, "--executor", "rec"]
    file = getattr(old, which, None)
    if which == "tickets":
        words = infra()
        file = words[5]
    file.unlink()
    if data is not None:
        file.write_bytes(data)
    before = picture(lab)
    said = spoold(*words, code=code)
    assert str(file) in said
    assert ("is empty" in said) == (content in ("empty", "blank"))
    assert picture(lab) == before


def test_a_folder_or_a_pipe_is_no_old_file(lab, spoold, old):
    """What is no file is refused without waiting for it."""
    old.state.unlink()
    os.mkfifo(old.state)
    assert "special-file" in bring(spoold, old, code=65)
    old.state.unlink()
    old.state.mkdir()
    assert "directory" in bring(spoold, old, code=65)


def test_an_old_request_that_cannot_be_read_stops_it(lab, spoold, old):
    """Which decision it was made from is not known, so nothing is said to be complete."""
    (old.folder / "state" / "requests" / "dispatch-half.json").write_text('{"source_dec')
    assert "dispatch-half.json" in bring(spoold, old, code=65)
    old.write(["cutover"], ["half"])
    bring(spoold, old)


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("decision-dispatcher",),
        ("infra-dispatcher",),
        ("other",),
        ("decision-dispatcher", "--undo", "x"),
        ("infra-dispatcher", "--environment", "x"),
        ("decision-dispatcher", "x", "--environment", "x"),
    ],
)
def test_a_line_that_says_too_little_is_usage(spoold, words):
    """What is missing or does not belong together is said, with 64."""
    spoold("import", *words, code=64)


def test_a_hundred_thousand_decisions_take_seconds(lab, spoold, old):
    """A long history is imported, and looked up, in a time that a person waits for."""
    old.write(["cutover"], [f"d-{number}" for number in range(100_000)])
    start = time.monotonic()
    bring(spoold, old)
    assert time.monotonic() - start < 30
    assert take(lab, "decisions", decision(99_999), decision(100_000)) == 1


def test_the_file_can_be_read_with_grep(lab, spoold, old):
    """One line says what was dealt with, the first one where from and which routes, by digest."""
    bring(spoold, old)
    (file,) = written(lab)
    header, line = map(json.loads, file.read_text().splitlines())
    assert line == {
        "key": "decision:d-1",
        "until": None,
        "was": {"status": "awaiting-approval", "dispatch_id": "dispatch-d-1"},
    }
    assert header["from"] == [str(old.config), str(old.state)]
    assert header["routes"] == {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((lab.file.parent / "routes.d").iterdir())
    }
    for path in header["routes"]:
        assert tomllib.loads(Path(path).read_text())["source"] == "decisions"
