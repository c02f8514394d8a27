"""Destinations that are ill are rested: the rules, and which calls say so."""

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest

from spoold.errors import ExecutionError, OutcomeUnknown, Transient
from spoold.executors import hook
from spoold.executors.hook import cooldown
from spoold.executors.hook.cooldown import Health

HERE, THERE = "http://here:1", "http://there:1"
ILL, WELL = True, False


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(cooldown.time, "monotonic", lambda: now[0])
    return now


def _visit(health: Health, ill: Any, where: str = HERE) -> cooldown.Visit:
    with health.visit(where, 20.0) as visit:
        visit.found_ill = ill
    return visit


def _left(health: Health, where: str = HERE) -> float:
    """How long a destination is still rested; it must be."""
    with pytest.raises(Transient) as raised:
        _visit(health, None, where)
    assert (raised.value.code, raised.value.counts) == ("resting", False)
    assert where in raised.value.summary
    return raised.value.retry_after


# The rules, with a clock that stands still


def test_failures_in_a_row_begin_a_rest(clock):
    """The last of `after` begins it; a success starts the count anew, an interruption does not."""
    health = Health(3, 30.0)
    for ill in (True, True, False, True, None, True):
        assert _visit(health, ill).rests_for == 0
    assert _visit(health, ILL).rests_for == 30.0
    assert _left(health) == 30.0
    clock[0] += 29.5
    assert _left(health) == 0.5


def test_each_destination_is_by_itself(clock):
    """One that is ill keeps nobody from calling another."""
    health = Health(1, 30.0)
    _visit(health, ILL)
    assert _left(health) == 30.0
    assert not _visit(health, WELL, THERE).is_probe


def test_after_a_rest_one_call_finds_out(clock):
    """The others wait for what it finds, and all may call when it went well."""
    health = Health(1, 30.0)
    _visit(health, ILL)
    clock[0] += 30
    with health.visit(HERE, 20.0) as probe:
        assert probe.is_probe
        clock[0] += 5
        assert _left(health) == 15.0
        probe.found_ill = False
    assert not _visit(health, WELL).is_probe


@pytest.mark.parametrize(
    ("first", "rests"), [(30.0, [30, 60, 120, 240, 480, 900, 900]), (3600.0, [3600, 3600, 3600])]
)
def test_a_rest_doubles_up_to_its_limit(clock, first, rests):
    """Each probe that fails doubles the rest, to 15 minutes or what the operator says, if more."""
    health = Health(1, first)
    for rest in rests:
        assert _visit(health, ILL).rests_for == rest
        clock[0] += rest
    _visit(health, WELL)
    assert _visit(health, ILL).rests_for == first


def test_calls_that_were_on_their_way_do_not_stretch_a_rest(clock):
    """What began before the rest and fails after it began says nothing new; success ends it."""
    health = Health(2, 30.0)
    with health.visit(HERE, 20.0) as lucky:
        with health.visit(HERE, 20.0) as late:
            _visit(health, ILL)
            _visit(health, ILL)
            clock[0] += 10
            late.found_ill = True
        assert late.rests_for == 0
        assert _left(health) == 20.0
        lucky.found_ill = False
    assert not _visit(health, WELL).is_probe


@pytest.mark.parametrize("how", ["interrupted", "broken"])
def test_a_probe_that_found_out_nothing_is_followed_by_another(clock, how):
    """A service that stops, or a bug, in the middle of a probe does not rest it for ever."""
    health = Health(1, 30.0)
    _visit(health, ILL)
    clock[0] += 30
    with suppress(ZeroDivisionError), health.visit(HERE, 20.0) as probe:
        if how == "broken":
            raise ZeroDivisionError
        probe.found_ill = None
    assert _visit(health, ILL).is_probe


def test_none_is_rested_where_the_configuration_says_never(clock):
    """`rest_after = 0` switches it off."""
    health = Health(0, 30.0)
    visits = [_visit(health, ILL) for _ in range(50)]
    assert {(visit.rests_for, visit.is_probe) for visit in visits} == {(0, False)}


def test_of_many_at_once_only_one_finds_out(clock):
    """Threads that come at the same moment agree who calls."""
    health = Health(1, 30.0)
    _visit(health, ILL)
    clock[0] += 30
    start, turned_away = threading.Barrier(16), threading.Semaphore(0)
    calls, rested = [], []

    def call() -> None:
        start.wait()
        try:
            with health.visit(HERE, 5.0) as visit:
                calls.append(visit.is_probe)
                for _ in range(15):
                    assert turned_away.acquire(timeout=60)
                visit.found_ill = True
        except Transient as error:
            rested.append(error.retry_after)
            turned_away.release()

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [True]
    assert len(rested) == 15


