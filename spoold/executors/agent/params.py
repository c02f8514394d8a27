"""A route's `[params]` and an executor's table → one run of an agent, complete, or refused."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Field, field_validator

from spoold.config.quantities import Duration
from spoold.config.secrets import SecretRef
from spoold.executors import Model
from spoold.executors.agent.commands import Command, choose, with_defaults
from spoold.executors.agent.confinement import Scope
from spoold.executors.agent.evidence import Evidence

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LONGEST_PROMPT = 1 << 20


def _own_path() -> str:
    """That of this process: the tools of people are in their homes."""
    given = os.environ.get("PATH", "").split(":")
    return ":".join(folder for folder in given if folder.startswith("/")) or _PATH


def _says_something() -> dict[Any, Any]:
    return {"pattern": r"\S"}


class _Limits(Model):
    """What a configuration sets, a route may set otherwise, and a request shows.

    Attributes:
        timeout: for all of it.
        idle_timeout: without any output.
        env: variables; a secret by reference.
        max_cost: US dollars, as far as the tool's JSON output says; beyond it the run is ended.
        max_turns: the same.
        memory: such as `2G`; where there are control groups to hold it, see `Scope`.
        cpus: such as `1.5`; the same.
    """

    timeout: Duration = Field(default=1800.0, gt=0)
    idle_timeout: Duration = Field(default=600.0, gt=0)
    env: dict[str, str | SecretRef] = Field(default_factory=dict)
    max_cost: float | None = Field(default=None, gt=0)
    max_turns: int | None = Field(default=None, gt=0)
    memory: str | None = Field(default=None, pattern=r"^[0-9]+[KMGT]?$")
    cpus: float | None = Field(default=None, gt=0)


class Config(_Limits):
    """`[executors.<name>]` with `kind = "agent"`.

    Attributes:
        commands: the agents that requests may name; without this table those that are known.
        path: where their programs are looked up, and their `PATH`; by default the service's own.
        inherit_env: variables that are passed on from the service, if it has them.
        max_output: bytes that are kept of each stream.
        scope: where the run gets a control group of its own from.
        cwd: as the route's parameter of that name, when the route leaves it out.
    """

    commands: dict[str, Command] = Field(default_factory=dict, validate_default=True)
    path: str = Field(default_factory=_own_path)
    inherit_env: list[str] = Field(
        default_factory=lambda: ["HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ"]
    )
    max_output: int = Field(default=1 << 20, ge=0)
    scope: Scope = "auto"
    cwd: str | None = None

    @field_validator("commands", mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        return with_defaults(given or None)


class _Task(Model):
    """What is to be done.

    Attributes:
        agent: a slug, such as `codex`.
        model: a label; by its family the configuration may choose another one.
        prompt: what it is told, on stdin or in a file.
        cwd: an absolute path.
        worktree: whether it works in a fresh git worktree of `cwd` instead.
        evidence: without which exit 0 is no success; at the least it says something.
        argv: what is executed; it follows from `agent` and `model`, and never has the prompt.
    """

    agent: str
    model: str | None = None
    prompt: str = Field(min_length=1)
    cwd: str
    worktree: bool = False
    evidence: Evidence = Field(default_factory=_says_something)
    argv: list[str]


class Params(_Limits, _Task):
    """One run: what is to be done, and within which limits."""


OPTIONAL = frozenset({"model"})


def _not_in_a_route(_value: object, _config: Config) -> None:
    raise ValueError("it follows from the executor's `commands`")


def _literal(_value: object, _config: Config) -> None:
    """Anything, if the route's author has written it."""


#: A record must neither choose what is executed nor which secret is given to it.
LITERAL: Mapping[tuple[str | int, ...], Callable[[Any, Config], None]] = {
    ("argv",): _not_in_a_route,
    ("env",): _literal,
    ("evidence",): _literal,
    ("max_cost",): _literal,
    ("max_turns",): _literal,
}


def complete(given: dict[str, Any], config: Config, _targets: Any) -> dict[str, Any]:
    """The arguments and the model that follow from the configuration."""
    slug, model = given.get("agent"), given.get("model")
    if not isinstance(slug, str) or not (model is None or isinstance(model, str)):
        return {**given, "argv": []}
    command, chosen = choose(slug, model, config.commands)
    return {**given, "model": chosen, "argv": command.render(chosen)}


def check(params: Params, config: Config) -> None:
    """Refuse what is not configured, and what no system would start."""
    command, model = choose(params.agent, params.model, config.commands)
    if params.argv != command.render(model):
        raise ValueError(f"the argv is not that of agent {params.agent}")
    if not params.cwd.startswith("/") or "\0" in params.cwd:
        raise ValueError(f"the cwd {params.cwd!r} is not absolute")
    if not params.prompt.strip():
        raise ValueError("the prompt is empty")
    try:
        size = len(params.prompt.encode())
    except UnicodeEncodeError:
        raise ValueError("the prompt is no valid text") from None
    if size > _LONGEST_PROMPT or "\0" in params.prompt:
        raise ValueError(f"the prompt has {size} bytes (at most {_LONGEST_PROMPT}) or a NUL")
    for name in params.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name.startswith("SPOOLD_"):
            raise ValueError(f"{name!r} is no name of a variable that can be set")


def lane(params: Params) -> str | None:
    """Two agents do not work in one folder at a time, unless each has a worktree of its own."""
    return None if params.worktree else "/" + os.path.normpath(params.cwd).lstrip("/")
