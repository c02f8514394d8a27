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
            if how is container.run:
                context.stopping.set()
        with pytest.raises((Permanent, Transient, OutcomeUnknown)) as raised:
            how(Params.model_validate(complete(given, config, {})), context)
        return raised.value

    return act


OURS, THEIRS = "ours", "d-other"
ACTIONS = ("delete", "restart", "stop", "start")
KEPT = ("container customer-a1", f"network {NETWORK}")


@pytest.mark.parametrize(
    ("has", "ends", "said", "left"),
    [
        ((OURS, OURS, {}), Permanent,
         f"Removed again: container customer-a1, network {NETWORK}.", (None, None)),
        ((None, OURS, {"keeps": True}), Permanent,
         f"Could not be removed: network {NETWORK} (The engine would not", (None, OURS)),
        ((THEIRS, THEIRS, {}), Transient, "Nothing is there", (THEIRS, THEIRS)),
        ((THEIRS, OURS, {"mode": "gone"}), Transient, "Nothing is there", (THEIRS, OURS)),
    ],
    ids=["removed", "kept by the engine", "others'", "network that another has come into"],
)  # fmt: skip
def test_what_a_create_has_made_is_removed_and_nothing_else(call, stage, has, ends, said, left):
    """What its tries have left goes, what cannot go is named, and what others made stays."""
    ids = {OURS: stage.dispatch_id}
    *made, settings = has
    engine = Engine(*(ids.get(one, one) for one in made))
    vars(engine).update(settings)
    ended = call(container.take_back, engine, "create")
    assert (type(ended), ended.code) == (ends, "cancelled")
    assert said in ended.summary
    left_over = str(ended.details.get("left", ""))
    assert ("active endpoints" in left_over) == ("Could not" in said)
    assert (engine.container, engine.network) == tuple(ids.get(one, one) for one in left)


def test_an_engine_that_is_away_leaves_it_to_a_person(call):
    """What cannot be looked at is not said to be nothing, and the result says what to do."""
    ended = call(container.take_back, None, "create")
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "cannot be reached" in ended.summary
    assert "a `delete` of a1 removes them" in ended.summary
    assert "asked again" not in ended.summary
    assert tuple(ended.details["left"]) == KEPT
    ended = call(container.take_back, None, "restart")
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert "customer-a1 cannot be looked at" in ended.summary


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("made_by", "labels", "said"),
    [
        (THEIRS, None, "customer-a1 is running (starting) now"),
        (None, None, "customer-a1 is not there now"),
        (THEIRS, {}, "spoold did not make"),
    ],
)
def test_what_cannot_be_undone_is_looked_at(call, action, made_by, labels, said):
    """A try may have had its effect: a person is told how the container is now, if it is ours."""
    engine = Engine(made_by)
    engine.labels = labels
    ended = call(container.take_back, engine, action)
    assert (type(ended), ended.code) == (OutcomeUnknown, "cancelled")
    assert said in ended.summary


def test_a_look_leaves_nothing(call):
    """A health check that is cancelled has done nothing."""
    assert type(call(container.take_back, None, "health-check")) is Transient


@pytest.mark.parametrize(
    ("how", "during", "made", "ends"),
    [
        (container.run, True, (OURS, OURS), OutcomeUnknown),
        (container.run, False, (OURS, None), Permanent),
        (container.probe, False, (None, OURS), Permanent),
        (container.resume, False, (None, OURS), OutcomeUnknown),
    ],
    ids=["while it runs, and the engine goes away", "before its next try", "probe", "resume"],
)
def test_a_create_that_is_cancelled_anywhere_leaves_nothing_untold(
    call, stage, how, during, made, ends
):
    """What it has made is removed; where the engine goes away meanwhile, it is told."""
    engine = Engine(*(one and stage.dispatch_id for one in made))
    ended = call(how, engine, "create", during=during)
    assert (type(ended), ended.code) == (ends, "cancelled")
    if ends is OutcomeUnknown:
        assert "shutting down" in ended.summary
        assert ended.details["left"]
    else:
        assert "Removed again" in ended.summary
        assert (engine.container, engine.network) == (None, None)
