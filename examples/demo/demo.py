"""spoold at work, in a temporary folder: drop, look, approve with `mv`, see it done, try to cheat.

Nothing is simulated but the two things that would change something: the program `hyops` (a stand-in
in bin/) and the agent gateway (a receiver in this process). Every step checks that it happened; the
first that did not ends the demo with exit code 1, its reason and the service's log.
"""

import argparse
import itertools
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn, TypeVar

DEMO = Path(__file__).resolve().parent
CHECKOUT = DEMO.parents[1]
RECORDS = CHECKOUT / "tests" / "records"

#: Seconds that any one thing may take; on a machine at rest it takes hundredths of one.
PATIENCE = 30.0

#: What `spoold run` runs here: three stages, and one for each executor.
STAGES = ("intake", "gate", "sweep", "execute openclaw", "execute runner")

#: Folders in the order of a request's life; what lies beside them is spoold's own business.
FOLDERS = (
    "inbox", "quarantine", "awaiting-approval", "approved", "held", "queued", "deferred", "running",
    "unknown", "rejected", "expired", "failed", "done", "archive",
)  # fmt: skip

T = TypeVar("T")


class StepFailedError(Exception):
    """Something that the demo promises did not happen."""


# What you see


class Screen:
    """Headings, commands and files; colour and pauses only where a person watches."""

    def __init__(self, pause: float | None) -> None:
        watched = sys.stdout.isatty()
        self._pause = pause if pause is not None else (0.4 if watched else 0.0)
        self._coloured = watched and "NO_COLOR" not in os.environ
        self._number = itertools.count(1)
        self.step = "start"

    def heading(self, text: str) -> None:
        self.pause()
        self.step = f"{next(self._number)}. {text}"
        self.say()
        self.say(self.step, "1;36")
        self.pause()

    def say(self, text: str = "", colour: str = "") -> None:
        shown = f"\033[{colour}m{text}\033[0m" if colour and self._coloured else text
        print(shown, flush=True)

    def command(self, *words: str) -> None:
        self.say("   $ " + " ".join(words), "1")
        self.pause()

    def note(self, text: str, indent: int = 3) -> None:
        margin = " " * indent
        self.say(textwrap.fill(text, 88, initial_indent=margin, subsequent_indent=margin))

    def good(self, text: str) -> None:
        self.say(f"   ok  {text}", "32")

    def block(self, text: str) -> None:
        self.say(textwrap.indent(text.rstrip("\n"), "     "))

    def pause(self) -> None:
        time.sleep(self._pause)


# What it drives


