"""An approved argument list → one process group, its exit code and its output."""

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from spoold.config.quantities import Duration
from spoold.config.secrets import SecretRef
from spoold.errors import ExecutionError, OutcomeUnknown, Permanent, Transient
from spoold.executors import Context, Finding, Model, Result, ends_of
from spoold.executors.child import Ending, begin, supervise
from spoold.executors.command.planes import check_template, render
from spoold.executors.command.preconditions import (
    LITERAL_IN_PRECONDITIONS,
    MOST,
    Either,
    Precondition,
    Reaction,
    look,
    plain_path,
    resolved,
)
from spoold.linux.processes import with_variable

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: What Linux accepts in one argument or variable, with its final NUL; and what is wise in all.
_LONGEST = 131_071
_LONGEST_SUM = 1_000_000
_HIGHEST_CODE = 255

#: Variables by which data becomes code: loaders, shells, interpreters, git. And our own.
_NOT_DATA = re.compile(
    r"PATH|IFS|ENV|SHELLOPTS|BASHOPTS|BASH_.*|PS4|PROMPT_COMMAND|ZDOTDIR|CDPATH"
    r"|(LD|DYLD|GCONV|MALLOC|SPOOLD)_.*|GLIBC_TUNABLES|LOCPATH|NLSPATH|HOSTALIASES|OPENSSL_CONF"
    r"|PYTHON.*|PERL.*|RUBY.*|NODE_(OPTIONS|PATH)|LUA_.*|CLASSPATH|(_|JDK_)JAVA_OPTIONS"
    r"|JAVA_TOOL_OPTIONS|GIT_(SSH|SSH_COMMAND|EXEC_PATH|ASKPASS|EDITOR|PAGER|PROXY_COMMAND"
    r"|EXTERNAL_DIFF|TEMPLATE_DIR|CONFIG.*)|SSH_ASKPASS|EDITOR|VISUAL|PAGER|BROWSER"
)

#: The system is short of something, or the program is just being replaced.
_PASSING = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


class ExitCodes(Model):
    """What exit codes mean beyond 0, which is success; those not listed are final failures.

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
    """`[executors.<name>]` with `kind = "command"`.

    Attributes:
        programs: what `argv[0]` may be, literally: absolute paths, or names looked up in `path`.
        path: folders, separated by `:`; also the program's `PATH`.
        inherit_env: variables that are passed on from the service, if it has them.
        cwd: as the route's parameter of that name, when the route leaves it out.
        env: the same.
        stdin: the same.
        timeout: the same.
        preconditions: the same; also in the words of a module's state, see `state_root`.
        on_failed_precondition: the same.
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
    preconditions: list[Either] = Field(default_factory=list, max_length=MOST)
    on_failed_precondition: Reaction = "block"
    planes: dict[str, list[str]] = Field(default_factory=dict)
    state_root: str | None = None
    max_output: int = Field(default=1_048_576, ge=0)
    exit_codes: ExitCodes = Field(default_factory=ExitCodes)

    @model_validator(mode="after")
    def _no_surprises(self) -> Self:
        for program in self.programs:
            # `bin/x` would be another program in every working directory.
            if not program or ("/" in program and not program.startswith("/")):
                raise ValueError(f"{program!r} is neither an absolute path nor a bare name")
        if not all(folder.startswith("/") for folder in self.path.split(":")):
            raise ValueError("every folder in `path` must be absolute")
        return self

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for plane, template in self.planes.items():
            check_template(plane, template, self.programs)
        if self.state_root is not None:
            plain_path(self.state_root)
        for one in self.preconditions:
            if not isinstance(one, Precondition):
                one.below(self.state_root)
        return self


