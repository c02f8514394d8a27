"""What an executor's table says of hooks, and what a request says of a call."""

from typing import Any, Literal, Self

from pydantic import (
    Field,
    JsonValue,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from spoold.config.quantities import Duration
from spoold.config.secrets import SecretRef
from spoold.executors import Model
from spoold.executors.hook.address import parse
from spoold.executors.hook.cooldown import Health

Method = Literal["POST", "PUT", "PATCH", "DELETE", "GET"]
Dialect = Literal["openclaw", "plain"]


class Config(Model):
    """The keys of an executor's table with `kind = "hook"`.

    Attributes:
        url: where calls go whose route names no url; always allowed.
        urls: what routes may name besides: an exact URL, or every URL below one that ends in `/`.
        token: sent as `Authorization: Bearer …`.
        signing: secrets that sign each call as Standard Webhooks has it; the old and the new one
            while a receiver changes over.
        dialect: whether `url` and `urls` are OpenClaw hooks; by default, those that end in
            `/hooks/agent` or `/hooks/wake` are, when the body looks like it.
        session_key: the OpenClaw gateway accepts a `sessionKey` from outside.
        method: default of the route's parameter of that name, as are the next four.
        headers: sent besides those that spoold sets.
        body: sent as JSON.
        timeout: of a call, in seconds.
        wait_for_completion: see `Params`.
        rest_after: after so many failures in a row a destination is not called for a while; 0 for
            never.
        rest: for how many seconds at first; twice as long after each call that fails then.
        max_body: bytes a request's body may have (OpenClaw takes 256 KiB).
        max_answer: bytes of the answer that are read and kept.
        idempotency_window: for how many seconds after the first attempt the receiver promises to
            remember an `Idempotency-Key`; within them a call with an unknown outcome is repeated.
    """

    url: str | None = None
    urls: list[str] = Field(default_factory=list)
    token: SecretRef | None = None
    signing: list[SecretRef] = Field(default_factory=list)
    dialect: Dialect | None = None
    session_key: bool = False
    method: Method = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    timeout: Duration = Field(default=20.0, gt=0)
    wait_for_completion: bool | None = None
    rest_after: int = Field(default=5, ge=0)
    rest: Duration = Field(default=30.0, gt=0)
    max_body: int = Field(default=262_144, ge=0)
    max_answer: int = Field(default=65_536, ge=0)
    idempotency_window: Duration = 0.0
    _health: Health = PrivateAttr()

    def model_post_init(self, _: object) -> None:
        """What is known of destinations belongs to this executor and this process."""
        self._health = Health(self.rest_after, self.rest)

    @property
    def health(self) -> Health:
        """Which of its destinations fail, and until when they are not called."""
        return self._health

    @property
    def allowed(self) -> list[str]:
        """Every address that may be called."""
        return [*([self.url] if self.url else []), *self.urls]

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if not self.allowed:
            raise ValueError("a hook needs `url`, or `urls` with what routes may name")
        for entry in self.allowed:
            parse(entry)
        return self


class Params(Model):
    """One call: what a request says. A `body` that is null sends none, any other is sent as JSON.

    With `wait_for_completion`, OpenClaw's answer says how the run ended, and so does the result.
    """

    method: Method = "POST"
    url: str
    headers: dict[str, str] = Field(default_factory=dict)
    body: JsonValue = None
    timeout: Duration = Field(default=20.0, gt=0)
    wait_for_completion: bool | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A request of an older version has no such key, and must stay the same when read.
        fields: dict[str, Any] = serialize(self)
        if self.wait_for_completion is None:
            del fields["wait_for_completion"]
        return fields
