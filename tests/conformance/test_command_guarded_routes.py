"""Preconditions in routes and tables: what a person is shown of them, and what may be written."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from spoold.errors import ConfigError
from spoold.executors import command
from tests.conftest import route


@pytest.fixture
def state(tmp_path) -> Path:
    file = tmp_path / "state.json"
    file.write_text('{"status": "ok", "outputs": {"note": ""}}')
    return file


# The words of a runtime that keeps module states


def _completed(given: dict[str, Any], root: str | None = "/srv/state") -> list[dict[str, Any]]:
    config = command.Config.model_validate({"programs": ["true"], "state_root": root})
    done = command.complete({"argv": ["true"], "preconditions": [given]}, config, {})
    assert command.complete(done, config, {}) == done, "what is approved changes no more"
    command.Params.model_validate(done)
    return done["preconditions"]


def test_a_state_ref_becomes_the_file_that_the_person_sees():
    """The request names the file and the keys, so that nobody has to know where states are."""
    outputs = {"outputs_equal": {"cluster.ready": True}, "outputs_non_empty": ["endpoint"]}
    (one,) = _completed({"state_ref": "platform/postgresql-ha#blue_1", **outputs})
    assert one == {
        "file": "/srv/state/modules/platform__postgresql-ha/instances/blue_1.json",
        "equal": {"status": "ok", "outputs.cluster.ready": True},
        "non_empty": ["outputs.endpoint"],
    }
    (one,) = _completed({"state_ref": "org/gcp/vpc", "require_status": "applied"})
    assert one["file"] == "/srv/state/modules/org__gcp__vpc/latest.json"
    assert one["equal"] == {"status": "applied"}


@pytest.mark.parametrize(
    "ref",
    ["", "#a", "a#", "../x", "a/../b", "a//b", "/a", "a/", "A/b", "a b", "a/.b", "a.b", "a#../x",
     "a#b/c", "a#.b", "a#B", "a#b#c", "a\0", "a#" + "x" * 65, 5],
)  # fmt: skip
def test_no_state_ref_leads_out_of_its_root(ref):
    """A reference names a module below the root and nothing else; without a root, nothing."""
    with pytest.raises(ValueError, match="state_ref"):
        _completed({"state_ref": ref})
    with pytest.raises(ValueError, match="state_root"):
        _completed({"state_ref": "a/b"}, root=None)


@pytest.mark.parametrize(
    "more",
    [*({"preconditions": [one]} for one in
       ({"file": "state.json", "equal": {"a": 1}}, {"file": "/srv/../etc/x", "equal": {"a": 1}},
        {"file": "/srv/x"}, {"file": "/srv/x", "equal": {"a..b": 1}},
        {"file": "/srv/x", "non_empty": [""]}, {"file": "/srv/x", "equals": {"a": 1}},
        {"state_ref": "a/b"})),
     {"preconditions": [{"state_ref": "../b"}], "state_root": "/srv"},
     {"preconditions": [{"file": "/srv/x", "non_empty": ["a"]}] * 17},
     {"state_root": "srv"}, {"state_root": "/srv/"}, {"on_failed_precondition": "ignore"}],
)  # fmt: skip
def test_a_table_whose_preconditions_cannot_work_is_an_error_at_load(more):
    """A mistake is found at start, not when a person said yes."""
    with pytest.raises(ValidationError):
        command.Config.model_validate({"programs": ["true"], **more})


# In a route, and through the stages

_TOML = """
[sources.decisions]
format = "decision"
[executors.runner]
kind = "command"
programs = ["/usr/bin/touch"]
{more}
"""
_PARAMS = """
[params]
argv = ["/usr/bin/touch", "{ran}"]
{more}
"""


def _lab(make_lab, tmp_path, params: str = "", toml: str = ""):
    text = _PARAMS.format(ran=tmp_path / "ran", more=params)
    return make_lab(route(executor="runner", more=text), toml=_TOML.format(more=toml))


def _drop(lab, wanted: str = "ok") -> None:
    record = {"decision_type": "x", "decision_id": "1", "rationale": wanted}
    lab.drop("decisions", "a.json", record)
    lab.drain()


def _approve(lab) -> None:
    lab.approve()
    lab.drain()


def test_the_state_at_the_start_counts_and_not_that_at_the_approval(make_lab, tmp_path, state):
    """A state that changed after the yes keeps the command from starting; mended, it may run."""
    asks = f'preconditions = [{{ file = "{state}", equal = {{ status = "ok" }} }}]'
    lab = _lab(make_lab, tmp_path, asks)
    _drop(lab)
    state.write_text('{"status": "degraded"}')
    _approve(lab)
    held = lab.only("held")
    assert not (tmp_path / "ran").exists()
    assert lab.reason(held)["code"] == "precondition-failed"
    assert 'should have status "ok", and has "degraded"' in lab.reason(held)["what"]
    assert lab.request("held")["attempts"][-1]["details"]["preconditions"][0]["holds"] is False
    state.write_text('{"status": "ok"}')
    held.rename(lab.root / "awaiting-approval" / held.name)
    _approve(lab)
    assert (tmp_path / "ran").exists()
    assert lab.request("done")["result"]["details"]["preconditions"][0]["holds"] is True


def test_the_executor_s_preconditions_are_those_of_a_route_that_gives_none(
    make_lab, tmp_path, state
):
    """What an executor always asks for is shown in every request, and blocks it."""
    where = tmp_path / "modules" / "a__b"
    where.mkdir(parents=True)
    state.rename(where / "latest.json")
    more = f"""
        state_root = "{tmp_path}"
        preconditions = [{{ state_ref = "a/b", outputs_non_empty = ["note"] }}]
    """
    lab = _lab(make_lab, tmp_path, toml=more)
    _drop(lab)
    (shown,) = lab.request("awaiting-approval")["params"]["preconditions"]
    assert shown["file"] == str(where / "latest.json")
    _approve(lab)
    assert lab.reason(lab.only("held"))["code"] == "precondition-failed"
    assert not (tmp_path / "ran").exists()


def test_a_request_without_preconditions_says_nothing_about_them(make_lab, tmp_path):
    """What nobody asked for is not in the request, as it was before there were preconditions."""
    lab = _lab(make_lab, tmp_path)
    _drop(lab)
    assert lab.request("awaiting-approval")["params"].keys() == {
        *("argv", "cwd", "env", "stdin", "timeout"),
    }


def test_a_route_may_ask_for_nothing_where_its_executor_would(make_lab, tmp_path, state):
    """An empty list of the route's own counts, is shown, and is still so when it runs."""
    state.write_text("{}")
    more = f'preconditions = [{{ file = "{state}", non_empty = ["status"] }}]'
    lab = _lab(make_lab, tmp_path, "preconditions = []", more)
    _drop(lab)
    assert lab.request("awaiting-approval")["params"]["preconditions"] == []
    _approve(lab)
    assert (tmp_path / "ran").exists()


