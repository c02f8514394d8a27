"""State files and what they must say → what they say now, read again just before the start.

Security: whoever may write a state file decides whether an action is blocked, not what it does.
Only a route's author chooses which file is read.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    model_validator,
)

from spoold.errors import NeedsPerson
from spoold.executors import Model
from spoold.executors.command.state_file import Unusable, as_json, find, read, same

#: So many preconditions may a request have.
MOST = 16

#: A key whose value is nobody's business.
_SECRET = re.compile(r"pass|secret|token|credential|private|key", re.IGNORECASE)
_MODULE = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?(/[a-z0-9]([a-z0-9_-]*[a-z0-9])?)*")
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")

Reaction = Literal["block", "warn", "off"]


def plain_path(file: object) -> str:
    """An absolute path that says where it leads.

    Raises:
        ValueError: it is none.
    """
    if (
        not isinstance(file, str)
        or not file.startswith("/")
        or not file.isprintable()
        or os.path.normpath(file) != file
    ):
        raise ValueError(f"{file!r} is no absolute path without .., // or a / at its end")
    return file


def _named(keys: Any) -> Any:
    if not all(key.isprintable() and all(key.split(".")) for key in keys):
        raise ValueError("a key is one name, or several with a dot in between")
    return keys


class Precondition(Model):
    """What a JSON file must say before the action may start. `a.b` is the member b of a.

    Attributes:
        file: an absolute path.
        equal: keys, each with the value that it must have.
        non_empty: keys that must have a value: not null, "", {} or [].
    """

    file: Annotated[str, AfterValidator(plain_path)]
    equal: Annotated[dict[str, JsonValue], AfterValidator(_named)] = Field(default_factory=dict)
    non_empty: Annotated[list[str], AfterValidator(_named)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _asks_for_something(self) -> "Precondition":
        if not self.equal and not self.non_empty:
            raise ValueError("a precondition needs `equal` or `non_empty`")
        return self


class ModuleState(Model):
    """The same in the words of a runtime that keeps a state file for each module it has applied.

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

    def below(self, root: str | None) -> dict[str, Any]:
        """What that is as a `Precondition`."""
        equal = {f"outputs.{key}": value for key, value in self.outputs_equal.items()}
        return {
            "file": state_file(self.state_ref, root),
            "equal": {"status": self.require_status, **equal},
            "non_empty": [f"outputs.{key}" for key in self.outputs_non_empty],
        }


def _form(value: Any) -> str:
    is_state = isinstance(value, ModuleState) or (isinstance(value, dict) and "state_ref" in value)
    return "state_ref" if is_state else "file"


Either = Annotated[
    Annotated[Precondition, Tag("file")] | Annotated[ModuleState, Tag("state_ref")],
    Discriminator(_form),
]


def state_file(ref: object, root: str | None) -> str:
    """Where the state of `module/ref` or `module/ref#instance` is.

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


def _plain(file: object, _: Any) -> None:
    plain_path(file)


def _below_the_root(ref: object, config: Any) -> None:
    state_file(ref, config.state_root)


def _anything(_: object, __: Any) -> None: ...


#: What a record must not choose, whatever its value: which file is read, and whether it counts.
LITERAL_IN_PRECONDITIONS: dict[tuple[str | int, ...], Callable[[object, Any], None]] = {
    ("on_failed_precondition",): _anything,
    **{("preconditions", number, "file"): _plain for number in range(MOST)},
    **{("preconditions", number, "state_ref"): _below_the_root for number in range(MOST)},
}


def resolved(given: Any, root: str | None) -> Any:
    """Preconditions with the file of every `state_ref`; what is none is left for the model.

    Raises:
        ValueError: a `state_ref` that is wrong.
    """
    if not isinstance(given, list):
        return given
    return [_resolved(one, root) if _form(one) == "state_ref" else one for one in given]


def _resolved(given: Any, root: str | None) -> dict[str, Any]:
    try:
        return ModuleState.model_validate(given).below(root)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(["preconditions", *map(str, problem["loc"])])
        raise ValueError(f"{where}: {problem['msg']}") from None


def look(asked: Iterable[Precondition], reaction: Reaction) -> list[dict[str, Any]]:
    """What the files say now, one entry a key.

    Raises:
        NeedsPerson: something does not hold, and that is to block the start.
    """
    if reaction == "off":
        return []
    seen = [one for condition in asked for one in _seen(condition)]
    failed = [one for one in seen if not one["holds"]]
    if failed and reaction == "block":
        raise NeedsPerson("precondition-failed", _sentence(failed), {"preconditions": seen})
    return seen


def _sentence(failed: list[dict[str, Any]]) -> str:
    first, more = failed[0], len(failed) - 1
    what = f"should have {first['key']} {first['wanted']}, and " if first["key"] else ""
    others = f"; {more} more {'does' if more == 1 else 'do'} not hold" if more else ""
    return f"Nothing was started: {first['file']} {what}{first['found']}{others}."


def _seen(condition: Precondition) -> Iterator[dict[str, Any]]:
    try:
        state = read(condition.file)
    except Unusable as problem:
        yield _entry(condition.file, None, "a JSON object", str(problem))
        return
    for key, wanted in condition.equal.items():
        there, value = find(state, key)
        holds = there and same(value, wanted)
        found = f"has {as_json(_without_secrets(key, value))}" if there else "does not have it"
        yield _entry(condition.file, key, as_json(wanted), found, holds=holds)
    for key in condition.non_empty:
        there, value = find(state, key)
        holds = value not in (None, "", {}, [])
        # Only that there is a value was asked for; what it is may be a secret.
        found = ("has one" if holds else f"has {as_json(value)}") if there else "does not have it"
        yield _entry(condition.file, key, "with a value", found, holds=holds)


def _entry(
    file: str, key: str | None, wanted: str, found: str, *, holds: bool = False
) -> dict[str, Any]:
    return {"file": file, "key": key, "wanted": wanted, "found": found, "holds": holds}


def _without_secrets(key: str, value: JsonValue) -> JsonValue:
    """A state file is full of outputs, and a request file has more readers than that."""
    if _SECRET.search(key):
        return "[hidden]"
    if isinstance(value, dict):
        return {name: _without_secrets(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets("", inner) for inner in value]
    return value
