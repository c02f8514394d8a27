"""Every action on a real engine: what it does, that it may be done again, and what it leaves."""

import json
import time
import urllib.request

import pytest

from tests.docker.yard import SECRET, published


def fetch(yard, customer="a"):
    """What a customer's container answers on its published port."""
    ((address, port),) = published(yard.inspect(customer))
    with urllib.request.urlopen(f"http://{address}:{port}/health", timeout=5) as answer:
        return answer.read()


def test_a_container_is_created_and_answers(yard):
    """When create ends, the container is healthy and answers on the lowest free port."""
    ended = yard.go("create")
    assert (ended.code, ended.evidence["health"]) == ("created", "healthy")
    assert ended.details["port"] == yard.ports[0]
    assert fetch(yard) == b"ok\n"
    assert yard.inspect()["State"]["Health"]["Status"] == "healthy"
    assert (yard.containers(), yard.networks()) == (["c-a"], ["n-a"])


def test_a_container_has_what_its_plan_says(yard):
    """Limits, reservations, restart policy, port and health check are set in the engine."""
    yard.go("create", plan="starter")
    facts = yard.inspect()
    host = facts["HostConfig"]
    assert (host["NanoCpus"], host["CpuShares"]) == (500_000_000, 256)
    assert (host["Memory"], host["MemorySwap"]) == (512 << 20, 512 << 20)
    assert host["MemoryReservation"] == 256 << 20
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert list(published(facts)) == [("127.0.0.1", yard.ports[0])]
    assert facts["Config"]["Healthcheck"]["Interval"] == 300_000_000
    with open(f"/proc/{facts['State']['Pid']}/cgroup", encoding="ascii") as groups:
        assert facts["Id"] in groups.read()


def test_a_container_is_labelled(yard):
    """Customer, plan and port are in the configured labels, and the request that made it."""
    labels = {"customer": "acme.customer", "plan": "acme.plan", "port": "acme.port"}
    config = yard.config(labels=labels)
    yard.go("create", dispatch="d-77", config=config)
    found = yard.inspect()["Config"]["Labels"]
    assert found["acme.customer"] == "a"
    assert found["acme.plan"] == "starter"
    assert found["acme.port"] == str(yard.ports[0])
    assert found["spoold.dispatch_id"] == "d-77"
    assert not any(name.startswith("openclaw.") for name in found)


def test_a_secret_is_only_in_the_environment(yard):
    """The container gets the secret's value and its customer's id; no label holds the secret."""
    ended = yard.go("create")
    facts = yard.inspect()
    assert f"SECRET_URL={SECRET}" in facts["Config"]["Env"]
    assert "CUSTOMER_ID=a" in facts["Config"]["Env"]
    facts["Config"].pop("Env")
    assert SECRET not in repr([facts, ended, yard.reports])
    assert "p-7f3a" not in json.dumps([facts, ended.details, ended.evidence])


@pytest.mark.parametrize("action", ["create", "delete", "restart", "stop", "start"])
def test_an_action_may_be_repeated(yard, action):
    """Done twice, by one request or by two, an action ends well and leaves what once leaves."""
    yard.go("create")
    first = yard.go(action)
    world = (yard.containers(), yard.networks(), yard.ports_in_use())
    for dispatch in ("d-1", "d-2"):
        again = yard.go(action, dispatch=dispatch)
        assert not isinstance(again, Exception), again
    assert not isinstance(first, Exception), first
    assert (yard.containers(), yard.networks(), yard.ports_in_use()) == world


def test_delete_leaves_nothing(yard):
    """After a delete there is no container, no network and no volume, and the port is free."""
    yard.go("create")
    (volume,) = yard.inspect()["Mounts"]
    assert yard.go("delete").code == "deleted"
    assert (yard.containers(), yard.networks()) == ([], [])
    names = [one["Name"] for one in yard.api.volumes()["Volumes"] or []]
    assert volume["Name"] not in names
    assert yard.go("create", "b").details["port"] == yard.ports[0]


def test_delete_of_what_never_was_is_success(yard):
    """Gone is what a delete wants, however it came about."""
    assert yard.go("delete").code == "already-gone"


def test_delete_removes_the_network_of_a_container_that_somebody_removed(yard):
    """A container that was removed by hand leaves its network to the delete."""
    yard.go("create")
    yard.api.remove_container(yard.name(), force=True)
    assert yard.go("delete").code == "deleted"
    assert yard.networks() == []


def test_delete_ends_what_does_not_want_to_end(yard):
    """A container that ignores SIGTERM gets `stop_timeout` and is then killed."""
    yard.go("create", config=yard.config(environment=yard.mode("stubborn")))
    began = time.monotonic()
    assert yard.go("delete", config=yard.config(stop_timeout="1s")).code == "deleted"
    assert time.monotonic() - began > 0.9
    assert yard.containers() == []


def test_stop_and_start_keep_the_container(yard):
    """A stopped container keeps its id and its port, and is healthy again after a start."""
    before = yard.go("create").details
    assert yard.go("stop").code == "stopped"
    assert yard.inspect()["State"]["Status"] == "exited"
    assert yard.go("stop").code == "already-stopped"
    ended = yard.go("start")
    assert (ended.code, ended.evidence["health"]) == ("started", "healthy")
    assert (ended.details["container"], ended.details["port"]) == (
        before["container"],
        before["port"],
    )
    assert yard.go("start").code == "already-running"
    assert fetch(yard) == b"ok\n"


