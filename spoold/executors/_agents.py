"""The agents that an executor may launch: slug and model → argument list."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from spoold.executors import Model
from spoold.families import choose_model

#: How each tool runs once, without a person, from its own documentation.
_KNOWN: Mapping[str, Mapping[str, Any]] = {
    "claudecode": {
        "argv": ["claude", "-p", "--output-format", "json", "--permission-mode", "acceptEdits"],
        "model_argv": ["--model", "{model}"],
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
        login: exits with 0 if it is logged in.
    """

    argv: list[str] = Field(min_length=1)
    model_argv: list[str] = Field(default_factory=lambda: ["--model", "{model}"])
    models: list[str] = Field(default_factory=lambda: ["*"])
    prompt: Literal["stdin", "file"] = "stdin"
    version: list[str] | None = None
    login: list[str] | None = None

    @model_validator(mode="after")
    def _whole(self) -> "Command":
        program = self.argv[0]
        if not program or ("/" in program and not program.startswith("/")):
            raise ValueError(f"{program!r} is neither an absolute path nor a bare name")
        if (self.prompt == "file") != ("{prompt_file}" in self.argv):
            raise ValueError('`prompt = "file"` and an argument "{prompt_file}" belong together')
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
    """What the configuration says of commands, over what is known of them."""
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
        return command, None
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", model.strip()):
        raise ValueError(f"{model[:40]!r} is no label of a model")
    chosen = choose_model(model, command.models)
    if chosen is None:
        listed = ", ".join(command.models)
        raise ValueError(f"agent {slug} may not run model {model!r}; there are: {listed}")
    return command, chosen
