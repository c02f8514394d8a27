"""What every executor kind must do, so that the stage that runs it needs to know none of them."""

import copy
import inspect
import re
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from spoold.errors import ExecutionError
from spoold.executors import Result, kinds, load
from tests.conformance.kind_examples import EXAMPLES


@pytest.fixture(params=kinds())
def kind(request: pytest.FixtureRequest) -> str:
    if request.param not in EXAMPLES:
        pytest.fail(f"the kind {request.param} has no example in kind_examples.py")
    return request.param


def _params(kind: str, given: dict[str, Any] | None = None) -> Any:
    module = load(kind)
    config = EXAMPLES[kind]["config"]
    fields = {key: value for key, value in config.items() if key in module.Params.model_fields}
    fields |= given or EXAMPLES[kind]["params"]
    return module.Params.model_validate(module.complete(fields, _config(kind), {}))


def _config(kind: str) -> Any:
    return load(kind).Config.model_validate(EXAMPLES[kind]["config"])


def _outcome(call: Any, params: Any, context: Any) -> Result | ExecutionError:
    try:
        return call(params, context)
    except ExecutionError as error:
        return error


def _assert_recordable(outcome: Result | ExecutionError) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]{0,39}", outcome.code)
    assert outcome.summary.endswith(".")
    assert outcome.summary.isprintable()
    assert orjson.loads(orjson.dumps(outcome.details)) == outcome.details


def test_the_first_line_of_a_kind_is_its_arrow(kind):
    """Whoever lists the kinds reads in one line what goes in and what comes out."""
    assert "→" in (load(kind).__doc__ or "").splitlines()[0]


def test_a_kind_has_the_functions_of_the_contract(kind):
    """It has `check(params, config)`, `run(params, context)`, `probe(params, context)` itself."""
    own = vars(load(kind))
    for name, second in (("check", "config"), ("run", "context"), ("probe", "context")):
        assert list(inspect.signature(own[name]).parameters) == ["params", second]


@pytest.mark.parametrize("model", ["Config", "Params"])
def test_a_misspelt_key_is_an_error(kind, model):
    """A key without effect is refused, because its author believes that it has one."""
    example = EXAMPLES[kind][model.lower()]
    with pytest.raises(ValidationError, match="mispelt"):
        getattr(load(kind), model).model_validate({**example, "mispelt": 1})


def test_models_are_strict(kind):
    """A number is never taken for a text, so what a person approved is what runs."""
    params = EXAMPLES[kind]["params"]
    for key, value in params.items():
        if isinstance(value, str):
            with pytest.raises(ValidationError):
                _params(kind, {**params, key: 5})


def test_params_survive_the_request_file(kind):
    """Parameters are the same after they were written to a request file and read again."""
    params = _params(kind)
    stored = orjson.dumps(params.model_dump(mode="json"))
    assert type(params).model_validate(orjson.loads(stored)) == params


def test_what_was_approved_cannot_be_changed(kind):
    """Nothing reassigns a parameter between the approval and the effect."""
    params = _params(kind)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(params, next(iter(type(params).model_fields)), None)


def test_check_accepts_the_example_and_changes_nothing(kind):
    """What can run passes, and looking at it leaves it as it was."""
    params = _params(kind)
    before = copy.deepcopy(params)
    assert load(kind).check(params, _config(kind)) is None
    assert params == before


def test_check_refuses_with_one_sentence(kind):
    """What could never run is refused before a person sees it, in words for that person."""
    assert EXAMPLES[kind]["refused"]
    for given in EXAMPLES[kind]["refused"]:
        with pytest.raises(ValueError, match=r"\w{2,} \w+") as raised:
            load(kind).check(_params(kind, given), _config(kind))
        assert not isinstance(raised.value, ValidationError)
        assert "\n" not in str(raised.value)


def test_run_ends_in_something_that_can_be_recorded(kind, stage):
    """An attempt ends in a result or in one of the three errors, as plain JSON, without secrets."""
    outcome = _outcome(load(kind).run, _params(kind), stage.context(_config(kind)))
    _assert_recordable(outcome)
    assert not any(secret in repr(outcome) for secret in stage.secrets.values())


def test_run_starts_nothing_while_the_service_stops(kind, stage):
    """When the service already stops, the attempt ends at once and may be repeated."""
    context = stage.context(_config(kind))
    context.stopping.set()
    outcome = _outcome(load(kind).run, _params(kind), context)
    assert type(outcome).__name__ == "Transient"
    assert not stage.captures


def test_probe_acts_on_nothing_and_says_the_same_again(kind, stage):
    """Asking how an attempt ended is safe at any time and leaves no trace."""
    module, context = load(kind), stage.context(_config(kind))
    first, second = (_outcome(module.probe, _params(kind), context) for _ in range(2))
    _assert_recordable(first)
    assert (type(first), first.code) == (type(second), second.code)
    assert not list(stage.folder.iterdir())
