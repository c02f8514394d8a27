"""What goes wrong with containers: each ends as stated and in time; others are not touched."""

import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from spoold.errors import LeftRunning, Permanent, Transient
from spoold.executors import Result, Running, container
from spoold.stages.execute.attempt import secrets_of
from tests.docker.yard import SECRET, ended, until


def left(yard):
    """What there is of a test in the engine."""
    return yard.containers(), yard.networks()


# It does not become healthy


@pytest.mark.parametrize(
    ("health", "status"),
    [({}, "unhealthy"), ({"retries": 100}, "starting")],
    ids=["unhealthy", "starting"],
)
def test_only_healthy_is_healthy(yard, health, status):
    """A container that is `unhealthy`, or stays `starting`, is never taken for a healthy one.

    It is stopped and removed at the deadline, with its network, and its output is kept.
    """
    config = yard.config(
        environment=yard.mode("sick"), health=yard.health(**health), ready_timeout="1500ms"
    )
    failed = yard.go("create", config=config)
    assert (failed.code, type(failed)) == ("not-healthy", Permanent)
    assert failed.evidence["health"] == status
    assert left(yard) == ([], [])
    assert "started as sick" in failed.output["stdout_tail"]


def test_the_first_check_is_waited_for(yard):
    """A deadline before the engine's first check would fail what is well; it waits that long."""
    slow = yard.health(interval="3s")
    made = yard.go("create", config=yard.config(health=slow, ready_timeout="1s"))
    assert (made.code, made.evidence["health"]) == ("created", "healthy")


def test_what_ends_fails_at_once(yard):
    """A container that ends while it is waited for fails right then, with its last lines."""
    config = yard.config(environment=yard.mode("exit"), restart="no", ready_timeout="1h")
    failed = yard.go("create", config=config)
    assert (failed.code, failed.details["exit_code"]) == ("exited", 3)
    assert "started as exit" in failed.output["stdout_tail"]
    assert "boom with [redacted]" in failed.output["stderr_tail"]
    assert left(yard) == ([], [])


def test_what_ends_again_and_again_fails_when_the_engine_gives_up(yard):
    """The engine restarts it as often as the policy says; then it has failed, with exit code."""
    config = yard.config(environment=yard.mode("exit"), restart="on-failure:2", ready_timeout="60s")
    failed = yard.go("create", config=config)
    assert (failed.code, failed.details["restarts"]) == ("exited", 2)
    assert left(yard) == ([], [])


def test_without_a_health_check_it_must_go_on_running(yard):
    """Where nothing says what healthy is, it has to run for a moment, and the evidence says so."""
    config = yard.config(health=None)
    made = yard.go("create", config=config)
    assert made.code == "created"
    assert made.evidence["health"] == "not checked; it ran for 1 s"
    for customer, mode in (("b", "quit"), ("c", "flap")):
        config = yard.config(health=None, environment=yard.mode(mode), restart="on-failure:2")
        assert yard.go("create", customer, config=config).code == "exited"
    assert yard.containers() == ["c-a"]


@pytest.mark.parametrize("action", ["restart", "start"])
def test_what_is_not_healthy_after_a_restart_stays(yard, action):
    """A restart or start that fails says so and removes nothing: the customer's data are there."""
    yard.go("create", config=yard.config(health=yard.health(retries=2)))
    yard.execute("a", "rm", "-f", "/www/health")
    yard.execute("a", "sh", "-c", "echo 'exec sleep 1000' > /start")
    yard.go("stop")
    failed = yard.go(action, config=yard.config(ready_timeout="1s"))
    assert (failed.code, type(failed)) == ("not-healthy", Permanent)
    assert "with [redacted]" in failed.output["stdout_tail"]
    assert left(yard) == (["c-a"], ["n-a"])


# Image, secret, port, name


