"""What is asked of a Docker Engine: plain calls, plain data."""

import json
import math
import time
from collections.abc import Callable
from contextlib import closing, suppress

from spoold.errors import Permanent, Transient
from spoold.executors.container.connection import Connection, Facts, Gone, Refused


class _Networks(Connection):
    """Calls about networks."""

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


class Engine(_Networks):
    """Calls about containers and images, and those about networks."""

    def container(self, name: str) -> Facts | None:
        """What is known of the container of exactly that name or full id."""
        found = self._look("look at a container", self._api.inspect_container, name)
        # Asked for a name that no container has, the engine looks for an id that begins like it.
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