@pytest.mark.parametrize("action", ["start", "restart"])
def test_what_a_request_has_stopped_is_not_started_by_the_engine(yard, action):
    """A stopped container has no restart policy and says so; with a start it has its own again."""
    yard.go("create", config=yard.config(restart="on-failure:3"))
    wanted = {"Name": "on-failure", "MaximumRetryCount": 3}
    assert yard.inspect()["HostConfig"]["RestartPolicy"] == wanted
    assert yard.go("stop").code == "stopped"
    assert yard.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "no"
    (check,) = yard.go("health-check").details["checks"]
    assert (check["passed"], check["stopped"]) == (False, True)
    yard.go(action)
    assert yard.inspect()["HostConfig"]["RestartPolicy"] == wanted
    (check,) = yard.go("health-check").details["checks"]
    assert (check["passed"], check["stopped"]) == (True, False)


def test_restart_starts_it_anew_and_waits(yard):
    """A restarted container is another process, and healthy again when the restart ends."""
    yard.go("create")
    before = yard.inspect()["State"]
    ended = yard.go("restart")
    after = yard.inspect()["State"]
    assert (ended.code, after["Health"]["Status"]) == ("restarted", "healthy")
    assert after["Pid"] != before["Pid"]
    assert after["StartedAt"] > before["StartedAt"]


@pytest.mark.parametrize("action", ["restart", "stop", "start"])
def test_what_is_not_there_cannot_be_changed(yard, action):
    """Only create makes a container."""
    assert yard.go(action).code == "not-found"
    assert yard.containers() == []


def test_another_request_finds_what_it_wants(yard):
    """A second create of the same is done at once, and changes nothing."""
    made = yard.go("create").details
    again = yard.go("create", dispatch="d-2")
    assert (again.code, again.details["container"]) == ("already-there", made["container"])
    assert yard.inspect()["Config"]["Labels"]["spoold.dispatch_id"] == "d-1"


@pytest.mark.parametrize(
    ("given", "said"),
    [({"plan": "pro"}, "plan"), ({"port": 1}, "port"), ({"image": "other:1"}, "image")],
    ids=["plan", "port", "image"],
)
def test_another_request_does_not_change_what_is_there(yard, given, said):
    """A create of something else than there is fails, names the difference, touches nothing."""
    yard.go("create")
    before = yard.inspect()
    if "port" in given:
        given = {"port": yard.ports[5]}
    ended = yard.go("create", dispatch="d-2", **given)
    assert (ended.code, type(ended).__name__) == ("exists", "Permanent")
    assert f"its {said} is " in ended.summary
    assert yard.inspect()["Id"] == before["Id"]
    assert yard.inspect()["State"]["StartedAt"] == before["State"]["StartedAt"]


def test_another_request_does_not_take_a_stopped_one_for_done(yard):
    """A create of what is there but does not run is not reported as success."""
    yard.go("create")
    yard.go("stop")
    assert yard.go("create", dispatch="d-2").code == "exists"


def test_every_customer_has_a_network_of_its_own(yard):
    """Each network has its own subnet of the pool, and its lowest is used again."""
    subnets = [yard.go("create", one).details["subnet"] for one in ("a", "b", "c")]
    assert len(set(subnets)) == 3
    yard.go("delete", "b")
    assert yard.go("create", "d").details["subnet"] == subnets[1]


def test_ports_are_the_lowest_and_used_again(yard):
    """The lowest free port is given, also one that a deleted container had."""
    ports = [yard.go("create", one).details["port"] for one in ("a", "b", "c")]
    assert ports == list(yard.ports[:3])
    yard.go("delete", "b")
    assert yard.go("create", "d").details["port"] == ports[1]
    assert yard.go("create", "e").details["port"] == yard.ports[3]


def test_a_stopped_container_keeps_its_port(yard):
    """What is stopped can be started again, because nobody else gets its port."""
    yard.go("create", "a")
    yard.go("stop", "a")
    assert yard.go("create", "b").details["port"] == yard.ports[1]
    assert yard.go("start", "a").code == "started"


def test_a_port_that_is_asked_for_is_given(yard):
    """With a port in the request it is that one or none."""
    assert yard.go("create", port=yard.ports[7]).details["port"] == yard.ports[7]
    ended = yard.go("create", "b", port=yard.ports[7])
    assert (ended.code, type(ended).__name__) == ("port-taken", "Permanent")
    assert "c-a" in ended.summary
    assert yard.containers() == ["c-a"]
    assert yard.networks() == ["n-a"]


def test_no_port_left_is_not_final(yard):
    """When the range is used up, a create waits for a port, and leaves nothing meanwhile."""
    config = yard.config(ports=f"{yard.ports[0]}-{yard.ports[1]}")
    yard.go("create", "a", config=config)
    yard.go("create", "b", config=config)
    ended = yard.go("create", "c", config=config)
    assert (ended.code, type(ended).__name__) == ("ports-exhausted", "Transient")
    assert (yard.containers(), yard.networks()) == (["c-a", "c-b"], ["n-a", "n-b"])
    yard.go("delete", "a")
    assert yard.go("create", "c", config=config).details["port"] == yard.ports[0]


def test_no_subnet_left_is_not_final(yard):
    """When the pool is used up, a create waits for a subnet, and leaves nothing meanwhile."""
    config = yard.config(subnets=yard.subnets.replace("/22", "/29"), subnet_size=29)
    yard.go("create", "a", config=config)
    ended = yard.go("create", "b", config=config)
    assert (ended.code, type(ended).__name__) == ("subnets-exhausted", "Transient")
    assert (yard.containers(), yard.networks()) == (["c-a"], ["n-a"])
