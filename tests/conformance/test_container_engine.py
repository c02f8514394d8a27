"""What the kind `container` makes of an engine's answers, and of what runs on this machine."""

import json
import socket
from types import SimpleNamespace

import pytest
import yaml

from spoold.errors import Permanent, Transient
from spoold.executors import container
from spoold.executors.container import compose_file as compose
from spoold.executors.container import network, ports
from spoold.executors.container import wait as ready
from spoold.executors.container.connection import Hidden, Refused
from spoold.executors.container.engine import Engine
from spoold.executors.container.params import Config, Params, complete
from spoold.executors.container.spec import container_spec, read_secrets
from spoold.executors.container.world import Found, World
from tests.conformance.conftest import TOKEN, VERSION


@pytest.fixture
def engine(fake):
    """An engine of the kind's own, on one that answers as a test says."""
    made = []

    def connect(answer, version=VERSION):
        made.append(Engine(fake(answer, version), 2.0))
        return made[-1]

    yield connect
    for one in made:
        one.close()


def message(status, text):
    """An engine that says this to everything."""
    return lambda *_: (status, {"message": text})


@pytest.mark.parametrize(
    ("status", "text", "call", "becomes"),
    [
        (400, "invalid reference format", "create", Refused),
        (409, "name is in use", "create", Refused),
        (500, "OCI runtime create failed", "create", Refused),
        (500, "context deadline exceeded", "create", Transient),
        (500, "connection error: desc = transport is closing", "create", Transient),
        (503, "busy", "create", Transient),
        (500, "whatever", "list", Transient),
        (400, "whatever", "list", Refused),
    ],
)
def test_an_answer_says_whether_to_try_again(engine, status, text, call, becomes):
    """Trouble of the engine is tried again; what it understood and would not do is final."""
    api = engine(message(status, text))
    with pytest.raises((Permanent, Transient)) as raised:
        api.create("x", {}) if call == "create" else api.containers()
    assert type(raised.value) is becomes
    assert text in raised.value.summary
    assert raised.value.summary.endswith(".")


def test_what_is_gone_is_not_there(engine):
    """404 is an answer and no error: to a look, and to what wants it gone."""
    api = engine(message(404, "No such container: x"))
    assert (api.container("x"), api.network("x"), api.image("x")) == (None, None, None)
    api.remove("x")
    api.remove_network("x")
    api.stop("x", 1)
    with pytest.raises(Refused):
        api.start("x")


def test_a_prefix_of_an_id_is_no_name(engine):
    """An engine that finds a container by the beginning of its id has not found that name."""
    api = engine(lambda *_: (200, {"Id": "beef" * 16, "Name": "/other"}))
    assert api.container("beef") is None
    assert api.container("other")["Name"] == "/other"
    assert api.container("beef" * 16)["Name"] == "/other"


@pytest.mark.parametrize("version", [{}, [], {"ApiVersion": "1.2"}, {"ApiVersion": None}, "hello"])
def test_what_is_no_engine_is_away(engine, version):
    """A server that does not speak as an engine does may be one later; nothing was done."""
    with pytest.raises(Transient) as raised:
        engine(message(200, ""), version)
    assert raised.value.code == "engine-unreachable"
    assert not raised.value.counts


def test_a_call_that_is_not_answered_ends(fake):
    """An engine that accepts and says nothing is given up in the time that a call may take."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Transient, match=r"does not answer within 0\.3 s"):
            Engine(address, 0.3)


def test_no_proxy_of_the_environment_is_asked(engine, monkeypatch):
    """What is meant for an engine goes to no proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert engine(lambda *_: (200, [])).containers() == []


def test_a_secret_is_taken_out_of_what_an_engine_says(engine):
    """An error shows neither a secret, nor a line of it, nor how JSON would write it."""
    secret = 'first-line\n"quoted\\line"\nx'
    api = engine(message(400, f"bad: {secret} and {json.dumps(secret)} and first-line"))
    api.hidden.add(secret)
    with pytest.raises(Refused) as raised:
        api.create("x", {})
    for part in ("first-line", "quoted"):
        assert part not in raised.value.summary
    assert raised.value.summary.isprintable()


def test_hiding_leaves_the_rest():
    """What is no secret stays readable, and an empty secret hides nothing."""
    hidden = Hidden()
    hidden.add("")
    assert hidden.text("all of it") == "all of it"
    hidden.add("of")
    assert hidden.text("all of it") == "all [redacted] it"
    assert hidden.line("a\nb\x1b[31m") == r"a b\x1b[31m"


