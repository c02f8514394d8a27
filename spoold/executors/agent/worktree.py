"""A git repository → a fresh worktree for one attempt, which stays for people to look at.

Security: to fill it, git runs programs that the repository's configuration names: filters, and in
a partial clone `core.sshCommand` and credential helpers. No person has approved these, and every
agent in a worktree shares that configuration and can change it. They run as the executor's user,
without an agent's limits. They end with git, except a process that has left its session and has no
`SPOOLD_DISPATCH_ID`.
"""

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from spoold.disk.capped_file import Capture
from spoold.disk.private import mode_in
from spoold.errors import ExecutionError, Permanent, Transient
from spoold.executors import Context
from spoold.executors.agent.attempt_files import Start, how_far
from spoold.executors.agent.watchdog import kill_what_is_left
from spoold.executors.child import Ending, begin, supervise
from spoold.linux.safe_open import read_whole

#: A worktree is made within that time (seconds), or not at all.
_LONGEST = 600.0
#: For what is half made to be removed again; a service that stops waits for less.
_REMOVED, _REMOVED_AT_STOP = 60.0, 2.0
#: The longest path there can be (bytes).
_LONGEST_PATH = 4096
#: Of what git says.
_SHOWN = 400
#: Neither hooks nor a file system monitor run.
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")


def works_in(repository: str, context: Context) -> str:
    """The folder in which the agent of an attempt was started."""
    path, noted = _path_of(repository, context), ""
    with suppress(OSError):
        noted = read_whole(str(_record(context)), _LONGEST_PATH).decode("utf-8", "replace")
    # It is not synced, so it may be empty after a crash; and an agent may have written it.
    inside = noted.startswith(f"{path}/") and ".." not in noted[len(path) :].split("/")
    return noted if inside and "\0" not in noted else path


def fresh_worktree(repository: str, context: Context, timeout: float) -> str:
    """Make it, at the repository's HEAD.

    Args:
        repository: a folder in it, which need not be its uppermost.
        context: of the attempt.
        timeout: of the attempt, in seconds.

    Returns:
        The same folder in the worktree.

    Raises:
        Permanent: git says no, or takes too long, or a person has cancelled it; or what this
            attempt has not made is in its place.
        Transient: the service was stopped meanwhile.
    """
    git = _Git(repository, context, min(timeout, _LONGEST))
    path = _path_of(repository, context)
    where = _where(path, repository, git)
    if os.path.lexists(path) and not os.path.lexists(_record(context)):
        # Another dispatch or another spool made it. With a note, the next try would remove it.
        raise git.failed(f"{path} is there already, and was left as it is")
    if not _note(where, context) and how_far(context) is Start.NOT_BEGUN:
        # An earlier try of this attempt made it, perhaps in part, and ended with its service.
        git.remove(path, _REMOVED)
    git.ask("worktree", "add", "--detach", "--", path, "HEAD", makes=path)
    return where


def _path_of(repository: str, context: Context) -> str:
    name = f"{context.dispatch_id[-8:]}-{context.number}"
    return f"{repository.rstrip('/')}.worktrees/{name}"


def _record(context: Context) -> Path:
    return Path(f"{context.files}.cwd")


def _where(path: str, repository: str, git: "_Git") -> str:
    """The folder in the worktree at `path` that corresponds to `repository`."""
    above = git.ask("rev-parse", "--show-cdup").count("../")
    if not above:
        return path
    below = os.path.realpath(repository).split("/")[-above:]
    if not git.ask("ls-tree", "-d", "HEAD", f"../{below[-1]}"):
        raise git.failed(f"{'/'.join(below)} is no folder in its HEAD")
    return "/".join([path, *below])


def _note(where: str, context: Context) -> bool:
    """Write down where the agent will work; False if an earlier try has written that already."""
    path = _record(context)
    try:
        path.parent.mkdir(mode_in(str(path.parent.parent), 0o750), exist_ok=True)
        path.touch(mode_in(str(path.parent), 0o640), exist_ok=False)
        path.write_text(where, encoding="utf-8", errors="replace")
    except FileExistsError:
        return False
    except OSError as error:
        raise Transient(
            "cannot-start", f"{path} could not be written: {error.strerror}; nothing was done."
        ) from None
    return True


class _Git:
    """Runs git; at a deadline, or when the attempt must end, kills it and all that it has started.

    Args:
        repository: where.
        context: of the attempt.
        seconds: for all that is asked.
    """

    def __init__(self, repository: str, context: Context, seconds: float) -> None:
        self._repository, self._context, self._seconds = repository, context, seconds
        self._until = time.monotonic() + seconds

    def ask(self, *argv: str, makes: str | None = None) -> str:
        """Run one command, and return what it prints.

        Args:
            argv: its command.
            makes: a path that is removed again if the command fails.

        Raises:
            ExecutionError: it failed or was killed.
        """
        existed = makes is not None and os.path.lexists(makes)
        left = self._until - time.monotonic()
        ending, out, err = self._run(argv, left, self._context.stopping)
        # Ends what has left its session too; once an agent runs, its processes look the same.
        if how_far(self._context) is Start.NOT_BEGUN:
            kill_what_is_left(self._context)
        if ending.why == "exited" and ending.exit_code == 0:
            return out.tail().strip()
        problem = self._problem(ending, err.tail(_SHOWN).strip())
        if makes and not existed:
            self.remove(makes, _REMOVED if isinstance(problem, Permanent) else _REMOVED_AT_STOP)
        raise problem

    def remove(self, path: str, seconds: float) -> None:
        """Take away a worktree, made in whole or in part, as far as that is possible."""
        argv = ("worktree", "remove", "--force", "--force", "--", path)
        self._run(argv, seconds, threading.Event())

    def failed(self, why: str, said: str = "") -> Permanent:
        """The error that says why there is no worktree."""
        return Permanent(
            "worktree-failed",
            f"There is no worktree of {self._repository}: {why}; the agent was not started.",
            {"git": said} if said else None,
        )

    def _problem(self, ending: Ending, said: str) -> ExecutionError:
        """The error for a git that failed or was killed."""
        if ending.why == "exited":
            return self.failed("git says no" if ending.exit_code else "git was killed", said)
        took = f"making a worktree of {self._repository}"
        if ending.why == "timeout":
            return Permanent(
                "worktree-timeout",
                f"git was still {took} after {self._seconds:g} s; it was killed with what it had "
                "started, and the agent was not started. See which filters the repository has "
                "(git config --get-regexp '^filter'), and what they wait for.",
                {"git": said} if said else None,
            )
        how = f"while git was {took}; git was killed, and the agent was not started."
        if self._context.cancelled.is_set():
            return Permanent("cancelled", f"A person cancelled it {how}")
        return Transient(
            "interrupted", f"The service was stopped {how}", counts=False, retry_after=0.0
        )

    def _run(
        self, argv: tuple[str, ...], seconds: float, stopping: threading.Event
    ) -> tuple[Ending, Capture, Capture]:
        """How it ended, and the ends of its stdout and stderr; neither goes to a file."""
        environment = {
            "PATH": self._context.config.path,
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
            "SPOOLD_DISPATCH_ID": self._context.dispatch_id,
        }
        if home := os.environ.get("HOME"):
            environment["HOME"] = home
        try:
            process = begin(["git", *_QUIET, "-C", self._repository, *argv], environment)
        except OSError as error:
            raise self.failed(f"git could not be run: {os.strerror(error.errno or 0)}") from None
        out, err = Capture(Path("stdout"), 0), Capture(Path("stderr"), 0)
        return supervise(process, b"", [out, err], max(seconds, 0.0), stopping), out, err
