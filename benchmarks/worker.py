"""spoold's stages in a process of their own, timed from inside: no start-up is counted.

They are put together as `spoold intake` and `spoold run` do it, and log as these do. Prints JSON.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.site import DONE
from spoold import executors, routing
from spoold.config import configuration
from spoold.service import loop
from spoold.service.drain import drain
from spoold.service.log_format import log_to_stderr
from spoold.stages.execute import Execute
from spoold.stages.gate import Gate
from spoold.stages.intake import Intake
from spoold.stages.stage import Stage, StageContext
from spoold.stages.sweep import Sweep
from spoold.testing import Recorder

#: Works through what there is; returns the time at which that was done.
Work = Callable[[], float]


def intake(context: StageContext) -> Work:
    """`spoold intake --drain`."""
    return _drain([Intake(context)], context)


def drained(context: StageContext) -> Work:
    """`spoold run --drain`: one stage after the other."""
    return _drain(_all(context, lambda: context), context)


def _drain(stages: Sequence[Stage], context: StageContext) -> Work:
    def run() -> float:
        _must_be_ok(drain(stages, context))
        return time.perf_counter()

    return run


def served(context: StageContext, recorder: Recorder, count: int) -> Work:
    """`spoold run`, each stage in a thread of its own, until `count` requests are done."""
    return _until_done(_all(context, context.for_stage), context, recorder, count)


def service_of(context: StageContext, recorder: Recorder, name: str, count: int) -> Work:
    """One stage as a service of its own; `execute` ends when `count` requests are done."""
    if name == "execute":
        (executor,) = context.routing.executors
        return _until_done([Execute(context, executor)], context, recorder, count)
    stage: Stage = {"intake": Intake, "sweep": Sweep, "gate": Gate}[name](context)
    signal.signal(signal.SIGTERM, lambda *_: (context.stop.set(), context.wake.set()))

    def run() -> float:
        _must_be_ok(loop.serve([stage], context))
        return time.perf_counter()

    return run


def _until_done(
    stages: Sequence[Stage], context: StageContext, recorder: Recorder, count: int
) -> Work:
    done = Path(context.routing.config.root) / DONE
    ended: list[float] = []

    def watch() -> None:
        while len(recorder.calls) < count:
            time.sleep(0.002)
        while len(os.listdir(done)) < count:
            time.sleep(0.001)
        ended.append(time.perf_counter())
        context.stop.set()
        for stage in stages:
            stage.context.wake.set()

    def run() -> float:
        threading.Thread(target=watch, daemon=True).start()
        _must_be_ok(loop.serve(stages, context))
        return ended[0]

    return run


def _must_be_ok(code: int) -> None:
    if code != os.EX_OK:
        sys.exit(code)


def _all(context: StageContext, each: Callable[[], StageContext]) -> list[Stage]:
    running = [Execute(each(), name) for name in context.routing.executors]
    return [Intake(each()), Sweep(each()), Gate(each()), *running]


def main() -> None:
    """Arguments: the configuration; what to run; for services how many must be done.

    It begins when it has read a line, so that several can begin at once.
    """
    file, what, *more = sys.argv[1:]
    log_to_stderr(as_json=True)
    recorder = Recorder()
    executors.register("recorder", recorder)
    context = StageContext(routing.load(configuration.load(Path(file))))
    run = {
        "intake": lambda: intake(context),
        "drained": lambda: drained(context),
        "served": lambda: served(context, recorder, int(more[0])),
        "service": lambda: service_of(context, recorder, more[0], int(more[1])),
    }[what]()
    print("ready", flush=True)
    sys.stdin.readline()
    used, begun = time.process_time(), time.perf_counter()
    seconds = run() - begun
    used = time.process_time() - used
    print(json.dumps({"seconds": seconds, "processor": used, "calls": len(recorder.calls)}))


if __name__ == "__main__":
    main()
