"""A network that was pruned while its container was stopped: the next start makes it again."""

import ipaddress
import urllib.request

import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import Result, container
from spoold.executors.container.lifecycle import restart, start
from spoold.executors.container.world import looked_at
from tests.docker.spool import ContainerSite
from tests.docker.yard import ended, published


def pruned(yard, customer="a"):
    """A stopped container whose network somebody has removed."""
    yard.go("create", customer)
    yard.go("stop", customer)
    yard.api.remove_network(f"{yard.prefix}n-{customer}")


def subnet_of(yard, customer="a"):
    """Of a customer's network, which is asserted to be the only one of its name."""
    (found,) = yard.api.networks(names=[f"{yard.prefix}n-{customer}"])
    return found["IPAM"]["Config"][0]["Subnet"]


def reach(yard, customer="a"):
    """What a customer's container answers on its published port."""
    ((address, port),) = published(yard.inspect(customer))
    with urllib.request.urlopen(f"http://{address}:{port}/health", timeout=5) as answer:
        return answer.read()


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_pruned_network_is_made_again(yard, action):
    """A start of what has lost its network ends well, and the network is like that of a create."""
    pruned(yard)
    before = yard.inspect()["Id"]
    done = yard.go(action, dispatch="d-2")
    assert (type(done), done.evidence["health"]) == (Result, "healthy")
    assert "new one" in done.details["warnings"][0]
    assert (yard.inspect()["Id"], reach(yard)) == (before, b"ok\n")
    (network,) = yard.inspect()["NetworkSettings"]["Networks"].values()
    assert ipaddress.ip_address(network["IPAddress"]) in ipaddress.ip_network(subnet_of(yard))
    assert done.details["subnet"] == subnet_of(yard)
    assert ipaddress.ip_network(subnet_of(yard)).subnet_of(ipaddress.ip_network(yard.subnets))
    again = yard.go("restart", dispatch="d-3")
    assert "warnings" not in again.details
    assert yard.go("delete", dispatch="d-4").code == "deleted"
    assert (yard.containers(), yard.networks()) == ([], [])


def test_a_network_that_is_made_again_is_nobody_elses(yard):
    """What another customer was given since is not given twice."""
    pruned(yard)
    yard.go("create", "b")
    assert yard.go("start").code == "started"
    assert subnet_of(yard) != subnet_of(yard, "b")


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_container_that_was_taken_out_of_its_network_gets_into_it_again(yard, action):
    """Disconnected by hand while it was stopped, it is connected before it starts."""
    yard.go("create")
    yard.go("stop")
    yard.api.disconnect_container_from_network(yard.name(), f"{yard.prefix}n-a")
    before = subnet_of(yard)
    assert "connected again" in yard.go(action).details["warnings"][0]
    assert list(yard.inspect()["NetworkSettings"]["Networks"]) == [f"{yard.prefix}n-a"]
    assert subnet_of(yard) == before


def test_a_network_that_somebody_has_added_hinders_no_start(yard):
    """A container goes without what a person had connected it to, if that is gone."""
    yard.go("create")
    other = yard.api.create_network(f"{yard.prefix}other", driver="bridge")["Id"]
    yard.api.connect_container_to_network(yard.name(), other)
    yard.go("stop")
    assert "warnings" not in yard.go("start").details
    assert len(yard.inspect()["NetworkSettings"]["Networks"]) == 2
    yard.go("stop")
    yard.api.remove_network(other)
    assert yard.go("start").code == "started"
    assert list(yard.inspect()["NetworkSettings"]["Networks"]) == [f"{yard.prefix}n-a"]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_strangers_network_of_that_name_is_not_joined(yard, action):
    """A network that spoold did not make is left alone, and the container as it was."""
    pruned(yard)
    yard.api.create_network(f"{yard.prefix}n-a", driver="bridge")
    failed = yard.go(action)
    assert (failed.code, type(failed)) == ("name-taken", Permanent)
    assert yard.inspect()["State"]["Status"] == "exited"


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_network_that_goes_in_the_last_moment_is_made_at_the_next_try(yard, monkeypatch, action):
    """A prune between the look and the start is no end: the request is tried again."""
    yard.go("create")
    yard.go("stop")
    real = getattr(container.Engine, action)

    def act(engine, *given):
        yard.api.remove_network(f"{yard.prefix}n-a")
        return real(engine, *given)

    with monkeypatch.context() as patched:
        patched.setattr(container.Engine, action, act)
        failed = yard.go(action)
    assert (failed.code, type(failed)) == ("network-contended", Transient)
    assert not isinstance(yard.go(action), Exception)