def test_a_missing_image_is_not_fetched(yard):
    """An image that is not there ends it at once, with what to do, and leaves nothing."""
    failed = yard.go("create", config=yard.config(image="spoold-test-nowhere:9"))
    assert (failed.code, type(failed)) == ("image-missing", Permanent)
    assert "spoold-test-nowhere:9" in failed.summary
    assert left(yard) == ([], [])


def test_a_registry_that_is_away_is_tried_again(yard):
    """With `pull` a missing image is asked for; a registry that does not answer may be back."""
    failed = yard.go("create", config=yard.config(image="127.0.0.1:9/app:1", pull=True))
    assert (failed.code, type(failed)) == ("pull-failed", Transient)
    assert left(yard) == ([], [])


def test_a_missing_secret_is_found_out_first(yard):
    """Without its secret nothing is made, and the next try may have it."""
    yard.secrets.clear()
    failed = yard.go("create")
    assert (failed.code, type(failed)) == ("credential-missing", Transient)
    assert left(yard) == ([], [])


def test_an_error_of_the_engine_does_not_tell_a_secret(yard):
    """What the engine quotes of the environment shows no secret; the create is final."""
    yard.secrets["SECRET_URL"] = "tell-no-one"
    health = yard.health(command=["CMD", "tell-no-one"])
    failed = yard.go("create", config=yard.config(health=health, ready_timeout="1s"))
    assert failed.code == "not-healthy"
    assert "tell-no-one" not in repr([failed.summary, failed.details, failed.output, yard.reports])
    for file in yard.folder.iterdir():
        assert b"tell-no-one" not in file.read_bytes()


@pytest.fixture
def listen():
    """Takes ports of this machine, as any program may."""
    taken = []

    def take(port, address="127.0.0.1"):
        taken.append(socket.create_server((address, port)))

    yield take
    for one in taken:
        one.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_of_a_stranger_is_passed_over(yard, listen, address):
    """A port on which some program listens is not given; the next one is."""
    listen(yard.ports[0], address)
    assert yard.go("create").details["port"] == yard.ports[1]


def test_a_port_that_is_asked_for_and_taken_by_a_stranger_is_refused(yard, listen):
    """The port that a person approved is not silently replaced by another."""
    listen(yard.ports[3])
    failed = yard.go("create", port=yard.ports[3])
    assert (failed.code, type(failed)) == ("port-taken", Permanent)
    assert left(yard) == ([], [])


@pytest.mark.parametrize("start", [True, False], ids=["running", "stopped"])
def test_a_port_of_a_strangers_container_is_passed_over(yard, start):
    """What another container publishes, or would if it were started, is not given."""
    bindings = {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(yard.ports[0])}]}
    more = {"ExposedPorts": {"3000/tcp": {}}, "HostConfig": {"PortBindings": bindings}}
    yard.stranger("x", start=start, **more)
    assert yard.go("create").details["port"] == yard.ports[1]
    failed = yard.go("create", "b", port=yard.ports[0])
    assert failed.code == "port-taken"
    assert yard.prefix in failed.summary


