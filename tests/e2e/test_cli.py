"""The command line as a person and a script use it."""

import json
import os
import pty
import re
import subprocess

import pytest

from tests.e2e.conftest import PRE_APPROVED, argv, command, decision, hook, read, reason, route

USAGE, DATA, LATER, CONFIG = 64, 65, 75, 78


@pytest.fixture
def waiting(site, refusing):
    """Four requests that wait, and nobody to call."""
    site.configure(hook(refusing), route())
    site.drop_many(4)
    site.drain()
    return site


def short(file):
    """What a person types."""
    return file.stem[-8:]


def fails(site, code, *arguments, **more):
    """The message of a verb that ends with `code`; nothing of it is on stdout."""
    ended = site.spoold(*arguments, ok=False, **more)
    assert ended.returncode == code, (arguments, ended.returncode, ended.stdout, ended.stderr)
    assert ended.stdout == ""
    assert ended.stderr != ""
    return ended.stderr


@pytest.mark.real
def test_init_lays_out_what_works_and_leaves_alone_what_is_there(site):
    """`init` makes a configuration that passes `check`, and never touches one that exists."""
    words = site.words()[:3]
    made = site.spoold(words=[*words, "init", "here"], cwd=site.folder)
    assert "here/config/spoold.toml" in made.stdout
    assert "Next: " in made.stderr
    here = site.folder / "here"
    assert (here / "spool/inbox/decisions").is_dir()
    assert "#" in (here / "config/spoold.toml").read_text()
    before = site.tree(here)
    again = site.spoold(words=[*words, "init", "here"], cwd=site.folder, ok=False)
    assert again.returncode == DATA
    assert "already" in again.stderr
    assert site.tree(here) == before
    checked = site.spoold(words=[*words, "check"], cwd=here)
    assert "route cutover" in checked.stdout


def test_init_overwrites_no_route(site):
    """A route that is there already is left as it is, also when spoold.toml is not."""
    mine = site.folder / "config/routes.d/10-cutover.toml"
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine")
    site.spoold(words=[*site.words()[:3], "init", "."], cwd=site.folder, ok=False)
    assert mine.read_text() == "# mine"


def test_look_and_decide_by_short_id(waiting):
    """`ls`, `show` and every deciding verb take the last digits of an id, and say what they did."""
    site = waiting
    first, second, third, fourth = site.files("awaiting-approval")
    listed = site.spoold("ls").stdout.splitlines()
    assert listed[0].split()[:2] == ["ID", "FOLDER"]
    assert {line.split()[0] for line in listed[1:]} == {
        short(file) for file in (first, second, third, fourth)
    }
    shown = site.spoold("show", short(first))
    assert shown.stdout == first.read_text()
    assert "awaiting-approval" in shown.stderr
    said = site.spoold("approve", "--yes", short(first), "--reason", "looks right").stdout
    assert "awaiting-approval → approved" in said
    assert (site.root / "approved" / first.name).exists()
    site.spoold("reject", short(second), short(third), "--reason", "not today")
    assert reason(site.root / "rejected" / second.name)["code"] == "rejected"
    assert "not today" in reason(site.root / "rejected" / third.name)["what"]
    site.spoold("hold", short(fourth))
    assert reason(site.root / "held" / fourth.name)["code"] == "held-by-person"
    site.spoold("release", "--yes", short(fourth))
    assert list((site.root / "held").glob("*.json")) == []
    assert fourth.exists()
    site.drain()
    deferred = site.request("deferred")
    assert deferred["approvals"][0]["note"] == "looks right"
    site.spoold("retry", "--yes", short(first))
    assert site.where() == {"awaiting-approval": 1, "rejected": 2, "queued": 1}
    site.spoold("cancel", short(first))
    assert reason(site.root / "rejected" / first.name)["code"] == "cancelled"
    slips = [read(path) for path in site.files("approvals")]
    assert sorted(slip["decision"] for slip in slips) == sorted(
        ["approve", "reject", "reject", "hold", "release", "retry", "cancel"]
    )


