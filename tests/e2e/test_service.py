"""A service that runs for long: it notices everything, survives everything, and stops cleanly."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import PRE_APPROVED, argv, command, decision, hook, reason, route, until

#: So long that only a wake-up can explain what happens before a test gives up.
SLOW = {"rescan": "600s"}


def test_a_drop_is_seen_and_a_yes_runs_without_a_rescan(site, receiver):
    """Long before a rescan, and again and again, a drop waits for a person, and a yes is a call."""
    site.configure(hook(receiver.url), route(), **SLOW)
    site.start("run")
    for number in range(1, 4):
        site.drop_many(1, first=number)
        site.approve(*site.wait_for("awaiting-approval"))
        site.wait_for("done", number)
        assert len(receiver.calls) == number


def test_a_replaced_inbox_and_odd_names_do_not_stop_it(site, receiver):
    """An inbox that is moved away and made anew, and names that are no UTF-8, stop nothing."""
    site.configure(hook(receiver.url), route(), rescan="4s")
    service = site.start("run")
    inbox = site.root / "inbox" / "decisions"
    inbox.rename(site.folder / "away")
    inbox.mkdir(exist_ok=True)
    site.drop_many(1)
    site.wait_for("awaiting-approval", 1)
    for number in (1, 2):
        site.drop_many(1, first=number)
        site.wait_for("awaiting-approval", number + 1)
    odd = [b"\xff\xfe.json", b"caf\xe9.json"]
    for folder, name in [(inbox, odd[0]), (site.root / "approved", odd[1])]:
        path = os.path.join(os.fsencode(folder), name)
        with open(path + b".part", "wb") as file:
            file.write(json.dumps(decision(9)).encode())
        Path(os.fsdecode(path + b".part")).rename(os.fsdecode(path))
    (aside,) = site.wait_for("quarantine")
    assert reason(aside)["code"] == "odd-name"
    (held,) = site.wait_for("held")
    assert reason(held)["code"] == "not-a-request"
    assert (aside.name + held.name).isascii()
    site.drop_many(1, first=3)
    site.wait_for("awaiting-approval", 4)
    site.approve()
    site.wait_for("done", 4)
    assert site.stop(service) == 0


@pytest.mark.real
def test_sigterm_lets_what_runs_finish_and_leaves_nothing_running(site, receiver):
    """On SIGTERM what was begun is finished and recorded, what was not waits, and the exit is 0."""
    receiver.delay = 1.0
    site.configure(hook(receiver.url, "concurrency = 2"), route("gateway", PRE_APPROVED))
    site.drop_many(10)
    service = site.start("run")
    until(lambda: len(receiver.calls) == 2, "two calls")
    assert site.stop(service) == 0
    calls = receiver.keys()
    assert {path.stem for path in site.files("done")} == calls.keys()
    assert site.where() == {"done": len(calls), "queued": 10 - len(calls)}
    receiver.delay = 0.0
    site.drain()
    assert site.where() == {"done": 10}
    assert set(receiver.keys().values()) == {1}


@pytest.mark.real
def test_sigterm_does_not_wait_for_ever(site, program):
    """What does not end within `stop_grace` is killed, and unknown: it may have had its effect."""
    slow = program("slow", "sleep 300")
    site.configure(
        command(slow), route("runner", PRE_APPROVED, params=argv(slow)), stop_grace="500ms"
    )
    site.drop_many(1)
    service = site.start("run")
    until(lambda: site.files("running") and site.request("running")["attempts"], "an attempt")
    assert site.stop(service) == 0
    assert site.where() == {"unknown": 1}
    assert site.request("unknown")["result"]["code"] == "interrupted"


def test_three_thousand_drops_while_it_was_stopped_are_all_taken(site, receiver):
    """What is dropped while the process cannot look is all taken once it can."""
    site.configure(hook(receiver.url), route("gateway", 'intent_key = "record.body.half"'))
    service = site.start("run")
    service.send_signal(signal.SIGSTOP)
    for number in range(3000):
        site.drop("decisions", f"{number:05}.json", decision(number, half=str(number % 2)))
    assert site.count("inbox/decisions") == 3000
    service.send_signal(signal.SIGCONT)
    until(lambda: site.count("inbox/decisions") == 0, "an empty inbox")
    assert site.stop(service) == 0
    assert len(site.files("archive")) == 3000
    made = [json.loads(path.read_bytes()) for path in site.files("awaiting-approval")]
    assert [one["asked"] for one in made] == [1500, 1500]


def test_hold_stops_what_is_new_until_it_is_gone(site, receiver):
    """With HOLD drops are taken, but no yes is passed on; once it is gone, all goes on."""
    site.configure(hook(receiver.url), route(), **SLOW)
    site.start("run")
    hold = site.root / "HOLD"
    hold.touch()
    site.drop_many(2)
    waiting = site.wait_for("awaiting-approval", 2)
    site.approve(waiting[0])
    site.drop_many(1, first=2)
    site.wait_for("awaiting-approval", 2)
    site.drain()
    assert site.where() == {"awaiting-approval": 2, "approved": 1}
    assert receiver.calls == []
    hold.unlink()
    site.wait_for("done")
    assert receiver.keys() == {waiting[0].stem: 1}


def test_hold_stops_the_executor_too(site, receiver):
    """What is queued already, or comes out of deferred/, does not start while HOLD is there."""
    receiver.answers = [(503, {"Retry-After": "0"}, b"")]
    site.configure(hook(receiver.url), route("gateway", PRE_APPROVED))
    site.start("intake")
    site.drop_many(1)
    site.wait_for("pre-approved")
    site.spoold("gate", "--drain")
    (site.root / "HOLD").touch()
    site.spoold("execute", "gateway", "--drain")
    assert site.where() == {"queued": 1}
    assert receiver.calls == []
    (site.root / "HOLD").unlink()
    site.spoold("execute", "gateway", "--drain")
    assert site.where() == {"deferred": 1}
    site.spoold("sweep", "--drain")
    assert site.where() == {"queued": 1}


def test_each_stage_alone_does_its_part_of_the_pipeline(site, receiver):
    """Intake, gate, sweep and executor as processes of their own are the whole pipeline."""
    receiver.answers = [(503, {"Retry-After": "1"}, b"")]
    site.configure(hook(receiver.url), route())
    stages = [
        site.start("intake"), site.start("gate"), site.start("sweep"),
        site.start("execute", "gateway"),
    ]  # fmt: skip
    site.drop_many(3)
    site.wait_for("awaiting-approval", 3)
    site.approve()
    site.wait_for("done", 3)
    assert sorted(receiver.keys().values()) == [1, 1, 2]
    assert [site.stop(stage) for stage in stages] == [0, 0, 0, 0]
    assert site.where() == {"done": 3}


def test_a_commands_output_and_end_are_kept(site, program):
    """What a command prints is in logs/<id>/, its exit code decides, its stdin and env are ours."""
    script = program("act", 'cat; echo "$COLOUR $2 $SPOOLD_DISPATCH_ID"; echo oops >&2; exit "$1"')
    params = f"""
        [params]
        argv = ["{script}", "=record.body.code", "; rm -rf $(HOME) `id`"]
        stdin = "=record.id"
        env = {{ COLOUR = "blue" }}
    """
    more = "exit_codes = { unknown = [9] }"
    site.configure(command(script, more), route("runner", PRE_APPROVED, params=params))
    site.start("run")
    ends = {"0": "done", "1": "failed", "9": "unknown", "75": "deferred"}
    for code in ends:
        site.drop("decisions", f"{code}.json", decision(code, code=code))
    for code, folder in ends.items():
        (file,) = site.wait_for(folder)
        logs = site.root / "logs/runner" / file.stem
        out = f"d-{code}blue ; rm -rf $(HOME) `id` {file.stem}\n"
        assert (logs / "attempt-1.out").read_text() == out
        assert (logs / "attempt-1.err").read_text() == "oops\n"
        tried = site.request(folder)["attempts"][0]
        assert tried["details"]["exit_code"] == int(code)
        assert tried["output"]["stdout_tail"] == out


def test_a_failed_preflight_holds_the_request_with_its_output(site, program, tmp_path):
    """A preflight command that fails keeps the action from starting; mended, it needs a new yes."""
    ran, ready = tmp_path / "ran", tmp_path / "ready"
    act = program("act", f"echo x >> {ran}")
    look = program("look", f"echo looked; echo not ready >&2; test -e {ready}")
    toml = command(act) + f'[preflight]\nprograms = ["{look}"]\n'
    checks = f'preflight = [{{ argv = ["{look}"] }}]'
    site.configure(toml, route("runner", PRE_APPROVED, checks, params=argv(act)))
    site.drop_many(1)
    site.start("run")
    (file,) = site.wait_for("held")
    assert not ran.exists()
    assert reason(file)["code"] == "preflight-failed"
    held = site.request("held")
    assert held["attempts"][0]["outcome"] == "held"
    assert held["result"]["details"]["exit_code"] == 1
    assert "not ready" in held["result"]["output"]["stderr_tail"]
    logs = site.root / "logs/runner" / file.stem
    assert [path.read_text() for path in sorted(logs.iterdir())] == ["not ready\n", "looked\n"]
    ready.touch()
    site.spoold("release", "--yes", file.stem)
    assert site.where() == {"awaiting-approval": 1}
    assert not (site.root / "held" / f"{file.name}.reason.json").exists()
    site.approve()
    site.wait_for("done")
    assert ran.read_text() == "x\n"


def test_hold_stops_the_action_behind_a_preflight(site, program, tmp_path):
    """An action whose preflight was running when HOLD came does not start while HOLD is there."""
    ran, go, looking = tmp_path / "ran", tmp_path / "go", tmp_path / "looking"
    act = program("act", f"touch {ran}")
    look = program("look", f"touch {looking}; while ! test -e {go}; do sleep 0.05; done")
    toml = command(act) + f'[preflight]\nprograms = ["{look}"]\n'
    checks = f'preflight = [{{ argv = ["{look}"] }}]'
    site.configure(toml, route("runner", PRE_APPROVED, checks, params=argv(act)))
    site.drop_many(1)
    service = site.start("run")
    until(looking.exists, "the preflight")
    (site.root / "HOLD").touch()
    go.touch()
    until(lambda: not (site.files("running") and not ran.exists()), "the preflight's end")
    assert not ran.exists()
    assert site.stop(service) == 0
    assert site.where() == {"queued": 1}
    (site.root / "HOLD").unlink()
    site.drain()
    assert ran.exists()
    assert site.where() == {"done": 1}


def alive(pid):
    """Whether a process runs (one that is dead but not waited for does not)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_timeout_kills_the_whole_process_group(site, program, tmp_path):
    """A command that takes too long has failed, and what it had started is gone with it."""
    pids = tmp_path / "pids"
    script = program("forever", f"trap '' TERM; sleep 300 & echo $$ $! > {pids}; wait; sleep 300")
    params = f'[params]\nargv = ["{script}"]\ntimeout = "1s"\n'
    site.configure(command(script), route("runner", PRE_APPROVED, params=params))
    site.drop_many(1)
    site.start("run")
    site.wait_for("failed")
    assert site.request("failed")["result"]["code"] == "timeout"
    shell, child = pids.read_text().split()
    until(lambda: not alive(shell) and not alive(child), "both are gone")


