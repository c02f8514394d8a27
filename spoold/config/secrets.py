"""References to secrets: found in a setting, and read when they are needed."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator


class SecretRef(BaseModel):
    """Where a secret is: exactly one of a systemd credential, a variable, a file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    credential: str | None = None
    env: str | None = None
    file: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(x is not None for x in (self.credential, self.env, self.file)) != 1:
            raise ValueError("a secret is exactly one of {credential=…}, {env=…}, {file=…}")
        return self

    @model_serializer
    def _as_written(self) -> dict[str, str]:
        given = {"credential": self.credential, "env": self.env, "file": self.file}
        return {where: name for where, name in given.items() if name is not None}


def references(value: object) -> Iterator[SecretRef]:
    """All references to secrets in a typed setting."""
    if isinstance(value, SecretRef):
        yield value
    elif isinstance(value, BaseModel):
        for _, inner in value:
            yield from references(inner)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from references(inner)


class SecretMissing(LookupError):
    """A secret is not where its reference says; the message never holds a value."""


def read_secret(ref: SecretRef, folder: Path) -> str:
    """The value behind a reference, without the line end of a file.

    Args:
        ref: the reference.
        folder: what a relative `file` is relative to (the configuration's folder).

    Raises:
        SecretMissing: there is none, or it is empty.
    """
    if ref.env is not None:
        value, where = os.environ.get(ref.env), f"the environment variable {ref.env}"
    else:
        base = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials"))
        by_name = ref.credential is not None
        path = base / str(ref.credential) if by_name else folder / str(ref.file)
        where = f"the credential {ref.credential}" if by_name else f"the file {path}"
        try:
            value = path.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            value = None
    if not value:
        raise SecretMissing(f"{where} is missing or empty")
    return value