# Ports and subnets


def engine_with(containers=(), networks=(), inspected=None, *, local=False, version=(1, 41)):
    """A stand-in that has these."""
    return SimpleNamespace(
        containers=lambda *_: list(containers),
        networks=lambda: list(networks),
        container=lambda _: inspected,
        is_local=local,
        version=version,
        hidden=Hidden(),
    )


def world(engine=None, **more):
    """A world whose engine is a stand-in."""
    config = Config.model_validate({"image": "app:1", **more.pop("config", {})})
    given = {"action": "create", "customer": "a1", "plan": "starter", **more}
    params = Params.model_validate(complete(given, config, {}))
    context = SimpleNamespace(config=config, dispatch_id="d-1", secret=lambda _: TOKEN)
    return World(engine or engine_with(), params, context)


def test_every_way_to_have_a_port_counts():
    """Labels, also of stopped ones; what is published; what would be published after a start."""
    containers = [
        {"Id": "1", "Names": ["/a"], "State": "exited", "Labels": {"openclaw.port": "5000"}},
        {"Id": "2", "Names": ["/b"], "State": "running", "Ports": [{"PublicPort": 5001}]},
        {"Id": "3", "Names": ["/c"], "State": "created", "Labels": None, "Ports": None},
        {"Id": "4", "Names": None, "State": "running", "Labels": {"openclaw.port": "none"}},
    ]
    bindings = {
        "1/tcp": [{"HostPort": "5002"}, {"HostPort": "5005-5006"}, {"HostPort": ""}],
        "2/tcp": None,
        "3/tcp": [{"HostPort": "x-5003"}],
    }
    bound = {"HostConfig": {"PortBindings": bindings}}
    found = world(engine_with(containers, inspected=bound))
    names = {5000: "a", 5001: "b", 5002: "c", 5005: "c", 5006: "c"}
    assert dict(ports.ports_of(found)) == {port: f"container {n}" for port, n in names.items()}
    for lost, free in (((), 5003), ({5003, 5007}, 5004), ({5003, 5004}, 5007)):
        assert ports.free_port(found, lost) == free


