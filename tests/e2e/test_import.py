"""The day of the move, with real processes, as docs/how-to/migrate.md has it."""

import json
import os
import re
import shlex
import shutil
import subprocess

import click
import pytest

from spoold import cli
from tests.e2e.conftest import CHECKOUT, DECISIONS, Site, argv, command, decision, route

PAGE = (CHECKOUT / "docs/how-to/migrate.md").read_text(encoding="utf-8")
TARGET = {
    "target_kind": "blueprint",
    "target_ref": "dr/failover@v1",
    "target_env": "dev",
    "execution_plane": "runner-local",
}


@pytest.fixture
def old(site, tmp_path):
    """A decision dispatcher that was stopped, with two of three records dispatched."""
    folder = tmp_path / "decision-dispatcher"
    records = tmp_path / "records"
    for path in (folder / "config", folder / "state", records):
        path.mkdir(parents=True)
    table = {"routes": {"cutover": TARGET, "failback": TARGET}}
    (folder / "config" / "config.json").write_text(json.dumps(table))
    done = {f"d-{number}": {"status": "awaiting-approval"} for number in (1, 2)}
    (folder / "state" / "state.json").write_text(json.dumps({"processed_decision_ids": done}))
    for number in (1, 2, 3):
        (records / f"d-{number}.json").write_text(json.dumps(decision(number)))
    return folder


def test_the_day_of_the_move_and_back(site: Site, old, program):
    """Only what was not dispatched asks; on the way back the old folder has only what is new."""
    argv = '["%s", "{target_kind}", "{target_ref}", "{target_env}"]'
    hyops = program("hyops", "echo applied $1 $2 $3")
    planes = f"[executors.runner.planes]\nrunner-local = {argv % hyops}\n"
    site.configure(command(hyops, planes))
    words = ("import", "decision-dispatcher", old)
    shown = site.spoold(*words, "--dry-run").stdout
    assert not site.root.exists()
    assert "match             = " in shown
    site.spoold(*words)
    told = site.spoold("explain", site.folder / "records" / "d-1.json", "--source", "decisions")
    assert "the dispatcher before spoold had dealt with it" in told.stdout
    inbox = site.root / "inbox" / "decisions"
    for file in (site.folder / "records").iterdir():
        shutil.copy(file, inbox)
    site.spoold("run", "--drain")
    assert [row["route"] for row in site.lines("ls")] == ["cutover"]
    (request,) = (site.root / "awaiting-approval").glob("*.json")
    assert json.loads(request.read_bytes())["source"]["id"] == "d-3"
    request.rename(site.root / "approved" / request.name)
    site.spoold("run", "--drain")
    assert len(list((site.root / "done").rglob("*.json"))) == 1
    (inbox / "d-4.json").write_text(json.dumps(decision(4)))
    assert [path.name for path in inbox.iterdir()] == ["d-4.json"]
    (imported,) = (site.root / "archive" / "decisions").glob("imported.*.jsonl")
    site.spoold("import", "--undo", imported)
    assert list((site.config.parent / "routes.d").iterdir()) == []
    assert not imported.exists()


