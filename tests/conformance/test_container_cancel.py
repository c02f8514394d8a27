"""Containers of a request that a person cancels between two tries, or while the engine is away."""

from collections.abc import Callable
from typing import Any

import pytest

from spoold.errors import OutcomeUnknown, Permanent, Transient
from spoold.executors import container
from spoold.executors.container.params import Config, Params, complete

NETWORK = "mission-control-network-a1"


class Engine:
    """An engine that may have a container and a network of customer a1.

    Attributes:
        container: the dispatch id of the request that made it; None if there is none.
        network: the same.
        keeps: it removes no network.
        broken: it answers every question with an error; once it was asked for an image.
        labels: of the container, if it is a stranger's.
        mode: the network with which the container was made.
        meanwhile: called when it is asked for an image.
    """

    def __init__(self, container: str | None = None, network: str | None = None) -> None:
        self.container = container
        self.network = network
        self.keeps = self.broken = False
        self.mode = "n" * 64
        self.labels: dict[str, str] | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """What it says."""
        what = path.partition("?")[0].split("/")[2]
        if self.broken:
            return 503, {"message": "shutting down"}
        if method == "GET":
            return getattr(self, f"_{what}")()
        if method == "DELETE" and what == "networks" and self.keeps:
            return 403, {"message": "has active endpoints"}
        if method == "DELETE":
            setattr(self, what.removesuffix("s"), None)
        return 204, ""

    def _containers(self) -> tuple[int, Any]:
        if self.container is None:
            return 404, {"message": "No such container"}
        state = {"Status": "running", "Health": {"Status": "starting"}}
        given = labels(self.container) if self.labels is None else self.labels
        return 200, {"Id": "beef" * 16, "Name": "/customer-a1", "State": state,
                     "HostConfig": {"NetworkMode": self.mode},
                     "NetworkSettings": {"Networks": {NETWORK: {"NetworkID": "n" * 64}}},
                     "Config": {"Labels": given, "Env": []}}  # fmt: skip

    def _networks(self) -> tuple[int, Any]:
        if self.network is None:
            return 200, []
        return 200, [{"Name": NETWORK, "Id": "n" * 64, "Labels": labels(self.network)}]

    def _images(self) -> tuple[int, Any]:
        self.meanwhile()
        self.broken = True
        return 503, {"message": "shutting down"}


def labels(dispatch_id: str) -> dict[str, str]:
    """As spoold puts them on a container and a network."""
    return {"openclaw.customer": "a1", "spoold.dispatch_id": dispatch_id}


@pytest.fixture
def call(fake, stage):
    """Calls a function of the kind as the stage does after, or during, a cancel; how it ended."""

    def act(how, engine, action, *, during=False):
        address = fake(engine.answer) if engine else "unix:///nonexistent/docker.sock"
        config = Config(engine=address, image="app:1", timeout="2s")
        given = {"action": action, "customer": "a1", "plan": "starter"}
        context = stage.context(config)
        if during:
            engine.meanwhile = context.cancelled.set
        else:
            context.cancelled.set()
        with pytest.raises((Permanent, Transient, OutcomeUnknown)) as raised:
            how(Params.model_validate(complete(given, config, {})), context)
        return raised.value

    return act


def test_what_a_create_has_made_is_removed(call, stage):
    """A container or a network that its tries have left goes, and the result says so."""
    engine = Engine(stage.dispatch_id, stage.dispatch_id)
    ended = call(container.take_back, engine, "create")
    assert (type(ended), ended.code) == (Permanent, "cancelled")
    assert f"Removed again: container customer-a1, network {NETWORK}." in ended.summary
    assert (engine.container, engine.network) == (None, None)


def test_what_cannot_be_removed_is_told(call, stage):
    """What the engine keeps is named, with its reason, in words and as data."""
    engine = Engine(None, stage.dispatch_id)
    engine.keeps = True
    ended = call(container.take_back, engine, "create")
    assert (type(ended), ended.code) == (Permanent, "cancelled")
    assert f"Could not be removed: network {NETWORK}" in ended.summary
    assert "active endpoints" in ended.summary
    assert len(ended.details["left"]) == 1


