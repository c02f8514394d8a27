"""Calls to a Docker Engine → plain data, or an error that says what may be done about it.

Every call has a time limit and a connection of its own: an engine that is being stopped goes on
answering on connections that are open, and tells of the containers it ends as if they had failed.

Security: what an engine says can quote the environment of a container, so secrets are taken out
of it by their value before anybody sees it.
"""

import json
import math
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

from spoold.errors import Permanent, Transient
from spoold.text import printable, spellings

#: Anything that the engine describes.
Facts = dict[str, Any]

_DEFAULT = "unix:///var/run/docker.sock"
#: How soon an engine that is away is asked again.
_AGAIN = 15.0
_LONGEST = 400
#: A part of a secret shorter than this is also in text that is no secret.
_TELLING = 6

#: The engine itself, or containerd behind it, is in trouble; the request was none.
_TROUBLE = re.compile(
    r"deadline exceeded|transport is closing|context canceled|shutting down|containerd"
    r"|i/o timeout|connection refused|connection reset|broken pipe|try again",
    re.IGNORECASE,
)
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
            text = text.replace(part, "[redacted]")
        return text

    def line(self, text: str) -> str:
        """The beginning of it on one line, safe to show."""
        return printable(" ".join(self.text(text).split()))[:_LONGEST]


