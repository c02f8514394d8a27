"""The kind `container` without an engine: what is asked for is checked, complete, and approved."""

import json
from pathlib import Path

import pytest
from docker.utils import parse_bytes
from pydantic import ValidationError

from spoold.errors import ConfigError, Transient
from spoold.executors import container
from spoold.executors.container.params import Config, Params, check, complete
from spoold.executors.container.tables import PLANS, Plan, parse_memory
from spoold.testing import Lab

#: To the letter.
EXECUTOR = """
[sources.tasks]
format = "task"
[executors.docker]
kind           = "container"
image          = "openclaw-mission-control:latest"
container_port = 3000
ports          = "5000-14999"
ready_timeout  = "30s"
health         = { command = ["CMD", "curl", "-f", "http://localhost:3000/health"], interval = "30s", timeout = "5s", retries = 3, start_period = "10s" }
environment    = { NODE_ENV = "production", DATABASE_URL = { env = "DATABASE_URL" } }
[executors.docker.plans.starter]
cpus   = 0.5
memory = "512M"
"""  # noqa: E501
ROUTE = """
name     = "containers"
source   = "tasks"
match    = 'record.type == "task.container"'
executor = "docker"
[params]
action   = "=record.body.action"
customer = "=record.body.accountId"
plan     = "=record.body.plan"             # create only; port is optional: left out, the lowest free one
"""  # noqa: E501
CREATE = {
    "action": "create",
    "accountId": "abc123def456",
    "containerId": "k17f8m2e9x",
    "assignedPort": 5001,
    "plan": "starter",
}


def settings(**more):
    """An executor's settings."""
    return Config.model_validate({"image": "app:1", **more})


def whole(config=None, **given):
    """A complete action, as a person sees it."""
    config = config or settings()
    params = Params.model_validate(complete(given, config, {}))
    check(params, config)
    return params.model_dump(mode="json")


# As it was asked for


@pytest.fixture
def contract(tmp_path):
    """A spool with the executor and the route of the contract."""
    return Lab(tmp_path, EXECUTOR, {"10.toml": ROUTE})


def shown(lab, record):
    """The parameters that a person would approve."""
    lab.drop("tasks", "x.json", record)
    lab.drain()
    return lab.request("awaiting-approval")


def test_the_contract_works_to_the_letter(contract, monkeypatch):
    """Executor and route as agreed make the whole action out of the record, and show no secret."""
    monkeypatch.setenv("DATABASE_URL", "postgres://hidden")
    request = shown(contract, CREATE)
    assert request["params"] == {
        "action": "create",
        "customer": "abc123def456",
        "name": "customer-abc123def456",
        "plan": "starter",
        "limits": {"cpus": 0.5, "memory": "512M", "reserved_cpus": 0.25, "reserved_memory": "256M"},
        "image": "openclaw-mission-control:latest",
        "pull": False,
        "ports": "5000-14999",
        "publish": "127.0.0.1",
        "container_port": 3000,
        "environment": {"NODE_ENV": "production", "DATABASE_URL": {"env": "DATABASE_URL"}},
        "health": {
            "command": ["CMD", "curl", "-f", "http://localhost:3000/health"],
            "interval": "30s",
            "timeout": "5s",
            "retries": 3,
            "start_period": "10s",
        },
        "restart": "on-failure:5",
        "network": "mission-control-network-abc123def456",
        "subnets": "10.213.0.0/16",
        "subnet_size": 28,
        "ready_timeout": "30s",
    }
    assert request["lane"] == "abc123def456"
    assert "hidden" not in json.dumps(request)


@pytest.mark.parametrize("action", ["delete", "restart", "stop", "start"])
def test_what_has_no_effect_is_not_shown(contract, action):
    """One route does for all actions: a plan may be missing, and goes where it means nothing."""
    for number, more in enumerate(({}, {"plan": "gold", "assignedPort": 1})):
        contract.drop(
            "tasks", f"{number}.json", {"action": action, "accountId": f"c{number}", **more}
        )
    contract.drain()
    for file in contract.files("awaiting-approval"):
        params = json.loads(file.read_bytes())["params"]
        keys = {"action", "customer", "name", "stop_timeout", "ready_timeout", "network"}
        assert params.keys() <= keys
        assert {"action", "customer", "name"} <= params.keys()


