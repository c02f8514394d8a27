"""The agents that an executor may launch: slug and model → argument list."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from spoold.executors import Model
from spoold.model_names import choose_model, is_pattern

#: How each tool runs once, without a person, from its own documentation.
_KNOWN: Mapping[str, Mapping[str, Any]] = {
    "claudecode": {
        "argv": ["claude", "-p", "--output-format", "json", "--permission-mode", "acceptEdits"],
        "model_argv": ["--model", "{model}"],
        "login": ["claude", "auth", "status"],
    },
    "codex": {
        "argv": [
            *("codex", "exec", "--json", "--sandbox", "workspace-write"),
            *("--skip-git-repo-check", "-"),
        ],
        "model_argv": ["-m", "{model}"],
        "login": ["codex", "login", "status"],
    },
    "opencode": {
        "argv": ["opencode", "run", "--format", "json"],
        "model_argv": ["-m", "{model}"],
        "login": ["opencode", "auth", "list"],
        # It exits with 0 whatever it lists.
        "logged_in": r"[1-9][0-9]* (credential|environment variable)",
    },
    "hermes": {
        "argv": ["hermes", "chat", "--oneshot", "--query-file", "{prompt_file}"],
        "model_argv": ["--model", "{model}"],
        "prompt": "file",
    },
}


class Command(Model):
    """`[executors.<name>.commands.<slug>]`.

    Attributes:
        argv: `{model}` stands for the model, `{prompt_file}` for the path of the prompt.
        model_argv: put before a final `-`, else at the end, if `argv` has no `{model}`.
        models: labels and patterns that a request may name, in the order of preference.
        prompt: how it gets the prompt; with `file`, `argv` says where its path goes.
        version: prints its version; by default `argv[0] --version`.
        login: exits with 0 if it is logged in; without it the login is not checked.
        logged_in: a regular expression that its output must match too.
    """

    argv: list[str] = Field(min_length=1)
    model_argv: list[str] = Field(default_factory=lambda: ["--model", "{model}"])
    models: list[str] = Field(default_factory=lambda: ["*"])
    prompt: Literal["stdin", "file"] = "stdin"
    version: list[str] | None = None
    login: list[str] | None = Field(default=None, min_length=1)
    logged_in: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Command":
        program = self.argv[0]
        if not program or ("/" in program and not program.startswith("/")):
            raise ValueError(f"{program!r} is neither an absolute path nor a bare name")
        if (self.prompt == "file") != ("{prompt_file}" in self.argv):
            raise ValueError('`prompt = "file"` and an argument "{prompt_file}" belong together')
        try:
            re.compile(self.logged_in or "")
        except re.error as error:
            raise ValueError(f"logged_in is no regular expression: {error}") from None
        if "{model}" in self.argv and "{model}" in self.model_argv:
            object.__setattr__(self, "model_argv", [])
        return self

    def render(self, model: str | None) -> list[str]:
        """The arguments for one run."""
        argv = list(self.argv)
        if model is None:
            if "{model}" in argv:
                raise ValueError("this agent needs a `model`")
            return argv
        options = [part.replace("{model}", model) for part in self.model_argv]
        place = len(argv) - 1 if argv[-1] == "-" else len(argv)
        argv[place:place] = options
        return [model if part == "{model}" else part for part in argv]


def with_defaults(commands: object) -> object:
    """The configured commands; what a table leaves out is taken from the known command."""
    if commands is None:
        return {slug: dict(known) for slug, known in _KNOWN.items()}
    if not isinstance(commands, dict):
        return commands
    return {
        slug: {**_KNOWN.get(slug, {}), **given} if isinstance(given, dict) else given
        for slug, given in commands.items()
    }


def choose(
    slug: str, model: str | None, commands: Mapping[str, Command]
) -> tuple[Command, str | None]:
    """The command for a slug, and the model that it is run with.

    Raises:
        ValueError: one of them is not allowed.
    """
    command = commands.get(slug)
    if command is None:
        listed = ", ".join(sorted(commands))
        raise ValueError(f"no agent {slug[:40]!r} is configured; there are: {listed}")
    if model is None:
        return command, _only_model(slug, command.models)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", model.strip()):
        raise ValueError(f"{model[:40]!r} is no label of a model")
    chosen = choose_model(model, command.models)
    if chosen is None:
        listed = ", ".join(command.models)
        raise ValueError(f"agent {slug} may not run model {model!r}; there are: {listed}")
    return command, chosen


def _only_model(slug: str, models: list[str]) -> str | None:
    """The model for a request that names none; None leaves the choice to the tool.

    Raises:
        ValueError: several models are allowed, so the request must name one.
    """
    if "*" in models:
        return None
    named = [entry for entry in models if not is_pattern(entry)]
    if len(named) == 1:
        return named[0]
    listed = ", ".join(models) or "none"
    raise ValueError(f"agent {slug} needs a `model` in the request; there are: {listed}")
