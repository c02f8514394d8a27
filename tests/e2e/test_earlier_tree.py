"""A spool that an earlier version wrote goes on under this one, without any step in between."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Written by the version that names it, stopped in mid-work with kill -9.
TREE = Path(__file__).parents[1] / "trees/version-0.1.0"
#: What is decided or set aside stays as it is, to the byte.
SETTLED = ("done", "failed", "rejected", "expired", "held", "archive", "approvals", "quarantine")


#: Their requests have moved to folders of their executors.
ENDED = ("done", "failed", "unknown")


def moved(name):
    """Where a file of the earlier version lies now."""
    folder, _, rest = name.partition("/")
    return f"{folder}/runner/{rest}" if folder in ENDED else name


def files(root):
    """Each file below a folder that is no folder's lock or index, with its bytes."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.json"))
        if path.is_file()
    }


@pytest.fixture
def site(tmp_path):
    """A copy of the tree, as it lay on the disk: the key readable by its owner alone."""
    shutil.copytree(TREE, tmp_path / "ops")
    os.chmod(tmp_path / "ops/spool/.seal.key", 0o600)
    return tmp_path / "ops"


def spoold(site, *words):
    """What one call of the command line prints."""
    command = [sys.executable, "-m", "spoold", "--config", str(site / "config/spoold.toml")]
    ended = subprocess.run([*command, *words], capture_output=True, timeout=100, check=True)
    return ended.stdout.decode()


def test_every_request_goes_on_from_where_it_was(site):
    """What waited, was approved, queued, tried or running is dealt with as if it had been ours."""
    before = files(site / "spool")
    spoold(site, "run", "--drain")
    rows = map(json.loads, spoold(site, "--json", "ls").splitlines())
    where = {row["target"].partition("/")[2]: row for row in rows if "target" in row}
    assert where["unknown"]["folder"] == "unknown/runner", "an attempt whose end is not known"
    assert where["waiting"]["folder"] == "awaiting-approval"
    assert where["waiting"]["asked"] == 2
    assert where["last"]["folder"] == "awaiting-approval", "a drop that nobody had taken"
    assert where["call"]["folder"] in ("deferred/hook", "queued/hook")
    assert where["call"]["attempts"] == 2, "its time had come"
    done = map(json.loads, spoold(site, "--json", "ls", "done").splitlines())
    assert {"done", "approved", "queued"} <= {row["target"].partition("/")[2] for row in done}
    after = files(site / "spool")
    settled = {moved(name): data for name, data in before.items() if name.startswith(SETTLED)}
    assert {name: after.get(name) for name in settled} == settled
    assert not [name for name in after if name.startswith(ENDED) and name.count("/") == 1]
    (output,) = (site / "spool/logs/runner").glob("*-af18b9e0/attempt-1.out")
    assert output.read_text() == "done\n"


def known_for_good(site):
    """Records without an id of their own are known for good, as that version had it."""
    settings = site / "config/spoold.toml"
    text = settings.read_text()
    settings.write_text(text.replace('settle = "0s"', 'settle = "0s"\nrepeats = "forever"'))


def test_what_it_knew_is_known(site):
    """A delivery that the earlier version had seen makes no second request, as long as it says."""
    known_for_good(site)
    known = json.dumps({"id": "done", "kind": "run", "ref": "done", "why": "a drill",
                        "script": "echo done"}, separators=(",", ":"))  # fmt: skip
    (site / "spool/inbox/tasks/once-more.json").write_text(known)
    spoold(site, "intake", "--drain")
    rows = map(json.loads, spoold(site, "--json", "ls", "awaiting-approval").splitlines())
    assert {row["target"].partition("/")[2] for row in rows} == {"waiting", "last"}
    (found,) = (site / "spool/archive/tasks").rglob("once-more.json.reason.json")
    assert json.loads(found.read_bytes())["code"] == "repeat"
    waiting = next((site / "spool/awaiting-approval").glob("*-6e3c6cc8.json"))
    spoold(site, "approve", "--yes", waiting.name, "--reason", "as ever")
    spoold(site, "run", "--drain")
    (ended,) = (site / "spool/done/runner").glob(waiting.name)
    assert json.loads(ended.read_bytes())["approvals"][0]["note"] == "as ever"


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after reindex"])
def test_what_the_earlier_version_was_given_is_still_known(site, again):
    """Each original that it archived is a repeat when it comes once more, whatever its id was."""
    known_for_good(site)
    if again:
        spoold(site, "reindex")
    originals = [
        path for path in sorted((site / "spool/archive").rglob("*.json"))
        if not path.name.endswith(".reason.json")
    ]  # fmt: skip
    for path in originals:
        shutil.copy(path, site / "spool/inbox/tasks" / f"once-more-{path.name}")
    before = set((site / "spool").rglob("dispatch-*.json"))
    spoold(site, "intake", "--drain")
    made = {path.name for path in (site / "spool").rglob("dispatch-*.json")}
    assert len(made - {path.name for path in before}) == 1, "the drop that nobody had taken"
    reasons = (site / "spool/archive").rglob("once-more-*.reason.json")
    codes = [json.loads(path.read_text())["code"] for path in reasons]
    assert codes == ["repeat"] * len(originals)


#: The same version's, with requests of two executors in every state that it had.
STATES = TREE.with_name("version-0.1.0-states")


def of_executor(name, spool):
    """Where a file of the earlier version belongs now, by what the request says."""
    folder, _, rest = name.partition("/")
    if folder not in ENDED:
        return name
    found = json.loads((spool / folder / rest.removesuffix(".reason.json")).read_bytes())
    return f"{folder}/{found['executor']}/{rest}"


def test_each_state_of_two_executors_comes_to_where_it_belongs(tmp_path):
    """To the byte, with reasons and output; then it goes on: each request is in one folder."""
    shutil.copytree(STATES, tmp_path / "ops")
    spool = tmp_path / "ops/spool"
    os.chmod(spool / ".seal.key", 0o600)
    left = ("awaiting-approval", "queued", "running", *SETTLED, "unknown")
    before = {
        of_executor(name, spool): data
        for name, data in files(spool).items() if name.startswith(left)
    }  # fmt: skip
    logs = {path.name for path in (spool / "logs").iterdir()}
    spoold(tmp_path / "ops", "sweep", "--drain")
    after = files(spool)
    assert {name: after.get(name) for name in before} == before
    assert {path.name for path in (spool / "logs").glob("*/dispatch-*")} == logs
    assert len(list((spool / "logs/second").iterdir())) == 1
    (doubt,) = (spool / "unknown/second").iterdir()
    spoold(tmp_path / "ops", "resolve", doubt.name, "--as", "done")
    assert (spool / "done/second" / doubt.name).exists()
    spoold(tmp_path / "ops", "run", "--drain")
    states = ("approved", "queued", "running", "deferred", "unknown", "done", "failed", "rejected")
    ids = [
        path.name for state in states for path in (spool / state).rglob("dispatch-*.json")
        if not path.name.endswith(".reason.json") and "-tell-" not in path.name
    ]  # fmt: skip
    assert len(ids) == len(set(ids)) == 12
