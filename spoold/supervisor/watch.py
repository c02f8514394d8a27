"""A running agent → its output, kept and read, and the reason why it ended or must end."""

import json
import os
import selectors
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spoold.disk import fs
from spoold.disk.capped_file import Capture
from spoold.supervisor.agent import Agent
from spoold.supervisor.job import Job
from spoold.supervisor.redact import StreamRedactor
from spoold.supervisor.usage import Usage

#: For what is left in the pipes at the end, and between two beats (seconds).
_DRAIN, _BEAT = 1.0, 1.0
#: A tool that says only at its end what it has cost is about to end by itself (seconds).
_LAST_WORDS = 2.0
_CHUNK = 65_536


class Stream:
    """One of its two outputs: kept without secrets, and read for what it says."""

    def __init__(self, path: str, job: Job, usage: Usage | None) -> None:
        self.capture = Capture(Path(path), job.max_output)
        self.seen = 0
        self._usage = usage
        self._redactor = StreamRedactor(job.secrets)

    def feed(self, data: bytes) -> None:
        """More of it."""
        self.seen += len(data)
        self._keep(self._redactor.feed(data))

    def end(self) -> None:
        """There is no more."""
        self._keep(self._redactor.end())
        if self._usage:
            self._usage.end()
        self.capture.close()

    def facts(self) -> dict[str, Any]:
        """What a result says of it."""
        capture = self.capture
        return {"bytes": self.seen, "tail": capture.tail(), "truncated": capture.truncated}

    def _keep(self, data: bytes) -> None:
        if data:
            self.capture.write(data)
            if self._usage:
                self._usage.feed(data)


class Watch:
    """Moves bytes, notices deadlines, and says why it ended."""

    def __init__(self, job: Job, agent: Agent, files: str, told: list[int]) -> None:
        self.usage = Usage(job.key)
        self.out = Stream(f"{files}.out", job, self.usage)
        self.err = Stream(f"{files}.err", job, None)
        self._exited = False
        self._told = told
        self.last_output: datetime | None = None
        self._job, self._agent, self._files = job, agent, files
        self._idle_since = time.monotonic()
        self._beat_at = 0.0
        self._over_since: float | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(agent.pidfd, selectors.EVENT_READ, self._note_exit)
        self._unsent = memoryview(b"" if "{prompt_file}" in job.argv else job.prompt.encode())
        os.set_blocking(agent.stdin, False)
        self._selector.register(agent.stdin, selectors.EVENT_WRITE, self._feed)
        self._open = {agent.stdout: self.out, agent.stderr: self.err}
        for descriptor in self._open:
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ, self._read)

    def until_it_ends(self, started: float) -> str:
        """`exited`, or what made us end it."""
        job = self._job
        while not self.exited():
            now = time.monotonic()
            if self._told:
                return "terminated"
            if now >= started + job.timeout:
                return "timeout"
            if now >= self._idle_since + job.idle_timeout:
                return "idle"
            ends = min(started + job.timeout, self._idle_since + job.idle_timeout)
            if over := self._over():
                self._over_since = self._over_since or now
                if now >= self._over_since + _LAST_WORDS:
                    return over
                ends = min(ends, self._over_since + _LAST_WORDS)
            self.turn(min(ends - now, _BEAT))
            if time.monotonic() >= self._beat_at:
                self._beat_at = time.monotonic() + _BEAT
                self._beat()
                # The agent's orphans become ours; unreaped they would fill the table of processes.
                self._agent.reap()
        return "exited"

    def _over(self) -> str | None:
        """Which cap was passed, as far as the agent has said."""
        usage, job = self.usage, self._job
        if job.max_cost is not None and (usage.cost or 0) > job.max_cost:
            return "over-cost"
        if job.max_turns is not None and (usage.turns or 0) > job.max_turns:
            return "over-turns"
        return None

    def exited(self) -> bool:
        """Whether the agent itself has ended."""
        return self._exited or self._agent.status is not None

    def turn(self, seconds: float) -> None:
        """Wait for what comes, at most so long."""
        for key, _ in self._selector.select(max(seconds, 0)):
            key.data(key.fd)

    def drain(self) -> None:
        """Read what is left in the pipes, for a while: an escaped process may keep them open."""
        until = time.monotonic() + _DRAIN
        while self._open and time.monotonic() < until:
            self.turn(0.05)
        self.out.end()
        self.err.end()

    def _note_exit(self, descriptor: int) -> None:
        self._exited = True
        self._selector.unregister(descriptor)

    def _feed(self, descriptor: int) -> None:
        try:
            if self._unsent:
                self._unsent = self._unsent[os.write(descriptor, self._unsent[:_CHUNK]) :]
            if self._unsent:
                return
        except BlockingIOError:  # it writes into its own input
            return
        except BrokenPipeError:  # a program need not read what it is given
            pass
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _read(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:  # it reads its own output
            return
        if data:
            self._open[descriptor].feed(data)
            self.last_output, self._idle_since = datetime.now(UTC), time.monotonic()
        else:
            self._selector.unregister(descriptor)
            del self._open[descriptor]

    def _beat(self) -> None:
        facts = {
            "pid": self._agent.pid,
            "last_output_at": self.last_output and as_text(self.last_output),
            "stdout_bytes": self.out.seen,
            "stderr_bytes": self.err.seen,
            "cost_usd": self.usage.cost,
            "turns": self.usage.turns,
        }
        draft = f"{self._files}.beat.tmp"
        # On a full disk the executor hears nothing, and the agent goes on.
        with suppress(OSError):
            Path(draft).write_text(json.dumps(facts), encoding="utf-8")
            fs.replace(draft, f"{self._files}.beat.json")


def as_text(when: datetime) -> str:
    """ISO 8601, UTC, microseconds."""
    return when.isoformat(timespec="microseconds")
