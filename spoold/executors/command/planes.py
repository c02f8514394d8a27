"""An execution plane and a target → the argument list that applies the target on the plane."""

import re
from collections.abc import Mapping

_PLACEHOLDER = re.compile(r"\{(target_kind|target_ref|target_env)\}")
_KINDS = ("blueprint", "module")
_REF = re.compile(r"[a-z0-9][a-z0-9._/@-]*[a-z0-9]")


def check_template(plane: str, template: list[str], programs: list[str]) -> None:
    """Refuse a template that starts a program off the list, or has an unknown placeholder.

    Raises:
        ValueError: with one sentence.
    """
    if not template or template[0] not in programs:
        program = template[0] if template else None
        raise ValueError(f"planes.{plane}: {program!r} is not on the list of programs")
    for argument in template[1:]:
        if re.search(r"[{}]", _PLACEHOLDER.sub("", argument)):
            raise ValueError(
                f"planes.{plane}: {argument!r} has a brace that is none of {{target_kind}} "
                "{target_ref} {target_env}"
            )


def render(planes: Mapping[str, list[str]], targets: Mapping[str, str | None]) -> list[str]:
    """The argument list for a target; each argument of the template stays one argument.

    Args:
        planes: the template of each plane.
        targets: the route's `execution_plane`, `target_kind`, `target_ref` and `target_env`.

    Raises:
        ValueError: there is no such plane, or a part of the target could be read as an option or
            lead out of a folder.
    """
    plane = targets.get("execution_plane")
    if plane is None or plane not in planes:
        named = "no execution_plane" if plane is None else f"the execution_plane {plane!r}"
        raise ValueError(
            f"the route gives no argv and names {named}; there are: {', '.join(planes)}"
        )
    values = {
        "target_kind": _kind(targets.get("target_kind")),
        "target_ref": _ref(targets.get("target_ref")),
        "target_env": _env(targets.get("target_env")),
    }
    program, *arguments = planes[plane]
    # In one pass, so that braces in a value are not replaced again.
    return [program, *(_PLACEHOLDER.sub(lambda m: values[m[1]], one) for one in arguments)]


def _kind(value: str | None) -> str:
    if value not in _KINDS:
        raise ValueError(f"the target_kind is {value!r}, and must be {' or '.join(_KINDS)}")
    return value


def _ref(value: str | None) -> str:
    # The program makes a path of it, so `..` would lead out of the folder it looks in.
    if value is None or not _REF.fullmatch(value) or ".." in value.split("/"):
        raise ValueError(
            f"the target_ref is {value!r}, and must be lower-case letters, digits and ._/@- with a "
            "letter or digit at both ends, and no .. in between"
        )
    return value


def _env(value: str | None) -> str:
    if not value or value.startswith("-") or not value.isprintable():
        raise ValueError(f"the target_env is {value!r}, and must be a name without a leading -")
    return value
