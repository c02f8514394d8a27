"""The day of the move, with real processes, as docs/how-to/migrate.md has it."""

import json
import re
import shutil

import click
import pytest

from spoold import cli
from tests.e2e.conftest import CHECKOUT, Site, command, decision

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
    assert len(list((site.root / "done").glob("*.json"))) == 1
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