def test_the_page_names_only_what_there_is():
    """Every verb and option in the page's commands exists."""
    context = click.Context(cli.cli)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = [line.split() for line in lines if line.strip().startswith("spoold ")]
    assert len(found) > 10
    for words in found:
        verb = cli.cli.get_command(context, words[1])
        assert verb is not None, words
        options = {name for option in verb.params for name in option.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_the_routes_of_the_page_work(site: Site, tmp_path):
    """The tables for a hand-made service and the route beside them compile and make a request."""
    toml = [text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "jobs" in text]
    settings, route = ("\n".join(line.strip() for line in text.splitlines()) for text in toml)
    site.configure(settings, route)
    site.spoold("check")
    (tmp_path / "1.json").write_text('{"job": "7", "volume": "home"}')
    told = site.spoold("explain", tmp_path / "1.json", "--source", "jobs").stdout
    assert "become awaiting-approval/dispatch-" in told


# The page's commands, as they stand there

#: What the page calls that is not to be had here, or is not to happen here.
STUBS = {"systemctl": "exit 0", "usermod": "exit 0", "spoold": 'exec {spoold} "$@"'}


def block(begins, number=0):
    """The block of shell that has a line that begins so; the first, or another one of several."""
    found = [text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
             if any(line.strip().startswith(begins) for line in text.splitlines())]  # fmt: skip
    return found[number]


@pytest.fixture
def types(site, tmp_path, program, require):
    """Types a block of the page: its paths are those of the site, in a folder of its own."""
    require(shutil.which("jq") is not None, "jq")
    (tmp_path / "bin").mkdir()
    words = shlex.join(site.words())
    for name, body in STUBS.items():
        (program(name, body.format(spoold=words))).rename(tmp_path / "bin" / name)

    def typed(text):
        for there, here in (("/var/spool/spoold", site.root), ("/srv/jobs", tmp_path / "jobs"),
                            ("/opt/hybridops/decision-service", tmp_path)):  # fmt: skip
            text = text.replace(there, str(here))
        env = {**site.env, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        (tmp_path / "cwd").mkdir(exist_ok=True)
        ended = subprocess.run(["bash", "-eu", "-c", text], env=env, cwd=tmp_path / "cwd",
                               stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               timeout=60, check=False)  # fmt: skip
        assert ended.returncode == 0, (text, ended.stdout, ended.stderr)
        return ended.stdout

    return typed


def names(folder):
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_records_go_to_the_inbox_and_come_back_as_the_page_says(site: Site, tmp_path, types):
    """Also a record that only its owner could read is taken; the folder gets its owner back."""
    site.configure(f"{DECISIONS}[executors.x]\nkind = 'command'\nprograms = ['/bin/true']\n",
                   route("x", params=argv("/bin/true")))  # fmt: skip
    records = tmp_path / "state/records"
    records.mkdir(parents=True, mode=0o705)
    inbox = site.root / "inbox/decisions"
    inbox.mkdir(parents=True)
    for number in (1, 2):
        (records / f"d-{number}.json").write_text(json.dumps(decision(number)))
        (records / f"d-{number}.json").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(records, 4711, 4712)
    was = records.stat()
    types(block("mv ", 0))
    assert records.is_symlink()
    assert names(inbox) == ["d-1.json", "d-2.json"]
    assert {path.stat().st_mode & 0o777 for path in inbox.iterdir()} == {0o644}
    site.drain()
    (inbox / "d-3.json").write_text(json.dumps(decision(3)))
    back = block('rm "$state/records"')
    types(re.sub("spoold import --undo .*", "", back))
    assert names(records) == ["d-3.json"]
    now = records.stat()
    assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode)


def test_jobs_come_back_as_the_page_says_and_nothing_else_does(site: Site, tmp_path, types):
    """Of what waits, the originals; a file that somebody wrote himself fetches no other file."""
    toml = [text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL) if "jobs" in text]
    site.configure(*("\n".join(map(str.strip, text.splitlines())) for text in toml))
    new = tmp_path / "jobs/new"
    new.mkdir(parents=True)
    (site.root / "inbox/jobs").mkdir(parents=True)
    for number in (1, 2):
        (new / f"{number}.json").write_text(json.dumps({"job": str(number), "volume": "home"}))
        (new / f"{number}.json").chmod(0o600)
    types(block("for f in /srv/jobs/new"))
    assert names(new) == []
    site.drain()
    waiting = site.root / "awaiting-approval"
    assert len(names(waiting)) == 2
    (tmp_path / "secret").write_text("s3cret")
    for number, stolen in enumerate(["archive/jobs/../../../secret", str(tmp_path / "secret")]):
        forged = {"source": {"inbox": "jobs", "archived": stolen}}
        name = f"dispatch-20260101T00000{number}Z-backup-0000000{number}.json"
        (waiting / name).write_text(json.dumps(forged))
    (site.root / "inbox/jobs/3.json").write_text("{}")
    said = types(block("spool=", 0))
    assert names(new) == ["1.json", "2.json", "3.json"]
    assert said.count("look at dispatch-2026") == 2
    assert {row["dispatch_id"] for row in site.lines("ls")} == set()


def test_every_block_of_the_page_is_shell():
    """A shell accepts each block of commands, to the last quote."""
    for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL):
        ended = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True,
                               check=False, timeout=30)  # fmt: skip
        assert ended.returncode == 0, (text, ended.stderr)


def test_a_secret_of_the_page_is_one_that_a_service_can_have():
    """The packaged executor is given credentials; a variable is there only where the page adds it.

    Every table of the page names a credential, and one that the page also makes.
    """
    tables = "".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
    assert "{ env" not in tables
    named = re.findall(r'credential = "(\w+)"', tables)
    assert named
    assert all(f"/etc/spoold/credentials/{name}\n" in PAGE for name in named)
