"""A customer → the container and the network that the engine has, and who made them."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from spoold.errors import Permanent
from spoold.executors import Context
from spoold.executors.container.connection import Facts
from spoold.executors.container.engine import Engine
from spoold.executors.container.params import Config, Params

#: Label: the request that made it, by which an attempt finds what an earlier one has made.
DISPATCH = "spoold.dispatch_id"
#: Label: the names of the variables whose values are secrets and are never shown.
SECRETS = "spoold.secrets"
#: Label: the restart policy while no request has stopped it.
RESTART = "spoold.restart"
_NEVER = "no"
_RUNS = ("running", "restarting", "paused")
SHORT = 12

Details = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A container as the engine describes it."""

    facts: Facts

    @property
    def id(self) -> str:
        """As the engine knows it."""
        return str(self.facts["Id"])

    @property
    def labels(self) -> dict[str, str]:
        """All of them."""
        return self.facts["Config"].get("Labels") or {}

    @property
    def dispatch_id(self) -> str | None:
        """The request that made it."""
        return self.labels.get(DISPATCH)

    @property
    def state(self) -> Facts:
        """What it does."""
        state: Facts = self.facts["State"]
        return state

    @property
    def status(self) -> str:
        """`created running paused restarting removing exited dead`."""
        return str(self.state["Status"])

    @property
    def health(self) -> str:
        """`starting healthy unhealthy`, or `none` where nothing checks it."""
        return str((self.state.get("Health") or {}).get("Status") or "none")

    @property
    def started_at(self) -> datetime | None:
        """When it was started last; None if it never was."""
        try:
            # Nanoseconds are more than Python reads.
            text = re.sub(r"(\.\d{6})\d*", r"\1", str(self.state["StartedAt"]))
            at = datetime.fromisoformat(text)
        except (KeyError, ValueError):
            return None
        return at if at.year > 1 else None

    @property
    def port(self) -> int:
        """Of this machine, by which it is reached; 0 if by none."""
        for bindings in (self.facts["HostConfig"].get("PortBindings") or {}).values():
            for one in bindings or []:
                return int(one["HostPort"] or 0)
        return 0

    @property
    def networks(self) -> dict[str, str]:
        """Those that it is connected to: name → id, which is empty until it is started."""
        found = self.facts["NetworkSettings"].get("Networks") or {}
        return {name: str(network.get("NetworkID") or "") for name, network in found.items()}

    @property
    def works(self) -> bool:
        """Whether it runs, and is healthy: exactly that, and no word that contains it."""
        return self.status == "running" and self.health in ("healthy", "none")

    @property
    def stopped_by_request(self) -> bool | None:
        """Whether it does not run because a request wants that; None if it does not say so."""
        if self.status in _RUNS:
            return False
        if self.labels.get(RESTART, _NEVER) == _NEVER:
            return None
        return bool(self.facts["HostConfig"]["RestartPolicy"]["Name"] == _NEVER)

    @property
    def last_check(self) -> str:
        """What the last health check printed."""
        log = (self.state.get("Health") or {}).get("Log") or [{}]
        return str(log[-1].get("Output") or "")

    def says(self) -> Details:
        """Its state, as results and progress tell it."""
        state: Details = {
            "container": self.id[:SHORT],
            "status": self.status,
            "health": self.health,
        }
        if restarts := self.facts.get("RestartCount"):
            state["restarts"] = restarts
        if self.status in ("exited", "dead"):
            state |= {"exit_code": self.state.get("ExitCode")}
        if self.state.get("OOMKilled"):
            state["out_of_memory"] = True
        return state


@dataclass(frozen=True)
class World:
    """One customer's part of the engine; every call looks anew."""

    engine: Engine
    params: Params
    context: Context

    @cached_property
    def config(self) -> Config:
        """The executor's settings."""
        config: Config = self.context.config
        return config

    @property
    def customer(self) -> str:
        """Whose container it is."""
        return str(self.params.customer)

    @property
    def name(self) -> str:
        """The container's."""
        return self.params.name or self.config.name_prefix + self.customer

    @property
    def network_name(self) -> str:
        """The network's."""
        return self.params.network or self.config.network_prefix + self.customer

    def container(self) -> Found | None:
        """The customer's container.

        Raises:
            Permanent: `name-taken`, by one that is not ours.
        """
        facts = self.engine.container(self.name)
        if facts is None:
            return None
        found = Found(facts)
        if not self.is_ours(found.labels):
            raise self._taken("container", found.id)
        self.hide_secrets_of(found)
        return found

    def needed(self) -> Found:
        """The customer's container, which must be there.

        Raises:
            Permanent: `not-found`, or `name-taken`.
        """
        found = self.container()
        if found is None:
            raise Permanent("not-found", f"There is no container {self.name}; create it first.")
        return found

    def networks(self) -> list[Facts]:
        """The customer's network; a race of two engines' clients can have made it twice.

        Raises:
            Permanent: `name-taken`, by one that is not ours.
        """
        found = [one for one in self.engine.networks() if one["Name"] == self.network_name]
        for one in found:
            if not self.is_ours(one.get("Labels") or {}):
                raise self._taken("network", one["Id"])
        return sorted(found, key=lambda one: (one["Created"], one["Id"]))

    def is_ours(self, labels: dict[str, str]) -> bool:
        """Whether spoold made it for this customer."""
        return DISPATCH in labels and labels.get(self.config.labels.customer) == self.customer

    def made_now(self, labels: dict[str, str]) -> bool:
        """Whether this request made it, perhaps in an earlier attempt."""
        return self.is_ours(labels) and labels[DISPATCH] == self.context.dispatch_id

    def hide_secrets_of(self, found: Found) -> None:
        """Hide the values of its secret variables in everything that is told of it."""
        names = set(found.labels.get(SECRETS, "").split())
        for variable in found.facts["Config"].get("Env") or []:
            name, _, value = variable.partition("=")
            if name in names:
                self.engine.hidden.add(value)

    def _taken(self, what: str, which: str) -> Permanent:
        name = self.name if what == "container" else self.network_name
        return Permanent(
            "name-taken",
            f"There is a {what} {name} that spoold did not make for {self.customer}; it was not "
            "touched. Remove or rename it, if nobody needs it.",
            {what: which[:SHORT]},
        )


@contextlib.contextmanager
def looked_at(params: Params, context: Context) -> Iterator[World]:
    """The world of a customer, for as long as something is done there."""
    config: Config = context.config
    engine = Engine(config.engine, config.timeout)
    try:
        yield World(engine, params, context)
    finally:
        engine.close()