class Receiver:
    """An agent gateway on loopback: takes calls that carry the token, and remembers them."""

    def __init__(self, token: str) -> None:
        calls: list[dict[str, Any]] = []
        refused: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                known = self.headers.get("Authorization") == f"Bearer {token}"
                if known:
                    key = self.headers.get("Idempotency-Key")
                    calls.append({"path": self.path, "key": key, "body": json.loads(body)})
                else:
                    refused.append(self.path)
                answer = json.dumps({"ok": known}).encode()
                self.send_response(200 if known else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                pass

        self.calls, self.refused = calls, refused
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Service:
    """`spoold run` as a process of its own, its log in a file."""

    def __init__(self, config: Path, log: Path, token: str) -> None:
        self.log = log
        with log.open("wb") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "spoold", "--config", str(config), "run"],
                cwd=CHECKOUT,
                env={**os.environ, "DEMO_HOOK_TOKEN": token},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def ready(self) -> bool:
        """Whether every stage has said so."""
        said = self.log.read_text(encoding="utf-8", errors="replace")
        return all(f"{stage} is ready" in said for stage in STAGES)

    def must_live(self) -> None:
        code = self._process.poll()
        if code is not None:
            raise StepFailedError(f"`spoold run` ended by itself, with exit code {code}")

    def stop(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise StepFailedError(f"the service did not stop within {PATIENCE:.0f} s") from None

    def end(self) -> None:
        """Leave nothing behind, whatever happened."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


# The demo


class Demo:
    """One run; the numbered steps are its methods, in order."""

    def __init__(self, screen: Screen, work: Path) -> None:
        self.screen = screen
        self.work = work
        self.spool = work / "spool"
        self.config = work / "config" / "spoold.toml"
        self.token = secrets.token_urlsafe(24)
        self.receiver = Receiver(self.token)
        self.service: Service | None = None
        #: The name of each request's file, by its route.
        self.names: dict[str, str] = {}

    def run(self) -> None:
        self.configure()
        self.start()
        self.drop()
        self.look()
        self.decide()
        self.verify()
        self.read_the_trail()
        self.cheat()
        self.stop()

    def close(self) -> None:
        if self.service:
            self.service.end()
        self.receiver.close()

    def configure(self) -> None:
        screen = self.screen
        screen.heading("Configure: three inboxes, two executors, four routes")
        values = {"PORT": str(self.receiver.port), "DEMO": str(DEMO), "WORK": str(self.work)}
        for template in sorted((DEMO / "config").rglob("*.toml")):
            text = template.read_text(encoding="utf-8")
            for name, value in values.items():
                text = text.replace(f"@{name}@", json.dumps(value, ensure_ascii=False)[1:-1])
            copy = self.work / template.relative_to(DEMO)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(text, encoding="utf-8")
        screen.note(f"in {self.work}; one route:")
        route = (self.config.parent / "routes.d" / "20-ready-ticket.toml").read_text("utf-8")
        screen.block(route)
        screen.command("spoold --config config/spoold.toml check")
        screen.block(self.spoold("check"))

    def start(self) -> None:
        self.screen.heading("Start the service")
        self.screen.command("spoold --config config/spoold.toml run &")
        self.service = Service(self.config, self.work / "service.log", self.token)
        self.wait("the service is ready", self.service.ready)
        self.screen.good("it is ready; the folders are laid out")

    def drop(self) -> None:
        screen = self.screen
        screen.heading("Drop records into the inboxes, as producers would")
        decision = self.record("decision/cutover-full.json")
        again = {**decision, "decision_id": decision["decision_id"] + "-again"}
        drops: tuple[tuple[str, str, object, str], ...] = (
            ("decisions", "decision.json", decision, "a decision: the primary site is down"),
            ("webhooks", "plane.json", self.record("webhook/plane-v1-issue-updated.json"),
             "a Plane webhook: a ticket became ready"),
            ("webhooks", "github.json", self.record("webhook/github-push.json"),
             "a GitHub webhook, with its headers: a push to main"),
            ("tasks", "task.json", self.record("task/platform.json"), "a platform task"),
        )  # fmt: skip
        for inbox, name, record, what in drops:
            self.put(inbox, name, json.dumps(record), what)
        for route in ("cutover", "ready-ticket", "deploy", "platform-task"):
            self.names[route] = self.wait(
                f"a request of route {route!r} waits in awaiting-approval/",
                partial(self.one, "awaiting-approval", route),
            )
        self.put("decisions", "decision-2.json", json.dumps(again),
                 "the same decision again, under a new id")  # fmt: skip
        self.wait(
            "the repeated decision is folded into the first one",
            lambda: self.request("awaiting-approval", "cutover")["asked"] > 1,
        )
        self.put("decisions", "broken.json", '{"decision_type": cutover}', "and one broken file")
        reason = self.wait("the broken file is in quarantine/, with its reason",
                           lambda: self.reason("quarantine/decisions/broken.json"))  # fmt: skip
        self.expect(reason["code"] == "not-json", f"the reason is not-json, not {reason['code']}")
        screen.say()
        self.tree()
        screen.say()
        screen.note("Nothing has run. The broken file is kept, and says what is wrong with it:")
        screen.command("cat quarantine/decisions/broken.json.reason.json")
        screen.block(
            (self.spool / "quarantine/decisions/broken.json.reason.json").read_text("utf-8")
        )
        self.expect(not self.receiver.calls, "nobody was called before anybody approved")
        self.expect(not self.hyops_ran(), "no program ran before anybody approved")

    def look(self) -> None:
        screen = self.screen
        screen.heading("Read what a yes would do; it is all in the file")
        screen.command(f"cat awaiting-approval/{short(self.names['cutover'])}   # in part")
        found = self.request("awaiting-approval", "cutover")
        keys = "dispatch_id route target_kind target_ref target_env rationale executor params asked"
        picked = {key: found[key] for key in keys.split()}
        picked["approval"] = {"expires_at": found["approval"]["expires_at"]}
        screen.block(json.dumps(picked, indent=2, ensure_ascii=False))

    def decide(self) -> None:
        screen = self.screen
        screen.heading("Decide: two yes, one no, one left to wait")
        self.mv("awaiting-approval", "cutover", "approved")
        self.mv("awaiting-approval", "ready-ticket", "approved")
        self.mv("awaiting-approval", "deploy", "rejected")
        for route in ("cutover", "ready-ticket"):
            self.wait(f"{self.names[route]} is in done/", partial(self.done, route))
        screen.good("both approved requests are in done/")

    def verify(self) -> None:
        screen = self.screen
        screen.heading("Check what really happened")
        ticket, cutover = self.id("ready-ticket"), self.id("cutover")
        calls = self.receiver.calls
        self.expect(len(calls) == 1, f"the receiver was called once, not {len(calls)} times")
        self.expect(not self.receiver.refused, "no call came without the token")
        call = calls[0]
        self.expect(call["key"] == ticket, f"the Idempotency-Key is {ticket}, not {call['key']}")
        body = self.request("done", "ready-ticket")["params"]["body"]
        self.expect(call["body"] == body, "what was sent is what the request showed")
        screen.good("the gateway was called once, with the token and what the request showed;")
        screen.note(f"Idempotency-Key: {ticket}", 7)
        ran = self.hyops_ran()
        argv = self.request("done", "cutover")["params"]["argv"]
        wanted = [f"{cutover} {' '.join(argv[1:])}"]
        self.expect(ran == wanted, f"hyops ran once, with what the request showed: {ran}")
        screen.good(f"hyops ran once: {' '.join(argv)}")
        self.expect(self.has("rejected", "deploy"), "what was rejected is in rejected/")
        self.expect(self.has("awaiting-approval", "platform-task"), "the task still waits")
        screen.good("the rejected one lies in rejected/, the other still waits")
        leaks = [str(path) for path in self.files_with(self.token)]
        self.expect(not leaks, f"the token is in no file, but it is in {leaks}")
        screen.good("the token is in no file of the spool, and not in the log")

    def read_the_trail(self) -> None:
        screen = self.screen
        screen.heading("Read the trail")
        self.tree()
        screen.say()
        screen.command(f"cat done/openclaw/{short(self.names['ready-ticket'])}")
        screen.block((self.spool / "done/openclaw" / self.names["ready-ticket"]).read_text("utf-8"))

    def cheat(self) -> None:
        screen = self.screen
        screen.heading("Try to cheat")
        screen.note("A finished request, once more:")
        name = self.names["cutover"]
        self.shell("cp", f"done/runner/{name}", "tmp/")
        self.shell("mv", f"tmp/{name}", "approved/")
        self.held(name, "replayed")
        screen.say()
        screen.note("The one that waits, with other words written into it:")
        name = self.names["platform-task"]
        self.shell("sed", "-i", "s/outbound dock/river/", f"awaiting-approval/{name}")
        self.mv("awaiting-approval", "platform-task", "approved")
        self.held(name, "altered")
        # Whatever was going to run had its chance while the second one was held.
        self.expect(len(self.hyops_ran()) == 1, "hyops ran only once")
        self.expect(len(self.receiver.calls) == 1, "the gateway was called only once")
        screen.say()
        screen.good("both are in held/, and nothing ran twice")

    def stop(self) -> None:
        self.screen.heading("Stop the service")
        self.screen.command("kill -TERM %1")
        assert self.service
        code = self.service.stop()
        self.expect(code == 0, f"the service ended with exit code 0, not {code}")
        self.screen.good("it stopped with exit code 0")

    # What the steps are made of

    def put(self, inbox: str, name: str, text: str, what: str) -> None:
        """Drop a file the right way: write it under a name with a dot, then rename it."""
        folder = self.spool / "inbox" / inbox
        draft = folder / f".{name}.part"
        draft.write_text(text, encoding="utf-8")
        draft.rename(folder / name)
        self.screen.say(f"   → {f'inbox/{inbox}/{name}':<32} {what}")
        self.screen.pause()

    def mv(self, source: str, route: str, target: str) -> None:
        """What a person does."""
        self.shell("mv", f"{source}/{self.names[route]}", f"{target}/")

    def shell(self, *words: str) -> None:
        """A command in the spool, shown as a person would type it."""
        self.screen.command(*(short(word) for word in words))
        subprocess.run(words, cwd=self.spool, stdin=subprocess.DEVNULL, check=True)

    def held(self, name: str, code: str) -> None:
        reason = self.wait(f"{name} is in held/, with its reason",
                           lambda: self.reason(f"held/{name}"))  # fmt: skip
        self.expect(reason["code"] == code, f"the reason is {code!r}, not {reason['code']!r}")
        self.wait(f"{name} has left approved/",
                  lambda: not (self.spool / "approved" / name).exists())  # fmt: skip
        self.screen.good(f"it is in held/: {reason['code']}")
        self.screen.note(f"{reason['what']} {reason['advice']}", 7)

    def record(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((RECORDS / name).read_bytes())
        return loaded

    def one(self, folder: str, route: str) -> str | None:
        """The name of the only request of a route in a folder, if there is one."""
        found = [p.name for p in (self.spool / folder).glob(f"dispatch-*-{route}-????????.json")]
        self.expect(len(found) <= 1, f"{folder}/ holds one request of route {route!r}: {found}")
        return found[0] if found else None

    def has(self, folder: str, route: str) -> bool:
        return self.path(folder, route) is not None

    def path(self, folder: str, route: str) -> Path | None:
        """Where the request of a route lies, if it is in that folder or in its executor's there."""
        found = (self.spool / folder).rglob(self.names[route])
        return next((path.relative_to(self.spool) for path in found), None)

    def done(self, route: str) -> bool:
        """Whether it is done; one that ended elsewhere will not come to be."""
        for folder in ("failed", "deferred", "unknown", "held"):
            if self.has(folder, route):
                said = self.request(folder, route)["attempts"] or [{}]
                what = said[-1].get("summary", "its reason lies beside it")
                raise StepFailedError(f"{self.names[route]} is in {folder}/: {what}")
        return self.has("done", route)

    def id(self, route: str) -> str:
        return self.names[route].removesuffix(".json")

    def request(self, folder: str, route: str) -> dict[str, Any]:
        path = self.path(folder, route)
        self.expect(path is not None, f"{self.names[route]} is in {folder}/")
        loaded: dict[str, Any] = json.loads((self.spool / str(path)).read_bytes())
        return loaded

    def reason(self, path: str) -> dict[str, Any] | None:
        """The reason beside a file, once both are there."""
        file, reason = self.spool / path, self.spool / f"{path}.reason.json"
        if not (file.exists() and reason.exists()):
            return None
        loaded: dict[str, Any] = json.loads(reason.read_bytes())
        return loaded

    def hyops_ran(self) -> list[str]:
        file = self.work / "hyops-ran.txt"
        return file.read_text("utf-8").splitlines() if file.exists() else []

    def files_with(self, text: str) -> Iterator[Path]:
        for path in self.work.rglob("*"):
            if path.is_file() and text.encode() in path.read_bytes():
                yield path

    def spoold(self, verb: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "spoold", "--config", str(self.config), verb],
            cwd=CHECKOUT,
            env={**os.environ, "DEMO_HOOK_TOKEN": self.token},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            raise StepFailedError(f"`spoold {verb}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def tree(self) -> None:
        """Folders that hold something, like `tree` would show them."""
        self.screen.command("tree --prune spool")
        self.screen.say(tree(self.spool))

    def wait(self, what: str, until: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + PATIENCE
        while True:
            found = until()
            if found:
                return found
            if self.service:
                self.service.must_live()
            if time.monotonic() > deadline:
                raise StepFailedError(f"waited {PATIENCE:.0f} s in vain for: {what}")
            time.sleep(0.02)

    def expect(self, true: object, what: str) -> None:
        if not true:
            raise StepFailedError(f"expected that {what}")


def tree(spool: Path) -> str:
    """What lies where, in the order of a request's life."""
    lines = []
    for folder in FOLDERS:
        files = sorted(p.relative_to(spool / folder) for p in (spool / folder).rglob("*.json"))
        if not files:
            continue
        lines.append(f"     {folder}/")
        if folder == "archive":
            originals = [file for file in files if not file.name.endswith(".reason.json")]
            lines.append(f"       … {len(originals)} originals, as they were dropped")
        else:
            lines += [f"       {file}{asked(spool / folder / file)}" for file in files]
    return "\n".join(lines)


def asked(file: Path) -> str:
    """A remark for the tree."""
    try:
        times = json.loads(file.read_bytes()).get("asked", 1)
    except (ValueError, AttributeError):
        return ""
    return f"   (asked {times} times)" if times > 1 else ""


def short(word: str) -> str:
    """A word of a command as a person would type it: `done/*-7afed6eb.json`."""
    return f"'{word}'" if " " in word else re.sub(r"dispatch-[^/]*-", "*-", word)


@contextmanager
def workplace(*, keep: bool) -> Iterator[Path]:
    """A temporary folder, gone afterwards unless somebody wants to look into it."""
    work = Path(tempfile.mkdtemp(prefix="spoold-demo-")).resolve()
    try:
        yield work
    finally:
        if keep:
            print(f"\nKept: {work}")
        else:
            shutil.rmtree(work)


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch spoold at work in a temporary folder.")
    parser.add_argument("--keep", action="store_true", help="leave the folder there, and say where")
    parser.add_argument("--pause", type=float, metavar="SECONDS",
                        help="the rest between steps (0.4; 0 when nobody watches)")  # fmt: skip
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, terminated)
    screen = Screen(options.pause)
    with workplace(keep=options.keep) as work:
        demo = Demo(screen, work)
        failure: Exception | None = None
        try:
            demo.run()
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # Whoever watched has seen enough; nothing more can be said to them.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:  # noqa: BLE001 - whatever it was, it is told with the log
            failure = error
        finally:
            demo.close()
        if failure:
            report(screen, failure, demo)
            return 1
    farewell(screen)
    return 0


def terminated(_number: int, _frame: object) -> NoReturn:
    sys.exit(143)


def report(screen: Screen, error: Exception, demo: Demo) -> None:
    what = str(error) if isinstance(error, StepFailedError) else f"{type(error).__name__}: {error}"
    print(f"\nThe demo failed in step {screen.step!r}:\n  {what}", file=sys.stderr)
    if found := tree(demo.spool):
        print(f"\nWhat lies where:\n{found}", file=sys.stderr)
    log = demo.work / "service.log"
    if log.exists():
        text = log.read_text(encoding="utf-8", errors="replace") or "(empty)"
        print(f"\nThe service's log:\n{textwrap.indent(text, '  ')}", file=sys.stderr)


def farewell(screen: Screen) -> None:
    screen.say()
    screen.say("That was all of it. The same by hand:", "1;36")
    screen.block(
        """\
spoold init play                  # a configuration and a spool to start from
spoold --config play/config/spoold.toml run &
cp tests/records/decision/cutover-full.json play/spool/inbox/decisions/
cd play/spool
cat awaiting-approval/*.json
mv awaiting-approval/dispatch-TIME-cutover-DIGITS.json approved/    # the one that you have read
"""
    )
    screen.note(
        "There it ends in failed/ and says why: the program it names, hyops, is not on this "
        f"machine. From this checkout, `spoold` is `{shown_spoold()}`."
    )


def shown_spoold() -> str:
    python = Path(sys.executable)
    with suppress(ValueError):
        python = python.relative_to(CHECKOUT)
    return f"{python} -m spoold"


if __name__ == "__main__":
    sys.exit(main())
