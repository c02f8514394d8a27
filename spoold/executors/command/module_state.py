"""A precondition in the words of a runtime that keeps a state file for each module → a plain one.

The runtime writes `modules/<module>/latest.json`, and `instances/<name>.json` beside it.
"""

import re
from typing import Any

from pydantic import Field, JsonValue

from spoold.executors import Model

_MODULE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(/[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class ModuleState(Model):
    """What the state of a module must say.

    Attributes:
        state_ref: the module, or `module#instance`.
        require_status: what `status` must be.
        outputs_equal: keys below `outputs`, each with the value that it must have.
        outputs_non_empty: keys below `outputs` that must have a value.
    """

    state_ref: str
    require_status: str = "ok"
    outputs_equal: dict[str, JsonValue] = Field(default_factory=dict)
    outputs_non_empty: list[str] = Field(default_factory=list)

    def in_files(self, root: str | None) -> dict[str, Any]:
        """The fields of the `Precondition` that asks for the same.

        Raises:
            ValueError: see `state_file`.
        """
        equal = {f"outputs.{key}": value for key, value in self.outputs_equal.items()}
        return {
            "file": state_file(self.state_ref, root),
            "equal": {"status": self.require_status, **equal},
            "non_empty": [f"outputs.{key}" for key in self.outputs_non_empty],
        }


def is_module_state(value: object) -> bool:
    """Whether a precondition is written in these words."""
    return isinstance(value, ModuleState) or (isinstance(value, dict) and "state_ref" in value)


def state_file(ref: object, root: str | None) -> str:
    """The file behind `module/ref` or `module/ref#instance`.

    Raises:
        ValueError: there is no root, or it is no such reference.
    """
    if root is None:
        raise ValueError("a state_ref needs the executor's `state_root`")
    module, hash_, instance = str(ref).partition("#")
    if not _MODULE.fullmatch(module) or (hash_ and not _INSTANCE.fullmatch(instance)):
        raise ValueError(f"{ref!r} is no state_ref; write module/ref or module/ref#instance")
    name = f"instances/{instance}.json" if hash_ else "latest.json"
    return f"{root}/modules/{module.replace('/', '__')}/{name}"