@pytest.mark.real
def test_a_killed_service_does_not_run_a_command_again(site, program, tmp_path):
    """After kill -9 in the middle of a command it is unknown, and says which process still runs."""
    ran = tmp_path / "ran"
    script = program("act", f"echo $$ >> {ran}; exec sleep 300")
    site.configure(command(script), route("runner", PRE_APPROVED, params=argv(script)))
    # The process is found by the id, and other tests' ids must not be the same.
    site.drop("decisions", "k.json", decision(f"killed-{os.getpid()}-{time.time_ns()}"))
    service = site.start("run")
    until(lambda: ran.exists() and ran.read_text(), "the command")
    service.kill()
    service.wait(10)
    pid = int(ran.read_text())
    try:
        site.drain()
        assert site.where() == {"unknown": 1}
        assert site.request("unknown")["result"]["details"]["pids"] == [pid]
        assert str(pid) in site.request("unknown")["result"]["summary"]
        assert ran.read_text() == f"{pid}\n"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_lane_that_is_busy_keeps_nobody_else_back(site, program, tmp_path):
    """One at a time of a lane; while it is busy, what is of another lane still starts."""
    go = tmp_path / "go"
    script = program("act", f'test "$1" = quick || while ! test -e {go}; do sleep 0.1; done')
    lane = 'lane = "record.body.lane"'
    params = f'[params]\nargv = ["{script}", "=record.body.lane"]\n'
    site.configure(command(script), route("runner", PRE_APPROVED, lane, params=params))
    site.start("run")
    for number in range(2):
        site.drop("decisions", f"{number}.json", decision(number, lane="slow"))
    site.wait_for("running/runner")
    site.wait_for("queued/runner")
    site.drop("decisions", "quick.json", decision("quick", lane="quick"))
    try:
        site.wait_for("done")
        assert site.where() == {"running": 1, "queued": 1, "done": 1}
    finally:
        go.touch()
    site.wait_for("done", 3)


@pytest.mark.real
def test_a_stage_cannot_be_had_twice(site, receiver):
    """A second instance of a stage stands by, says so, and ends at SIGTERM with 0."""
    site.configure(hook(receiver.url), route())
    site.start("intake")
    second = site.start("intake", ready=0)
    until(lambda: "standing by" in site.log(), "it stands by")
    assert site.stop(second) == 0
