"""Calls of the hook kind as the executor stage makes them, and receivers that break off."""

import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from spoold.errors import ExecutionError
from spoold.executors import hook

#: For this long a receiver remembers the key of a call.
WINDOW = {"idempotency_window": "60s"}


def config_of(url: str, **more: Any) -> hook.Config:
    return hook.Config.model_validate({"url": url, **more})


def params_of(url: str, **more: Any) -> hook.Params:
    return hook.Params.model_validate({"url": url, "timeout": "9s", **more})


def call(stage, url: str, *, age=0.0, in_doubt=False, config: Any = None, **params: Any) -> Any:
    """The result of an attempt."""
    context = stage.context(config_of(url, **(config or {})), age=age, in_doubt=in_doubt)
    return hook.run(params_of(url, **params), context)


@contextlib.contextmanager
def ends_with(kind: type[ExecutionError]) -> Iterator[Any]:
    """What is inside raises an error of this kind and of no subclass."""
    with pytest.raises(kind) as raised:
        yield raised
    assert type(raised.value) is kind


def error_of(stage, url: str, kind: type[ExecutionError], **more: Any) -> Any:
    """The error that an attempt ends with."""
    with ends_with(kind) as raised:
        call(stage, url, **more)
    return raised.value


def read_request(connection: socket.socket) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got or not got.endswith(b"}"):
        got += connection.recv(65536)
    return got


def reset(connection: socket.socket) -> None:
    """Hang up so that the other side gets an error, and not an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
