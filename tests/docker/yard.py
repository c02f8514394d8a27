"""A corner of an engine for one test: names, ports, subnets of its own; a view from outside."""

import ipaddress
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker

from spoold.disk.capped_file import Capture
from spoold.errors import LeftRunning, SpooldError, Transient
from spoold.executors import Context, Result, Running, container

SECRET = "postgres://u:p-7f3a\"'\\@db/x"
HEALTH = ["CMD", "wget", "-q", "-O", "-", "http://127.0.0.1:3000/health"]
#: Ports of a test, below those that the kernel gives away by itself with four workers; and after
#: how many tests a worker begins anew with those of its first one, which has ended by then.
_PORTS, _TESTS = 48, 85
_SUBNETS = list(ipaddress.ip_network("10.128.0.0/9").subnets(new_prefix=22))

Outcome = Result | Running | SpooldError


def ended(call: Callable[[], Result | Running]) -> Outcome:
    """How it ended, whether it was raised or returned."""
    try:
        return call()
    except (SpooldError, LeftRunning) as error:
        return error


class Yard:
    """What one test has of an engine.

    Args:
        folder: for output.
        host: the engine's address.
        image: what containers are made of.
        worker: the number of this process of tests.
        number: of the test in it.
    """

    def __init__(self, folder: Path, host: str, image: str, worker: int, number: int) -> None:
        self.folder, self.host, self.image = folder, host, image
        self.api = docker.APIClient(base_url=host, version="auto", timeout=30)
        self.prefix = f"t{worker}-{number}-"
        place = worker * _TESTS + number % _TESTS
        first = 15_000 + place * _PORTS
        self.ports = range(first, first + _PORTS)
        self.subnets = str(_SUBNETS[place])
        self.reports: list[dict[str, Any]] = []
        self.secrets = {"SECRET_URL": SECRET}
        self._numbers = itertools.count(1)

    def table(self, **more: Any) -> dict[str, Any]:
        """An executor's table."""
        return {
            "engine": self.host,
            "image": self.image,
            "name_prefix": f"{self.prefix}c-",
            "network_prefix": f"{self.prefix}n-",
            "ports": f"{self.ports[0]}-{self.ports[-1]}",
            "subnets": self.subnets,
            "environment": {"MODE": "ok", "SECRET_URL": {"env": "SECRET_URL"}},
            "health": self.health(),
            "ready_timeout": "20s",
            "stop_timeout": "2s",
            **more,
        }

    def health(self, **more: Any) -> dict[str, Any]:
        """A health check that is quick."""
        return {"command": HEALTH, "interval": "300ms", "timeout": "2s", "retries": 2, **more}

    def mode(self, mode: str) -> dict[str, Any]:
        """An environment in which the containers behave so."""
        return {"MODE": mode, "SECRET_URL": {"env": "SECRET_URL"}}

    def config(self, **more: Any) -> container.Config:
        """An executor's settings."""
        return container.Config.model_validate(self.table(**more))

    def params(self, config: container.Config, **given: Any) -> container.Params:
        """An action as it would be approved."""
        whole = container.complete(given, config, {})
        stored = json.loads(container.Params.model_validate(whole).model_dump_json())
        params = container.Params.model_validate(stored)
        container.check(params, config)
        return params

    def context(self, config: container.Config, dispatch: str = "d-1") -> Context:
        """What the executor stage would pass."""
        number, now = next(self._numbers), datetime.now(UTC)

        def open_output(stream: str) -> Capture:
            return Capture(self.folder / f"{dispatch}-{number}.{stream}", 100_000)

        def secret(reference: Any) -> str:
            if reference.env not in self.secrets:
                raise Transient("credential-missing", f"{reference.env} is not set.")
            return self.secrets[reference.env]

        return Context(
            dispatch_id=dispatch,
            number=1,
            first_started=now,
            started=now,
            config=config,
            open_output=open_output,
            secret=secret,
            files=str(self.folder / f"attempt-{number}"),
            stopping=threading.Event(),
            report=self.reports.append,
        )

    def go(
        self,
        action: str,
        customer: str | None = "a",
        *,
        dispatch: str = "d-1",
        config: container.Config | None = None,
        how: str = "run",
        context: Context | None = None,
        **given: Any,
    ) -> Any:
        """Carry out an action; how it ended."""
        config = config or self.config()
        if action == "create":
            given = {"plan": "starter", **given}
        if customer is not None:
            given["customer"] = customer
        params = self.params(config, action=action, **given)
        call = getattr(container, how)
        made = context or self.context(config, dispatch)
        return ended(lambda: call(params, made))

    # The view from outside

    def name(self, customer: str = "a") -> str:
        """The name of a customer's container."""
        return f"{self.prefix}c-{customer}"

    def inspect(self, customer: str = "a") -> dict[str, Any]:
        """A customer's container, as the engine describes it."""
        return self.api.inspect_container(self.name(customer))

    def containers(self) -> list[str]:
        """The names of all containers of this test, without its prefix."""
        found = self.api.containers(all=True)
        names = [one["Names"][0].removeprefix("/") for one in found if one["Names"]]
        return sorted(n.removeprefix(self.prefix) for n in names if n.startswith(self.prefix))

    def networks(self) -> list[str]:
        """The same of its networks."""
        names = [one["Name"] for one in self.api.networks()]
        return sorted(n.removeprefix(self.prefix) for n in names if n.startswith(self.prefix))

    def ports_in_use(self) -> list[int]:
        """The port labels of all containers of this test."""
        found = self.api.containers(all=True, filters={"label": "openclaw.port"})
        return sorted(
            int(one["Labels"]["openclaw.port"])
            for one in found
            if one["Names"][0].startswith(f"/{self.prefix}")
        )

    def stranger(self, name: str, *, start: bool = True, **more: Any) -> str:
        """A container that somebody else made."""
        wanted = {"Image": self.image, **more}
        made = self.api.create_container_from_config(wanted, f"{self.prefix}{name}")
        if start:
            self.api.start(made["Id"])
        return str(made["Id"])

    def execute(self, customer: str, *words: str) -> tuple[int, str]:
        """Run something in a customer's container: exit code and output."""
        made = self.api.exec_create(self.name(customer), list(words))
        output = self.api.exec_start(made["Id"])
        return self.api.exec_inspect(made["Id"])["ExitCode"], output.decode()

    def clear(self) -> None:
        """Remove everything of this test."""
        for one in self.api.containers(all=True):
            if any(name.startswith(f"/{self.prefix}") for name in one["Names"]):
                self.api.remove_container(one["Id"], v=True, force=True)
        for one in self.api.networks():
            if one["Name"].startswith(self.prefix):
                self.api.remove_network(one["Id"])
        self.api.close()


def until(true: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Look again and again until something is true."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return found


def published(facts: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """The addresses and ports of this machine on which a container can be reached."""
    for bindings in facts["NetworkSettings"]["Ports"].values():
        for one in bindings or []:
            yield one["HostIp"], int(one["HostPort"])