def test_a_health_check_is_for_one_or_for_all(contract):
    """Without a customer it is for all that are managed; with one for that one."""
    assert whole(action="health-check") == {"action": "health-check", "check_timeout": "5s"}
    one = shown(contract, {"action": "health-check", "accountId": "a1"})
    assert one["params"]["name"] == "customer-a1"


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"plan": "gold"}, "Unknown plan: gold; there are starter"),
        ({"plan": "pro"}, "Unknown plan: pro; there are starter"),
        ({"plan": None}, "a create needs a plan; there are starter"),
        ({"accountId": "../../etc"}, "which '../../etc' is not"),
        ({"accountId": "a\nprivileged: true"}, "a customer's id"),
        ({"accountId": "-rf"}, "a customer's id"),
        ({"accountId": "a" * 64}, "a customer's id"),
        ({"accountId": 17}, "params.customer"),
        ({"plan": 5}, "params.plan"),
    ],
)
def test_what_could_never_run_is_refused_before_anybody_sees_it(contract, record, said):
    """A plan that there is not and an id that is none make no request; the reason names them."""
    given = {name: value for name, value in {**CREATE, **record}.items() if value is not None}
    contract.drop("tasks", "x.json", given)
    contract.drain()
    assert contract.files("awaiting-approval") == []
    reason = contract.reason(contract.only("quarantine"))
    assert reason["code"] == "params-refused"
    assert said in json.dumps(reason)


@pytest.mark.parametrize(
    "line",
    [
        'image = "=record.body.imageTag"',
        'environment = { A = "=record.body.x" }',
        'environment = "=record.body.config.envVars"',
        'limits = "=record.body.config"',
        'publish = "=record.body.x"',
        'name = "customer-other"',
        'network = "bridge"',
        'restart = "always:5"',
        'health = { command = ["=record.body.x", "y"] }',
    ],
)
def test_a_record_chooses_neither_image_nor_secrets_nor_limits(tmp_path, line):
    """Only the author of a route says what runs and what it is given; the line is named."""
    with pytest.raises(ConfigError, match=r"10\.toml:10: params"):
        Lab(tmp_path, EXECUTOR, {"10.toml": ROUTE + line})


def test_a_route_may_choose_another_image(tmp_path):
    """What the author writes literally stands in the request instead of the executor's."""
    lab = Lab(tmp_path, EXECUTOR, {"10.toml": f'{ROUTE}\nimage = "other:2"\nport = 5005\n'})
    params = shown(lab, CREATE)["params"]
    assert (params["image"], params["port"]) == ("other:2", 5005)


def test_what_was_approved_is_what_would_be_asked_for_today():
    """Completing what is complete changes nothing, for every action."""
    for action in ("create", "delete", "restart", "stop", "start", "health-check"):
        once = whole(action=action, customer="a1", plan="starter")
        assert whole(**once) == once


def test_a_plan_that_has_changed_since_is_noticed():
    """Limits that were approved and are not the plan's any more are refused, not replaced."""
    once = whole(action="create", customer="a1", plan="starter")
    richer = settings(plans={"starter": {"cpus": 4.0, "memory": "8G"}})
    with pytest.raises(ValueError, match="limits"):
        whole(richer, **once)


def test_plans_of_a_configuration_are_all_there_are():
    """Even one table of a plan replaces all that are there without any."""
    table = settings(plans={"starter": {"cpus": 0.5, "memory": "64M"}})
    assert whole(table, action="create", customer="a1", plan="starter")["limits"]
    with pytest.raises(ValueError, match="Unknown plan: pro; there are starter"):
        whole(table, action="create", customer="a1", plan="pro")


def test_one_lane_a_customer():
    """What is done for one customer is done one at a time, and a look at all hinders nobody."""
    params = Params.model_validate(complete({"action": "stop", "customer": "a1"}, settings(), {}))
    assert container.lane(params) == "a1"
    everybody = Params.model_validate(complete({"action": "health-check"}, settings(), {}))
    assert container.lane(everybody) is None


# Terms


def test_the_plans_that_are_there_without_any_configuration():
    """starter, pro and enterprise, of each of which half is reserved."""
    limits = {name: plan.limits().model_dump() for name, plan in PLANS.items()}
    assert limits == {
        "starter": {
            "cpus": 0.5, "memory": "512M", "reserved_cpus": 0.25, "reserved_memory": "256M",
        },
        "pro": {
            "cpus": 1.0, "memory": "1024M", "reserved_cpus": 0.5, "reserved_memory": "512M",
        },
        "enterprise": {
            "cpus": 2.0, "memory": "2048M", "reserved_cpus": 1.0, "reserved_memory": "1G",
        },
    }  # fmt: skip
    own = Plan(cpus=1.0, memory="1G", reserved_cpus=0.1, reserved_memory="100M").limits()
    assert (own.reserved_cpus, own.reserved_memory) == (0.1, "100M")


