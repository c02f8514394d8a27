"""Agents on a site: configured, begun, found by their numbers."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.conformance.agents import REPORT, ROUTE, end_supervisors
from tests.e2e.conftest import DECISIONS, Site, decision, until

AGENTS = """
[executors.agents]
kind         = "agent"
timeout      = "{timeout}"
idle_timeout = "1m"
concurrency  = {concurrency}
retry        = {{ tries = 2, base = "1s" }}
[executors.agents.commands.it]
argv = {argv}
"""

#: Says that it runs, waits to be told to go on, and leaves its evidence.
WAITS = """
import os, pathlib, time
begun = pathlib.Path('begun'); begun.open('a').write(f'{os.getpid()}\\n')
print('hello', flush=True)
while not os.path.exists('go'): time.sleep(0.02)
pathlib.Path('REPORT.md').write_text('done')
"""


class Agents:
    """A site whose one route launches Python code, and the folder in which that works."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.work = site.folder / "work"
        self.work.mkdir()

    def configure(self, code: str = WAITS, timeout: str = "1m", concurrency: int = 1) -> None:
        """Write the configuration, and drop one decision."""
        argv = json.dumps([sys.executable, "-c", code])
        settings = AGENTS.format(timeout=timeout, argv=argv, concurrency=concurrency)
        route = ROUTE.format(cwd=self.work, evidence=REPORT)
        self.site.configure(f"{DECISIONS}{settings}", route)
        self.drop()

    def drop(self) -> None:
        """Drop a decision of this test alone: processes are found by an id made of it."""
        number = f"{os.getpid()}-{time.time_ns()}"
        self.site.drop("decisions", f"{number}.json", decision(number))

    def begin(self, code: str = WAITS, **more: Any) -> Any:
        """Start the service, and wait until the agent has begun."""
        self.configure(code, **more)
        service = self.site.start("run")
        until(self.pids, "an agent")
        return service

    def begin_and_leave(self, number: int, code: str = WAITS, **more: Any) -> int:
        """The same, and end the service; the agent's pid."""
        service = self.begin(code, **more)
        service.send_signal(number)
        service.wait(60)
        return self.pids()[0]

    def pids(self) -> list[int]:
        """All that ever began."""
        begun = self.work / "begun"
        return [int(line) for line in begun.read_text().split()] if begun.exists() else []

    def go(self) -> None:
        """Tell the agent to finish."""
        (self.work / "go").touch()

    def claim(self) -> Path:
        """The file in which the supervisor has written which processes these are."""
        (file,) = self.site.root.glob("logs/*/*/attempt-1.process.json")
        return file

    def supervisor(self) -> int:
        """Its pid."""
        return int(json.loads(self.claim().read_bytes())["supervisor"]["pid"])

    def code(self, state: str) -> str:
        """The code of the result of the one request in that state."""
        return str(self.site.request(state)["result"]["code"])

    def end(self) -> None:
        """Kill whatever of service and agents still runs."""
        self.site.close()
        end_supervisors(self.site.root)
