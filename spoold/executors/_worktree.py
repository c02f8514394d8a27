"""A git repository → a fresh worktree for one attempt, which stays for people to look at."""

import os
import subprocess

from spoold.errors import Permanent
from spoold.executors import Context

_TIMEOUT = 120.0


def worktree_of(repository: str, context: Context) -> str:
    """Where the worktree of an attempt lies: beside the repository."""
    name = f"{context.dispatch_id[-8:]}-{context.number}"
    return f"{repository.rstrip('/')}.worktrees/{name}"


def fresh_worktree(repository: str, context: Context) -> str:
    """Make it, at the repository's HEAD.

    Raises:
        Permanent: git says no.
    """
    path = worktree_of(repository, context)
    environment = {"PATH": context.config.path, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    if home := os.environ.get("HOME"):
        environment["HOME"] = home
    try:
        # No hooks: they are programs that nobody has approved.
        done = subprocess.run(  # noqa: S603 - an argument list
            [
                *("git", "-c", "core.hooksPath=/dev/null", "-C", repository),
                *("worktree", "add", "--detach", "--", path, "HEAD"),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Permanent(
            "worktree-failed", f"git could not be run: {type(error).__name__}."
        ) from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-400:]
        raise Permanent(
            "worktree-failed",
            f"There is no worktree of {repository}; the agent was not started.",
            {"git": said},
        )
    return path
