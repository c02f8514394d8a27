"""A Docker Engine → a connection whose failed calls are errors that say what may be done.

Every call has a time limit and a connection of its own: an engine that is being stopped goes on
answering on connections that are open, and tells of the containers it ends as if they had failed.

Security: what an engine says can quote the environment of a container, so secrets are taken out
of it by their value before anybody sees it.
"""

import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from spoold.errors import Permanent, Transient
from spoold.text import REDACTED, printable, spellings

#: Anything that the engine describes.
Facts = dict[str, Any]

_DEFAULT = "unix:///var/run/docker.sock"
#: How soon an engine that is away is asked again (seconds).
_AGAIN = 15.0
#: Of what an engine says (characters).
_LONGEST = 400
#: A part of a secret shorter than this (characters) is also in text that is no secret.
_TELLING = 6

#: The engine itself, or containerd behind it, is in trouble; the request was none.
_TROUBLE = re.compile(
    r"deadline exceeded|transport is closing|context canceled|shutting down|containerd"
    r"|i/o timeout|connection refused|connection reset|broken pipe|try again",
    re.IGNORECASE,
)
_PORT_TAKEN = re.compile(r"address already in use|port is already allocated", re.IGNORECASE)
_NO_NETWORK = re.compile(r"network \S+ (not found|is ambiguous)", re.IGNORECASE)
#: Of HTTP: the name is taken, or it is being removed.
CONFLICT = 409
_NOT_FOUND, _BROKEN, _BUSY = 404, 500, 503


class Refused(Permanent):
    """The engine understood and would not do it.

    Attributes:
        status: of HTTP.
        text: what it said, without secrets, on one line.
    """

    def __init__(self, what: str, status: int, text: str) -> None:
        super().__init__("engine-refused", f"The engine would not {what}: {text.rstrip('.')}.")
        self.status = status
        self.text = text

    @property
    def is_for_port(self) -> bool:
        """Whether a container was not started because its port is taken."""
        return bool(_PORT_TAKEN.search(self.text))

    @property
    def is_for_network(self) -> bool:
        """Whether a container was not started because its network is gone."""
        return bool(_NO_NETWORK.search(self.text))


class Gone(Refused):
    """There is no such thing."""


class Hidden:
    """Takes secrets out of text by their value."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def add(self, secret: str) -> None:
        """From now on this is not shown, nor as JSON, nor one of its longer lines alone."""
        parts = {*self._parts, *spellings(secret, _TELLING)}
        self._parts = sorted(parts, key=len, reverse=True)

    def text(self, text: str) -> str:
        """The text without them."""
        for part in self._parts:
            text = text.replace(part, REDACTED)
        return text

    def line(self, text: str) -> str:
        """The beginning of it on one line, safe to show."""
        return printable(" ".join(self.text(text).split()))[:_LONGEST]


def refusal(what: str, status: int, text: str, *, acts: bool) -> Refused | Transient:
    """The error for an answer that says no.

    Args:
        what: the engine was to do.
        status: of HTTP.
        text: what it said, without secrets.
        acts: trying it again would not be for free.
    """
    if status == _NOT_FOUND:
        return Gone(what, status, text)
    if status == _BUSY or (status >= _BROKEN and (not acts or _TROUBLE.search(text))):
        said = f"The engine could not {what}: {text.rstrip('.')}."
        return Transient("engine-error", said)
    return Refused(what, status, text)


def unreachable(address: str, why: str) -> Transient:
    """The error for an engine that did not answer."""
    return Transient(
        "engine-unreachable",
        f"The engine at {address} {why}; it is asked again when it may be back, and what it was "
        "told before is looked up then.",
        counts=False,
        retry_after=_AGAIN,
    )


def system_reason(error: BaseException) -> str | None:
    """The system's own reason, from under what four libraries wrapped around it.

    Returns:
        What the system calls it, `timed out`, or None if neither is in there.
    """
    seen: list[BaseException] = [error]
    for one in seen:
        if isinstance(one, OSError) and one.errno and one.strerror:
            return one.strerror
        inner = [one.__cause__, one.__context__, *one.args]
        seen += [new for new in inner if isinstance(new, BaseException) and new not in seen]
    return "timed out" if any("timed out" in str(one) for one in seen) else None


class Connection:
    """A Docker Engine.

    Args:
        address: `unix://…` or `tcp://…`; without one, as the docker command finds it.
        timeout: seconds that one call may take.

    Attributes:
        hidden: what never shows in an error.
        is_local: whether it is on this machine, as far as that can be told.
        address: where it is.

    Raises:
        Transient: it cannot be reached; nothing was done.
    """

    def __init__(self, address: str | None, timeout: float) -> None:
        # A quarter of a second that only those wait for who talk to an engine.
        import docker  # noqa: PLC0415
        import requests  # noqa: PLC0415

        self._docker = docker
        self._failures = (docker.errors.DockerException, requests.exceptions.RequestException)
        self._timeout = timeout
        self.hidden = Hidden()
        self.address = address or os.environ.get("DOCKER_HOST") or _DEFAULT
        self.is_local = self.address.startswith("unix://")
        try:
            options = {} if address else docker.utils.kwargs_from_env()
            options |= {"base_url": self.address, "timeout": timeout}
            if self.is_local:
                _knock(self.address.removeprefix("unix://"), timeout)
            # Any version will do to ask which one it speaks.
            with closing(self._client(version="1.24", **options)) as first:
                self.about: Facts = first.version(api_version=False)
            self._api = self._client(version=self.about["ApiVersion"], **options)
        except (*self._failures, OSError, LookupError, TypeError) as error:
            raise self._away(error) from None

    def close(self) -> None:
        """Let go of what calls needed."""
        self._api.close()

    @property
    def version(self) -> tuple[int, ...]:
        """Of the API that is spoken, such as (1, 41)."""
        return tuple(int(part) for part in self._api.api_version.split("."))

    def _client(self, **options: Any) -> Any:
        client = self._docker.APIClient(**options)
        client.trust_env = False
        client.headers["Connection"] = "close"
        return client

    def _look(self, what: str, ask: Callable[[str], Facts], name: str) -> Facts | None:
        try:
            with self._translated(what):
                return ask(name)
        except Gone:
            return None

    @contextmanager
    def _translated(self, what: str, *, acts: bool = False) -> Iterator[None]:
        """An error of a call as one of ours; `acts` if trying it again would not be for free."""
        try:
            yield
        except self._failures as error:
            status = getattr(error, "status_code", None)
            if status is None:
                raise self._away(error) from None
            text = self._plain(getattr(error, "explanation", None) or error)
            raise refusal(what, status, text, acts=acts) from None

    def _plain(self, text: object) -> str:
        return self.hidden.line(str(text)) or "without a reason"

    def _away(self, error: BaseException) -> Transient:
        reason = system_reason(error)
        if reason is None:
            why = f"does not answer as one ({self._plain(error)})"
        elif reason == "timed out":
            why = f"does not answer within {self._timeout:g} s"
        else:
            why = f"cannot be reached ({reason})"
        return unreachable(self.address, why)


def _knock(path: str, timeout: float) -> None:
    """Raise what the system says of a socket; the library would leave one open that fails."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(timeout)
        trial.connect(path)