class Params(Model):
    """One command: no shell reads it. Without a `cwd` it starts in `/`, without `stdin` on none.

    What its `preconditions` say must hold when it starts; if not, it is not started (`block`), is
    started all the same (`warn`), or nobody looks (`off`).
    """

    argv: list[str] = Field(min_length=1)
    cwd: str | None = None
    stdin: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    timeout: Duration = Field(default=600.0, gt=0)
    preconditions: list[Precondition] | None = Field(default=None, max_length=MOST)
    on_failed_precondition: Reaction | None = None

    @model_serializer(mode="wrap")
    def _as_asked(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialize(self)
        for name in ("preconditions", "on_failed_precondition"):
            if fields[name] is None:
                del fields[name]
        return fields


def _must_be_listed(program: object, config: Config) -> None:
    if program not in config.programs:
        raise ValueError(f"{program!r} is not on the executor's list of programs")


#: What only a route's author may choose, never an expression over somebody's record.
LITERAL = {("argv", 0): _must_be_listed, **LITERAL_IN_PRECONDITIONS}


def complete(
    given: dict[str, Any], config: Config, targets: Mapping[str, str | None]
) -> dict[str, Any]:
    """The argv of the target's execution plane, and the files behind names of states."""
    fields = dict(given)
    if config.planes and "argv" not in fields:
        fields["argv"] = render(config.planes, targets)
    if "preconditions" in fields:
        fields["preconditions"] = resolved(fields["preconditions"], config.state_root)
        fields.setdefault("on_failed_precondition", config.on_failed_precondition)
    return fields


def check(params: Params, config: Config) -> None:
    """Refuse a program off the list, variables that load code, and what no kernel would start."""
    _must_be_listed(params.argv[0], config)
    if params.cwd is not None and not params.cwd.startswith("/"):
        raise ValueError(f"the cwd {params.cwd!r} is not absolute")
    for name in params.env:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise ValueError(f"{name!r} is no name of a variable")
        if _NOT_DATA.fullmatch(name):
            raise ValueError(f"the variable {name} changes what is run, so no request may set it")
    passed = [*params.argv, *(f"{name}={value}" for name, value in params.env.items())]
    try:
        sizes = [len(text.encode()) for text in passed]
        (params.stdin or "").encode()
    except UnicodeEncodeError:
        raise ValueError("an argument, a variable or stdin is no valid text") from None
    if any("\0" in text for text in (*passed, params.cwd or "", params.stdin or "")):
        raise ValueError("an argument, a variable, the cwd or stdin contains a NUL")
    if max(sizes) > _LONGEST or sum(sizes) > _LONGEST_SUM:
        raise ValueError(
            f"an argument or variable has more than {_LONGEST} bytes, or all together have more "
            f"than {_LONGEST_SUM}; pass long text in stdin"
        )


def run(params: Params, context: Context) -> Result:
    """Start it, stay with it, and leave nothing of its group behind."""
    if context.stopping.is_set():
        raise Transient("interrupted", "The service was stopped before the program was started.")
    outputs = [context.open_output("out"), context.open_output("err")]
    # The last thing before the start: what was so when a person looked need not be so now.
    seen = look(params.preconditions or (), params.on_failed_precondition or "block")
    process = _start(params, context)
    stdin = (params.stdin or "").encode()
    ending = supervise(process, stdin, outputs, params.timeout, context.stopping)
    more = {"preconditions": seen} if seen else {}
    try:
        result = _judge(params, context, ending, process.pid)
    except ExecutionError as error:
        error.output = ends_of(*outputs)
        error.details |= more
        raise
    failed = sum(not one["holds"] for one in seen)
    warning = f" It was started although {failed} of what must hold did not." if failed else ""
    return replace(
        result,
        summary=result.summary + warning,
        details=result.details | more,
        output=ends_of(*outputs),
    )


def probe(params: Params, context: Context) -> Result:
    """A program cannot be asked what it did; say where its output is, and whether it still runs."""
    pids = with_variable(f"SPOOLD_DISPATCH_ID={context.dispatch_id}")
    still = f" It still runs as process {', '.join(map(str, pids))}." if pids else ""
    raise OutcomeUnknown(
        "interrupted",
        f"The executor ended while {params.argv[0]} ran.{still} What it had written by then is in "
        f"logs/{context.dispatch_id}/.",
        {"pids": pids},
    )


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Whether each program is there, and which file that is."""
    del secret
    for program in config.programs:
        found = shutil.which(program, path=config.path)
        missing = f"no executable; install it, or correct `programs` or `path` ({config.path})"
        yield Finding(program, found is not None, os.path.realpath(found) if found else missing)


def _start(params: Params, context: Context) -> subprocess.Popen[bytes]:
    config: Config = context.config
    program = shutil.which(params.argv[0], path=config.path)
    if program is None:
        raise Permanent(
            "program-missing",
            f"There is no executable {params.argv[0]} (path: {config.path}). Install it, or "
            "correct `programs` or `path`.",
        )
    cwd = params.cwd or "/"
    try:
        # No PR_SET_PDEATHSIG, so should this process be killed, the child lives on. The signal
        # would come when the *thread* that forked ends, it needs code between fork and exec, which
        # is unsafe with threads, and it would reach the leader only. In a service, systemd ends
        # the whole control group; anywhere else `probe` finds the child by its environment.
        return begin(
            params.argv,
            _environment(params, context),
            program=program,
            cwd=cwd,
            stdin=subprocess.DEVNULL if params.stdin is None else subprocess.PIPE,
        )
    except OSError as error:
        why = os.strerror(error.errno or 0)
        if error.errno in _PASSING:
            raise Transient("cannot-start", f"{program} could not be started: {why}.") from None
        if not os.access(cwd, os.X_OK) or not Path(cwd).is_dir():
            raise Permanent(
                "cwd-missing", f"{cwd} cannot be entered: {why}. Create it, or correct `cwd`."
            ) from None
        raise Permanent(
            "program-missing",
            f"{program} could not be started: {why}. Check that it is a program for this machine, "
            "and that the interpreter in its first line exists.",
        ) from None


def _environment(params: Params, context: Context) -> dict[str, str]:
    config: Config = context.config
    return {
        **{name: os.environ[name] for name in config.inherit_env if name in os.environ},
        "PATH": config.path,
        **params.env,
        "SPOOLD_DISPATCH_ID": context.dispatch_id,
        "SPOOLD_ATTEMPT": str(context.number),
    }


def _judge(params: Params, context: Context, ending: Ending, pid: int) -> Result:
    program, codes = params.argv[0], context.config.exit_codes
    details = {
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        "duration_s": round(ending.seconds, 3),
        "pid": pid,
    }
    if ending.why == "stopping" and context.cancelled.is_set():
        raise Permanent(
            "cancelled",
            f"A person cancelled it: {program} and its process group were killed after "
            f"{ending.seconds:.1f} s. What it had done by then stays done.",
            details,
        )
    if ending.why == "stopping":
        raise OutcomeUnknown(
            "interrupted",
            f"The service was stopped, and {program} with it; it was not done.",
            details,
        )
    if ending.lost:
        raise OutcomeUnknown(
            "lost",
            f"How {program} ended is not known: process {pid} could not be watched or "
            "killed, or its status was taken away.",
            details,
        )
    if ending.why == "timeout":
        what = f"{program} was still running after {params.timeout:g} s"
        raise Permanent("timeout", f"{what}; its process group was killed.", details)
    if ending.signal is not None:
        raise Permanent(
            f"signal-{ending.signal}", f"{program} was killed by signal {ending.signal}.", details
        )
    code, said = f"exit-{ending.exit_code}", f"{program} exited with {ending.exit_code}"
    if ending.exit_code in codes.transient:
        raise Transient(code, f"{said}, which means try later.", details)
    if ending.exit_code in codes.unknown:
        raise OutcomeUnknown(code, f"{said}, which may leave work half done.", details)
    if ending.exit_code != 0:
        raise Permanent(code, f"{said}.", details)
    return Result(code, f"{said}.", details, evidence={"exit_code": 0})