class Engine:
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

    # Containers

    def container(self, name: str) -> Facts | None:
        """What is known of the container of exactly that name or full id."""
        found = self._look("look at a container", self._api.inspect_container, name)
        # Asked for a name that nobody has, the engine looks for an id that begins like it.
        exact = found and name in (found["Name"].removeprefix("/"), found["Id"])
        return found if exact else None

    def containers(self, *labels: str) -> list[Facts]:
        """Briefly, all containers with these labels (`name` or `name=value`), also stopped ones."""
        with self._translated("list its containers"):
            found = self._api.containers(all=True, filters={"label": list(labels)})
            return list(found)

    def create(self, name: str, wanted: Facts) -> tuple[str, list[str]]:
        """Make a container, without starting it: its id, and what the engine warns of."""
        with self._translated("make the container", acts=True):
            made = self._api.create_container_from_config(wanted, name)
            return made["Id"], [self.hidden.line(text) for text in made.get("Warnings") or []]

    def start(self, container: str) -> None:
        """Start it, unless it runs."""
        with self._translated("start the container", acts=True):
            self._api.start(container)

    def unpause(self, container: str) -> None:
        """Let it go on."""
        with self._translated("unpause the container", acts=True):
            self._api.unpause(container)

    def restart(self, container: str, grace: float) -> None:
        """Stop and start it."""
        with self._translated("restart the container", acts=True):
            self._api.restart(container, timeout=math.ceil(grace))

    def stop(self, container: str, grace: float) -> None:
        """End it after so many seconds at most, unless it has ended or is gone."""
        with suppress(Gone), self._translated("stop the container"):
            self._api.stop(container, timeout=math.ceil(grace))

    def set_restart(self, container: str, policy: Facts) -> None:
        """Change what is done when it ends by itself."""
        with self._translated("change its restart policy"):
            self._api.update_container(container, restart_policy=policy)

    def remove(self, container: str) -> None:
        """Remove it with the volumes that only it has, even while it runs, unless it is gone."""
        with suppress(Gone), self._translated("remove the container"):
            self._api.remove_container(container, v=True, force=True)

    def logs(self, container: str, stream: str, lines: int) -> bytes:
        """The last lines of `stdout` or `stderr`, without secrets; nothing if they are not kept."""
        streams = {"stdout": stream == "stdout", "stderr": stream == "stderr"}
        try:
            with self._translated("show the container's output"):
                data: bytes = self._api.logs(container, tail=lines, **streams)
        except (Permanent, Transient):  # it is only for a person, and some drivers keep none
            return b""
        return self.hidden.text(data.decode("utf-8", "replace")).encode()

    def remembers_death(self, container: str) -> bool:
        """Whether it was since this engine runs that the container ended, for the last time."""
        until = f"{time.time():.6f}"
        filters = json.dumps({"container": [container], "event": ["die"]})
        asked = {"since": "1", "until": until, "filters": filters}
        url = f"{self._api.base_url}/v{self._api.api_version}/events"
        with self._translated("say what has happened"):
            answer = self._api.get(url, params=asked, timeout=self._timeout)
            return bool(answer.ok and answer.content.strip())

    # Networks

    def networks(self) -> list[Facts]:
        """All networks."""
        with self._translated("list its networks"):
            return list(self._api.networks())

    def network(self, network: str) -> Facts | None:
        """What is known of a network, by its id."""
        return self._look("look at a network", self._api.inspect_network, network)

    def create_network(self, name: str, subnet: str, labels: dict[str, str]) -> str:
        """Make a bridge network; its id."""
        ipam = {"Driver": "default", "Config": [{"Subnet": subnet}]}
        with self._translated("make the network", acts=True):
            made = self._api.create_network(
                name, driver="bridge", ipam=ipam, check_duplicate=True, labels=labels
            )
            return str(made["Id"])

    def connect(self, container: str, network: str) -> None:
        """Put a container into a network."""
        with self._translated("connect the container to its network", acts=True):
            self._api.connect_container_to_network(container, network)

    def disconnect(self, container: str, network: str) -> None:
        """Take a container out of a network, by its name, also if that is gone."""
        with self._translated("disconnect the container from its network", acts=True):
            self._api.disconnect_container_from_network(container, network, force=True)

    def remove_network(self, network: str) -> None:
        """Remove it, unless it is gone."""
        with suppress(Gone), self._translated("remove the network"):
            self._api.remove_network(network)

    # Images

    def image(self, name: str) -> Facts | None:
        """What is known of an image that the engine has."""
        return self._look("look at an image", self._api.inspect_image, name)

    def pull(self, name: str, stop: Callable[[], bool]) -> None:
        """Get an image from its registry; leaves it when `stop` says so."""
        auth = self._docker.auth
        where, tag = self._docker.utils.parse_repository_tag(name)
        header = auth.get_config_header(self._api, auth.resolve_repository_name(where)[0])
        url = f"{self._api.base_url}/v{self._api.api_version}/images/create"
        with self._translated("pull the image", acts=True):
            answer = self._api.post(
                url, params={"fromImage": where, "tag": tag or "latest"}, stream=True,
                headers={"X-Registry-Auth": header} if header else {}, timeout=self._timeout,
            )  # fmt: skip
            with closing(answer):
                for line in answer.iter_lines():
                    said = json.loads(line) if line else {}
                    if error := said.get("error") or said.get("message"):
                        raise Refused("pull the image", answer.status_code, self._plain(error))
                    if stop():
                        return

    # Errors

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
            if status == _NOT_FOUND:
                raise Gone(what, status, text) from None
            if status == _BUSY or (status >= _BROKEN and (not acts or _TROUBLE.search(text))):
                said = f"The engine could not {what}: {text.rstrip('.')}."
                raise Transient("engine-error", said) from None
            raise Refused(what, status, text) from None

    def _plain(self, text: object) -> str:
        return self.hidden.line(str(text)) or "without a reason"

    def _away(self, error: BaseException) -> Transient:
        return Transient(
            "engine-unreachable",
            f"The engine at {self.address} {self._why(error)}; it is asked again when it may be "
            "back, and what it was told before is looked up then.",
            counts=False,
            retry_after=_AGAIN,
        )

    def _why(self, error: BaseException) -> str:
        """The system's own reason, from under what four libraries wrapped around it."""
        seen: list[BaseException] = [error]
        for one in seen:
            if isinstance(one, OSError) and one.errno and one.strerror:
                return f"cannot be reached ({one.strerror})"
            inner = [one.__cause__, one.__context__, *one.args]
            seen += [new for new in inner if isinstance(new, BaseException) and new not in seen]
        if any("timed out" in str(one) for one in seen):
            return f"does not answer within {self._timeout:g} s"
        return f"does not answer as one ({self._plain(error)})"


def _knock(path: str, timeout: float) -> None:
    """Raise what the system says of a socket; the library would leave one open that fails."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.settimeout(timeout)
        trial.connect(path)
