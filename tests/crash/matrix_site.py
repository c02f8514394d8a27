"""A spool with every kind of route, a receiver and a program that remember, and records to drop."""

import contextlib
import json
import os
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

from spoold import request
from spoold.errors import BadInput
from spoold.identity import digits, dispatch_id, event_digest
from spoold.service.drain import drain
from spoold.spool.spool import Spool
from spoold.states import Role
from spoold.testing import Clock, Lab
from tests.crash.matrix_bench import Store
from tests.crash.matrix_receiver import Receiver
from tests.invariants import requests

_SETTINGS = """
[sources.decisions]
format = "decision"

[preflight]
programs = ["/bin/false", "/bin/true"]

[executors.gateway]
kind  = "hook"
url   = "{url}"
concurrency = 1
retry = {{ tries = 3, base = "1h", cap = "1h" }}

[executors.keyed]
kind  = "hook"
url   = "{url}"
retry = {{ tries = 9, base = "1h", cap = "1h" }}
idempotency_window = "1d"

[executors.runner]
kind       = "command"
programs   = ["{program}"]
exit_codes = {{ transient = [75], unknown = [9] }}
concurrency = 8
retry      = {{ tries = 3, base = "1h", cap = "1h" }}
"""

_ROUTE = """
name     = "{name}"
source   = "decisions"
match    = "record.facts.decision_type == '{name}'"
executor = "{executor}"
{more}
"""

_CALL = '[params.body]\nmessage = "=record.id"\n'
_INTENT = 'intent_key = "record.facts.decision_type"\n'
_RUN = '[params]\nargv = ["{program}", "=record.id"]\n'
_NO_PERSON = "requires_approval = false\n"

#: Route → its executor, and what else it says.
_ROUTES = {
    "plain": ("gateway", _CALL),
    "keyed": ("keyed", _CALL),
    "fold": ("gateway", _INTENT + _CALL),
    "supersede": ("gateway", f'{_INTENT}on_repeat = "supersede"\n{_CALL}'),
    "run": ("runner", f"lane = \"'one after the other'\"\n{_RUN}"),
    "free": ("runner", _RUN),
    "auto": ("runner", _NO_PERSON + _RUN),
    "checked": ("runner", 'preflight = [{ argv = ["/bin/false"] }]\n' + _RUN),
    "soon": ("gateway", f'expires_after = "1h"\n{_CALL}'),
}

#: It leaves its mark first, and then ends as the record's id says. `copy` puts a copy of its own
#: request into the queue and stays until that is taken away, `after` waits for one.
_PROGRAM = """#!/bin/sh
echo "$SPOOLD_DISPATCH_ID" >>"{effects}"
echo "did $1"
echo "said $1" >&2
case $1 in
ok*) exit 0 ;;
later*) exit 75 ;;
lost*) exit 9 ;;
copy*)
    copy="{queued}/$SPOOLD_DISPATCH_ID.json"
    cp "{running}/$SPOOLD_DISPATCH_ID.json" "{queued}/.copy" && mv "{queued}/.copy" "$copy"
    while [ -e "$copy" ] && kill -0 $PPID; do sleep 0.02; done
    exit 0
    ;;
after*)
    looks=0
    while ! ls "{queued}"/*.json && [ $looks -lt 100 ] && kill -0 $PPID; do
        sleep 0.02
        looks=$((looks + 1))
    done
    exit 0
    ;;
*) exit 1 ;;
esac
"""


#: Within so many seconds from now a run has taken what was dropped.
_MOMENT = 5


