"""State files and what they must say → what they say now, read again just before the start.

Security: a program that can write a state file decides whether an action is blocked, not what it
does. Only a route's author chooses which file is read.
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
from spoold.executors.command.module_state import ModuleState, is_module_state, state_file
from spoold.executors.command.state_file import Unusable, as_json, find, read, same

#: So many preconditions may a request have.
MOST = 16

#: Keys whose values are not shown.
_SECRET = re.compile(r"pass|secret|token|credential|private|key", re.IGNORECASE)

Reaction = Literal["block", "warn", "off"]


def plain_path(file: object) -> str:
    """An absolute path that is written as short as it can be.

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


def _keys(keys: Any) -> Any:
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
    equal: Annotated[dict[str, JsonValue], AfterValidator(_keys)] = Field(default_factory=dict)
    non_empty: Annotated[list[str], AfterValidator(_keys)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _asks_for_something(self) -> "Precondition":
        if not self.equal and not self.non_empty:
            raise ValueError("a precondition needs `equal` or `non_empty`")
        return self


#: A precondition as a route or an executor's table may write it; requests have files only.
FileOrState = Annotated[
    Annotated[Precondition, Tag("file")] | Annotated[ModuleState, Tag("state_ref")],
    Discriminator(lambda value: "state_ref" if is_module_state(value) else "file"),
]


def _allow_path(file: object, _: Any) -> None:
    plain_path(file)


def _allow_state_ref(ref: object, config: Any) -> None:
    state_file(ref, config.state_root)


def _allow_any(_: object, __: Any) -> None: ...


#: What a record must never choose: which file is read, and whether it counts.
LITERAL_IN_PRECONDITIONS: dict[tuple[str | int, ...], Callable[[object, Any], None]] = {
    ("on_failed_precondition",): _allow_any,
    **{("preconditions", number, "file"): _allow_path for number in range(MOST)},
    **{("preconditions", number, "state_ref"): _allow_state_ref for number in range(MOST)},
}


def as_files(given: Any, root: str | None) -> Any:
    """Preconditions with a file in the place of every `state_ref`.

    What is no precondition is returned as it is; the model refuses it with its place.

    Raises:
        ValueError: a `state_ref` that is wrong.
    """
    if not isinstance(given, list):
        return given
    return [_as_file(one, root) if is_module_state(one) else one for one in given]


def _as_file(given: Any, root: str | None) -> dict[str, Any]:
    try:
        return ModuleState.model_validate(given).in_files(root)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(["preconditions", *map(str, problem["loc"])])
        raise ValueError(f"{where}: {problem['msg']}") from None


def look(asked: Iterable[Precondition], reaction: Reaction) -> list[dict[str, Any]]:
    """What the files say now, one entry a key.

    Raises:
        NeedsPerson: something does not hold, and the reaction is `block`.
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
        # The value itself may be a secret, and was not asked for.
        found = ("has one" if holds else f"has {as_json(value)}") if there else "does not have it"
        yield _entry(condition.file, key, "with a value", found, holds=holds)


def _entry(
    file: str, key: str | None, wanted: str, found: str, *, holds: bool = False
) -> dict[str, Any]:
    return {"file": file, "key": key, "wanted": wanted, "found": found, "holds": holds}


def _without_secrets(key: str, value: JsonValue) -> JsonValue:
    """The value with secrets hidden: more people read a request file than a state file."""
    if _SECRET.search(key):
        return "[hidden]"
    if isinstance(value, dict):
        return {name: _without_secrets(name, inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_secrets("", inner) for inner in value]
    return value