def test_what_others_have_made_stays(call):
    """Without anything of its own in the engine, nothing was done, and nothing is touched."""
    engine = Engine("d-other", "d-other")
    ended = call(container.take_back, engine, "create")
    assert type(ended) is Transient
    assert "Nothing is there" in ended.summary
    assert (engine.container, engine.network) == ("d-other", "d-other")


def test_a_network_that_another_has_come_into_stays(call, stage):
    """A container that was made with another network, and is in this request's now, keeps it."""
    engine = Engine("d-other", stage.dispatch_id)
    engine.mode = "gone"
    ended = call(container.take_back, engine, "create")
    assert type(ended) is Transient
    assert engine.network == stage.dispatch_id


def test_an_engine_that_is_away_leaves_it_to_a_person(call):
    """What cannot be looked at is not said to be nothing, and the result says what to do."""
    ended = call(container.take_back, None, "create")
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "cannot be reached" in ended.summary
    assert "a `delete` of a1 removes them" in ended.summary
    assert "asked again" not in ended.summary
    assert ended.details["left"] == ["container customer-a1", f"network {NETWORK}"]
    ended = call(container.take_back, None, "restart")
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "customer-a1 cannot be looked at" in ended.summary


@pytest.mark.parametrize("action", ["delete", "restart", "stop", "start"])
def test_what_cannot_be_undone_is_looked_at(call, action):
    """A try may have had its effect: a person is told how the container is now, if it is."""
    ended = call(container.take_back, Engine("d-other"), action)
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "customer-a1 is running (starting) now" in ended.summary
    ended = call(container.take_back, Engine(), action)
    assert "customer-a1 is not there now" in ended.summary


@pytest.mark.parametrize("action", ["delete", "restart", "stop", "start"])
def test_a_container_of_a_stranger_says_nothing_of_ours(call, action):
    """Where a stranger has the name by now, nobody knows what a try had done to ours."""
    engine = Engine("d-other")
    engine.labels = {}
    ended = call(container.take_back, engine, action)
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "spoold did not make" in ended.summary


def test_a_look_leaves_nothing(call):
    """A health check that is cancelled has done nothing."""
    ended = call(container.take_back, None, "health-check")
    assert type(ended) is Transient


def test_an_engine_that_goes_away_while_a_create_is_cancelled_hides_nothing(call, stage):
    """Cancelled while it runs, a create that cannot be ended properly is not said to be nothing."""
    engine = Engine(stage.dispatch_id, stage.dispatch_id)
    ended = call(container.run, engine, "create", during=True)
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "shutting down" in ended.summary
    assert ended.details["left"]


def test_what_is_cancelled_before_its_next_try_begins_is_taken_back(fake, stage):
    """A cancel that comes between the claim and the try leaves nothing of the tries before."""
    engine = Engine(stage.dispatch_id)
    config = Config(engine=fake(engine.answer), image="app:1")
    given = {"action": "create", "customer": "a1", "plan": "starter"}
    context = stage.context(config)
    context.cancelled.set()
    context.stopping.set()
    with pytest.raises(Permanent, match="Removed again"):
        container.run(Params.model_validate(complete(given, config, {})), context)
    assert engine.container is None


@pytest.mark.parametrize("how", [container.probe, container.resume])
def test_what_a_dead_executor_has_left_is_removed_too(call, stage, how):
    """Cancelled before anybody has found out what a crash had left, that is removed."""
    engine = Engine(None, stage.dispatch_id)
    ended = call(how, engine, "create")
    if how is container.probe:
        assert (type(ended), ended.code) == (Permanent, "cancelled")
        assert engine.network is None
    else:
        assert type(ended) is OutcomeUnknown
