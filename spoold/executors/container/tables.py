"""The tables in the configuration of a container executor: plans, health check, labels."""

import re
from typing import Self

from pydantic import Field, ValidationError, model_validator

from spoold.config.quantities import Duration
from spoold.executors import Model

_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
#: The engine refuses less: a container could not even start in it.
_LEAST_MEMORY = 6 << 20
_LEAST_CPUS = 0.01
_MOST_CPUS = 4096
#: What the kernel shares out by default to each processor's worth of weight.
SHARES = 1024

_LABEL = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def parse_memory(text: str) -> int:
    """Bytes in `512M` or `1.5g`: units of 1024, as docker and compose read them.

    Raises:
        ValueError: it is no amount of memory, or too little for a container.
    """
    found = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,3})?)([bkmg]?)(?:(?<=[kmg])b)?", text.lower())
    if not found:
        raise ValueError(f"{text!r} is no amount of memory; write it like 512M or 2G")
    return int(float(found[1]) * _UNITS[found[2]])


def format_memory(size: int) -> str:
    """The shortest text that `parse_memory` reads back as `size`."""
    for unit in ("g", "m", "k"):
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit.upper()}"
    return f"{size}B"


class Limits(Model):
    """What one container may use at the most, and what is kept for it.

    Attributes:
        cpus: processors' worth of time.
        memory: with no swap beside it.
        reserved_cpus: its weight against others when there is not enough for all.
        reserved_memory: what it keeps when memory becomes scarce.
    """

    cpus: float
    memory: str
    reserved_cpus: float
    reserved_memory: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        memory, reserved = parse_memory(self.memory), parse_memory(self.reserved_memory)
        if not _LEAST_CPUS <= self.cpus <= _MOST_CPUS:
            raise ValueError(f"cpus: {self.cpus:g} is not between {_LEAST_CPUS} and {_MOST_CPUS}")
        if memory < _LEAST_MEMORY:
            raise ValueError(f"memory: {self.memory} is less than 6M, with which nothing starts")
        if not 0 < reserved <= memory or not 0 < self.reserved_cpus <= self.cpus:
            raise ValueError("what is reserved must be more than nothing, and at most the limit")
        return self


class Plan(Model):
    """`[executors.<name>.plans.<plan>]`; what is not reserved by name is half of the limit."""

    cpus: float
    memory: str
    reserved_cpus: float | None = None
    reserved_memory: str | None = None

    @model_validator(mode="after")
    def _makes_limits(self) -> Self:
        try:
            self.limits()
        except ValidationError as error:
            what = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(what) from None
        return self

    def limits(self) -> Limits:
        """The whole of it."""
        half = format_memory(parse_memory(self.memory) // 2)
        cpus = self.reserved_cpus
        return Limits(
            cpus=self.cpus,
            memory=self.memory,
            reserved_cpus=round(self.cpus / 2, 4) if cpus is None else cpus,
            reserved_memory=half if self.reserved_memory is None else self.reserved_memory,
        )


#: When the configuration names no plan.
PLANS = {
    "starter": Plan(cpus=0.5, memory="512M"),
    "pro": Plan(cpus=1.0, memory="1024M"),
    "enterprise": Plan(cpus=2.0, memory="2048M"),
}


class Health(Model):
    """How the engine finds out whether a container works.

    Attributes:
        command: `["CMD", program, argument…]` or `["CMD-SHELL", line]`.
        interval: from its start to the first check, and between checks.
        timeout: of one check.
        retries: so many failures in a row make it unhealthy.
        start_period: failures do not count until it is over.
    """

    command: list[str]
    interval: Duration = Field(default=30.0, ge=0.001)
    timeout: Duration = Field(default=30.0, ge=0.001)
    retries: int = Field(default=3, ge=1, le=1000)
    start_period: Duration = 0.0

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        words = len(self.command)
        if (
            words <= 1
            or self.command[0] not in {"CMD", "CMD-SHELL"}
            or (self.command[0] == "CMD-SHELL" and words > 2)  # noqa: PLR2004 - it and its line
        ):
            raise ValueError('command is ["CMD", program, argument…] or ["CMD-SHELL", line]')
        return self


class Labels(Model):
    """The names under which a container carries its customer, plan and port."""

    customer: str = "openclaw.customer"
    plan: str = "openclaw.plan"
    port: str = "openclaw.port"

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        names = (self.customer, self.plan, self.port)
        if len(set(names)) < len(names):
            raise ValueError("customer, plan and port need labels of different names")
        for name in names:
            if not _LABEL.fullmatch(name) or name.startswith("spoold."):
                raise ValueError(f"{name!r} is no label of yours, such as openclaw.customer")
        return self
