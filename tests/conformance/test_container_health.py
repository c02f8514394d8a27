"""Health checks by the kind `container`: what fails, and what an engine does not say."""

import threading
from typing import Any

import pytest

from spoold.errors import Permanent, Transient
from spoold.executors import container
from spoold.executors.container.params import Config, Params, complete


class Engine:
    """An engine with a container for each customer: `healthy`, `unhealthy`, or what it answers.

    Attributes:
        hangs: customers about whose container it does not answer.
        broken: customers about whose container it answers with an error.
    """

    def __init__(self, **health: str) -> None:
        self.health = health
        self.hangs: set[str] = set()
        self.broken: set[str] = set()
        self.ends = threading.Event()

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        """What it says."""
        del method
        if "/containers/json" in path:
            return 200, [{"Names": [f"/customer-{c}"], "Labels": labels(c)} for c in self.health]
        customer = path.split("/containers/customer-")[1].partition("/")[0]
        if customer in self.hangs:
            self.ends.wait(10)
        if customer in self.broken:
            return 500, {"message": "context deadline exceeded"}
        if customer not in self.health:
            return 404, {"message": "No such container"}
        state = {"Status": "running", "Health": {"Status": self.health[customer]}}
        return 200, {"Id": "beef" * 16, "Name": f"/customer-{customer}", "State": state,
                     "Config": {"Labels": labels(customer)}}  # fmt: skip


def labels(customer: str) -> dict[str, str]:
    """As spoold puts them on a container."""
    return {"openclaw.customer": customer, "spoold.dispatch_id": "d-1"}


@pytest.fixture
def check(fake, stage):
    """Looks at all containers of an engine, or at one customer's."""
    engines = []

    def look(engine, **more):
        engines.append(engine)
        config = Config(engine=fake(engine.answer), check_timeout="400ms")
        params = Params.model_validate(complete({"action": "health-check", **more}, config, {}))
        return container.run(params, stage.context(config))

    yield look
    for engine in engines:
        engine.ends.set()


def passed(ended) -> dict[str, bool | None]:
    """Of each customer."""
    return {one["customer"]: one["passed"] for one in ended.details["checks"]}


def test_an_engine_that_does_not_say_is_no_container_that_fails(check):
    """Neither a time-out nor an error of the engine counts against a container."""
    engine = Engine(a="healthy", hangs="healthy", broken="unhealthy")
    engine.hangs, engine.broken = {"hangs"}, {"broken"}
    with pytest.raises(Transient) as raised:
        check(engine)
    ended = raised.value
    assert passed(ended) == {"a": True, "hangs": None, "broken": None}
    counted = {name: ended.details[name] for name in ("passed", "failed", "unknown")}
    assert counted == {"passed": 1, "failed": 0, "unknown": 2}
    assert ended.code == "engine-error"
    said = {one["customer"]: one.get("errorMessage") for one in ended.details["checks"]}
    assert "does not answer within 0.4 s" in said["hangs"]
    assert "deadline exceeded" in said["broken"]


def test_a_container_that_fails_is_told_beside_those_that_are_not_known(check):
    """What is known to fail decides; the rest stays not known."""
    engine = Engine(hangs="healthy", sick="unhealthy", well="healthy")
    engine.hangs = {"hangs"}
    with pytest.raises(Permanent) as raised:
        check(engine)
    assert raised.value.code == "unhealthy"
    assert passed(raised.value) == {"hangs": None, "sick": False, "well": True}
    assert raised.value.summary.startswith("1 of 3 containers fail; customer-sick")


def test_a_container_that_is_gone_has_failed(check):
    """That there is none is an answer."""
    with pytest.raises(Permanent) as raised:
        check(Engine(), customer="a")
    assert passed(raised.value) == {"a": False}


def test_all_that_work_pass(check):
    """Without a failure and with an answer about each, the look is good."""
    assert check(Engine(a="healthy", b="healthy")).code == "healthy"