@pytest.mark.parametrize("asks", [True, False])
def test_a_failed_request_is_retried_with_a_new_yes_if_its_route_asks_for_one(site, program, asks):
    """`retry` makes another attempt under the same id: at once, or after a yes."""
    act = program("act", 'test "$SPOOLD_ATTEMPT" = 2')
    top = "" if asks else PRE_APPROVED
    site.configure(command(act), route("runner", top, params=argv(act)))
    site.drop_many(1)
    site.drain()
    if asks:
        site.spoold("approve", "--yes", short(site.only("awaiting-approval")))
        site.drain()
    (file,) = site.files("failed")
    site.spoold("retry", "--yes", short(file))
    site.drain()
    if asks:
        assert site.where() == {"awaiting-approval": 1}
        site.spoold("approve", "--yes", short(file))
        site.drain()
    assert [tried["outcome"] for tried in site.request("done")["attempts"]] == ["failed", "done"]


def test_what_was_set_aside_is_retried_when_it_can_be_taken(site, refusing):
    """A quarantined file is dropped again by `retry`, and a route added since takes it."""
    site.configure(hook(refusing), route().replace('"true"', '"false"'))
    site.drop_many(1)
    site.drain()
    assert reason(site.only("quarantine"))["code"] == "no-route"
    site.configure(hook(refusing), route())
    site.spoold("retry", site.only("quarantine"))
    assert site.count("quarantine/decisions") == 0
    site.drain()
    assert site.where() == {"awaiting-approval": 1}


def test_what_is_quarantined_is_named_by_its_path(site, refusing):
    """`retry` of a bare name or a part of one is 64 and moves nothing; a path is enough."""
    site.configure(hook(refusing), route().replace('"true"', '"false"'))
    site.drop_many(2)
    site.drain()
    for name in ("d-0", "d-00000", "d-00000.json", "quarantine/d-00000.json"):
        fails(site, USAGE, "retry", "--yes", name)
    assert site.count("inbox/decisions") == 0
    site.spoold("retry", "quarantine/decisions/d-00000")
    assert site.count("inbox/decisions") == 1


def test_json_is_json_lines_wherever_it_is_said(waiting):
    """`--json` before or after the verb prints one JSON object a line, and nothing else."""
    site = waiting
    for verb in (["ls"], ["show", short(site.files("awaiting-approval")[0])]):
        before = site.spoold("--json", *verb).stdout.splitlines()
        after = site.spoold(*verb, "--json").stdout.splitlines()
        keys = [set(json.loads(line)) for line in before]
        assert keys
        assert keys == [set(json.loads(line)) for line in after]
    (row,) = site.lines("approve", "--yes", short(site.files("awaiting-approval")[0]))
    assert (row["from"], row["to"]) == ("awaiting-approval", "approved")
    ended = site.spoold("--json", "show", "nobody", ok=False)
    assert (ended.returncode, ended.stdout) == (USAGE, "")
    assert json.loads(ended.stderr)["exit_code"] == USAGE


def test_wrong_words_are_usage_errors_that_change_nothing(waiting):
    """Unknown verbs, options, folders, and parts of a name that are no id, are 64."""
    site = waiting
    before = site.tree()
    assert "frobnicate" in fails(site, USAGE, "frobnicate")
    assert "--frob" in fails(site, USAGE, "ls", "--frob")
    assert "nobody" in fails(site, USAGE, "approve", "--yes", "nobody")
    assert "no folder" in fails(site, USAGE, "ls", "nowhere")
    assert "ID" in fails(site, USAGE, "approve")
    assert "--as" in fails(site, USAGE, "resolve", "nobody")
    for part in ("cutover", "d", "2", "dispatch-", site.files("awaiting-approval")[0].stem[:24]):
        assert "no request is" in fails(site, USAGE, "approve", "--yes", part)
    assert site.tree() == before


@pytest.mark.real
def test_an_executor_that_is_not_configured_is_a_matter_of_the_configuration(waiting):
    """Its service ends with 78, by which systemd does not start it again; the others are named."""
    before = waiting.tree()
    assert "gateway" in fails(waiting, CONFIG, "execute", "nobody")
    assert waiting.tree() == before


