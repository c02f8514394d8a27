"""A TOML file → its data, and the line of every mistake in it."""

import os
import re
import stat
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spoold.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML file that was read, for messages that name a line."""

    file: Path
    text: str
    data: dict[str, Any]

    def error(self, message: str, *path: str | int) -> ConfigError:
        """A `ConfigError` at the line that sets the key `path`."""
        return ConfigError(message, file=self.file, line=line_of(self.text, path))


def read_toml(file: Path) -> Document:
    """Read one TOML file.

    Raises:
        ConfigError: it is missing, not readable, not UTF-8 or not TOML.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise ConfigError("cannot read it: it is no regular file", file=file)
        return parse_toml(file, file.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read it: {error.strerror}", file=file) from None


def parse_toml(file: Path, data: bytes) -> Document:
    """Take `data` for what is in a TOML file.

    Raises:
        ConfigError: it is not UTF-8 or not TOML.
    """
    text = ""
    try:
        text = data.decode("utf-8")
        return Document(file, text, tomllib.loads(text))
    except UnicodeDecodeError:
        raise ConfigError("is not UTF-8", file=file) from None
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"line (\d+)", str(error))
        line = int(at[1]) if at else text.rstrip().count("\n") + 1
        raise ConfigError(str(error), file=file, line=line) from None
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets in brackets in brackets.
        raise ConfigError(f"cannot be read as TOML: {error}", file=file) from None


def complaints(error: ValidationError, document: Document, *prefix: str) -> list[str]:
    """One line for each thing that is wrong with a table of `document` at `prefix`."""
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        path = (*prefix, *problem["loc"])
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = "unknown key"
        if problem["type"] == "missing":
            what = "is missing"
        key = ".".join(str(part) for part in path)
        lines.append(str(document.error(f"{key}: {what}", *path)))
    return lines


def line_of(text: str, path: Sequence[str | int]) -> int | None:
    """The line of the statement that sets the key `path`, or the nearest thing around it.

    tomllib keeps no lines, but it can say after which line a key is there, and what is there once
    stays there; so the line can be searched for by halves.
    """
    try:
        wanted = _known_part(tomllib.loads(text), path)
    except tomllib.TOMLDecodeError:
        return None
    if not wanted:
        return None
    lines = text.split("\n")
    low, high = 1, len(lines)
    while low < high:
        middle = (low + high) // 2
        end, data = _whole_until(lines, middle)
        if len(_known_part(data, wanted)) == len(wanted):
            high = middle
        else:
            low = end + 1
    said = (number for number in range(low, len(lines) + 1) if _says_something(lines[number - 1]))
    return next(said, low)


def _whole_until(lines: list[str], number: int) -> tuple[int, dict[str, Any]]:
    """Where the statement around line `number` ends, and the data up to there."""
    while True:
        try:
            return number, tomllib.loads("\n".join([*lines[:number], ""]))
        except tomllib.TOMLDecodeError:
            if number == len(lines):
                raise
            number += 1


def _known_part(data: Any, path: Sequence[str | int]) -> Sequence[str | int]:
    for length, part in enumerate(path):
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data):
            data = data[part]
        else:
            return path[:length]
    return path


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")