def test_what_follows_from_a_failure_is_shown(make_lab, tmp_path, state):
    """A person who approves sees whether a precondition blocks, also where only the table says."""
    asks = f'preconditions = [{{ file = "{state}", non_empty = ["outputs.note"] }}]'
    lab = _lab(make_lab, tmp_path, asks, 'on_failed_precondition = "warn"')
    _drop(lab)
    assert lab.request("awaiting-approval")["params"]["on_failed_precondition"] == "warn"
    _approve(lab)
    assert "although 1 of what must hold did not" in lab.request("done")["result"]["summary"]


def test_a_precondition_that_came_after_the_yes_holds_the_request(make_lab, tmp_path, state):
    """A yes to an action without preconditions is none to one with, so a person looks again."""
    lab = _lab(make_lab, tmp_path)
    _drop(lab)
    lab.approve()
    more = f'preconditions = [{{ file = "{state}", non_empty = ["status"] }}]'
    lab.configure(_TOML.format(more=more), {})
    lab.drain()
    assert "another preconditions" in lab.reason(lab.only("held"))["what"]
    assert not (tmp_path / "ran").exists()


def test_a_record_may_say_which_value_is_wanted(make_lab, tmp_path, state):
    """An expression may stand for a value, typed as everywhere."""
    equal = '{ status = "=record.body.rationale" }'
    asks = f'preconditions = [{{ file = "{state}", equal = {equal} }}]'
    lab = _lab(make_lab, tmp_path, asks)
    _drop(lab, "ok")
    _approve(lab)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("params", "where"),
    [
        ('preconditions = [{ file = "=record.id", non_empty = ["a"] }]', r"preconditions\.0\.file"),
        ('preconditions = [{ state_ref = "=record.id" }]', r"preconditions\.0\.state_ref"),
        ('preconditions = ["=record.body"]', r"preconditions\.0"),
        ('preconditions = "=record.body"', "preconditions"),
        ('on_failed_precondition = "=record.id"', "on_failed_precondition"),
    ],
)
def test_a_record_chooses_neither_the_file_nor_whether_it_counts(make_lab, tmp_path, params, where):
    """Which file is read, and what follows from it, is for the route's author to write."""
    with pytest.raises(ConfigError, match=rf"params\.{where}: must be literal"):
        _lab(make_lab, tmp_path, params)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ('preconditions = [{ file = "x.json", non_empty = ["=record.id"] }]', "no absolute path"),
        ('preconditions = [{ state_ref = "a#../b" }]\ncwd = "=record.id"', "no state_ref"),
        ('preconditions = [{ state_ref = "a", require_state = "ok" }]', "require_state"),
    ],
)  # fmt: skip
def test_a_route_with_a_precondition_that_cannot_work_is_an_error_at_load(
    make_lab, tmp_path, params, words
):
    """A wrong path or name in a route is found at start, even where the rest needs a record."""
    with pytest.raises(ConfigError, match=words):
        _lab(make_lab, tmp_path, params, 'state_root = "/srv"')