# What of a call counts


def _config(url: str, **more: Any) -> hook.Config:
    return hook.Config.model_validate({"url": url, "dialect": "plain", "rest_after": 2, **more})


def _outcome(stage, config: hook.Config, timeout: str = "5s", **more: Any) -> Any:
    params = hook.Params.model_validate({"url": config.url, "body": {}, "timeout": timeout})
    try:
        return hook.run(params, stage.context(config, **more)).code
    except ExecutionError as error:
        return error


def test_a_server_that_says_it_is_ill_is_rested(stage, receiver):
    """After 5xx in a row nothing is sent any more."""
    for receiver.status in (500, 501, 503, 504, 599):
        receiver.seen.clear()
        config = _config(receiver.url)
        codes = [_outcome(stage, config).code for _ in range(3)]
        assert codes == [f"http-{receiver.status}"] * 2 + ["resting"]
        assert len(receiver.seen) == 2


@pytest.mark.parametrize("status", [200, 204, 307, 400, 401, 404, 409, 429])
def test_a_server_that_answers_is_well(stage, receiver, status):
    """What it does not like about a request is no illness, and ends a row of failures."""
    config = _config(receiver.url)
    for receiver.status in (500, status, 500, status, status, status):
        _outcome(stage, config)
    assert len(receiver.seen) == 6


def _silent(connection: socket.socket, time_passes: Any) -> None:
    connection.recv(65536)
    time_passes()
    while connection.recv(65536):  # until its caller has given up
        pass


def _rude(connection: socket.socket, _: Any) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")


@pytest.mark.parametrize(
    ("how", "code"), [(None, "not-sent"), (_silent, "timeout"), (_rude, "disconnected")]
)
def test_a_call_that_does_not_come_through_is_an_illness(
    stage, raw_server, unused_url, time_passes, how, code
):
    """Where nobody listens or answers, or hangs up in between, the third call is not tried."""
    config = _config(raw_server(lambda one, _: how(one, time_passes)) if how else unused_url)
    codes = [_outcome(stage, config).code for _ in range(3)]
    assert codes == [code, code, "resting"]


def test_two_executors_do_not_share_what_they_know(stage, unused_url):
    """Each has its own memory, also where their tables are alike."""
    first, second = _config(unused_url), _config(unused_url)
    for _ in range(3):
        last = _outcome(stage, first)
    assert last.code == "resting"
    assert _outcome(stage, second).code == "not-sent"


def test_one_host_with_two_ports_is_two_destinations(stage, receiver, unused_url):
    """Scheme, host and port together are what is up or down."""
    config = _config(receiver.url, urls=[unused_url])
    params = hook.Params.model_validate({"url": unused_url, "body": {}})
    for _ in range(3):
        with pytest.raises(Transient):
            hook.run(params, stage.context(config))
    assert _outcome(stage, config) == "http-200"


def test_a_probe_uses_up_no_try(stage, unused_url, time_passes):
    """A request that happened to be the one to find out is not the worse for it."""
    config = _config(unused_url, rest="30s")
    first = [_outcome(stage, config) for _ in range(2)]
    assert [error.counts for error in first] == [True, True]
    time_passes()
    probe = _outcome(stage, config)
    assert (probe.code, probe.counts, probe.retry_after) == ("not-sent", False, 60)


def test_a_probe_in_doubt_is_remembered(stage, raw_server, time_passes):
    """What may have had its effect counts, so that the attempt stays in the file."""
    url = raw_server(lambda connection, _: _silent(connection, time_passes))
    config = _config(url, idempotency_window="5m")
    for _ in range(2):
        _outcome(stage, config)
    time_passes()
    probe = _outcome(stage, config)
    assert (probe.code, probe.counts, probe.details["in_doubt"]) == ("timeout", True, True)


def test_what_is_in_doubt_goes_to_a_person_when_the_key_is_forgotten(stage, unused_url):
    """A rest does not keep a request whose key the receiver has forgotten meanwhile."""
    config = _config(unused_url, idempotency_window="5m")
    for _ in range(3):
        assert not isinstance(_outcome(stage, config, age=5, in_doubt=True), OutcomeUnknown)
    assert _outcome(stage, config, age=301, in_doubt=True).code == "key-forgotten"


def test_a_missing_secret_is_not_the_destination_s_fault(stage, receiver):
    """What could not even be signed says nothing about who would have received it."""
    config = _config(receiver.url, token={"env": "NONE"})
    for _ in range(5):
        assert _outcome(stage, config).code == "secret-missing"
    stage.secrets["NONE"] = "x"
    assert _outcome(stage, config) == "http-200"
