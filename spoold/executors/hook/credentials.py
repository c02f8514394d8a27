"""References to secrets → a token, signing keys, and a redactor that hides both."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from spoold.config.secrets import SecretRef
from spoold.errors import Transient
from spoold.executors.hook.settings import Config
from spoold.executors.hook.signing import signing_key, spellings
from spoold.text import Redactor


@dataclass(frozen=True, slots=True, repr=False)
class Credentials:
    """What an executor proves itself with.

    Attributes:
        token: sent as a bearer token; empty if there is none.
        keys: each signs every call.
        redactor: hides all of them.
    """

    token: str
    keys: list[bytes]
    redactor: Redactor


def read_credentials(config: Config, secret: Callable[[SecretRef], str]) -> Credentials:
    """Read all secrets of an executor.

    Raises:
        Transient: one is missing, or cannot be used.
    """
    token = "" if config.token is None else secret(config.token)
    if config.token is not None and not re.fullmatch(r"[!-~]+", token):
        raise Transient(
            "secret-unusable",
            "The token is empty or has spaces, line ends or other characters that no header can "
            "carry; store it as one line.",
        )
    texts = [secret(reference) for reference in config.signing]
    try:
        keys = [signing_key(text) for text in texts]
        hidden = [token, *(spelled for text in texts for spelled in spellings(text))]
    except ValueError as error:
        raise Transient("secret-unusable", f"A signing secret {error}.") from None
    return Credentials(token, keys, Redactor(hidden))