@pytest.mark.parametrize("text", ["512M", "512m", "1g", "2GB", "1.5g", "64kb", "7340032", "7b"])
def test_memory_is_read_as_docker_reads_it(text):
    """A plan's memory is the same number of bytes here and there."""
    assert parse_memory(text) == parse_bytes(text)


@pytest.mark.parametrize(
    "bad",
    [
        {"plans": {}},
        {"plans": {"x": {"cpus": 0, "memory": "512M"}}},
        {"plans": {"x": {"cpus": 0.5, "memory": "512X"}}},
        {"plans": {"x": {"cpus": 0.5, "memory": "1M"}}},
        {"plans": {"x": {"cpus": 0.5, "memory": "64M", "reserved_memory": "65M"}}},
        {"plans": {"x": {"cpus": 0.5, "memory": "64M", "reserved_cpus": 0.6}}},
        {"plans": {"a b": {"cpus": 0.5, "memory": "64M"}}},
        {"ports": "5000"},
        {"ports": "0-10"},
        {"ports": "6000-5000"},
        {"ports": "60000-70000"},
        {"container_port": 0},
        {"publish": "everywhere"},
        {"subnets": "10.213.0.1/16"},
        {"subnets": "10.213.0.0/29"},
        {"subnet_size": 31},
        {"restart": "on-failure"},
        {"restart": "on-failure:0"},
        {"restart": "sometimes"},
        {"health": {"command": []}},
        {"health": {"command": ["curl", "x"]}},
        {"health": {"command": ["CMD-SHELL", "a", "b"]}},
        {"health": {"command": ["CMD", "true"], "interval": "0s"}},
        {"environment": {"CUSTOMER_ID": "x"}},
        {"environment": {"A=B": "x"}},
        {"environment": {"A": "x\0y"}},
        {"environment": {"A": {"env": "X", "file": "y"}}},
        {"engine": "http://127.0.0.1"},
        {"engine": "unix://docker.sock"},
        {"name_prefix": ""},
        {"name_prefix": "../"},
        {"network_prefix": " "},
        {"labels": {"customer": "x", "plan": "x"}},
        {"labels": {"customer": "spoold.dispatch_id"}},
        {"compose_dir": "here"},
        {"image": "two words"},
    ],
)
def test_a_setting_that_no_engine_would_take_is_refused(bad):
    """Mistakes of a configuration are found when it is loaded, not when it is needed."""
    with pytest.raises(ValidationError):
        settings(**bad)


def test_a_port_must_be_in_the_range():
    """A record can ask for a port of the range, and for no other."""
    given = {"action": "create", "customer": "a", "plan": "pro"}
    assert whole(**given, port=5000)["port"] == 5000
    assert whole(**given, port=14999)["port"] == 14999
    for port in (4999, 15000, 22, 0, -1):
        with pytest.raises(ValueError, match="is not among 5000-14999"):
            whole(**given, port=port)


def test_a_create_needs_an_image():
    """Without one from the route or the executor there is nothing to run."""
    with pytest.raises(ValueError, match="needs an image"):
        whole(Config(), action="create", customer="a", plan="pro")


def test_the_doctor_says_what_is_missing(tmp_path):
    """Without an engine it says so, and it names secrets that are not there."""

    def secret(reference):
        raise Transient("credential-missing", f"{reference.env} is not set.")

    config = settings(
        engine=f"unix://{tmp_path}/none.sock", environment={"DATABASE_URL": {"env": "DB"}}
    )
    docker, missing = container.doctor(config, secret)
    assert (docker.what, docker.ok) == ("docker", False)
    assert "No such file" in docker.detail
    assert (missing.what, missing.ok, missing.detail) == (
        "secret DATABASE_URL",
        False,
        "DB is not set.",
    )


def test_looking_at_a_configuration_loads_no_docker():
    """Who only looks at a spool does not wait for the docker library."""
    import subprocess
    import sys

    code = "import sys, spoold.executors.container; sys.exit('docker' in sys.modules)"
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
