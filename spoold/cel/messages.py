"""CEL's messages → what a person who writes routes can use."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from spoold.cel.tokens import Path

_LONGEST = 120
_PROBLEM = re.compile(
    r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\nERROR: |\n \| |\s*\[[A-Z_]+\]\Z|\Z)", re.DOTALL
)
_SPECIAL = {
    "<iter_range>": "a loop needs a list or an object",
    "<jump_condition>": "what stands before ? is neither true nor false",
    "_&&_": "one side of && is neither true nor false",
    "_||_": "one side of || is neither true nor false",
    "@in": "in needs a list or an object on its right",
}
_PLAIN = {
    "Iteration budget": "its loops take more than 10,000 steps on this record",
    "basic_string": "the record has a text that is not valid Unicode",
}


def shown(text: str, longest: int = _LONGEST) -> str:
    """One line of limited length, without characters that could steer a terminal."""
    line = "".join(c if c.isprintable() else " " for c in text[: longest + 1])
    return line if len(line) <= longest else line[: longest - 1] + "…"


def kind_of(value: Any) -> str:
    """What JSON calls a value."""
    if value is None:
        return "null"
    kinds = {bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "no JSON")


def compile_problem(message: str, text: str) -> tuple[str, int]:
    """What is wrong with an expression, with the line of its text, and that line's number.

    CEL lists every consequence of a mistake; the first one is the mistake.
    """
    if "recursion" in message:
        return "the expression is nested too deeply: CEL allows 32 levels", 1
    found = _PROBLEM.search(message)
    if not found:
        return f"the text is not valid Unicode\n    {shown(text)}", 1
    number, column, problem = int(found[1]), int(found[2]), found[3]
    problem = re.sub(r" expecting .*", "", problem).replace("'<EOF>'", "end")
    problem = re.sub(r"(?:mismatched|extraneous) input", "unexpected", problem)
    problem = re.sub(r"undeclared reference to ('.*') \(.*\)", r"unknown name \1", problem)
    if wrong := re.fullmatch(r"found no matching overload for '(.*)' applied to '(.*)'", problem):
        problem = overload(wrong[1] + wrong[2])
    lines = text.split("\n")
    if not 1 <= number <= len(lines):
        return f"{problem}\n    {shown(text)}", 1
    line = lines[number - 1]
    start = max(0, column - _LONGEST // 2) if len(line) > _LONGEST else 0
    where = f"line {number}, column {column}" if len(lines) > 1 else f"column {column}"
    return f"{problem} ({where})\n    {shown(line[start:])}", number


def eval_problem(message: str, paths: Iterable[Path], record: Any) -> str:
    """What went wrong for a record, naming the place in the record where that can be known."""
    message = without_status(message)
    gaps = [gap for path in paths if (gap := _gap(path, record))]
    if found := re.fullmatch(r'Key not found in map : "?(.*?)"?', message, re.DOTALL):
        missing = (gap.text for gap in gaps if isinstance(gap.at, dict) and gap.key == found[1])
        text = next(missing, None)
        return f"{text} is missing" if text else f'an object has no key "{shown(found[1])}"'
    if message.startswith("Index error: index"):
        text = next((gap.text for gap in gaps if isinstance(gap.at, list)), "an entry of a list")
        return f"{text} is missing"
    if "to non-message type" in message:
        said = (
            f"{gap.before} is {kind_of(gap.at)}, so it has no {gap.key}"
            for gap in gaps
            if not isinstance(gap.at, dict)
        )
        return next(said, "a field is read from what is no object")
    if found := re.fullmatch("No matching overloads found : (.*)", message, re.DOTALL):
        return overload(found[1])
    known = (plain for beginning, plain in _PLAIN.items() if message.startswith(beginning))
    return next(known, None) or shown(message)


class _Gap(NamedTuple):
    key: str | int
    text: str
    before: str
    at: Any


def _gap(path: Path, record: Any) -> _Gap | None:
    """Where a path leaves the record, unless it leads to a value."""
    count, at = path.follow(record)
    if count == len(path.steps):
        return None
    key, text = path.steps[count]
    return _Gap(key, text, path.steps[count - 1][1] if count else "record", at)


def overload(signature: str) -> str:
    """`_<_(string, int64)` or `(null_type).startsWith(string)` in words."""
    if signature in _SPECIAL:
        return _SPECIAL[signature]
    signature = re.sub(r"\b(u?int)64\b", r"\1", signature.replace("null_type", "null"))
    if member := re.fullmatch(r"\((.*?)\)\.(\w+)\((.*)\)", signature):
        receiver, name, arguments = member.groups()
        return f"{name} cannot be applied to ({', '.join(filter(None, (receiver, arguments)))})"
    name, bracket, arguments = signature.partition("(")
    if not name[:1].isalpha():
        name = name.replace("_", "").replace("@", "")
    return f"{name} cannot be applied to {bracket}{arguments or 'this'}"


def without_status(message: str) -> str:
    """The message without the gRPC status around it."""
    return re.sub(r"\A[A-Z_]+: |\s*\[[A-Z_]+\]\Z", "", message)
