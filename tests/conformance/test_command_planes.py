"""Execution planes: an argv that the configuration builds around a target, and nothing else."""

from typing import Any

import pytest
from pydantic import ValidationError

from spoold.errors import BadInput, ConfigError
from spoold.executors import command
from spoold.testing import Lab
from tests.conftest import route

_PLANES = {
    "runner-local": ["hyops", "apply", "--env", "{target_env}", "--{target_kind}", "{target_ref}"],
    "bastion-explicit": ["ssh-hyops", "{target_kind}={target_ref}@{target_env}"],
}
_TARGET = {
    "execution_plane": "runner-local",
    "target_kind": "blueprint",
    "target_ref": "dr/postgresql-ha-failover-gcp@v1",
    "target_env": "dev",
}


def _config(**more: Any) -> command.Config:
    table = {"programs": ["hyops", "ssh-hyops"], "planes": _PLANES, **more}
    return command.Config.model_validate(table)


def _argv(**targets: Any) -> list[str]:
    return command.complete({}, _config(), {**_TARGET, **targets})["argv"]


def test_a_target_becomes_the_argv_of_its_plane():
    """Each argument of the template is one argument, with the target's parts in their places."""
    ref = "dr/postgresql-ha-failover-gcp@v1"
    assert _argv() == ["hyops", "apply", "--env", "dev", "--blueprint", ref]
    assert _argv(target_kind="module", target_ref="a1", target_env="two words; $(x) *") == [
        *("hyops", "apply", "--env", "two words; $(x) *", "--module", "a1"),
    ]
    assert _argv(execution_plane="bastion-explicit") == ["ssh-hyops", f"blueprint={ref}@dev"]


def test_a_value_that_looks_like_a_placeholder_stays_as_it_is():
    """What a record brings along is never filled in a second time."""
    assert _argv(target_env="{target_ref}")[3] == "{target_ref}"


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        ({"execution_plane": "gcp-iap"}, r"'gcp-iap'; there are: runner-local, bastion-explicit$"),
        ({"execution_plane": None}, r"names no execution_plane; there are: runner-local, bastion"),
        ({"target_kind": None}, "target_kind is None, and must be blueprint or module"),
        ({"target_kind": "Blueprint"}, "target_kind"),
        ({"target_kind": "module\n"}, "target_kind"),
        *(({"target_ref": ref}, "target_ref") for ref in
          (None, "", "a", "-x/y", "--help", "Dr/x", "dr/x y", "dr/x@", "dr/x\n",
           "dr/../../etc/x", "../x1", "dr/{target_env}1")),
        *(({"target_env": env}, "target_env") for env in (None, "", "-rf", "de\nv", "de\0v")),
    ],
)  # fmt: skip
def test_a_target_that_could_be_read_as_something_else_is_refused(targets, words):
    """No target reaches a program as an option, as a path that leads out, or on a guessed plane."""
    with pytest.raises(ValueError, match=words) as raised:
        _argv(**targets)
    assert str(raised.value).isprintable()


def test_an_argv_of_the_route_is_left_alone():
    """Who writes an argv gets that one, whatever the target says."""
    given = {"argv": ["hyops", "plan"]}
    assert command.complete(given, _config(), {"execution_plane": "nowhere"}) == given


@pytest.mark.parametrize(
    "template",
    [[], ["other", "{target_ref}"], ["{target_kind}"], ["hyops {target_ref}"],
     *(["hyops", braces] for braces in ("{target}", "{}", "{target_ref", "{{target_ref}}",
                                        "{target_ref!r}", "--{target_kind }"))],
)  # fmt: skip
def test_a_template_that_cannot_work_is_an_error_at_load(template):
    """A program off the list, or a brace that means nothing, is found at start."""
    with pytest.raises(ValidationError, match=r"planes\.p"):
        _config(planes={"p": template})


_TOML = """
[sources.decisions]
format = "decision"
[executors.runner]
kind = "command"
programs = ["{program}"]
[executors.runner.planes]
runner-local = ["{program}", "--env={{target_env}}", "--{{target_kind}}", "{{target_ref}}"]
"""
_TARGETS = """
execution_plane = "runner-local"
target_kind = "module"
target_ref = {ref}
target_env = "dev"
"""


def _lab(make_lab, ref: str, program: str = "/usr/bin/printf") -> Lab:
    text = route(executor="runner", more=_TARGETS.format(ref=ref))
    return make_lab(text, toml=_TOML.format(program=program))


def test_the_person_sees_the_argv_and_exactly_that_runs(make_lab):
    """The rendered argv is in the request, is still so when it is checked again, and runs."""
    lab = _lab(make_lab, '"=record.id"', "/usr/bin/echo")
    lab.drop("decisions", "a.json", {"decision_type": "x", "decision_id": "dr/pg@v2"})
    lab.drain()
    argv = ["/usr/bin/echo", "--env=dev", "--module", "dr/pg@v2"]
    waiting = lab.request("awaiting-approval")
    assert waiting["params"]["argv"] == argv
    instance = lab.routing.executors["runner"]
    targets = {name: waiting[name] for name in _TARGET}
    assert (
        instance.complete(waiting["params"], targets).model_dump(mode="json") == waiting["params"]
    )
    lab.approve()
    lab.drain()
    assert lab.request("done")["result"]["output"]["stdout_tail"] == f"{' '.join(argv[1:])}\n"


def test_a_record_with_a_bad_target_never_waits_for_a_yes(make_lab):
    """What could not be applied is set aside when it is dropped, with the reason."""
    lab = _lab(make_lab, '"=record.id"')
    lab.drop("decisions", "a.json", {"decision_type": "x", "decision_id": "--all"})
    lab.drain()
    assert lab.reason(lab.only("quarantine"))["code"] == "params-refused"


def test_a_literal_target_that_is_wrong_is_an_error_at_load(make_lab):
    """A route that could never run is named by `spoold check`, not by the first outage."""
    with pytest.raises(ConfigError, match=r"10\.toml.*target_ref is '\.\./up'"):
        _lab(make_lab, '"../up"')


def test_a_plane_that_was_taken_away_does_not_stop_what_was_approved(make_lab):
    """An approved argv is complete: it needs the plane no more, but its program on the list."""
    lab = _lab(make_lab, '"dr/pg"')
    given = {"argv": ["/usr/bin/printf", "x"]}
    assert lab.routing.executors["runner"].complete(given, {}).argv == given["argv"]
    with pytest.raises(BadInput, match="list of programs"):
        lab.routing.executors["runner"].complete({"argv": ["/bin/sh"]}, {})