def test_what_makes_no_sense_now_says_why(waiting):
    """A decision that does not fit the state is 65, and the others in the same line are made."""
    site = waiting
    first, second, *_ = site.files("awaiting-approval")
    site.spoold("approve", "--yes", short(first))
    ended = site.spoold("approve", "--yes", short(first), short(second), ok=False)
    assert ended.returncode == DATA
    assert "approved already" in ended.stderr
    assert (site.root / "approved" / second.name).exists()
    assert "spoold reject" in fails(site, DATA, "cancel", short(site.files("awaiting-approval")[0]))


def test_what_another_process_has_is_try_later(waiting):
    """`reindex` beside a running intake is 75 and says what to do; without it, it works."""
    service = waiting.start("intake")
    assert "intake" in fails(waiting, LATER, "reindex")
    waiting.stop(service)
    (row,) = waiting.lines("reindex")
    assert row["events"] == 4


def test_a_lost_index_is_made_again_from_the_files(waiting, site):
    """Without its index a delivery that was seen before is still a repeat."""
    for path in (site.root / "archive").glob(".index.sqlite3*"):
        path.unlink()
    site.drop_many(5)
    site.drain()
    assert site.where() == {"awaiting-approval": 5}
    reasons = [read(path) for path in (site.root / "archive").rglob("*.reason.json")]
    assert [why["code"] for why in reasons] == ["repeat"] * 4


