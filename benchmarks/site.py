"""A configuration and a spool in a folder, and real spoold processes on it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter
from typing import Any, Self

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCE = "decisions"
EXECUTOR = "worker"
#: Where its requests end.
DONE = f"done/{EXECUTOR}"

_SPOOLD = f"""\
root = "../spool"
[sources.{SOURCE}]
format = "decision"
[executors.{EXECUTOR}]
"""
RECORDER = 'kind = "recorder"\n'
#: It has nothing to wait for, so that a whole group may be under way.
RECORDER_64 = f"{RECORDER}concurrency = 64\n"
COMMAND = 'kind = "command"\nprograms = ["/usr/bin/true"]\n'
#: Runs until it is killed.
SLEEPER = 'kind = "command"\nprograms = ["/usr/bin/sleep"]\n'

_ROUTE = """\
name = "drill"
source = "decisions"
match = 'record.facts.degraded && record.facts.checks.exists(c, c.ok == false)'
executor = "worker"
execution_plane = "runner-local"
target_kind = "blueprint"
target_ref = "='dr/' + record.facts.decision_type + '@v1'"
target_env = "=record.facts.runtime_env"
rationale = "=record.facts.rationale"
requires_approval = {requires_approval}
expires_after = "7d"
"""
_PARAMS = {
    RECORDER: '[params]\nsay = "=record.id"\n',
    COMMAND: '[params]\nargv = ["/usr/bin/true", "=record.id"]\n',
    SLEEPER: '[params]\nargv = ["/usr/bin/sleep", "10"]\n',
}
_HOOK_PARAMS = '[params.body]\nmessage = "=record.id"\n'


def hook(url: str) -> str:
    """An executor that calls `url`."""
    return f'kind = "hook"\nurl = "{url}"\n'


class Site:
    """A spool of its own.

    Args:
        folder: an empty folder, or one that is made.
        executor: the settings of its one executor.
        approval: whether its route asks for a person.
    """

    def __init__(self, folder: Path, executor: str = COMMAND, *, approval: bool = True) -> None:
        self.folder = folder
        self.root = folder / "spool"
        self.config = folder / "config" / "spoold.toml"
        routes = folder / "config" / "routes.d"
        routes.mkdir(parents=True)
        self.root.mkdir()
        self.config.write_text(_SPOOLD + executor, encoding="utf-8")
        route = _ROUTE.format(requires_approval=str(approval).lower()) + _params(executor)
        (routes / "20-drill.toml").write_text(route, encoding="utf-8")
        self.inbox = self.root / "inbox" / SOURCE
        self.inbox.mkdir(parents=True)
        self._logs = 0

    # Drops

    def drop_all(self, names: Sequence[str], records: Sequence[bytes]) -> None:
        """Drop records while nobody looks."""
        inbox = os.fspath(self.inbox)
        for name, record in zip(names, records, strict=True):
            with open(f"{inbox}/{name}", "wb", buffering=0) as file:
                file.write(record)

    def prepare(self, name: str, record: bytes) -> Callable[[], None]:
        """Write a draft; the function that is returned drops it with one rename."""
        draft, target = f"{self.inbox}/.{name}", f"{self.inbox}/{name}"
        with open(draft, "wb", buffering=0) as file:
            file.write(record)
        return lambda: os.rename(draft, target)

    def names(self, folder: str) -> list[str]:
        """The requests in a folder; none if it is not there yet."""
        try:
            return [name for name in os.listdir(self.root / folder) if name.endswith(".json")]
        except FileNotFoundError:
            return []

    # Processes

    @property
    def environment(self) -> dict[str, str]:
        """Of every process: this checkout's spoold, and nothing from the caller's configuration."""
        kept = {k: v for k, v in os.environ.items() if k not in ("SPOOLD_CONFIG", "NO_COLOR")}
        return {**kept, "PYTHONPATH": str(CHECKOUT), "PYTHONUTF8": "1"}

    def words(self, *verb: str) -> list[str]:
        """A command line."""
        return [sys.executable, "-m", "spoold", "--config", str(self.config), *verb]

    def _log(self) -> Path:
        self._logs += 1
        return self.folder / f"stderr-{self._logs}.log"

    def worker_words(self, *arguments: str) -> list[str]:
        """A command line of `benchmarks.worker` on this spool."""
        return [sys.executable, "-m", "benchmarks.worker", str(self.config), *arguments]

    def worker(self, *arguments: str) -> dict[str, Any]:
        """Run `benchmarks.worker` on this spool; returns what it measured."""
        return self._workers([arguments])[0]

    def services(self, count: int) -> dict[str, Any]:
        """Every stage in a process of its own, as on a host; returns what `execute` measured."""
        stages = ("execute", "intake", "gate", "sweep")
        return self._workers([("service", stage, str(count)) for stage in stages])[0]

    def _workers(self, all_arguments: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
        """Begin together; what the first one measured ends the others."""
        log = self._log()
        with ExitStack() as stack:
            errors = stack.enter_context(log.open("wb"))
            running = [
                stack.enter_context(
                    subprocess.Popen(
                        self.worker_words(*arguments), env=self.environment, cwd=self.folder,
                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
                    )
                )
                for arguments in all_arguments
            ]  # fmt: skip
            for process in running:
                stack.callback(process.kill)
            for process in running:
                self._must_say(process, "ready", log)
            for process in running:
                process.stdin.write("\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
            measured = [json.loads(self._must_say(running[0], "{", log))]
            for process in running[1:]:
                process.terminate()
                measured.append(json.loads(self._must_say(process, "{", log)))
        return measured

    @staticmethod
    def _must_say(process: "subprocess.Popen[str]", word: str, log: Path) -> str:
        line: str = process.stdout.readline()  # type: ignore[union-attr]
        if not line.startswith(word):
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"a worker ended before its time:\n{said}")
        return line

    def spoold(self, *verb: str) -> float:
        """Run a verb to its end; returns the seconds from its start to its exit."""
        begun = perf_counter()
        self._finished(self.words(*verb), str)
        return perf_counter() - begun

    def _finished(self, words: Sequence[str], result: Callable[[str], Any]) -> Any:
        log = self._log()
        with log.open("wb") as errors:
            ended = subprocess.run(
                words, env=self.environment, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors, text=True, check=False, timeout=600,
            )  # fmt: skip
        if ended.returncode != 0:
            said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"{words} ended with {ended.returncode}:\n{said}")
        return result(ended.stdout)

    def start(self, *verb: str) -> "Service":
        """Start a service."""
        return Service(self.words(*verb), self.environment, self._log())


class Service:
    """A spoold process that runs until it is stopped."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.begun = perf_counter()
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def ready(self, stages: int, seconds: float = 180.0) -> None:
        """Wait until so many stages say that they are ready."""
        self.until(lambda: self.log.read_bytes().count(b" is ready") >= stages, "ready", seconds)

    def ready_stage(self, stage: str, seconds: float = 180.0) -> None:
        """Wait until one stage says that it is ready."""
        self.until(lambda: f"{stage} is ready".encode() in self.log.read_bytes(), stage, seconds)

    def until(
        self, true: Callable[[], bool], what: str, seconds: float = 60.0, every: float = 0.002
    ) -> float:
        """Wait for something; returns the seconds since the start of the process."""
        deadline = perf_counter() + seconds
        while not true():
            if self.process.poll() is not None or perf_counter() > deadline:
                said = self.log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"not within {seconds:g} s: {what}\n{said}")
            time.sleep(every)
        return perf_counter() - self.begun

    @property
    def processor_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_memory(self) -> int:
        """The most resident memory it ever had, in bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            found = re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.MULTILINE)
        if found is None:
            raise RuntimeError("the kernel does not say VmHWM")
        return int(found[1]) * 1024


def _params(executor: str) -> str:
    return next((p for kind, p in _PARAMS.items() if executor.startswith(kind)), _HOOK_PARAMS)