def test_every_port_of_a_strangers_range_is_passed_over(yard):
    """A stopped container that may be started on any port of a range is left all of them."""
    ports = f"{yard.ports[0]}-{yard.ports[2]}"
    bindings = {"3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ports}]}
    more = {"ExposedPorts": {"3000/tcp": {}}, "HostConfig": {"PortBindings": bindings}}
    stranger = yard.stranger("x", start=False, **more)
    assert yard.go("create").details["port"] == yard.ports[3]
    yard.api.start(stranger)


@pytest.mark.parametrize("asked", [False, True], ids=["chosen", "asked-for"])
def test_a_port_that_is_taken_in_the_last_moment(yard, listen, monkeypatch, asked):
    """A program that takes the port after the look makes the engine refuse to start it.

    A port that was chosen is replaced by the next; one that was asked for is not.
    """
    port = yard.ports[0]
    real = container.Engine.start

    def start(engine, which):
        bound = engine.container(which)["HostConfig"]["PortBindings"]["3000/tcp"]
        if bound[0]["HostPort"] == str(port):
            listen(port)
        real(engine, which)

    monkeypatch.setattr(container.Engine, "start", start)
    made = yard.go("create", **({"port": port} if asked else {}))
    if asked:
        assert (made.code, type(made)) == ("port-taken", Permanent)
        assert left(yard) == ([], [])
    else:
        assert made.details["port"] == yard.ports[1]
        assert left(yard) == (["c-a"], ["n-a"])


@pytest.mark.parametrize("action", ["create", "delete", "restart", "stop", "start"])
@pytest.mark.parametrize("labels", [{}, {"openclaw.customer": "a"}], ids=["bare", "labelled"])
def test_a_container_that_is_not_ours_is_never_touched(yard, action, labels):
    """A stranger's container under the customer's name stays as it is, whatever is asked."""
    stranger = yard.stranger("c-a", Labels=labels)
    before = yard.api.inspect_container(stranger)
    failed = yard.go(action)
    assert (failed.code, type(failed)) == ("name-taken", Permanent)
    assert yard.api.inspect_container(stranger)["State"] == before["State"]
    assert left(yard) == (["c-a"], [])
    probed = yard.go(action, how="probe")
    ends = ("never-started", Transient) if action == "create" else ("name-taken", Permanent)
    assert (probed.code, type(probed)) == ends


def test_a_container_of_another_customer_is_never_touched(yard):
    """Ours means ours for this customer: a label with another one is a stranger's."""
    labels = {"openclaw.customer": "b", "spoold.dispatch_id": "d-1"}
    yard.stranger("c-a", Labels=labels)
    assert yard.go("delete").code == "name-taken"
    assert yard.containers() == ["c-a"]


@pytest.mark.parametrize("action", ["create", "delete"])
def test_a_network_that_is_not_ours_is_never_touched(yard, action):
    """A stranger's network under the customer's name is neither used nor removed."""
    subnet = {"Config": [{"Subnet": yard.subnets.replace("/22", "/28")}]}
    yard.api.create_network(f"{yard.prefix}n-a", driver="bridge", ipam=subnet)
    failed = yard.go(action)
    assert (failed.code, type(failed)) == ("name-taken", Permanent)
    assert left(yard) == ([], ["n-a"])


def test_a_strangers_network_is_avoided(yard):
    """A subnet that overlaps any network of the engine is not given."""
    subnet = {"Config": [{"Subnet": yard.subnets.replace(".0/22", ".16/28")}]}
    yard.api.create_network(f"{yard.prefix}x", driver="bridge", ipam=subnet)
    made = [yard.go("create", one).details["subnet"] for one in ("a", "b")]
    base = yard.subnets.rpartition(".")[0]
    assert made == [f"{base}.0/28", f"{base}.32/28"]


def test_a_delete_does_not_throw_out_a_stranger(yard):
    """A container that somebody put into the customer's network keeps that network."""
    yard.go("create")
    network = next(one for one in yard.api.networks() if one["Name"].endswith(f"{yard.prefix}n-a"))
    guest = yard.stranger("guest", HostConfig={"NetworkMode": network["Id"]})
    failed = yard.go("delete")
    assert (failed.code, type(failed)) == ("network-in-use", Permanent)
    assert left(yard) == (["guest"], ["n-a"])
    yard.api.remove_container(guest, force=True)
    assert yard.go("delete").code == "deleted"
    assert left(yard) == ([], [])


def test_a_name_that_looks_like_an_id_is_a_name(yard):
    """The engine takes the first digits of an id for a name; a customer is never mixed up so."""
    stranger = yard.stranger("x")
    config = yard.config(name_prefix=stranger[:4])
    assert yard.go("delete", stranger[4:9], config=config).code == "already-gone"
    assert yard.containers() == ["x"]


# Crashes, people, the service


def crashed(yard, at, config=None):
    """Leave what a create leaves that dies before the named call to the engine."""

    class Died(BaseException):
        pass

    def die(*_args, **_kwargs):
        raise Died

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(container.Engine, at, die)
        with pytest.raises(Died):
            yard.go("create", config=config)


@pytest.mark.parametrize("how", ["run", "probe-and-resume"])
@pytest.mark.parametrize("at", ["create_network", "create", "start"])
def test_a_create_goes_on_from_what_it_finds(yard, at, how):
    """What an attempt that died has left is completed, not made a second time."""
    crashed(yard, at)
    found = left(yard)
    if how == "run":
        assert yard.go("create").code == "created"
    else:
        probed = yard.go("create", how="probe")
        assert isinstance(probed, Running if found[0] else Transient), probed
        assert yard.go("create", how="resume" if found[0] else "run").code == "created"
    assert left(yard) == (["c-a"], ["n-a"])
    assert isinstance(yard.go("create", how="probe"), Result)


def test_what_died_is_not_taken_for_another_requests(yard):
    """Half a container of another request is neither completed nor removed, but named."""
    crashed(yard, "start")
    failed = yard.go("create", dispatch="d-2")
    assert failed.code == "exists"
    assert "d-1" in failed.summary
    assert yard.go("create", how="probe", dispatch="d-2").code == "never-started"
    assert yard.go("delete", dispatch="d-3").code == "deleted"
    assert left(yard) == ([], [])


def test_a_crashed_create_whose_port_was_given_away_gets_another(yard):
    """A container that never started gives way to one that has its port by now."""
    crashed(yard, "start")
    rival = {
        "openclaw.customer": "z",
        "openclaw.port": str(yard.ports[0]),
        "spoold.dispatch_id": "d",
    }
    yard.stranger("c-z", Labels=rival)
    assert yard.go("create", how="resume").details["port"] == yard.ports[1]
    assert yard.containers() == ["c-a", "c-z"]


def test_a_create_whose_name_was_taken_meanwhile_leaves_no_network(yard):
    """A stranger that took the name between a crash and the next try stays; our network goes.

    The look after the crash changes nothing; it says that the create is to be done again.
    """
    crashed(yard, "create")
    assert left(yard) == ([], ["n-a"])
    stranger = yard.stranger("c-a")
    probed = yard.go("create", how="probe")
    assert (probed.code, type(probed)) == ("never-started", Transient)
    assert left(yard) == (["c-a"], ["n-a"])
    failed = yard.go("create")
    assert (failed.code, type(failed)) == ("name-taken", Permanent)
    assert f"Removed again: network {yard.prefix}n-a." in failed.summary
    assert left(yard) == (["c-a"], [])
    assert yard.api.inspect_container(stranger)["State"]["Running"]


@pytest.mark.parametrize("key", ["Id", "Name"])
@pytest.mark.parametrize("start", [True, False], ids=["running", "stopped"])
def test_a_network_that_a_stranger_uses_is_told(yard, start, key):
    """A stranger that took the name and is in the network keeps both, and the result says so."""
    crashed(yard, "create")
    (network,) = yard.api.networks(names=[f"{yard.prefix}n-a"])
    yard.stranger("c-a", start=start, HostConfig={"NetworkMode": network[key]})
    failed = yard.go("create")
    assert (failed.code, type(failed)) == ("name-taken", Permanent)
    assert f"Could not be removed: network {yard.prefix}n-a (" in failed.summary
    assert left(yard) == (["c-a"], ["n-a"])


def test_a_create_that_lacks_its_secret_after_a_crash_leaves_nothing(yard):
    """What an attempt that died has made goes, too, if the next one cannot even begin."""
    crashed(yard, "create")
    config = yard.config(environment={"SECRET_URL": {"env": "SPOOLD_TEST_NOT_SET"}})
    document = SimpleNamespace(file=yard.folder / "spoold.toml")
    secret = secrets_of(SimpleNamespace(document=document))
    context = replace(yard.context(config), secret=secret)
    failed = yard.go("create", config=config, context=context)
    assert (failed.code, type(failed)) == ("credential-missing", Transient)
    assert failed.summary.startswith("A secret is missing: ")
    assert f"Removed again: network {yard.prefix}n-a." in failed.summary
    assert left(yard) == ([], [])


def test_a_create_that_lost_leaves_what_the_other_has(yard, monkeypatch):
    """A request whose container was made by another in the last moment removes nothing of that."""
    real = container.Engine.create
    rival = {"openclaw.customer": "a", "openclaw.port": "1", "spoold.dispatch_id": "d-2"}

    def create(engine, name, wanted):
        network = {"NetworkMode": wanted["HostConfig"]["NetworkMode"]}
        yard.stranger("c-a", start=False, Labels=rival, HostConfig=network)
        return real(engine, name, wanted)

    monkeypatch.setattr(container.Engine, "create", create)
    failed = yard.go("create")
    assert (failed.code, type(failed)) == ("exists", Permanent)
    assert "d-2" in failed.summary
    assert left(yard) == (["c-a"], ["n-a"])
    yard.api.start(yard.name())


def interrupted(yard, action, event, how="run", **given):
    """Set an event of the context once it is being waited for; how it ended."""
    context = yard.context(given.get("config") or yard.config())
    results = []

    def act():
        results.append(yard.go(action, context=context, how=how, **given))

    thread = threading.Thread(target=act)
    thread.start()
    until(lambda: yard.reports, "it is waited for")
    if event == "cancelled":
        context.cancelled.set()
    context.stopping.set()
    thread.join(20)
    assert not thread.is_alive()
    return results[0]


def test_a_cancelled_create_leaves_nothing(yard):
    """A person's cancel while it starts removes what was made, and is said to be that."""
    config = yard.config(environment=yard.mode("sick"), health=yard.health(retries=99))
    result = interrupted(yard, "create", "cancelled", config=config)
    assert (result.code, type(result)) == ("cancelled", Permanent)
    assert "Removed again: container" in result.summary
    assert left(yard) == ([], [])


@pytest.mark.parametrize("action", ["start", "restart"])
def test_a_cancelled_restart_says_what_it_has_done(yard, action):
    """What was started is known to have been, goes on, and is told: nothing here is in doubt."""
    config = yard.config(environment=yard.mode("slow"), health=yard.health(retries=99))
    yard.go("create", config=config)
    yard.go("stop", config=config)
    yard.reports.clear()
    result = interrupted(yard, action, "cancelled", config=config)
    assert (result.code, type(result)) == ("cancelled", Permanent)
    assert f"after {yard.name()} was {action}ed. It is running (starting)" in result.summary
    assert result.details["container"] == yard.inspect()["Id"][:12]
    assert yard.inspect()["State"]["Running"]


def test_a_cancelled_delete_says_what_it_has_done(yard, monkeypatch):
    """Cancelled when the container was stopped, it is not removed, and the result says both."""
    yard.go("create")
    context = yard.context(yard.config())
    real = container.Engine.stop

    def stop(engine, *given):
        real(engine, *given)
        context.cancelled.set()
        context.stopping.set()

    monkeypatch.setattr(container.Engine, "stop", stop)
    result = yard.go("delete", context=context)
    assert (result.code, type(result)) == ("cancelled", Permanent)
    assert f"{yard.name()} was stopped, and not removed" in result.summary
    assert yard.inspect()["State"]["Status"] == "exited"


def test_a_create_goes_on_while_the_service_is_stopped(yard):
    """A stopped service leaves the container starting; the next one finds it and waits on."""
    config = yard.config(environment=yard.mode("slow"), health=yard.health(retries=99))
    result = interrupted(yard, "create", "stopping", config=config)
    assert isinstance(result, LeftRunning)
    before = yard.inspect()["Id"][:12]
    assert isinstance(yard.go("create", config=config, how="probe"), Running)
    made = yard.go("create", config=config, how="resume")
    assert (made.code, made.details["container"]) == ("created", before)


def test_a_left_create_can_still_be_cancelled(yard):
    """What a stopped service has left is removed if a person cancels it afterwards."""
    config = yard.config(environment=yard.mode("sick"), health=yard.health(retries=99))
    assert isinstance(interrupted(yard, "create", "stopping", config=config), LeftRunning)
    yard.reports.clear()
    result = interrupted(yard, "create", "cancelled", how="resume", config=config)
    assert result.code == "cancelled"
    assert left(yard) == ([], [])


def test_probe_tells_a_restart_that_happened_from_one_that_did_not(yard):
    """After a crash a restart counts as done only if the container was started since."""
    yard.go("create")
    context = yard.context(yard.config())
    assert yard.go("restart", how="probe", context=context).code == "never-started"
    yard.api.restart(yard.name())
    probed = yard.go("restart", how="probe", context=context)
    if isinstance(probed, Running):
        probed = yard.go("restart", how="resume", context=context)
    assert (probed.code, type(probed)) == ("restarted", Result)


def test_probe_sees_what_is(yard):
    """After a crash stop, start and delete are done if the world is as they wanted it."""
    assert yard.go("delete", how="probe").code == "deleted"
    assert yard.go("stop", how="probe").code == "never-started"
    yard.go("create")
    assert yard.go("delete", how="probe").code == "never-started"
    assert yard.go("stop", how="probe").code == "never-started"
    assert yard.go("start", how="probe").code == "started"
    yard.go("stop")
    assert yard.go("stop", how="probe").code == "stopped"
    assert yard.go("start", how="probe").code == "never-started"
    assert yard.go("health-check", how="probe").code == "never-started"


@pytest.mark.parametrize("action", ["stop", "start", "restart"])
def test_probe_does_not_take_what_a_person_did_for_a_request(yard, action):
    """What somebody stops or starts by hand has the wrong restart policy: the request acts, too."""
    yard.go("create")
    if action != "stop":
        yard.go("stop")
    context = yard.context(yard.config())
    by_hand = yard.api.stop if action == "stop" else yard.api.start
    by_hand(yard.name())
    assert yard.go(action, how="probe", context=context).code == "never-started"
    assert not isinstance(yard.go(action, context=context), Exception)
    probed = yard.go(action, how="probe", context=context)
    assert isinstance(probed, Result)
    wanted = "no" if action == "stop" else "on-failure"
    assert yard.inspect()["HostConfig"]["RestartPolicy"]["Name"] == wanted


def test_nothing_is_done_while_the_service_stops(yard):
    """An attempt that begins when the service already stops does nothing."""
    for action in ("create", "delete", "restart", "health-check"):
        context = yard.context(yard.config())
        context.stopping.set()
        result = ended(lambda a=action, c=context: yard.go(a, context=c))
        assert (result.code, type(result)) == ("interrupted", Transient)
    assert left(yard) == ([], [])


def test_a_secret_shows_nowhere(yard):
    """No result, report or log of any action holds the secret that the container prints."""
    told = [yard.go("create")]
    told += [yard.go(action) for action in ("restart", "stop", "health-check", "start")]
    config = yard.config(environment=yard.mode("exit"), restart="no")
    told += [yard.go("create", "b", config=config), yard.go("delete")]
    said = repr([vars(one) if isinstance(one, Exception) else one for one in told])
    kept = "".join(file.read_text() for file in yard.folder.iterdir()) + repr(yard.reports)
    assert "[redacted]" in said
    assert "[redacted]" in kept
    for part in (SECRET, "p-7f3a"):
        assert part not in said + kept
