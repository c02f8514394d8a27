"""The task format: platform, agent and container tasks."""

from pathlib import Path

import pytest

from spoold import sources
from spoold.model_names import model_family
from spoold.sources import Origin, task

RECORDS = Path(__file__).parents[1] / "records" / "task"


def read(document):
    return task.read(document, Origin("tasks", "t.json", task.Options()))


def example(name):
    return sources.read(
        "task", (RECORDS / name).read_bytes(), Origin("tasks", name, task.Options())
    )


def test_a_platform_row_gives_its_facts():
    """A row of the task table keeps type, parameters and assigned agent; case is folded."""
    record = example("platform.json")
    assert record.type == "task.platform"
    assert record.id == "d1c2b3a4-9586-4776-8695-a4b3c2d1e0f9"
    assert record.occurred_at == "2026-01-15T05:30:00Z"
    assert record.facts["task_type"] == "action"
    assert record.facts["status"] == "queued"
    assert record.facts["assigned_agent"] == "agent-dock-3"
    assert record.facts["run_immediately"] is False
    assert record.facts["snapshot_id"] == "8"
    assert record.facts["params"]["intent"] == "move"


def test_a_request_to_create_a_task_has_no_id_and_runs_at_once():
    """Defaults are those of the platform: run now, no parameters, no identity."""
    record = example("platform-draft.json")
    assert (record.type, record.id) == ("task.platform", None)
    assert record.facts["run_immediately"] is True
    assert record.facts["params"] == {}


def test_an_agent_task_names_agent_model_and_prompt():
    """The slug wins over the agent's number, and the description over the title."""
    record = example("agent.json")
    assert (record.type, record.id) == ("task.agent", "812")
    assert record.facts["agent"] == "opencode"
    assert record.facts["model_family"] == "qwen"
    assert record.facts["prompt"].startswith("Group the entries")
    assert record.facts["status"] == "queued"
    assert record.facts["task_id"] == "812"


def test_an_agent_task_without_a_row_still_has_a_prompt():
    """The shortest agent task is an agent and a prompt."""
    record = example("agent-prompt.json")
    assert record.facts["agent"] == "codex"
    assert record.facts["model_family"] == "gpt-5.2"
    assert record.facts["prompt"] == "Write a test for the port allocator."
    assert record.id is None


def test_a_numbered_agent_is_an_agent():
    """A board that knows its agents by number only is understood."""
    facts = read({"id": 9, "title": "pilot", "execution": "interactive", "agent_id": 3}).facts
    assert facts["agent"] == "3"
    assert facts["prompt"] == "pilot"


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("minimax-m2", "minimax"),
        ("MiniMax2.7", "minimax"),
        ("local-qwen3.6-coder", "qwen"),
        ("gemma4", "gemma"),
        ("local-gemma4", "gemma"),
        ("Opus-5", "opus-5"),
        ("my-qwen", "my-qwen"),
        ("", ""),
    ],
)
def test_models_are_compared_by_family(model, family):
    """Three families are known by their first word, any other model is only itself."""
    assert model_family(model) == family


@pytest.mark.parametrize(
    ("name", "action", "customer", "port"),
    [
        ("container-create.json", "create", "cust7788aa99", 5107),
        ("container-delete.json", "delete", "cust7788aa99", None),
        ("container-restart.json", "restart", "cust7788aa99", None),
        ("container-create-image.json", "create", "account_900", None),
    ],
)
def test_container_operations_name_the_customer(name, action, customer, port):
    """All spellings of a container operation give the same facts."""
    record = example(name)
    assert record.type == "task.container"
    assert record.facts["action"] == action
    assert record.facts["customer"] == customer
    assert record.facts["port"] == port


def test_the_second_container_api_keeps_image_and_configuration():
    """An image and its limits are not lost on the way."""
    facts = example("container-create-image.json").facts
    assert (facts["name"], facts["image"]) == ("ocr-worker", "ocr:v2.3")
    assert facts["config"]["memoryLimit"] == 1024


@pytest.mark.parametrize("key", ["customer_id", "customerId", "customer", "accountId"])
@pytest.mark.parametrize("action", ["create", "DELETE", "restart", "health_check", "stop", "start"])
def test_every_operation_takes_every_name_of_a_customer(action, key):
    """Case and underscores in the action do not matter."""
    facts = read({"action": action, key: "c1"}).facts
    assert facts["customer"] == "c1"
    assert facts["action"] == action.lower().replace("_", "-")


@pytest.mark.parametrize("port", [True, "5x", "", 5.5, None, [5000]])
def test_a_port_that_is_no_integer_is_null(port):
    """A port is an integer or null and never something in between."""
    assert read({"action": "create", "customer": "c", "port": port}).facts["port"] is None


@pytest.mark.parametrize(
    ("document", "type_"),
    [
        (
            {"action": "restart", "customer": "c", "agent": "a", "type": "t", "params": {}},
            "container",
        ),
        ({"agent": "a", "type": "t", "params": {}}, "agent"),
        ({"action": "deploy", "customer": "c", "type": "t", "params": {}}, "platform"),
        ({"action": "restart", "type": "t", "params": {}}, "platform"),
        ({"action": "delete", "accountId": "a", "name": "n", "imageTag": "i"}, "container"),
        ({"action": 5, "accountId": "a", "name": "n", "imageTag": "i"}, "unknown"),
        ({"agent": None, "agent_slug": "", "agent_id": False, "title": "t"}, "unknown"),
        ({"type": "t"}, "unknown"),
        ({"type": 4, "params": {}}, "unknown"),
        ({"containerId": "k", "passed": False}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_the_first_kind_that_fits_counts(document, type_):
    """Container before agent before platform; what fits none is unknown."""
    assert read(document).type == f"task.{type_}"


def test_an_unknown_task_has_no_facts_and_keeps_its_body():
    """A heartbeat is no task, but a route may still look at it."""
    record = example("heartbeat.json")
    assert (record.type, record.facts) == ("task.unknown", {})
    assert record.body["worker_id"] == "hall-3"
