"""What an executor asks of a supervisor: one agent to run, and within which limits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Job:
    """One run of an agent; on the supervisor's stdin as JSON with these keys.

    Attributes:
        parent: the executor's process id; if it dies before the agent begins, nothing begins.
        program: the absolute path of what is executed.
        argv: its arguments; `{prompt_file}` stands for the path of a file with the prompt.
        cwd: the agent's working directory.
        env: its whole environment.
        prompt: given on stdin, unless `argv` has a file for it.
        timeout: seconds for all of it.
        idle_timeout: seconds without output.
        max_output: bytes that are kept of each stream.
        secrets: values that are taken out of the output.
        key: of the JSON output, see `Usage`.
        max_cost: US dollars; None for no limit.
        max_turns: None for no limit.
        evidence: a file below `cwd` whose state before the agent begins is written down.
        group: the name of the supervisor's own control group; empty without one.
    """

    parent: int
    program: str
    argv: list[str]
    cwd: str
    env: dict[str, str]
    prompt: str
    timeout: float
    idle_timeout: float
    max_output: int
    secrets: list[str]
    key: str | None
    max_cost: float | None
    max_turns: int | None
    evidence: str | None = None
    group: str = ""