def test_what_was_never_started_is_in_its_network(yard, monkeypatch):
    """A container that was made and never started is not taken for one without a network."""

    class Died(BaseException):
        pass

    def die(*_given):
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(container.Engine, "start", die)
        with pytest.raises(Died):
            yard.go("create")
    assert "warnings" not in yard.go("start", dispatch="d-2").details


@pytest.mark.parametrize("at", ["disconnect", "create_network", "connect"])
def test_a_start_that_died_while_it_made_the_network_goes_on(yard, monkeypatch, at):
    """Whatever an attempt has left of it, the next one has one network, and the container in it."""
    pruned(yard)

    class Died(BaseException):
        pass

    def die(*_given):
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(container.Engine, at, die)
        with pytest.raises(Died):
            yard.go("start")
    assert yard.go("start", how="probe").code == "never-started"
    assert yard.go("start").code == "started"
    assert yard.networks() == ["n-a"]
    assert reach(yard) == b"ok\n"


@pytest.mark.parametrize("at", ["create_network", "connect"])
def test_such_a_start_goes_on_also_if_somebody_has_added_a_network(yard, monkeypatch, at):
    """A network that a person has added is not taken for the customer's, which is made again."""
    yard.go("create")
    other = yard.api.create_network(f"{yard.prefix}other", driver="bridge")["Id"]
    yard.api.connect_container_to_network(yard.name(), other)
    yard.go("stop")
    yard.api.remove_network(f"{yard.prefix}n-a")

    def act(*_given):
        raise Transient("engine-unreachable", "It is away.")

    with monkeypatch.context() as patched:
        patched.setattr(container.Engine, at, act)
        assert yard.go("start").code == "engine-unreachable"
    assert (f"{yard.prefix}n-a" in yard.inspect()["NetworkSettings"]["Networks"]) == (
        at == "create_network"
    )
    assert yard.go("start").code == "started"
    networks = yard.inspect()["NetworkSettings"]["Networks"]
    assert sorted(networks) == [f"{yard.prefix}n-a", f"{yard.prefix}other"]
    assert reach(yard) == b"ok\n"


@pytest.mark.parametrize("action", ["start", "restart"])
def test_what_was_made_for_another_network_stays_there(yard, action):
    """After a change of the prefix a container goes on in the network that it was made for."""
    yard.go("create")
    yard.go("stop")
    done = yard.go(action, config=yard.config(network_prefix=f"{yard.prefix}m-"))
    assert "warnings" not in done.details
    assert yard.networks() == ["n-a"]


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_cancel_before_the_network_is_made_says_what_was_done(yard, action):
    """The container does not run, has its own restart policy again, and is as it was else."""
    pruned(yard)
    context = yard.context(yard.config())
    context.cancelled.set()
    with looked_at(yard.params(yard.config(), action=action, customer="a"), context) as world:
        failed = ended(lambda: {"start": start, "restart": restart}[action](world))
    assert (failed.code, type(failed)) == ("cancelled", Permanent)
    assert f"{yard.name()} was not {action}ed; its restart policy is set again" in failed.summary
    assert yard.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
    assert list(yard.inspect()["NetworkSettings"]["Networks"]) == [f"{yard.prefix}n-a"]


@pytest.mark.parametrize("number", range(1, 10))
def test_a_kill_at_any_call_of_such_a_start_is_mended(tmp_path, yard, number):
    """Killed before any of its calls to the engine, the start ends well after all."""
    pruned(yard)
    site = ContainerSite(tmp_path, yard)
    try:
        site.ask("start")
        assert site.killed("before", number), "it made fewer calls"
        site.settle()
        assert site.request("done")["result"]["code"] == "started"
    finally:
        site.close()
    assert (yard.containers(), yard.networks()) == (["c-a"], ["n-a"])
    assert yard.inspect()["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"


def test_what_is_paused_goes_on(yard):
    """A start of a paused container lets it go on, also if that was never done."""
    made = yard.go("create")
    started = yard.inspect()["State"]["StartedAt"]
    yard.api.pause(yard.name())
    assert yard.go("create", dispatch="d-2").code == "exists"
    assert yard.go("start", how="probe").code == "never-started"
    done = yard.go("start")
    assert (done.code, done.details["container"]) == ("started", made.details["container"])
    assert yard.inspect()["State"]["Status"] == "running"
    assert yard.inspect()["State"]["StartedAt"] == started
    yard.api.pause(yard.name())
    assert yard.go("restart").code == "restarted"