def test_a_reader_that_has_seen_enough_is_no_error(waiting):
    """`spoold ls | head -1` ends without a trace back."""
    waiting.drop_many(400, first=10)
    waiting.drain()
    for more in ([], ["--json"]):
        words = waiting.words(*more, "ls")
        process = subprocess.Popen(
            words, env=waiting.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait(20) == 0
        assert said == b""


FINE = 'name = "{}"\nsource = "decisions"\nmatch = "true"\nexecutor = "gateway"\n'


def broken(number, old="", new="", more=""):
    """A route with one mistake."""
    return FINE.format(f"r{number}").replace(old, new) + more if old else FINE.format(number) + more


#: What is wrong with a file, and the line, key and words of the message.
WRONG_FILES = [
    (broken(10, more="frobnicate = 1\n"), "10.toml:5: frobnicate"),
    (broken(11, more='[approval]\npolicy = "named"\n'), "11.toml:5: approval: .*'named' is not"),
    (broken(12, more='[approval]\npolicy = "signed"\n'), "12.toml:5: approval: .*'signed' is not"),
    (broken(13, more='expires_after = "soon"\n'), "13.toml:5: expires_after: .*30s"),
    (broken(14, 'source = "decisions"\n', "\n"), "14.toml: source"),
]
WRONG_MEANING = [
    (broken(10, "gateway", "nobody"), "10.toml:4: executor: .*'nobody'"),
    (broken(11, "decisions", "nowhere"), "11.toml:2: source: .*'nowhere'"),
    (broken(12, '"true"', '"record.facts.x =="'), "12.toml:3: match: "),
    (broken(13, '"true"', '"1 + 1"'), "13.toml:3: match: "),
    (broken(14, more="[params.bdy]\nx = 1\n"), "14.toml:5: params.bdy: "),
    (broken(15, more='[params]\nurl = "http://evil/"\n'), "15.toml:5: .*list of urls"),
    (broken(16, more='[params]\nurl = "=record.nothing("\n'), "16.toml:6: params.url: "),
]
WRONG_SETTINGS = [
    ("frobnicate = 1\n{}", "spoold.toml:2: frobnicate"),
    ('{}\n[executors.x]\nkind = "kontainer"\n', "spoold.toml:10: executors.x.kind: .*hook"),
    ("{}\n[sources", "spoold.toml:9: "),
]


@pytest.mark.parametrize("wrong", [WRONG_FILES, WRONG_MEANING], ids=["files", "meaning"])
def test_every_mistake_in_a_route_is_named_with_file_and_line(site, refusing, wrong):
    """`check` is 78 and names file, line and key of every mistake at once, on stderr."""
    site.configure(hook(refusing), *(text for text, _ in wrong))
    message = fails(site, CONFIG, "check")
    assert [wanted for _, wanted in wrong if not re.search(wanted, message)] == [], message
    assert len(re.findall(r"\.toml(?::\d+)?: ", message)) == len(wrong)


@pytest.mark.parametrize(("text", "wanted"), WRONG_SETTINGS, ids=["key", "kind", "toml"])
def test_a_mistake_in_the_settings_is_named_with_file_and_line(site, refusing, text, wanted):
    """A key, a kind or a syntax that is not known is 78, with file and line."""
    site.configure(text.format(hook(refusing).strip()), route())
    assert re.search(wanted, fails(site, CONFIG, "check"))


@pytest.mark.real
def test_no_configuration_is_said_by_every_verb(site):
    """Without a configuration a verb is 78 and says where it looked and what makes one."""
    words = site.words()[:3]
    for verb in ("ls", "run"):
        ended = site.spoold(words=[*words, verb], cwd=site.folder, ok=False)
        assert ended.returncode == CONFIG
        assert "config/spoold.toml" in ended.stderr
        assert "spoold init" in ended.stderr
    assert "missing.toml" in fails(site, CONFIG, words=[*words, "--config", "missing.toml", "ls"])


EXPLAIN = """
name = "big"
source = "decisions"
match = 'record.body.size > 3 && record.facts.decision_type == "cutover"'
executor = "gateway"
[params.body]
id = "=record.id"
"""


def test_explain_says_why_and_changes_nothing(site, refusing):
    """`explain` shows the request of a match, else what was false or missing; no file moves."""
    other = EXPLAIN.replace('"big"', '"rest"').replace("> 3", "< 0")
    site.configure(hook(refusing), EXPLAIN, other)
    files = {}
    for name, more in {"match": {"size": 4}, "false": {"size": 1}, "missing": {}}.items():
        files[name] = site.folder / f"{name}.json"
        files[name].write_text(json.dumps(decision(name, **more)))
    site.spoold("explain", files["match"], "--source", "decisions")
    assert not site.root.exists()
    site.drop_many(1)
    site.drain()
    before = site.tree()
    said = site.spoold("explain", files["match"], "--source", "decisions").stdout
    assert "✓ big matches" in said
    assert "✗ rest does not match" in said
    (found,) = site.lines("explain", files["match"], "--source", "decisions")
    assert found["request"]["params"]["body"] == {"id": "d-match"}
    assert found["request"]["params"]["url"] == refusing
    ended = site.spoold("explain", files["false"], "--source", "decisions", ok=False)
    assert ended.returncode == DATA
    assert "record.body.size > 3 is false: record.body.size is 1" in ended.stdout
    ended = site.spoold("explain", files["missing"], "--source", "decisions", ok=False)
    assert "record.body.size is missing" in ended.stdout
    assert "cannot be evaluated" in ended.stdout
    ended = site.spoold("explain", files["match"], ok=False)
    assert (ended.returncode, "--source" in ended.stderr) == (USAGE, True)
    assert site.tree() == before
    made = site.spoold("explain", *site.files("quarantine"), ok=False)
    assert "source decisions" in made.stdout


def test_explain_knows_what_intake_would_not_take(site, refusing):
    """What intake would set aside for its name, `explain` does not promise to take."""
    site.configure(hook(refusing), route())
    odd = site.folder / "-odd.json"
    odd.write_text(json.dumps(decision("odd")))
    ended = site.spoold("explain", odd, "--source", "decisions", ok=False)
    assert (ended.returncode, "odd-name" in ended.stdout) == (DATA, True)


def on_a_terminal(site, **env):
    """What `ls` writes to a terminal."""
    ours, theirs = pty.openpty()
    ended = subprocess.run(
        site.words("ls"), env={**site.env, "TERM": "xterm", **env}, stdout=theirs,
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=30, check=True,
    )  # fmt: skip
    assert ended.returncode == 0
    os.close(theirs)
    written = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            written += chunk
    except OSError:  # the terminal has no writer any more
        pass
    os.close(ours)
    return written


def test_colour_is_for_terminals_that_want_it(waiting):
    """A terminal gets colour, one with NO_COLOR set does not, and a pipe never does."""
    assert b"\033[" in on_a_terminal(waiting)
    plain = on_a_terminal(waiting, NO_COLOR="1")
    assert b"\033" not in plain
    assert b"awaiting-approval" in plain
    assert "\033" not in waiting.spoold("ls").stdout
