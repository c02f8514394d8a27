"""`[executors.<name>]` with `kind = "command"`: what may run, and which failures are final."""

import os
from typing import Self

from pydantic import Field, model_validator

from spoold.config.quantities import Duration
from spoold.executors import Model
from spoold.executors.command import planes
from spoold.executors.command.preconditions import (
    MOST,
    FileOrState,
    Precondition,
    Reaction,
    plain_path,
)

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HIGHEST_CODE = 255


class ExitCodes(Model):
    """What exit codes mean besides 0, which is success; those not listed are final failures.

    Attributes:
        transient: nothing was done, and the same may work later.
        unknown: something may have been done.
    """

    transient: list[int] = Field(default_factory=lambda: [os.EX_TEMPFAIL])
    unknown: list[int] = Field(default_factory=list)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if set(self.transient) & set(self.unknown):
            raise ValueError("an exit code is either transient or unknown")
        if not all(0 < code <= _HIGHEST_CODE for code in (*self.transient, *self.unknown)):
            raise ValueError("an exit code that can be listed is between 1 and 255")
        return self


class Config(Model):
    """The keys of the executor's table.

    Attributes:
        programs: what `argv[0]` may be, literally: absolute paths, or names looked up in `path`.
        path: folders, separated by `:`; also the program's `PATH`.
        inherit_env: variables that are passed on from the service, if it has them.
        cwd: default of the route's parameter of that name, as are the next three.
        env: variables of the program.
        stdin: text that the program reads.
        timeout: in seconds.
        preconditions: default too; also in the words of a module's state, see `state_root`.
        on_failed_precondition: default too.
        planes: for routes that give no argv: an `execution_plane`, and the argv that applies a
            target on it, with {target_kind} {target_ref} {target_env} inside its arguments.
        state_root: the folder of a runtime that keeps `modules/<module>/latest.json`.
        max_output: bytes that are kept of each stream.
        exit_codes: which failures are not final.
    """

    programs: list[str]
    path: str = _PATH
    inherit_env: list[str] = Field(default_factory=lambda: ["HOME", "LANG", "LC_ALL", "TZ"])
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    stdin: str | None = None
    timeout: Duration = Field(default=600.0, gt=0)
    preconditions: list[FileOrState] = Field(default_factory=list, max_length=MOST)
    on_failed_precondition: Reaction = "block"
    planes: dict[str, list[str]] = Field(default_factory=dict)
    state_root: str | None = None
    max_output: int = Field(default=1_048_576, ge=0)
    exit_codes: ExitCodes = Field(default_factory=ExitCodes)

    @model_validator(mode="after")
    def _programs_are_certain(self) -> Self:
        for program in self.programs:
            # `bin/x` would be another program in every working directory.
            if not program or ("/" in program and not program.startswith("/")):
                raise ValueError(f"{program!r} is neither an absolute path nor a bare name")
        if not all(folder.startswith("/") for folder in self.path.split(":")):
            raise ValueError("every folder in `path` must be absolute")
        return self

    @model_validator(mode="after")
    def _templates_and_states_are_right(self) -> Self:
        for plane, template in self.planes.items():
            planes.check_template(plane, template, self.programs)
        if self.state_root is not None:
            plain_path(self.state_root)
        for one in self.preconditions:
            if not isinstance(one, Precondition):
                one.in_files(self.state_root)
        return self
