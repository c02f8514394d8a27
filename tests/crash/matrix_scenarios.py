"""What a stage or a person does while it is disturbed; together they make every move there is."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spoold.states import REASON_SUFFIX, Role
from tests.crash import FULL, dice
from tests.crash.matrix_site import Site


def _nothing_more(site: Site) -> Iterable[str]:
    del site
    return ()


@dataclass(frozen=True)
class Scenario:
    """A spool, a stage that has work on it, and what must come of it.

    Attributes:
        name: for people.
        argv: what is killed.
        role: whose moves it makes.
        prepare: makes the spool.
        ends: record id → the states it may be in after a kill and a restart, the undisturbed one
            first; `a+b` is for what a person has copied.
        more: says what else is wrong.
        at_last: done right before each run.
        left_at: prepared by a run that was killed at the first call whose signature matches.
        may_repeat: the far side knows a repeat by its key.
    """

    name: str
    argv: tuple[str, ...]
    role: Role
    prepare: Callable[[Site], None]
    ends: Mapping[str, str] = field(default_factory=dict)
    more: Callable[[Site], Iterable[str]] = _nothing_more
    at_last: Callable[[Site], object] = _nothing_more
    left_at: str = ""
    may_repeat: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def again(self) -> int:
        """By what the sample is divided: a run after a crash makes mostly the same calls again."""
        return 2 if self.left_at else 1

    @property
    def may_miss(self) -> float:
        """The share of points that may not come up again: threads change the order of calls."""
        return 0.3 if self.role is Role.EXECUTE else 0

    def after(self, what: str, signature: str) -> "Scenario":
        """The same, but the stage finds what a run left that was killed there."""
        return replace(self, name=f"{self.name}-after-{what}", left_at=signature)


_ENDS = {"ok": "done|unknown", "no": "failed|unknown", "later": "deferred|unknown",
         "lost": "unknown"}  # fmt: skip


def _run(*names: str) -> dict[str, str]:
    """How requests end whose receiver does not recognise a repeat."""
    return {name: _ENDS[name.partition("-")[0]] for name in names}


def _all(state: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, state)


# intake


def _first_start(site: Site) -> None:
    site.drop("plain", "ok-1")


#: With all that lies beside them, a group that is synced at once.
_MANY = tuple(f"ok-p{number}" for number in range(1, 9))


def _every_drop(site: Site) -> None:
    site.ask("fold", "ok-f0")
    site.ask("supersede", "ok-s0")
    site.ask("plain", "ok-p0")
    site.drop("plain", *_MANY)
    site.drop("auto", "ok-a1")
    site.drop("fold", "ok-f1", "ok-f2")
    site.drop("supersede", "ok-s1")
    site.drop_bytes("bad.json", b"[]")
    site.drop_bytes("a b\n.json", b'{"decision_id": "odd", "decision_type": "nowhere"}')
    site.drop_bytes("again.json", site.dropped[2])


def _every_answer(site: Site) -> Iterable[str]:
    reason = site.lab.reason
    quarantined = sorted(reason(path)["code"] for path in site.lab.files("quarantine"))
    # Once a person has retried it, the odd name is a good one.
    if quarantined not in (["not-an-object", "odd-name"], ["no-route", "not-an-object"]):
        yield f"quarantine/ says {quarantined}"
    beside = [p for p in site.lab.files("archive") if p.with_name(p.name + REASON_SUFFIX).exists()]
    said = sorted(reason(path)["code"] for path in beside)
    # What was folded just before a kill is only a repeat to the next run.
    if len(said) != 3 or not {*said} <= {"folded", "repeat"}:
        yield f"archive/ says {said}"
    if [b'"asked": 3' in path.read_bytes() for path in site.find("ok-f0")] != [True]:
        yield "the repeats of ok-f0 were not counted, or more than once"
    if [reason(path)["code"] for path in site.find("ok-s0")] != ["superseded"]:
        yield "ok-s0 does not say why it is where it is"


def _copy_of_what_expires(site: Site) -> None:
    site.ask("supersede", "ok-s0")
    site.move("expired", "ok-s0", copy=True)
    site.drop("supersede", "ok-s1")


def _needs_no_person(site: Site) -> None:
    site.step("intake")
    site.drop("auto", "ok-a1")


# gate


def _both_doors(site: Site) -> None:
    site.hours_ago(2)
    site.ask("soon", "ok-late")
    site.hours_ago(0)
    site.ask("plain", "ok-1", "ok-2")
    site.ask("auto", "ok-a1")
    site.move("approved", "ok-late", "ok-1", "ok-2")


def _closed_door(site: Site) -> None:
    site.ask("auto", "ok-a1", "ok-a2")
    site.ask_a_person("auto")


# execute


def _calls(site: Site) -> None:
    site.queue("plain", "ok-1", "no-1", "later-1", "lost-1")


def _keyed_calls(site: Site) -> None:
    site.queue("keyed", "ok-1", "ok-2", "lost-1")


def _commands(site: Site) -> None:
    site.queue("run", "ok-1", "no-1", "later-1", "lost-1")


def _preflights(site: Site) -> None:
    site.queue("checked", "ok-1")
    site.queue("free", "ok-2")


def _copy_of_what_runs(site: Site) -> None:
    site.queue("free", "copy-1", "after-1")


# sweep


def _its_time_has_come(site: Site) -> None:
    site.hours_ago(2)
    site.ask("soon", "ok-late")
    site.queue("plain", "later-1")
    site.step("execute gateway")
    site.make_due()
    site.hold()


def _copies_of_what_time_moves(site: Site) -> None:
    _its_time_has_come(site)
    site.move("expired", "ok-late", copy=True)
    site.move("queued/gateway", "later-1", copy=True)


# a person


def _everywhere(site: Site) -> None:
    """Requests in all states from which a person may move them."""
    site.queue("plain", "later-1", "no-1", "lost-1", "lost-2", "lost-3")
    site.step("execute gateway")
    site.queue("plain", "ok-queued")
    site.ask("plain", "ok-waiting", "ok-approved", "ok-held")
    site.ask("auto", "ok-pre")
    site.move("approved", "ok-approved")
    site.move("held", "ok-held")
    site.drop_bytes("bad.json", b"[]")
    site.step("intake")
    site.hold()


_WHERE = {
    "ok-waiting": "awaiting-approval", "ok-approved": "approved", "ok-pre": "pre-approved",
    "ok-queued": "queued", "ok-held": "held", "later-1": "deferred", "no-1": "failed",
    "lost-1": "unknown", "lost-2": "unknown", "lost-3": "unknown",
}  # fmt: skip


def _person(verb: str, target: str, *names: str, name: str = "", more: str = "") -> Scenario:
    """A verb about some requests: each is where it was, or where it should be."""
    ends = {one: f"{target}|{_WHERE[one]}" if one in names else _WHERE[one] for one in _WHERE}
    words = (verb, *more.split(), *(f"@{one}" for one in names))
    return Scenario(name or verb, words, Role.PERSON, _everywhere, ends)


_INTAKE = Scenario(
    "intake", ("intake", "--drain"), Role.INTAKE, _every_drop,
    {**_all("awaiting-approval", "ok-f0", "ok-p0", *_MANY, "ok-s1"),
     "ok-s0": "expired", "ok-a1": "done|unknown"},
    _every_answer,
)  # fmt: skip
_GATE = Scenario(
    "gate", ("gate", "--drain"), Role.GATE, _both_doors,
    {**_all("done|unknown", "ok-1", "ok-2", "ok-a1"), "ok-late": "held"},
)  # fmt: skip
_CALLS = Scenario(
    "execute-hook", ("execute", "gateway", "--drain"), Role.EXECUTE, _calls,
    _run("ok-1", "no-1", "later-1", "lost-1"),
)  # fmt: skip
_COMMANDS = Scenario(
    "execute-command", ("execute", "runner", "--drain"), Role.EXECUTE, _commands,
    _run("ok-1", "no-1", "later-1", "lost-1"),
)  # fmt: skip

STAGES: tuple[Scenario, ...] = (
    _INTAKE,
    _INTAKE.after("publishing", r"rename\w*\(~/tmp/.*, ~/pre-approved/"),
    _INTAKE.after("indexing", r"rename\w*\(~/archive/.*\.taking/.*, ~/archive/"),
    Scenario("intake-first-start", ("intake", "--drain"), Role.INTAKE, _first_start,
             {"ok-1": "awaiting-approval"}),
    Scenario("intake-copies", ("intake", "--drain"), Role.INTAKE, _copy_of_what_expires,
             {"ok-s0": "expired+held", "ok-s1": "awaiting-approval"}),
    Scenario("intake-taken-name", ("intake", "--drain"), Role.INTAKE, _needs_no_person,
             {"ok-a1": "done|unknown"}, at_last=lambda site: site.take_name("auto", "ok-a1")),
    _GATE,
    _GATE.after("checking", r"rename\w*\(~/checking/.*, ~/queued/"),
    Scenario("gate-closed-door", ("gate", "--drain"), Role.GATE, _closed_door,
             _all("held", "ok-a1", "ok-a2")),
    _CALLS,
    _CALLS.after("recording", r"rename\w*\(~/running/.*, ~/(done|failed|deferred|unknown)/"),
    Scenario("execute-keyed", ("execute", "keyed", "--drain"), Role.EXECUTE, _keyed_calls,
             {**_all("done|deferred", "ok-1", "ok-2"), "lost-1": "deferred"}, may_repeat=True),
    _COMMANDS,
    _COMMANDS.after("claiming", r"openat\(~/tmp/execute"),
    _COMMANDS.after("recording", r"rename\w*\(~/running/.*, ~/done/"),
    Scenario("execute-preflight", ("execute", "runner", "--drain"), Role.EXECUTE, _preflights,
             {"ok-1": "held", "ok-2": "done|unknown"}),
    Scenario("execute-copies", ("execute", "runner", "--drain"), Role.EXECUTE, _copy_of_what_runs,
             {"copy-1": "done+held|held+unknown|unknown", "after-1": "done|unknown"}),
    Scenario("sweep", ("sweep", "--drain"), Role.SWEEP, _its_time_has_come,
             {"ok-late": "expired", "later-1": "queued"}),
    Scenario("sweep-copies", ("sweep", "--drain"), Role.SWEEP, _copies_of_what_time_moves,
             {"ok-late": "expired+held", "later-1": "held+queued"}),
)  # fmt: skip

VERBS: tuple[Scenario, ...] = (
    _person("approve", "approved", "ok-waiting", more="--yes"),
    _person("reject", "rejected", "ok-waiting", "ok-held"),
    _person("hold", "held", "ok-waiting", "ok-approved", "ok-pre", "ok-queued", "later-1"),
    _person("release", "awaiting-approval", "ok-held", more="--yes"),
    _person("cancel", "rejected", "ok-approved", "ok-pre", "ok-queued", "later-1"),
    _person(
        "retry", "queued", "later-1", name="retry-deferred", more="--yes quarantine/decisions/bad"
    ),
    _person("retry", "awaiting-approval", "no-1", name="retry-failed", more="--yes"),
    _person("resolve", "done", "lost-1", name="resolve-done", more="--as done"),
    _person("resolve", "failed", "lost-2", name="resolve-failed", more="--as failed"),
    _person(
        "resolve", "awaiting-approval", "lost-3", name="resolve-again", more="--yes --as again"
    ),
)


def some(scenarios: Sequence[Scenario], count: int = 3) -> list[Scenario]:
    """A sample of scenarios that go one way through the code: those of this run."""
    return dice("scenarios").sample(scenarios, len(scenarios) if FULL else count)