def test_a_port_with_a_listener_is_not_free():
    """On this machine the lowest port on which nobody listens is given."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def free(last, *, local=True, **asked):
            table = {"ports": f"{port}-{last}"}
            return ports.free_port(world(engine_with(local=local), config=table, **asked), ())

        assert port < free(port + 50) <= port + 50
        assert free(port, local=False) == port
        with pytest.raises(Transient, match="No port of"):
            free(port)
        with pytest.raises(Permanent, match="a process of this machine"):
            free(port, port=port)
    assert ports.can_bind("127.0.0.1", port)


def test_the_lowest_subnet_that_overlaps_nothing_is_given(monkeypatch):
    """Networks of the engine and routes of this machine are avoided, whatever their size."""
    networks = [
        {"IPAM": {"Config": [{"Subnet": "10.213.0.0/27"}]}},
        {"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Gateway": "10.213.0.40"}]}},
        {"IPAM": None},
    ]
    monkeypatch.setattr(network, "routes", lambda: [network._Network("10.213.0.32/28")])
    assert next(network.free_subnets(world(engine_with(networks=networks)))) == "10.213.0.32/28"
    near = world(engine_with(networks=networks, local=True))
    assert next(network.free_subnets(near)) == "10.213.0.48/28"
    full = world(engine_with(networks=[{"IPAM": {"Config": [{"Subnet": "10.0.0.0/8"}]}}]))
    assert list(network.free_subnets(full)) == []


def test_routes_are_read_as_the_kernel_writes_them(tmp_path):
    """The default route says nothing about what is taken; every other one does."""
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "br-1\t0000D50A\t00000000\t0001\t0\t0\t0\tF0FFFFFF\t0\t0\t0\n"
    )
    assert [str(route) for route in network.routes(table)] == ["10.213.0.0/28"]
    assert list(network.routes(tmp_path / "none")) == []


# What the engine is asked for


HEALTH = {"command": ["CMD", "curl", "$X"], "interval": "30s", "timeout": "5s", "retries": 3}
TABLE = {
    "health": {**HEALTH, "start_period": "10s"},
    "environment": {"on": "1", "PRICE": "5$ \u2028\x85 ä 😀\n#:{", "DB": {"env": "DB"}},
}


def found_with(health="starting", **check):
    """A container as an engine describes it."""
    config = {"Labels": {}, "Healthcheck": check}
    return Found({"State": {"Status": "running", "Health": {"Status": health}}, "Config": config})


@pytest.mark.parametrize(
    ("version", "start_interval", "seconds"), [((1, 41), None, 35), ((1, 44), 1_000_000_000, 6)]
)
def test_the_engines_first_check_is_never_missed(version, start_interval, seconds):
    """As configured in the contract the first check ends after 35 s, and the deadline is later.

    An engine that makes checks soon after the start needs no such patience.
    """
    here = world(engine_with(version=version), config=TABLE)
    health = container_spec(here, 5000, "net", {})["Healthcheck"]
    assert health.get("StartInterval") == start_interval
    assert ready._first_check(here, found_with(**health)) == seconds
    assert ready._first_check(here, found_with()) == 60


@pytest.mark.parametrize("health", ["unhealthy", "starting", "healthyish", "", "Healthy"])
def test_healthy_is_exactly_that(health):
    """No word that merely contains it will do."""
    assert found_with("healthy").works
    assert found_with(health).works == (health == "")


def test_the_compose_file_says_what_runs(tmp_path):
    """It is YAML with the whole container, and with names instead of secrets.

    No value of it is taken for something else: not for a variable, a number, a truth or a comment.
    """
    here = world(config={**TABLE, "compose_dir": str(tmp_path)})
    secrets = read_secrets(here)
    wanted = container_spec(here, 5000, "net", secrets)
    assert compose.write(here, wanted, "10.213.0.0/28", secrets) is None
    (file,) = tmp_path.iterdir()
    assert file.name == "docker-compose-a1.yml"
    text = file.read_text(encoding="utf-8")
    assert TOKEN not in text
    assert json.dumps(TOKEN)[1:-1] not in text
    read = yaml.safe_load(text)
    assert read["name"] == "customer-a1"
    ipam = {"config": [{"subnet": "10.213.0.0/28"}]}
    network = {"name": "mission-control-network-a1", "driver": "bridge", "ipam": ipam}
    assert read["networks"]["customer"] == network
    service = read["services"]["customer-a1"]
    price = "5$$ \u2028\x85 ä 😀\n#:{"
    variables = {"on": "1", "PRICE": price, "DB": "${DB}", "CUSTOMER_ID": "a1"}
    assert service["environment"] == variables
    assert service["ports"] == ["127.0.0.1:5000:3000/tcp"]
    assert service["restart"] == "on-failure:5"
    assert service["labels"]["openclaw.port"] == "5000"
    test = ["CMD", "curl", "$$X"]
    times = {"interval": "30s", "timeout": "5s", "retries": 3, "start_period": "10s"}
    assert service["healthcheck"] == {"test": test, **times}
    assert service["deploy"]["resources"] == {
        "limits": {"cpus": "0.5", "memory": "512M"},
        "reservations": {"cpus": "0.25", "memory": "256M"},
    }
    assert compose.remove(here) is None
    assert compose.remove(here) is None
    assert list(tmp_path.iterdir()) == []


def test_a_compose_file_that_cannot_be_written_stops_nothing(tmp_path):
    """It is only for people who look: what is wrong with it is told, and no more."""
    here = world(config={**TABLE, "compose_dir": str(tmp_path / "none")})
    wanted = container_spec(here, 5000, "net", {"DB": "x"})
    problem = compose.write(here, wanted, "10.213.0.0/28", {"DB": "x"})
    assert "was not written: No such file" in problem
    assert compose.write(world(), wanted, "10.213.0.0/28", {}) is None


def test_nothing_is_looked_at_twice_for_a_request_of_nobody(stage):
    """Without an engine each action says so, and says that it does not count."""
    config = Config(engine="unix:///nonexistent/docker.sock")
    for action in ("create", "delete", "restart", "stop", "start", "health-check"):
        given = {"action": action, "customer": "a", "plan": "starter", "image": "x"}
        params = Params.model_validate(complete(given, config, {}))
        for call in (container.run, container.probe, container.resume):
            with pytest.raises(Transient) as raised:
                call(params, stage.context(config))
            assert (raised.value.code, raised.value.counts) == ("engine-unreachable", False)
            assert raised.value.retry_after == 15
