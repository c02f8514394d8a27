"""A spool whose executor works on a corner of an engine, by the route of the contract."""

import itertools
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.docker.yard import SECRET, Yard
from tests.e2e.conftest import Site, until

ROUTE = """
name     = "containers"
source   = "tasks"
match    = 'record.type == "task.container" || has(record.body.action)'
executor = "docker"
requires_approval = false
[params]
action   = "=record.body.action"
customer = "=record.body.accountId"
plan     = "=record.body.plan"             # create only; port is optional: left out, the lowest free one
"""  # noqa: E501 - to the letter

ENDS = ("done", "failed", "unknown", "held", "quarantine")

#: Small, so that a retry needs no patience.
RETRY = 'concurrency = 4\nretry = { tries = 30, base = "100ms", cap = "300ms" }'


def toml(table: Mapping[str, Any]) -> str:
    """A table's values in one line each."""

    def value(given: Any) -> str:
        if isinstance(given, Mapping):
            return "{ " + ", ".join(f"{k} = {value(v)}" for k, v in given.items()) + " }"
        return json.dumps(given)

    return "\n".join(f"{name} = {value(given)}" for name, given in table.items())


class ContainerSite(Site):
    """A site with one executor of kind `container`."""

    def __init__(self, folder: Path, yard: Yard, **more: Any) -> None:
        super().__init__(folder)
        self.yard = yard
        self._numbers = itertools.count()
        self.env |= {"SECRET_URL": SECRET}
        table = toml({k: v for k, v in yard.table(**more).items() if v is not None})
        head = '[sources.tasks]\nformat = "task"\n'
        self.configure(
            f'{head}[executors.docker]\nkind = "container"\n{RETRY}\n{table}\n', ROUTE, rescan="1s"
        )

    def ask(self, action: str, customer: str | None = "a", **more: object) -> None:
        """Drop what asks for an action."""
        number = next(self._numbers)
        record = {"id": f"t-{number}", "action": action, "accountId": customer, **more}
        if action == "create":
            record.setdefault("plan", "starter")
        given = {name: value for name, value in record.items() if value is not None}
        self.drop("tasks", f"t-{number:04}.json", given)

    def killed(self, moment: str, number: int) -> bool:
        """Run everything in a process that dies at that call to the engine; whether it died."""
        words = self.words("run", "--drain")
        script = str(Path(__file__).with_name("killed.py"))
        words = [sys.executable, script, moment, str(number), *words[3:]]
        ended = subprocess.run(
            words, env=self.env, cwd=self.folder, capture_output=True, check=False, timeout=60
        )
        assert ended.returncode in (0, -9), ended.stderr.decode()
        return ended.returncode == -9

    def settle(self, seconds: float = 40) -> None:
        """Run until all that was asked for has ended."""
        asked = len(self.files("inbox", "archive", "quarantine"))
        service = self.start("run")
        until(lambda: len(self.files(*ENDS)) == asked, self.where(), seconds)
        assert self.stop(service) == 0, self.log()
