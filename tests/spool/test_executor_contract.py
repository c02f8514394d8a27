"""The configuration of executors that is promised to work, to the letter."""

import pytest

from spoold.errors import BadInput
from spoold.testing import Lab
from tests.contract import AGENT_PARAMS, CONTAINER_PARAMS, EXECUTORS

SOURCE = '[sources.tasks]\nformat = "task"\n'


def route(kind, executor, params):
    """A route file."""
    head = f'name = "{executor}"\nsource = "tasks"\nmatch = \'record.type == "task.{kind}"\'\n'
    return f'{head}executor = "{executor}"\n{params}'


@pytest.fixture
def lab(tmp_path):
    """A spool with that configuration."""
    return Lab(tmp_path, SOURCE + EXECUTORS, {
        "10.toml": route("container", "docker", CONTAINER_PARAMS),
        "20.toml": route("agent", "agents", AGENT_PARAMS),
    })  # fmt: skip


def waiting(lab, record):
    """What a record becomes."""
    lab.drop("tasks", "r.json", record)
    lab.drain()
    return lab.request("awaiting-approval")


CREATE = {"action": "create", "accountId": "abc123def456", "containerId": "k17", "plan": "starter",
          "assignedPort": 5001}  # fmt: skip
TICKET = {"agent": "codex", "model": "gpt-5.2", "prompt": "Do it."}


def test_a_create_shows_the_whole_container(lab):
    """A person sees the image, the limits, the checks, and where the secret comes from."""
    made = waiting(lab, CREATE)
    params = made["params"]
    assert (params["action"], params["customer"], params["plan"]) == (
        "create", "abc123def456", "starter",
    )  # fmt: skip
    assert params["limits"] == {
        "cpus": 0.5, "memory": "512M", "reserved_cpus": 0.25, "reserved_memory": "256M",
    }  # fmt: skip
    assert params["image"] == "openclaw-mission-control:latest"
    assert params["environment"] == {
        "NODE_ENV": "production", "DATABASE_URL": {"env": "DATABASE_URL"},
    }  # fmt: skip
    assert params["health"]["command"] == ["CMD", "curl", "-f", "http://localhost:3000/health"]
    assert made["lane"] == "abc123def456"


@pytest.mark.parametrize("action", ["delete", "restart", "stop", "start"])
def test_the_same_route_takes_what_names_no_plan(lab, action):
    """What a record lacks and an action does not need is left out."""
    made = waiting(lab, {"action": action, "accountId": "abc123def456", "containerId": "k17"})
    assert made["params"]["action"] == action
    assert "plan" not in made["params"]


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (CREATE | {"plan": "free"}, "Unknown plan: free"),
        (CREATE | {"plan": "pro"}, "Unknown plan: pro"),
        (CREATE | {"plan": None}, "a create needs a plan"),
        (CREATE | {"accountId": "../../x"}, "customer's id"),
        (CREATE | {"accountId": "a\nb: c"}, "customer's id"),
        (CREATE | {"accountId": "-x"}, "customer's id"),
        (TICKET | {"agent": "hermes"}, "hermes"),
        (TICKET | {"model": "sonnet"}, "sonnet"),
        (TICKET | {"model": "--yolo"}, "--yolo"),
        (TICKET | {"prompt": " "}, "prompt"),
    ],
)
def test_what_could_never_run_is_refused_before_approval(lab, record, says):
    """What is not on a list, and an id that could mean something else, never waits for a yes."""
    lab.drop("tasks", "r.json", record)
    lab.drain()
    assert not lab.files("awaiting-approval")
    reason = lab.reason(lab.only("quarantine"))
    assert reason["code"] == "params-refused"
    assert says in reason["what"]


def test_an_agents_request_shows_what_is_executed(lab):
    """A person sees the arguments, the model, the prompt, the limits and the evidence."""
    params = waiting(lab, TICKET)["params"]
    assert params["argv"] == ["codex", "exec", "--json", "-m", "gpt-5.2", "-"]
    assert (params["timeout"], params["idle_timeout"]) == ("30m", "10m")
    assert params["evidence"] == {"file": "REPORT.md"}
    assert params["prompt"] == "Do it."


def test_what_an_older_version_approved_still_runs(lab):
    """A parameter that a version did not know yet keeps nothing from running after an upgrade."""
    instance = lab.routing.executors["agents"]
    sealed = waiting(lab, TICKET)["params"]
    del sealed["max_turns"]
    instance.approved(sealed, {})
    with pytest.raises(BadInput, match="another argv"):
        instance.approved(sealed | {"argv": ["codex", "--yolo"]}, {})


def test_a_configuration_that_changes_after_the_yes_keeps_the_request_from_running(lab):
    """What was approved is what would be asked for today, or nothing runs."""
    waiting(lab, TICKET)
    lab.approve()
    changed = EXECUTORS.replace('"--json", "-"]', '"--json", "--yolo", "-"]')
    routes = {"20.toml": route("agent", "agents", AGENT_PARAMS)}
    lab.configure(SOURCE + changed, routes)
    lab.drain()
    assert "another argv" in lab.reason(lab.only("held"))["what"]
