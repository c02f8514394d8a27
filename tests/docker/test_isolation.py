"""Two customers try to reach each other: directly, by name, by the gateway, by this machine."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.docker.daemon import Daemon
from tests.docker.images import build
from tests.docker.yard import Yard, published


def address_of_this_machine():
    """Its own address, as a container could guess it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect(("198.51.100.1", 9))  # sends nothing; asks which address would be used
        except OSError:  # a machine without a way out has no other address than the engine's
            return "172.17.0.1"
        return route.getsockname()[0]


def reach(yard, customer, address, port):
    """Whether a customer's container gets an answer there within a second."""
    call = r"printf 'GET /health HTTP/1.0\r\n\r\n' | nc -w 1 "
    _, output = yard.execute(customer, "sh", "-c", f"{call}{address} {port}")
    return "200 OK" in output


def knows(yard, customer, name):
    """Whether a customer's container can find the address of another by its name."""
    code, output = yard.execute(customer, "nslookup", name, "127.0.0.11")
    return code == 0 and name in output


def ways_from_one_to_the_other(yard, publish):
    """Make two customers' containers; the addresses by which one reaches the other, after trying.

    Each reaches itself: what fails is the way, not the target.
    """
    config = yard.config(publish=publish)
    for customer in ("a", "b"):
        assert yard.go("create", customer, config=config).code == "created"
    facts = yard.inspect("b")
    (network,) = facts["NetworkSettings"]["Networks"].values()
    ((_, port),) = published(facts)
    (own,) = yard.inspect("a")["NetworkSettings"]["Networks"].values()
    assert reach(yard, "b", network["IPAddress"], 3000)
    assert reach(yard, "a", own["IPAddress"], 3000)
    tried = {
        "directly": (network["IPAddress"], 3000),
        "by its gateway": (network["Gateway"], port),
        "by my gateway": (own["Gateway"], port),
        "by the engine": ("172.17.0.1", port),
        "by the machine": (address_of_this_machine(), port),
    }
    with ThreadPoolExecutor(len(tried)) as pool:
        reached = pool.map(lambda way: reach(yard, "a", *way), tried.values())
    return [way for way, got in zip(tried, reached, strict=True) if got]


def test_customers_cannot_reach_each_other(yard):
    """From a customer's container no way leads to another's, whatever address is tried."""
    assert ways_from_one_to_the_other(yard, "127.0.0.1") == []
    assert knows(yard, "b", yard.name("b"))
    assert not knows(yard, "a", yard.name("b"))
    ((_, port),) = published(yard.inspect("b"))
    with socket.create_connection(("127.0.0.1", port), 2):
        pass


def test_what_is_open_to_all_is_not_opened_otherwise(yard):
    """With `0.0.0.0` a customer reaches another's published port as anybody does, never more."""
    ways = ways_from_one_to_the_other(yard, "0.0.0.0")
    assert "directly" not in ways


def test_without_its_proxy_the_engine_keeps_open_ports_apart_as_well(host, tmp_path, worker):
    """An engine with `--userland-proxy=false` hides even a port that is open to all the world."""
    daemon = Daemon("--userland-proxy=false")
    try:
        daemon.start()
        yard = Yard(tmp_path, daemon.host, "spoold-test-apart:1", worker, 169)
        build(yard.api, "spoold-test-apart")
        assert ways_from_one_to_the_other(yard, "0.0.0.0") == []
        yard.clear()
    finally:
        daemon.close()


@pytest.mark.parametrize("publish", ["127.0.0.1", "0.0.0.0"])
def test_the_port_is_open_where_it_was_asked_for(yard, publish):
    """By default only this machine reaches a container; `0.0.0.0` opens it to others."""
    yard.go("create", config=yard.config(publish=publish))
    ((address, port),) = published(yard.inspect())
    assert address == publish
    outside = address_of_this_machine()
    with socket.socket() as caller:
        caller.settimeout(2)
        assert (caller.connect_ex((outside, port)) == 0) == (publish == "0.0.0.0")
