"""An approved argument list → one process group, its exit code and its output."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from spoold.config.quantities import Duration
from spoold.config.secrets import SecretRef
from spoold.errors import ExecutionError, OutcomeUnknown, Transient
from spoold.executors import Context, Finding, Model, Result, ends_of
from spoold.executors.child import supervise
from spoold.executors.command import planes
from spoold.executors.command.preconditions import (
    LITERAL_IN_PRECONDITIONS,
    MOST,
    Precondition,
    Reaction,
    as_files,
    look,
)
from spoold.executors.command.settings import Config
from spoold.executors.command.start import start
from spoold.executors.command.verdict import judge
from spoold.linux.processes import with_variable

#: Bytes that Linux accepts in one argument or variable, with its final NUL.
_LONGEST = 131_071
#: Bytes of all arguments and variables: less than any Linux accepts.
_LONGEST_SUM = 1_000_000

#: Variables by which data becomes code: loaders, shells, interpreters, git. And our own.
_NOT_DATA = re.compile(
    r"PATH|IFS|ENV|SHELLOPTS|BASHOPTS|BASH_.*|PS4|PROMPT_COMMAND|ZDOTDIR|CDPATH"
    r"|(LD|DYLD|GCONV|MALLOC|SPOOLD)_.*|GLIBC_TUNABLES|LOCPATH|NLSPATH|HOSTALIASES|OPENSSL_CONF"
    r"|PYTHON.*|PERL.*|RUBY.*|NODE_(OPTIONS|PATH)|LUA_.*|CLASSPATH|(_|JDK_)JAVA_OPTIONS"
    r"|JAVA_TOOL_OPTIONS|GIT_(SSH|SSH_COMMAND|EXEC_PATH|ASKPASS|EDITOR|PAGER|PROXY_COMMAND"
    r"|EXTERNAL_DIFF|TEMPLATE_DIR|CONFIG.*)|SSH_ASKPASS|EDITOR|VISUAL|PAGER|BROWSER"
)


class Params(Model):
    """One command, which no shell reads. Without a `cwd` it starts in `/`, without `stdin` on none.

    Its `preconditions` are checked just before the start. Where one does not hold, the program is
    not started (`block`), or started all the same (`warn`); with `off` none is checked.
    """

    argv: list[str] = Field(min_length=1)
    cwd: str | None = None
    stdin: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    timeout: Duration = Field(default=600.0, gt=0)
    preconditions: list[Precondition] | None = Field(default=None, max_length=MOST)
    on_failed_precondition: Reaction | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A request of an older version has no such keys, and must stay the same when read.
        fields: dict[str, Any] = serialize(self)
        for name in ("preconditions", "on_failed_precondition"):
            if fields[name] is None:
                del fields[name]
        return fields


def _must_be_listed(program: object, config: Config) -> None:
    if program not in config.programs:
        raise ValueError(f"{program!r} is not on the executor's list of programs")


#: What only a route's author may choose, never an expression over a record.
LITERAL = {("argv", 0): _must_be_listed, **LITERAL_IN_PRECONDITIONS}


def complete(
    given: dict[str, Any], config: Config, targets: Mapping[str, str | None]
) -> dict[str, Any]:
    """Fill in the argv of the target's execution plane, and the file behind each `state_ref`."""
    fields = dict(given)
    if config.planes and "argv" not in fields:
        fields["argv"] = planes.render(config.planes, targets)
    if "preconditions" in fields:
        fields["preconditions"] = as_files(fields["preconditions"], config.state_root)
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
    """Start it, wait for its end, and leave nothing of its process group behind."""
    if context.stopping.is_set():
        raise Transient("interrupted", "The service was stopped before the program was started.")
    outputs = [context.open_output("out"), context.open_output("err")]
    # Just before the start: what held when a person approved need not hold now.
    seen = look(params.preconditions or (), params.on_failed_precondition or "block")
    process = start(
        params.argv,
        context.config.path,
        params.cwd or "/",
        _environment(params, context),
        has_stdin=params.stdin is not None,
    )
    stdin = (params.stdin or "").encode()
    ending = supervise(process, stdin, outputs, params.timeout, context.stopping)
    more = {"preconditions": seen} if seen else {}
    try:
        result = judge(params.argv[0], params.timeout, context, ending, process.pid)
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


def _environment(params: Params, context: Context) -> dict[str, str]:
    config: Config = context.config
    return {
        **{name: os.environ[name] for name in config.inherit_env if name in os.environ},
        "PATH": config.path,
        **params.env,
        "SPOOLD_DISPATCH_ID": context.dispatch_id,
        "SPOOLD_ATTEMPT": str(context.number),
    }


def probe(params: Params, context: Context) -> Result:
    """Say where the output is, and whether it still runs; what it did cannot be asked."""
    pids = with_variable(f"SPOOLD_DISPATCH_ID={context.dispatch_id}")
    still = f" It still runs as process {', '.join(map(str, pids))}." if pids else ""
    raise OutcomeUnknown(
        "interrupted",
        f"The executor ended while {params.argv[0]} ran.{still} What it had written by then is in "
        f"{os.path.dirname(context.files)}/.",
        {"pids": pids},
    )


def doctor(config: Config, secret: Callable[[SecretRef], str]) -> Iterator[Finding]:
    """Whether each program is there, and which file that is."""
    del secret
    for program in config.programs:
        found = shutil.which(program, path=config.path)
        missing = f"no executable; install it, or correct `programs` or `path` ({config.path})"
        yield Finding(program, found is not None, os.path.realpath(found) if found else missing)
