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


@pytest.mark.parametrize("action", ["create", "delete", "restart", "stop", "start", "health-check"])
def test_what_was_approved_is_what_would_be_asked_for_today(action):
    """Completing what is complete changes nothing, for every action."""
    once = whole(action=action, customer="a1", plan="starter")
    assert whole(**once) == once


PRO = {"action": "create", "customer": "a1", "plan": "pro"}
ONE_PLAN = settings(plans={"starter": {"cpus": 0.5, "memory": "64M"}})


@pytest.mark.parametrize(
    ("config", "given", "said"),
    [
        (settings(plans={"pro": {"cpus": 4.0, "memory": "8G"}}), whole(**PRO), "limits is"),
        (ONE_PLAN, PRO, "Unknown plan: pro; there are starter"),
        (Config(), PRO, "needs an image"),
        *((settings(), {**PRO, "port": port}, "is not among 5000-14999")
          for port in (4999, 15000, 22, 0, -1)),
    ],
)  # fmt: skip
def test_an_action_that_no_configuration_allows_is_refused(config, given, said):
    """Limits that were approved and have changed since; another plan, no image, another port."""
    with pytest.raises(ValueError, match=said):
        whole(config, **given)


def test_an_action_that_the_configuration_allows_is_made():
    """A plan that is configured, and the ports at both ends of the range."""
    assert whole(ONE_PLAN, **{**PRO, "plan": "starter"})["limits"]
    assert [whole(**PRO, port=port)["port"] for port in (5000, 14999)] == [5000, 14999]


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
    keys = ("cpus", "memory", "reserved_cpus", "reserved_memory")
    assert limits == {
        "starter": dict(zip(keys, (0.5, "512M", 0.25, "256M"), strict=True)),
        "pro": dict(zip(keys, (1.0, "1024M", 0.5, "512M"), strict=True)),
        "enterprise": dict(zip(keys, (2.0, "2048M", 1.0, "1G"), strict=True)),
    }
    own = Plan(cpus=1.0, memory="1G", reserved_cpus=0.1, reserved_memory="100M").limits()
    assert (own.reserved_cpus, own.reserved_memory) == (0.1, "100M")


@pytest.mark.parametrize("text", ["512M", "512m", "1g", "2GB", "1.5g", "64kb", "7340032", "7b"])
def test_memory_is_read_as_docker_reads_it(text):
    """A plan's memory is the same number of bytes here and there."""
    assert parse_memory(text) == parse_bytes(text)


PLAN = {"cpus": 0.5, "memory": "64M"}


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("plans", [{}, {"a b": PLAN}, *({"x": PLAN | wrong} for wrong in (
            {"cpus": 0}, {"memory": "512X"}, {"memory": "1M"}, {"reserved_memory": "65M"},
            {"reserved_cpus": 0.6}))]),
        ("ports", ["5000", "0-10", "6000-5000", "60000-70000"]),
        ("container_port", [0]),
        ("publish", ["everywhere"]),
        ("subnets", ["10.213.0.1/16", "10.213.0.0/29"]),
        ("subnet_size", [31]),
        ("restart", ["on-failure", "on-failure:0", "sometimes"]),
        ("health", [{"command": command} for command in (
            [], ["curl", "x"], ["CMD-SHELL", "a", "b"])]),
        ("health", [{"command": ["CMD", "true"], "interval": "0s"}]),
        ("environment", [{"CUSTOMER_ID": "x"}, {"A=B": "x"}, {"A": "x\0y"},
                         {"A": {"env": "X", "file": "y"}}]),
        ("engine", ["http://127.0.0.1", "unix://docker.sock"]),
        ("name_prefix", ["", "../"]),
        ("network_prefix", [" "]),
        ("labels", [{"customer": "x", "plan": "x"}, {"customer": "spoold.dispatch_id"}]),
        ("compose_dir", ["here"]),
        ("image", ["two words"]),
    ],
)  # fmt: skip
def test_a_setting_that_no_engine_would_take_is_refused(name, bad):
    """Mistakes of a configuration are found when it is loaded, not when it is needed."""
    for value in bad:
        with pytest.raises(ValidationError):
            settings(**{name: value})


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
    said = ("secret DATABASE_URL", False, "DB is not set.")
    assert (missing.what, missing.ok, missing.detail) == said


def test_looking_at_a_configuration_loads_no_docker():
    """Who only looks at a spool does not wait for the docker library."""
    import subprocess
    import sys

    code = "import sys, spoold.executors.container; sys.exit('docker' in sys.modules)"
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
