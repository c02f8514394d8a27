"""What a move to spoold would bring, and how the files of older dispatchers are read."""

import json
import os
from dataclasses import dataclass, field

import orjson

from spoold.disk import reading
from spoold.errors import NotPossible, UsageError
from spoold.record import JsonObject
from spoold.text import shown

_MOST = 1 << 28  # bytes of an old file


@dataclass
class Plan:
    """What an older dispatcher had, in spoold's words.

    Attributes:
        system: which dispatcher it was.
        format: of the records.
        source: the inbox that they go to from now on.
        executor: what its routes use.
        origin: the files it was read from.
        tables: `source` and `executor` → the TOML that spoold.toml needs for them.
        prefixes: of labels, as the source must know them.
        advice: what to do if spoold refuses a route.
        routes: file name → content, in the old order.
        samples: documents, each with the name of the route that must take it.
        lines: what was dealt with, for the import's file.
        notes: what a person must know, each with what it is about.
        secrets: names and values that must be in nothing that is written or printed.
    """

    system: str
    format: str
    source: str
    executor: str
    origin: list[str]
    tables: dict[str, str] = field(default_factory=dict)
    prefixes: dict[str, str] = field(default_factory=dict)
    advice: str = ""
    routes: dict[str, str] = field(default_factory=dict)
    samples: list[tuple[JsonObject, str]] = field(default_factory=list)
    lines: list[JsonObject] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Note what was not carried over as it was."""
        self.notes.append(("warning", text))

    def must_tell_no_secret(self) -> None:
        """Refuse to go on if a secret would come to be where everybody can read it.

        Raises:
            NotPossible: with the name of the variable, not its value.
        """
        texts = [*self.routes.values(), *self.tables.values(), *(text for _, text in self.notes)]
        for name, value in self.secrets.items():
            if any(value in text for text in texts):
                raise NotPossible(
                    f"{self.origin[0]}: the value of {name} is in another setting too, and would "
                    "be copied into a route. Take it out there; a route names secrets by reference"
                )


def old_text(path: str) -> str:
    """What is in a file of an older dispatcher.

    Raises:
        UsageError: there is none.
        NotPossible: it is empty, no text, or no file.
    """
    try:
        data = reading.read_regular(os.path.realpath(path), _MOST).data
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"there is no file {shown(path)}") from None
    except (reading.NotRegular, reading.TooLarge) as error:
        raise NotPossible(f"{shown(path)} {error.strerror}") from None
    if not data.strip():
        raise NotPossible(f"{shown(path)} is empty. Take it from a backup")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise NotPossible(f"{shown(path)} is not UTF-8; is it the right file?") from None


def old_json(path: str) -> JsonObject:
    """The JSON object in a file of an older dispatcher.

    Raises:
        UsageError: there is no such file.
        NotPossible: it does not hold one.
    """
    try:
        document = orjson.loads(old_text(path))
    except orjson.JSONDecodeError as error:
        raise NotPossible(
            f"{shown(path)} is no whole JSON: {error}. A dispatcher must be stopped before its "
            "files are read; if it was, take this one from a backup"
        ) from None
    if not isinstance(document, dict):
        raise wrong(path, "the file", document, "an object")
    return document


def wrong(path: str, what: str, found: object, wanted: str) -> NotPossible:
    """The error about something that is not of the type that a dispatcher writes."""
    has = "missing" if found is None else f"a {type(found).__name__}"
    return NotPossible(f"{shown(path)}: {shown(what)} is {has}, and must be {wanted}")


def quoted(text: str) -> str:
    """A text as a TOML string, which is also what CEL takes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def literal(text: str) -> str:
    """A text as the value of a key whose value might also be an expression."""
    return quoted(f"={quoted(text)}") if text.startswith("=") else quoted(text)


def table(rows: dict[str, str]) -> str:
    """TOML lines with the values below each other; the values are TOML already."""
    width = max(map(len, rows))
    return "".join(f"{key:{width}} = {value}\n" for key, value in rows.items())


def commented(*sentences: str) -> str:
    """Each sentence as a comment line."""
    return "".join(f"# {sentence}\n" for sentence in sentences if sentence)