class Site:
    """A spool, and everything that a run on it can change.

    Args:
        folder: an empty folder.
        receiver: where its hooks go.

    Attributes:
        dropped: the bytes of every record that was dropped.
    """

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.dropped: list[bytes] = []
        self._receiver = receiver
        self._effects = folder / "effects"
        program = folder / "act"
        root = folder / "spool"
        program.write_text(
            _PROGRAM.format(effects=self._effects, running=root / "running/runner",
                            queued=root / "queued/runner")
        )  # fmt: skip
        program.chmod(0o755)
        self._program = program
        self._effects.touch()
        receiver.calls.clear()
        settings = _SETTINGS.format(url=receiver.url, program=program)
        routes = {f"{name}.toml": self._route(name) for name in _ROUTES}
        self.lab = Lab(folder, settings, routes, Clock())
        self.root = self.lab.root
        self._store = Store(folder)
        self._calls: list[tuple[str, bytes]] = []

    def _route(self, name: str) -> str:
        executor, rest = _ROUTES[name]
        more = rest.replace("{program}", str(self._program))
        return _ROUTE.format(name=name, executor=executor, more=more)

    # Preparing

    def argv(self, *words: str) -> list[str]:
        """A command line for this site; `@NAME` is the id of the request that a record made."""
        ids = (self.find(word[1:])[0].stem if word.startswith("@") else word for word in words)
        return ["--config", str(self.lab.file), *ids]

    def drop(self, kind: str, *names: str) -> None:
        """Drop records of a kind; their ids are `names`."""
        for name in names:
            record = {"decision_id": name, "decision_type": kind}
            self.drop_bytes(f"{name}.json", json.dumps(record).encode())

    def drop_bytes(self, file: str, data: bytes) -> None:
        """Drop any file."""
        self.dropped.append(data)
        self.lab.drop("decisions", file, data)

    def ask(self, kind: str, *names: str) -> None:
        """Drop records, and let intake make requests of them."""
        self.drop(kind, *names)
        self.step("intake")

    def queue(self, kind: str, *names: str) -> None:
        """Have requests approved and passed on."""
        self.ask(kind, *names)
        self.move("approved", *names)
        self.step("gate")

    def step(self, stage: str) -> None:
        """Let one stage do what it can, in this process."""
        found = [one for one in self.lab.stages() if one.name == stage]
        assert drain(found, self.lab.context) == 0

    def move(self, target: str, *names: str, copy: bool = False) -> None:
        """`mv` (or `cp`) the requests of records into a folder."""
        for name in names:
            (path,) = self.find(name)
            new = self.root / target / path.name
            new.write_bytes(path.read_bytes()) if copy else path.rename(new)

    def take_name(self, kind: str, name: str) -> None:
        """Put foreign files where the request of a record will go that is made in this moment."""
        key = Spool(str(self.root), Role.INTAKE).seal_key()
        own = digits(key, event_digest("decisions", name))
        for second in range(_MOMENT):
            taken = dispatch_id(datetime.now(UTC) + timedelta(seconds=second), kind, own)
            (self.root / "pre-approved" / f"{taken}.json").write_bytes(b"{}")

    def ask_a_person(self, kind: str) -> None:
        """Change a route, so that it needs a yes from now on."""
        text = self._route(kind).replace(_NO_PERSON, "")
        (self.lab.file.parent / "routes.d" / f"{kind}.toml").write_text(text)

    def hold(self) -> None:
        """Let nothing more start."""
        (self.root / "HOLD").touch()

    def hours_ago(self, hours: float) -> None:
        """Set the clock of what is prepared; 0 is now."""
        self.lab.clock.now = datetime.now(UTC) - timedelta(hours=hours)

    def save(self) -> None:
        """What is here now is what each run begins with."""
        self._calls = self._receiver.settled()
        self._store.save()

    def restore(self) -> None:
        """Begin again."""
        self._receiver.settled()
        self._receiver.calls[:] = self._calls
        self._store.restore()

    # Looking

    def found(self) -> dict[str, list[tuple[str, Path]]]:
        """Record id → where the requests are that it made."""
        places: dict[str, list[tuple[str, Path]]] = defaultdict(list)
        for state, path in requests(self.root):
            with contextlib.suppress(BadInput):
                places[request.parse(path.read_bytes()).source.id].append((state, path))
        return places

    def find(self, name: str) -> list[Path]:
        """The files of the request that a record made."""
        return [path for _, path in self.found()[name]]

    def bodies(self) -> dict[str, list[bytes]]:
        """What the receiver got with each key."""
        found: dict[str, list[bytes]] = defaultdict(list)
        for key, body in self._receiver.settled():
            found[key].append(body)
        return found

    def effects(self) -> Counter[str]:
        """How often each request was carried out, whoever did it."""
        marks = Counter(self._effects.read_text().split())
        return marks + Counter(key for key, bodies in self.bodies().items() for _ in bodies)

    def unreadable(self) -> list[str]:
        """The names of drops that were set aside because they could not be read."""
        return [
            path.name
            for path in self.lab.files("quarantine")
            if self.lab.reason(path)["code"] == "unreadable"
        ]

    def make_due(self, code: str = "") -> None:
        """Let the time come for everything that is deferred, or what was deferred for a reason."""
        past = time.time() - 1
        for path in (self.root / "deferred").rglob("*.json"):
            if not code or json.loads(path.read_bytes())["attempts"][-1]["code"] == code:
                os.utime(path, (past, past))
