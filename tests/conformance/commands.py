"""Attempts of the command kind with real programs, as the executor stage makes them."""

import sys
from typing import Any

import pytest

from spoold.errors import ExecutionError
from spoold.executors import command

PYTHON = sys.executable


def config_of(**more: Any) -> command.Config:
    return command.Config.model_validate({"programs": [PYTHON, "true", "sh"], **more})


def params_of(*argv: str, **more: Any) -> command.Params:
    return command.Params.model_validate({"argv": argv and list(argv), "timeout": "9s", **more})


def python(stage, code: str, *arguments: str, config: Any = None, **more: Any) -> Any:
    params, made = params_of(PYTHON, "-c", code, *arguments, **more), config_of(**(config or {}))
    command.check(params, made)
    return command.run(params, stage.context(made))


def kept(stage, stream: str) -> bytes:
    (capture,) = [c for c in stage.captures if c.name.endswith(f".{stream}")]
    capture.close()
    return (stage.folder / capture.name).read_bytes()


def error_of(stage, code: str, kind: type[ExecutionError], **more: Any) -> Any:
    """The error that a program ends with, which is of this kind and of no subclass."""
    with pytest.raises(kind) as raised:
        python(stage, code, **more)
    assert type(raised.value) is kind
    return raised.value
